"""Groups, order, split, fingerprint and pseudonyms of a training set."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litgo_pipelines.marketplace.tables import FEATURE_COLUMNS
from litgo_pipelines.ranking.training_set import (
    PARTS,
    UNKNOWN_TIME,
    DatasetDamaged,
    InsufficientData,
    TrainingSet,
    from_matches,
    from_table,
)

LABELS = {"lost": 0, "declined": 1, "accepted": 2, "won": 3}
START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000


def _id(number: int | np.integer[Any]) -> bytes:
    return int(number).to_bytes(16, "big")


def _matches(cases: int, *, size: int = 3, seed: int = 0, unknown_times: int = 0, gap: timedelta = timedelta(days=1)) -> pa.Table:
    """A match log of `cases` cases, one request each, `gap` apart; the first `unknown_times` have no time."""
    generator = np.random.default_rng(seed)
    rows = cases * size
    case = np.arange(rows) // size
    columns: dict[str, pa.Array] = {
        "request": pa.array(generator.permutation(10 * cases)[:cases][case], pa.int64()),
        "case_id": pa.array([_id(one * 7919 % 65521 + 1) for one in case], pa.binary()),
        "lawyer_id": pa.array([_id(int(one)) for one in generator.integers(1, 2**40, rows)], pa.binary()),
        "moment": pa.array([None if one < unknown_times else START + int(one) * gap for one in case], pa.timestamp("us", "UTC")),
        "seq": pa.array(np.arange(rows), pa.int64()),
        "position": pa.array([None if case[row] % 2 else row % size + 1 for row in range(rows)], pa.int16()),
        "area": pa.array([None if one % 5 == 4 else ("civil", "penal", "tax")[one % 3] for one in case]).dictionary_encode(),
        "outcome": pa.array(generator.integers(0, 4, rows), pa.int16()),
    }
    values = generator.random((rows, 8)).astype(np.float32)
    columns |= {
        name: pa.array(values[:, at], mask=generator.random(rows) < 0.1, from_pandas=True) for at, name in enumerate(FEATURE_COLUMNS)
    }
    return pa.table(columns)


def _shuffled(table: pa.Table, seed: int) -> pa.Table:
    order = np.random.default_rng(seed).permutation(table.num_rows)
    half = len(order) // 2
    # Two chunks, as two batches of the driver.
    return pa.concat_tables([table.take(order[:half]), table.take(order[half:])])


def _same(one: TrainingSet, other: TrainingSet) -> bool:
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(TrainingSet)]
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") if isinstance(a, np.ndarray) else a == b for a, b in pairs)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(1, 4), st.integers(0, 1000), st.integers(0, 10))
def test_the_order_in_which_rows_were_read_leaves_no_trace(cases: int, size: int, seed: int, unknown: int) -> None:
    """Shuffling the match log changes neither a row's place nor the fingerprint."""
    table = _matches(cases, size=size, seed=seed, unknown_times=unknown)
    one, other = from_matches(table, LABELS), from_matches(_shuffled(table, seed), LABELS)
    assert _same(one, other)
    assert one.fingerprint() == other.fingerprint()


def test_groups_are_contiguous_and_in_the_order_of_their_cases() -> None:
    """Requests come one after the other, oldest case first, and each row stays with its own features, label and lawyer."""
    table = _matches(20)
    found = from_matches(_shuffled(table, 1), LABELS)
    assert np.all(np.diff(found.group) >= 0)
    assert found.group_sizes.tolist() == [3] * 20
    assert np.all(np.diff(found.time) >= 0)
    by_lawyer = {row["lawyer_id"]: row for row in table.to_pylist()}
    for at in range(found.rows):
        row = by_lawyer[_padded(found.lawyer_ids[at])]
        assert found.label[at] == row["outcome"]
        assert _padded(found.case_ids[found.case[at]]) == row["case_id"]
        logged = np.array([np.nan if row[name] is None else row[name] for name in FEATURE_COLUMNS], dtype=np.float32)
        assert np.array_equal(found.features[at], logged, equal_nan=True)
        assert (None if found.area[at] < 0 else found.areas[found.area[at]]) == row["area"]
        assert found.position[at] == (row["position"] or 0)


