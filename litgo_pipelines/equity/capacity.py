"""How many cases a lawyer can take in a month, from the profile.

The rule stands once, as the points below. `monthly_capacity` applies it to arrays; the daily SQL statement is built from the same points.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

BASE = 10
MOST = 30
YEARS_POINTS = ((10, 5), (5, 3), (2, 1))
"""(more years than, points): the first that holds counts."""
FIRM_POINTS = {"escritorio_grande": 10, "escritorio_medio": 5, "escritorio_pequeno": 2}
SUCCESS_POINTS = ((0.8, 3), (0.6, 1))
"""(success rate above, points): the first that holds counts."""
BANDS = ((10, "1-10"), (15, "11-15"), (20, "16-20"), (MOST, "21-30"))
"""(capacity up to, name of the band)."""


def monthly_capacity(years: ArrayLike, firm: ArrayLike, success_rate: ArrayLike, declared: ArrayLike) -> NDArray[np.int64]:
    """Capacity in cases a month, 1..30.

    Args:
        years: shape (n,), years of practice; NaN where unknown.
        firm: shape (n,), `tipo_atuacao`; unknown names bring no points.
        success_rate: shape (n,), 0..1; NaN where unknown.
        declared: shape (n,), `max_concurrent_cases` as the lawyer declared it; NaN where nothing was.
    """
    import numpy as np

    years = np.asarray(years, dtype=np.float64)
    success = np.asarray(success_rate, dtype=np.float64)
    declared = np.asarray(declared, dtype=np.float64)
    points = BASE + np.select([years > least for least, _ in YEARS_POINTS], [points for _, points in YEARS_POINTS], 0)
    points = points + np.array([FIRM_POINTS.get(str(name), 0) for name in np.asarray(firm, dtype=object)], dtype=np.int64)
    # The column is a 4-byte float: the threshold is compared in that precision, as the database does.
    single = success.astype(np.float32)
    points = points + np.select([single > np.float32(least) for least, _ in SUCCESS_POINTS], [points for _, points in SUCCESS_POINTS], 0)
    capped = np.fmin(np.minimum(points, MOST), declared)
    return np.asarray(np.maximum(capped, 1), dtype=np.int64)


def capacity_sql(lawyer: str) -> str:
    """The same rule as an SQL expression over the columns of `lawyers`, which is called `lawyer` in the statement."""
    years = " ".join(f"WHEN {lawyer}.anos_experiencia > {least} THEN {points}" for least, points in YEARS_POINTS)
    firm = " ".join(f"WHEN '{name}' THEN {points}" for name, points in FIRM_POINTS.items())
    success = " ".join(f"WHEN {lawyer}.success_rate > {least}::real THEN {points}" for least, points in SUCCESS_POINTS)
    return (
        f"GREATEST(1, LEAST({MOST}, {lawyer}.max_concurrent_cases, {BASE} + CASE {years} ELSE 0 END"
        f" + CASE {lawyer}.tipo_atuacao {firm} ELSE 0 END + CASE {success} ELSE 0 END))"
    )


def band_sql(capacity: str) -> str:
    """The name of the band of an SQL expression `capacity`."""
    cases = " ".join(f"WHEN {capacity} <= {most} THEN '{name}'" for most, name in BANDS[:-1])
    return f"CASE {cases} ELSE '{BANDS[-1][1]}' END"
