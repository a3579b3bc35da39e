"""How many cases a lawyer can take in a month: the rule, and that the database applies the same one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from litgo_pipelines.equity.capacity import BANDS, FIRM_POINTS, band_sql, capacity_sql, monthly_capacity

FIRMS = ("individual", *FIRM_POINTS)
UNKNOWN = math.nan

_PROFILE = st.tuples(
    st.one_of(st.none(), st.integers(0, 60)),
    st.sampled_from([None, *FIRMS]),
    st.one_of(st.none(), st.floats(0, 1, width=32), st.sampled_from([0.6, 0.8])),
    st.one_of(st.none(), st.integers(1, 60)),
)


def _capacity(years: float, firm: str | None, success: float, declared: float) -> int:
    return int(monthly_capacity([years], np.array([firm], dtype=object), [success], [declared])[0])


@pytest.mark.parametrize(
    ("years", "firm", "success", "declared", "expected"),
    [
        (0, "individual", 0.0, UNKNOWN, 10),
        (UNKNOWN, None, UNKNOWN, UNKNOWN, 10),
        (2, "individual", 0.5, UNKNOWN, 10),
        (3, "individual", 0.5, UNKNOWN, 11),
        (5, "individual", 0.5, UNKNOWN, 11),
        (6, "individual", 0.5, UNKNOWN, 13),
        (10, "individual", 0.5, UNKNOWN, 13),
        (11, "individual", 0.5, UNKNOWN, 15),
        (0, "escritorio_pequeno", 0.5, UNKNOWN, 12),
        (0, "escritorio_medio", 0.5, UNKNOWN, 15),
        (0, "escritorio_grande", 0.5, UNKNOWN, 20),
        (0, "a kind of firm of next year", 0.5, UNKNOWN, 10),
        (0, "individual", 0.6, UNKNOWN, 10),
        (0, "individual", 0.61, UNKNOWN, 11),
        (0, "individual", 0.8, UNKNOWN, 11),
        (0, "individual", 0.81, UNKNOWN, 13),
        (11, "escritorio_grande", 0.9, UNKNOWN, 28),
        (11, "escritorio_grande", 0.9, 7, 7),
        (11, "escritorio_grande", 0.9, 40, 28),
        (11, "escritorio_grande", 0.9, 1, 1),
        (0, "individual", 0.0, 0, 1),
    ],
)
def test_capacity_adds_up_years_firm_and_success(years: float, firm: str | None, success: float, declared: float, expected: int) -> None:
    """10, +5/+3/+1 for more than 10/5/2 years, +10/+5/+2 by firm, +3/+1 above .8/.6, and never more than declared nor less than 1."""
    assert _capacity(years, firm, success, declared) == expected


def test_the_thresholds_of_success_hold_in_the_columns_own_precision() -> None:
    """.8 as a 4-byte float is a little more than .8, and still not above it; the next float is."""
    for threshold, at, above in ((0.8, 11, 13), (0.6, 10, 11)):
        stored = np.float32(threshold)
        assert _capacity(0, "individual", float(stored), UNKNOWN) == at
        assert _capacity(0, "individual", float(np.nextafter(stored, np.float32(1))), UNKNOWN) == above


@given(_PROFILE)
def test_capacity_lies_between_one_and_thirty_and_within_what_was_declared(
    profile: tuple[int | None, str | None, float | None, int | None],
) -> None:
    """Whatever a profile says."""
    years, firm, success, declared = profile
    found = int(monthly_capacity(_known([years]), np.array([firm], dtype=object), _known([success]), _known([declared]))[0])
    assert 1 <= found <= 30
    assert declared is None or found <= declared


def _edge_profiles(count: int) -> list[tuple[int | None, str | None, float | None, int | None]]:
    rng = np.random.default_rng(5)
    edges: list[float | None] = [None, 0.0, 1.0]
    for threshold in (0.6, 0.8):
        stored = np.float32(threshold)
        edges += [threshold, float(np.nextafter(stored, np.float32(0))), float(np.nextafter(stored, np.float32(1)))]
    profiles = []
    for _ in range(count):
        years = None if rng.random() < 0.1 else int(rng.integers(0, 15))
        firm = None if rng.random() < 0.1 else FIRMS[rng.integers(len(FIRMS))]
        success = edges[rng.integers(len(edges))] if rng.random() < 0.5 else float(rng.random())
        declared = None if rng.random() < 0.4 else int(rng.integers(1, 40))
        profiles.append((years, firm, success, declared))
    return profiles


def test_the_database_computes_the_same_capacity(engine: Engine) -> None:
    """The SQL expression and the vectorised rule agree on every lawyer, unknown values and float edges included."""
    profiles = _edge_profiles(800)
    names = ("anos_experiencia", "tipo_atuacao", "success_rate", "max_concurrent_cases")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO litgo.lawyers (id, name, primary_area, anos_experiencia, tipo_atuacao, success_rate, max_concurrent_cases) "
                "VALUES (gen_random_uuid(), CAST(:at AS text), 'civil', :anos_experiencia, :tipo_atuacao, :success_rate, "
                ":max_concurrent_cases)"
            ),
            [dict(zip(names, one, strict=True)) | {"at": f"{at:04}"} for at, one in enumerate(profiles)],
        )
        rows = connection.execute(
            text(
                f"SELECT {capacity_sql('l')} AS capacity, {band_sql(capacity_sql('l'))} AS band, anos_experiencia, tipo_atuacao, "
                "success_rate, max_concurrent_cases FROM litgo.lawyers l ORDER BY name"
            )
        ).all()
    years, firm, success, declared = (list(column) for column in list(zip(*rows, strict=True))[2:])
    expected = monthly_capacity(_known(years), np.array(firm, dtype=object), _known(success), _known(declared))
    assert [row.capacity for row in rows] == expected.tolist()
    assert [row.band for row in rows] == [next(name for most, name in BANDS if one <= most) for one in expected]
    assert len({row.capacity for row in rows}) > 15


def _known(values: Sequence[float | None]) -> list[float]:
    return [UNKNOWN if one is None else float(one) for one in values]