def _padded(one: bytes) -> bytes:
    """numpy drops trailing zeros of its byte strings when it shows one."""
    return bytes(one).ljust(16, b"\0")


def test_cases_without_a_time_come_first_in_the_order_of_arrival() -> None:
    """History without times is older than everything with one; among itself it keeps the order it arrived in."""
    table = _matches(8, unknown_times=3)
    found = from_matches(_shuffled(table, 2), LABELS)
    assert np.all(found.time[:9] == UNKNOWN_TIME)
    assert np.all(found.time[9:] != UNKNOWN_TIME)
    assert [_padded(one) for one in found.case_ids] == [table["case_id"][3 * case].as_py() for case in range(8)]


def test_all_requests_of_a_case_stand_together_and_fall_on_one_side() -> None:
    """A case that was matched twice has two groups, one time (the earlier), and is never split."""
    table = _matches(40)
    again = table.slice(0, 30).set_column(0, "request", pa.array(np.repeat(np.arange(10) + 10_000, 3), pa.int64()))
    again = again.set_column(3, "moment", pa.array([START + timedelta(days=35)] * 30, pa.timestamp("us", "UTC")))
    found = from_matches(pa.concat_tables([table, again]), LABELS).split(0.25, 2)
    assert (found.groups, found.cases) == (50, 40)
    assert np.all(found.group_sizes == 3)
    for case in range(40):
        assert np.unique(found.part[found.case == case]).size == 1
        assert np.unique(found.time[found.case == case]).size == 1


def test_the_newest_cases_are_held_out_and_the_embargo_lies_before_calibration() -> None:
    """Of 100 daily cases 20 are held out, 10 calibrate, the cases of the 7 days before those train nothing, the rest trains."""
    found = from_matches(_matches(100), LABELS).split(0.2, 7)
    part = np.array(PARTS)[found.part[::3]]
    assert part.tolist() == ["train"] * 64 + ["embargo"] * 6 + ["calibration"] * 10 + ["held_out"] * 20
    first = found.time[found.part == PARTS.index("calibration")].min()
    assert found.time[found.part == PARTS.index("train")].max() <= first - 7 * DAY


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 60), st.floats(0.1, 0.5), st.floats(0, 20), st.integers(0, 60))
def test_no_part_reaches_into_a_later_one(cases: int, share: float, days: float, unknown: int) -> None:
    """Whatever the share and the embargo, the parts follow each other in time and every row has exactly one."""
    try:
        found = from_matches(_matches(cases, unknown_times=unknown), LABELS).split(share, days)
    except InsufficientData:
        return
    assert np.all(np.diff(found.part) >= 0)
    assert sum(found.of(part).rows for part in PARTS) == found.rows
    assert found.of("held_out").cases == round(share * cases)


def test_without_times_there_is_no_embargo() -> None:
    """History without times is split by order alone."""
    found = from_matches(_matches(50, unknown_times=50), LABELS).split(0.2, 7)
    assert found.of("embargo").rows == 0
    assert found.of("train").cases == 35


def test_too_few_cases_are_a_verdict() -> None:
    """Two cases cannot be split in three, and cases that all lie within the embargo leave nothing to learn from."""
    with pytest.raises(InsufficientData, match="2 settled cases"):
        from_matches(_matches(2), LABELS).split(0.2, 7)
    with pytest.raises(InsufficientData, match="embargo"):
        from_matches(_matches(20, gap=timedelta(hours=1)), LABELS).split(0.2, 7)
    with pytest.raises(InsufficientData, match="0 settled cases"):
        from_matches(_matches(1).slice(0, 0), LABELS).split(0.2, 7)


def test_a_part_is_numbered_anew() -> None:
    """The held-out rows are a training set of their own: groups and cases from 0, ids that still belong to their cases."""
    found = from_matches(_matches(50), LABELS).split(0.2, 7)
    held_out = found.of("held_out")
    assert (held_out.groups, held_out.cases, held_out.rows) == (10, 10, 30)
    assert held_out.group[0] == held_out.case[0] == 0
    assert np.array_equal(held_out.case_ids, found.case_ids[-10:])


@pytest.mark.parametrize("column", ["features", "label", "outcome", "group", "case", "time", "position", "area", "part"])
def test_the_fingerprint_notices_one_changed_value(column: str) -> None:
    """A single changed number in any column that a training sees changes the fingerprint."""
    found = from_matches(_matches(30), LABELS).split(0.2, 3)
    changed = getattr(found, column).copy()
    changed[-1] = changed[-1] + 1
    assert replace(found, **{column: changed}).fingerprint() != found.fingerprint()


def test_pseudonyms_hide_ids_and_keep_who_is_who() -> None:
    """Under one key equal ids stay equal and distinct ones distinct; another key gives others; the fingerprint stays."""
    found = from_matches(_matches(30), LABELS)
    found = replace(found, lawyer_ids=found.lawyer_ids[np.arange(found.rows) % 20])
    hidden, again, other = (found.pseudonymise(key) for key in (b"k1", b"k1", b"k2"))
    assert not np.isin(hidden.lawyer_ids, found.lawyer_ids).any()
    assert not np.isin(hidden.case_ids, found.case_ids).any()
    assert np.array_equal(hidden.lawyer_ids, again.lawyer_ids)
    assert not np.isin(hidden.lawyer_ids, other.lawyer_ids).any()
    assert np.array_equal(
        np.unique(hidden.lawyer_ids, return_inverse=True)[1][:, None] == np.unique(hidden.lawyer_ids, return_inverse=True)[1],
        np.unique(found.lawyer_ids, return_inverse=True)[1][:, None] == np.unique(found.lawyer_ids, return_inverse=True)[1],
    )
    assert hidden.fingerprint() == found.fingerprint()


def test_a_lawyer_and_a_case_of_one_id_have_different_pseudonyms() -> None:
    """Nobody can tell from pseudonyms that a case and a lawyer share an id."""
    found = from_matches(_matches(5), LABELS)
    found = replace(found, lawyer_ids=found.case_ids[found.case])
    hidden = found.pseudonymise(b"key")
    assert not np.isin(hidden.lawyer_ids, hidden.case_ids).any()


def test_an_empty_key_is_refused() -> None:
    """Without a key pseudonyms could be guessed from ids."""
    with pytest.raises(ValueError, match="key"):
        from_matches(_matches(5), LABELS).pseudonymise(b"")


def test_parquet_gives_back_what_was_written(tmp_path: object) -> None:
    """Written to parquet and read, every array is the same, and so is the fingerprint."""
    found = from_matches(_matches(40, unknown_times=4), LABELS).split(0.2, 3).pseudonymise(b"key")
    path = f"{tmp_path}/set.parquet"
    pq.write_table(found.to_table(), path)
    again = from_table(pq.read_table(path))
    assert _same(again, found)
    assert again.fingerprint() == found.fingerprint()


def test_the_columns_are_those_an_outsider_needs() -> None:
    """The table names its split, groups, pseudonyms, features, labels and areas in plain words."""
    table = from_matches(_matches(40), LABELS).split(0.2, 3).pseudonymise(b"key").to_table()
    assert table.column_names == [
        "split",
        "group",
        "case",
        "lawyer",
        "time",
        "position",
        *"astgqurc",
        "label",
        "outcome",
        "accepted",
        "area",
    ]
    assert set(table["split"].to_pylist()) == set(PARTS)
    assert {len(one) for one in table["lawyer"].to_pylist()} == {32}


def test_a_table_with_an_unknown_split_is_refused() -> None:
    """A stored set whose split names something else was damaged."""
    table = from_matches(_matches(10), LABELS).to_table()
    with pytest.raises(DatasetDamaged, match="test"):
        from_table(table.set_column(0, "split", pa.array(["test"] * table.num_rows)))
