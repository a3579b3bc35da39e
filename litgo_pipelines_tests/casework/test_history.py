"""Importing old matches: which lines become rows, which are set aside, and that nothing is ever half done."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from typer.testing import CliRunner

from litgo_pipelines.casework import history
from litgo_pipelines.casework.history import HistoryError, import_history, reading
from litgo_pipelines.cli import history as verb
from litgo_pipelines.marketplace.database import DatabaseError, open_engine
from litgo_pipelines.marketplace.tables import match_history
from litgo_pipelines.settings import get_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine, Row

FEATURES = {"A": 1.0, "S": 0.5, "T": 0.25, "G": 0.125, "Q": 0, "U": 0.75, "R": 0.5, "C": 0.25}
COLUMNS = ("event", "case_id", "lawyer_id", *FEATURES, "label", "timestamp", "position", "area")
Lines = Sequence[Mapping[str, Any]]


def line(**changes: Any) -> dict[str, Any]:
    """A good line with some of its parts changed; `...` leaves a part out."""
    whole = {
        "event": "match",
        "case_id": "C-1",
        "lawyer_id": "L-1",
        "features": FEATURES,
        "label": "won",
        "timestamp": "2025-03-01T12:00:00Z",
        "position": 1,
        "area": "Trabalhista",
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not ...}


def flat(given: Mapping[str, Any]) -> list[Any]:
    whole = {**given, **given["features"]}
    return [whole.get(name) for name in COLUMNS]


def jsonl(path: Path, lines: Sequence[Mapping[str, Any] | bytes]) -> Path:
    path.write_bytes(b"".join((item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in lines))
    return path


def table(path: Path, lines: Lines, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=delimiter).writerows([COLUMNS, *map(flat, lines)])
    return path


def parquet(path: Path, lines: Lines) -> Path:
    pq.write_table(pa.Table.from_pylist([dict(zip(COLUMNS, flat(item), strict=True)) for item in lines]), path, row_group_size=500)
    return path


def gzipped(path: Path) -> Path:
    packed = path.with_name(f"{path.name}.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    return packed


def write(folder: Path, kind: str, lines: Lines) -> Path:
    path = folder / f"old.{kind.removesuffix('.gz')}"
    if path.suffix == ".jsonl":
        jsonl(path, lines)
    elif path.suffix == ".csv":
        table(path, lines)
    else:
        parquet(path, lines)
    return gzipped(path) if kind.endswith(".gz") else path


def rows(engine: Engine) -> Sequence[Row[Any]]:
    """The rows as they are stored, in the order of arrival; `version` changes whenever one is written."""
    with engine.connect() as connection:
        return connection.execute(text("SELECT *, xmin::text || ctid::text AS version FROM litgo.match_history ORDER BY seq")).all()


def rejected(path: Path) -> list[dict[str, Any]]:
    return [json.loads(item) for item in path.with_name(f"{path.name}.rejects.jsonl").read_text().splitlines()]


SEVERAL = [
    line(),
    line(lawyer_id="L-2", label="declined", position=2),
    line(case_id=str(UUID(int=7)), event="recommend", label="lost", timestamp=None, area=None),
    line(case_id="C-2", features={**FEATURES, "C": None}, position=None, label="accepted", timestamp="2025-02-01T09:00:00-03:00"),
    line(case_id="C-3", area="Família, sucessões", timestamp=None),
]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "jsonl.gz", "csv.gz"])
def test_the_same_file_again_writes_nothing(engine: Engine, tmp_path: Path, kind: str) -> None:
    """The second import of a file finds every line unchanged and rewrites no row."""
    path = write(tmp_path, kind, SEVERAL)
    first = import_history(engine, path)
    stored = rows(engine)
    second = import_history(engine, path)
    assert (first.lines, first.inserted, first.unchanged, first.rejected) == (5, 5, 0, 0)
    assert (first.cases, first.lawyers) == (4, 2)
    assert (second.inserted, second.updated, second.unchanged, second.repeated, second.rejected) == (0, 0, 5, 0, 0)
    assert rows(engine) == stored


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl.gz"])
def test_every_format_makes_the_same_rows(engine: Engine, tmp_path: Path, kind: str) -> None:
    """After the JSON lines are in, no other format of the same lines has anything to add or to correct."""
    import_history(engine, write(tmp_path, "jsonl", SEVERAL))
    again = import_history(engine, write(tmp_path, kind, SEVERAL))
    assert (again.inserted, again.updated, again.unchanged, again.rejected) == (0, 0, 5, 0)


def test_a_line_becomes_the_row_it_tells(engine: Engine, tmp_path: Path) -> None:
    """Each part of a line stands in its own column, the eight features in theirs."""
    features = {name: (index + 1) / 16 for index, name in enumerate(FEATURES)}
    import_history(engine, jsonl(tmp_path / "old.jsonl", [line(case_id=str(UUID(int=5)), lawyer_id=str(UUID(int=6)), features=features)]))
    (row,) = rows(engine)
    moment = datetime(2025, 3, 1, 12, tzinfo=UTC)
    assert (row.event, row.case_id, row.lawyer_id, row.label) == ("match", UUID(int=5), UUID(int=6), "won")
    assert (row.occurred_at, row.ordered_at, row.position, row.area) == (moment, moment, 1, "Trabalhista")
    assert {name: getattr(row, f"feature_{name.lower()}") for name in FEATURES} == features


@pytest.mark.parametrize(
    "change",
    [
        {"label": "lost"},
        {"features": {**FEATURES, "S": 0.0625}},
        {"features": {**FEATURES, "C": None}},
        {"position": None},
        {"area": "Cível"},
    ],
)
def test_a_later_import_corrects_a_row_in_its_place(engine: Engine, tmp_path: Path, change: dict[str, Any]) -> None:
    """A line known by its event, case, lawyer and time, but otherwise different, changes that row alone, not the order."""
    path = jsonl(tmp_path / "old.jsonl", SEVERAL)
    import_history(engine, path)
    before = rows(engine)
    summary = import_history(engine, jsonl(path, [line(**change)]))
    after = rows(engine)
    assert (summary.inserted, summary.updated, summary.unchanged) == (0, 1, 0)
    assert [(row.seq, row.imported_at) for row in after] == [(row.seq, row.imported_at) for row in before]
    assert after[1:] == before[1:]
    assert after[0] != before[0]
    assert import_history(engine, path).unchanged == 1


@pytest.mark.parametrize("change", [{"event": "recommend"}, {"case_id": "C-9"}, {"lawyer_id": "L-9"}, {"timestamp": 1740830401}])
def test_another_identity_is_another_row(engine: Engine, tmp_path: Path, change: dict[str, Any]) -> None:
    """A line that differs in event, case, lawyer or time is added beside the first."""
    assert import_history(engine, jsonl(tmp_path / "old.jsonl", [line(), line(**change)])).inserted == 2


def test_of_repeated_lines_the_last_counts_in_the_place_of_the_first(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that corrects itself, many lines later, yields one row, and importing it again still changes nothing."""
    monkeypatch.setattr(reading, "BATCH_LINES", 2)
    between = [line(case_id=f"C-{number}") for number in range(2, 8)]
    path = jsonl(tmp_path / "old.jsonl", [line(label="accepted"), *between, line(label="won"), between[0]])
    first = import_history(engine, path)
    stored = rows(engine)
    second = import_history(engine, path)
    assert (first.lines, first.inserted, first.repeated) == (9, 7, 2)
    assert stored[0].case_id == history.case_uuid("C-1")
    assert stored[0].label == "won"
    assert (second.inserted, second.updated, second.unchanged, second.repeated) == (0, 0, 7, 2)
    assert rows(engine) == stored


def test_arrival_follows_the_file(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`seq` rises line by line, whatever the times and ids say and however the file is cut into batches."""
    monkeypatch.setattr(reading, "BATCH_LINES", 7)
    cases = [str(uuid4()) for _ in range(40)]
    lines = [line(case_id=case, timestamp=1_700_000_000 - 60 * index) for index, case in enumerate(cases)]
    import_history(engine, jsonl(tmp_path / "old.jsonl", lines))
    assert [str(row.case_id) for row in rows(engine)] == cases


def test_a_line_without_time_takes_that_of_the_nearest_line_before(engine: Engine, tmp_path: Path) -> None:
    """Order comes from the nearest dated line before, bad ones included; before any there is none, and no time is invented."""
    lines = [
        line(case_id="C-1", timestamp=...),
        line(case_id="C-2", timestamp="2025-03-02"),
        line(case_id="C-3", timestamp=None),
        line(case_id="C-4", timestamp="2025-03-01"),
        line(case_id="C-5", timestamp=""),
        line(case_id="C-6", timestamp="2025-03-05", label="unheard of"),
        line(case_id="C-7", timestamp=...),
    ]
    import_history(engine, jsonl(tmp_path / "old.jsonl", lines))
    assert [(row.occurred_at and row.occurred_at.day, row.ordered_at and row.ordered_at.day) for row in rows(engine)] == [
        (None, None),
        (2, 2),
        (None, 2),
        (1, 1),
        (None, 1),
        (None, 5),
    ]


@pytest.mark.parametrize(
    "told",
    [
        "2025-03-01T12:00:00Z",
        "2025-03-01 12:00:00",
        "2025-03-01T09:00:00-03:00",
        "20250301T120000",
        "2025-03-01T12:00:00.000000000",
        1740830400,
        1740830400.0,
        1740830400000,
        "1740830400",
        "1740830400000",
    ],
)
def test_a_time_may_be_told_in_many_ways(engine: Engine, tmp_path: Path, told: Any) -> None:
    """ISO 8601 with a zone or without (then UTC), Unix seconds and milliseconds all mean the same moment."""
    import_history(engine, jsonl(tmp_path / "old.jsonl", [line(timestamp=told)]))
    assert [row.occurred_at for row in rows(engine)] == [datetime(2025, 3, 1, 12, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"event": "match"', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"event": ' + b"9" * 5_000 + b"}", "not JSON"),
        (b"[1, 2]", "not a JSON object"),
        (b'{"event": "\xff"}', "not UTF-8 at byte 12"),
        (b'{"event": "\0"}', "NUL"),
        (b'{"event": "' + b"x" * 1_000_001 + b'"}', "longer than 1,000,000 bytes"),
        (line(event="view"), "event is 'view'"),
        (line(event=["match"]), "event is ['match']"),
        (line(event=...), "event is missing"),
        (line(case_id=None), "case_id is missing"),
        (line(case_id=True), "case_id is True"),
        (line(case_id=1.5), "case_id is 1.5"),
        (line(lawyer_id="  "), "lawyer_id is empty"),
        (line(lawyer_id="L\0"), "lawyer_id holds a NUL character"),
        (line(lawyer_id="L\ud800"), "lawyer_id holds half a surrogate pair"),
        (line(features=...), "features is missing"),
        (line(features="A"), "features is 'A'"),
        (line(features={**FEATURES, "A": None}), "feature A is missing"),
        (line(features={name: value for name, value in FEATURES.items() if name != "R"}), "feature R is missing"),
        (line(features={**FEATURES, "T": "0.5"}), "feature T is '0.5': it must be a number"),
        (line(features={**FEATURES, "T": True}), "feature T is True: it must be a number"),
        (line(features={**FEATURES, "U": float("nan")}), "feature U is nan: it must lie in 0..1"),
        (line(features={**FEATURES, "U": float("inf")}), "feature U is inf: it must lie in 0..1"),
        (line(features={**FEATURES, "G": 1.01}), "feature G is 1.01: it must lie in 0..1"),
        (line(features={**FEATURES, "C": -0.1}), "feature C is -0.1: it must lie in 0..1"),
        (line(label="hired"), "label is 'hired': known are won, accepted, declined, lost; map others with --label OLD=NEW"),
        (line(label=None), "label is missing"),
        (line(label={}), "label is {}"),
        (line(timestamp="yesterday"), "timestamp is 'yesterday': it must be ISO 8601"),
        (line(timestamp=True), "timestamp is True: it must be ISO 8601"),
        (line(timestamp="0001-01-01T00:00:00+23:00"), "its year is not in 1990..2099"),
        (line(timestamp=10**400), "its year is not in 1990..2099"),
        (line(timestamp=-1), "its year is not in 1990..2099"),
        (line(timestamp=float("nan")), "its year is not in 1990..2099"),
        (line(position=0), "position is 0: it must be a whole number in 1..32,767"),
        (line(position=1.5), "position is 1.5"),
        (line(position=True), "position is True"),
        (line(position=40_000), "position is 40000"),
        (line(area=3), "area is 3: it must be text"),
        (line(area="a\0b"), "area holds a NUL character"),
        (line(area="\udfff"), "area holds half a surrogate pair"),
    ],
    ids=itertools.count(),
)
def test_a_bad_line_is_set_aside_with_its_reason(engine: Engine, tmp_path: Path, bad: Any, reason: str) -> None:
    """The good lines around a bad one are imported; the rejects file names the bad one's number and what is wrong with it."""
    path = jsonl(tmp_path / "old.jsonl", [line(), bad, line(case_id="C-2")])
    summary = import_history(engine, path)
    assert (summary.lines, summary.inserted, summary.rejected, summary.all_bad) == (3, 2, 1, False)
    (reject,) = rejected(path)
    assert reject["line"] == 2
    assert reason in reject["reason"]
    assert len(reject["text"]) <= 2_000


@given(st.lists(st.one_of(st.binary(), st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists))))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_a_line_holds_the_good_ones_arrive(engine: Engine, tmp_path: Path, junk: list[Any]) -> None:
    """Between any bytes and any values in any part of a line, the two good lines are there in the end."""
    parts = itertools.cycle(["event", "case_id", "lawyer_id", "features", "label", "timestamp", "position", "area"])
    odd = [item if isinstance(item, bytes) else line(**{"case_id": "odd", next(parts): item}) for item in junk]
    path = jsonl(tmp_path / "old.jsonl", [line(), *odd, line(case_id="C-2")])
    summary = import_history(engine, path)
    counted = summary.inserted + summary.updated + summary.unchanged + summary.repeated + summary.rejected
    assert counted == summary.lines
    stored = {row.case_id for row in rows(engine)}
    assert {history.case_uuid("C-1"), history.case_uuid("C-2")} <= stored


def test_rejected_text_is_what_the_line_began_with(engine: Engine, tmp_path: Path) -> None:
    """The rejects file repeats the line, cut to 2,000 characters, with undecodable bytes replaced."""
    path = jsonl(tmp_path / "old.jsonl", [line(), b"caf\xe9", b"\xc3\xa3" * 3_000])
    summary = import_history(engine, path)
    assert summary.rejects_file == tmp_path / "old.jsonl.rejects.jsonl"
    assert [reject["text"] for reject in rejected(path)] == ["caf\ufffd", "ã" * 2_000]


def test_the_rejects_file_tells_of_the_last_import_alone(engine: Engine, tmp_path: Path) -> None:
    """It is replaced by each import, is removed by one that rejects nothing, and nothing else is left in the folder."""
    path = jsonl(tmp_path / "old.jsonl", [b"one", b"two", line()])
    import_history(engine, path)
    import_history(engine, jsonl(path, [line(), b"three"]))
    assert [reject["text"] for reject in rejected(path)] == ["three"]
    assert import_history(engine, jsonl(path, [line()])).rejects_file is None
    assert list(tmp_path.iterdir()) == [path]


def test_rejects_go_to_the_current_folder_where_that_of_the_file_is_read_only(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history on read-only media is imported all the same."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    # Root may write anywhere, so the answer of the system is stood in for.
    monkeypatch.setattr("os.access", lambda folder, _mode: Path(folder) != tmp_path)
    summary = import_history(engine, jsonl(tmp_path / "old.jsonl", [b"bad", line()]))
    assert summary.rejects_file == tmp_path / "here" / "old.jsonl.rejects.jsonl"
    assert summary.rejects_file.exists()


def test_empty_lines_and_a_byte_order_mark_are_no_fault(engine: Engine, tmp_path: Path) -> None:
    """They are neither counted nor rejected, yet line numbers count them."""
    path = jsonl(tmp_path / "old.jsonl", [b"\xef\xbb\xbf" + json.dumps(line()).encode() + b"\r", b"", b" \t\r", b"bad"])
    summary = import_history(engine, path)
    assert (summary.lines, summary.inserted, summary.rejected) == (2, 1, 1)
    assert rejected(path)[0]["line"] == 4


def test_labels_are_translated(engine: Engine, tmp_path: Path) -> None:
    """The file's own labels become ours as told, whatever their case; ours need no translation."""
    path = jsonl(tmp_path / "old.jsonl", [line(label="Hired "), line(case_id="C-2", label=0), line(case_id="C-3", label="LOST")])
    assert import_history(engine, path, labels={"hired": "won", "0": "declined"}).rejected == 0
    assert [row.label for row in rows(engine)] == ["won", "declined", "lost"]


def test_ids_that_are_no_uuids_get_stable_ones_apart_for_cases_and_lawyers(engine: Engine, tmp_path: Path) -> None:
    """A UUID is kept however it is written; any other id always becomes the same UUID, one for cases and another for lawyers."""
    known = UUID("3f2504e0-4f89-41d3-9a0c-0305e82c3301")
    lines = [line(case_id=7, lawyer_id="7"), line(case_id=known.hex.upper(), lawyer_id=f" {known} ")]
    import_history(engine, jsonl(tmp_path / "old.jsonl", lines))
    first, second = rows(engine)
    assert first.case_id == UUID("f40675ee-81be-5088-9f67-6584a88d3c87")
    assert first.lawyer_id == UUID("2694a16c-a645-5b4a-ae1c-9d499633c76b")
    assert (second.case_id, second.lawyer_id) == (known, known)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_may_be_separated_by_comma_semicolon_or_tab(engine: Engine, tmp_path: Path, delimiter: str) -> None:
    """The header tells which of them it is."""
    assert import_history(engine, table(tmp_path / "old.csv", SEVERAL, delimiter)).inserted == 5


def test_csv_features_may_stand_in_one_column_or_bear_its_name(engine: Engine, tmp_path: Path) -> None:
    """`features` as JSON, `features.A` and `A` mean the same."""
    packed, dotted = tmp_path / "packed.csv", tmp_path / "dotted.csv"
    whole = line()
    with packed.open("w", newline="") as file:
        writer = csv.DictWriter(file, whole)
        writer.writeheader()
        writer.writerow({**whole, "features": json.dumps(FEATURES)})
    table(dotted, [whole])
    header = ",".join(f"features.{name}" if name in FEATURES else name for name in COLUMNS)
    dotted.write_text("\n".join([header, *dotted.read_text().splitlines()[1:]]))
    import_history(engine, table(tmp_path / "plain.csv", [whole]))
    assert import_history(engine, packed).unchanged == 1
    assert import_history(engine, dotted).unchanged == 1


def test_a_stray_quote_in_csv_costs_its_own_line_alone(engine: Engine, tmp_path: Path) -> None:
    """A quote that is never closed, or only by another stray one, swallows none of the good lines after it."""
    path = table(tmp_path / "old.csv", [line(case_id=f"C-{number}") for number in range(1, 8)])
    for broken in ("C-2", "C-6"):
        path.write_text(path.read_text().replace(broken, f'"{broken}'))
    summary = import_history(engine, path)
    assert (summary.lines, summary.inserted, summary.rejected) == (7, 5, 2)
    assert [(reject["line"], reject["reason"]) for reject in rejected(path)] == [
        (3, "has 2 columns where the header has 15"),
        (7, "has 2 columns where the header has 15"),
    ]


def test_a_stray_quote_in_csv_does_not_pair_with_a_later_one(engine: Engine, tmp_path: Path) -> None:
    """Even where both together would make one well-formed record, the lines between them are not swallowed."""
    path = table(tmp_path / "old.csv", [line(case_id=f"C-{number}") for number in range(1, 8)])
    path.write_text(path.read_text().replace("C-2", '"C-2').replace("C-6", 'C-6"'))
    summary = import_history(engine, path)
    assert (summary.lines, summary.inserted, summary.rejected) == (7, 6, 1)
    assert rejected(path)[0]["line"] == 3


def test_a_stray_quote_within_a_csv_field_is_a_character(engine: Engine, tmp_path: Path) -> None:
    """Such lines are whole, and those between two of them are not lost."""
    path = tmp_path / "old.csv"
    table(path, [line(case_id=f"C-{number}") for number in range(1, 6)])
    path.write_text(path.read_text().replace("C-2", 'C-2"').replace("C-4", 'C-4"'))
    assert import_history(engine, path).inserted == 5


def test_a_quoted_line_break_in_csv_is_no_new_record(engine: Engine, tmp_path: Path) -> None:
    """A column that is not ours may hold line breaks; the lines after it keep their numbers."""
    path = tmp_path / "old.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[*COLUMNS, "note"], [*flat(line()), 'said "no"\nand left'], [*flat(line(label="?")), ""]])
    summary = import_history(engine, path)
    assert (summary.inserted, summary.rejected) == (1, 1)
    assert rejected(path)[0]["line"] == 4


@pytest.mark.parametrize(
    ("column", "cell", "reason"),
    [
        ("A", "", "feature A is missing"),
        ("A", "0,5", "feature A is '0,5': it must be a number"),
        ("A", "1_0", "feature A is '1_0': it must be a number"),
        ("C", "nan", "feature C is nan: it must lie in 0..1"),
        ("position", "first", "position is 'first'"),
        ("case_id", "", "case_id is empty"),
        ("label", "", "label is ''"),
        ("event", "x" * 200_000, "not CSV: field larger than field limit"),
    ],
)
def test_a_bad_csv_cell_is_named(engine: Engine, tmp_path: Path, column: str, cell: str, reason: str) -> None:
    """A cell is judged as the same value in JSON would be."""
    path = tmp_path / "old.csv"
    values = dict(zip(COLUMNS, flat(line()), strict=True))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, {**values, column: cell}.values(), values.values()])
    assert import_history(engine, path).inserted == 1
    assert reason in rejected(path)[0]["reason"]


MOMENT = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("timestamp", pa.array([1740787200 * 10**9], pa.timestamp("ns"))),
        ("timestamp", pa.array([1740787200], pa.timestamp("s", "America/Sao_Paulo"))),
        ("timestamp", pa.array([date(2025, 3, 1)], pa.date32())),
        ("timestamp", pa.array([1740787200000])),
        ("position", pa.array([1.0])),
        ("A", pa.array([Decimal("1.00")])),
        ("S", pa.array([0.5], pa.float32())),
        ("label", pa.array(["won"]).dictionary_encode()),
        ("case_id", pa.array([history.case_uuid("C-1").bytes], pa.binary(16))),
        ("case_id", pa.array(["C-1"], pa.large_string())),
        ("features", pa.array([FEATURES])),
        ("features", pa.array([json.dumps(FEATURES)])),
        ("features", pa.array([list(FEATURES.items())], pa.map_(pa.string(), pa.float64()))),
    ],
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else given,
)
def test_parquet_columns_may_have_any_fitting_type(engine: Engine, tmp_path: Path, column: str, values: pa.Array) -> None:
    """The same value in another type is the same line."""
    whole = line(timestamp="2025-03-01")
    import_history(engine, jsonl(tmp_path / "old.jsonl", [whole]))
    columns = {name: pa.array([value]) for name, value in zip(COLUMNS, flat(whole), strict=True)}
    if column == "features":
        columns = {name: value for name, value in columns.items() if name not in FEATURES}
    pq.write_table(pa.table({**columns, column: values}), tmp_path / "old.parquet")
    summary = import_history(engine, tmp_path / "old.parquet")
    assert (summary.unchanged, summary.updated, summary.inserted, summary.rejected) == (1, 0, 0, 0)


def test_nan_in_parquet_is_unknown_only_where_unknown_is_allowed(engine: Engine, tmp_path: Path) -> None:
    """NumPy's NaN leaves C and position unknown; in a feature that every line needs it is a fault."""
    lines = [line(case_id=f"C-{number}") for number in range(3)]
    columns = {name: pa.array(values) for name, values in zip(COLUMNS, zip(*map(flat, lines), strict=True), strict=True)}
    nan = float("nan")
    columns |= {"C": pa.array([nan, 0.5, 0.5]), "position": pa.array([1.0, nan, 1.0]), "A": pa.array([1.0, 1.0, nan])}
    pq.write_table(pa.table(columns), tmp_path / "old.parquet")
    import_history(engine, tmp_path / "old.parquet")
    assert [(row.feature_c, row.position) for row in rows(engine)] == [(None, 1), (0.5, None)]
    assert [(reject["line"], reject["reason"]) for reject in rejected(tmp_path / "old.parquet")] == [
        (3, "feature A is nan: it must lie in 0..1")
    ]


def test_a_bad_parquet_value_costs_its_own_row_alone(engine: Engine, tmp_path: Path) -> None:
    """Broken text and impossible years are rejected by number; the other rows of the batch arrive."""
    lines = [line(case_id=f"C-{number}") for number in range(3)]
    columns = {name: pa.array(values) for name, values in zip(COLUMNS, zip(*map(flat, lines), strict=True), strict=True)}
    broken = pa.array([b"C-0", b"\xff", b"C-2"], pa.binary())
    columns["case_id"] = pa.StringArray.from_buffers(3, broken.buffers()[1], broken.buffers()[2])
    columns["timestamp"] = pa.array([2**62, 1740787200000, 1740787200000], pa.timestamp("ms"))
    pq.write_table(pa.table(columns), tmp_path / "old.parquet")
    summary = import_history(engine, tmp_path / "old.parquet")
    assert (summary.inserted, summary.rejected) == (1, 2)
    assert [(reject["line"], reject["reason"].split(" is ")[0]) for reject in rejected(tmp_path / "old.parquet")] == [
        (1, "timestamp"),
        (2, "case_id"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("old.jsonl", None, {}, "does not exist"),
        ("old.jsonl", b"", {}, "is empty"),
        ("old.jsonl", b"\n \n", {}, "holds no lines"),
        ("old.csv", b"\xef\xbb\xbf\n", {}, "holds no lines"),
        ("old.csv", ",".join(COLUMNS).encode(), {}, "holds no lines"),
        ("old.txt", b"{}", {}, "say --format"),
        ("old.txt", b"{}", {"file_format": "xml"}, "format 'xml' is unknown"),
        ("old.csv", b"event,case_id,label,A,S,T,Q,U,R\n", {}, "lacks the columns lawyer_id, G"),
        ("old.csv", b"event,case_id,lawyer_id\n", {}, "lacks the columns label, A, S, T, G, Q, U, R"),
        ("old.csv", b"event,event,case_id,lawyer_id,label,features\n", {}, "the columns event more than once"),
        ("old.csv", b"ev\xe9nt\n", {}, "line 1, which should name the columns, is not UTF-8"),
        ("old.csv", "event".encode("utf-16"), {}, "save it as UTF-8"),
        ("old.parquet", b"PAR1 and more", {}, "is not a Parquet file"),
        ("old.jsonl.gz", gzip.compress(b"x\n" * 9_999, mtime=0)[:-12], {}, "cannot be read"),
        ("old.jsonl", b"{}", {"labels": {"hired": "employed"}}, "label 'hired' cannot become 'employed': choose one of won"),
        ("old.jsonl", b"{}", {"rejects": Path("/nowhere/at/all")}, "cannot be written to /nowhere/at/all"),
    ],
)
def test_what_cannot_be_imported_at_all_is_said_in_one_line(
    engine: Engine, tmp_path: Path, name: str, content: bytes | None, options: dict[str, Any], message: str
) -> None:
    """The error names the file and what to do, and leaves neither rows nor files."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HistoryError, match=r"^[^\n]*$") as raised:
        import_history(engine, path, **options)
    assert message in str(raised.value)
    assert not rows(engine)
    assert [found.name for found in tmp_path.iterdir()] == ([name] if content is not None else [])


def test_rejects_never_overwrite_the_history(engine: Engine, tmp_path: Path) -> None:
    """Naming the input as the rejects file is refused before anything is touched."""
    path = jsonl(tmp_path / "old.jsonl", [b"bad"])
    with pytest.raises(HistoryError, match="is the file to import"):
        import_history(engine, path, rejects=tmp_path / "." / "old.jsonl")
    assert path.read_bytes() == b"bad\n"


@pytest.mark.parametrize("kind", ["jsonl.gz", "parquet"])
def test_a_file_that_breaks_off_imports_nothing(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Good lines that came before the break are not imported alone."""
    monkeypatch.setattr(reading, "BATCH_LINES", 100)
    path = write(tmp_path, kind, [line(case_id=str(uuid4())) for _ in range(2_000)])
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] if kind == "jsonl.gz" else content[:half] + bytes(600) + content[half + 600 :])
    with pytest.raises(HistoryError, match="nothing was imported"):
        import_history(engine, path)
    assert not rows(engine)


def test_a_database_that_refuses_one_row_keeps_none(engine: Engine, database_url: str, tmp_path: Path) -> None:
    """Corrections and new rows of one file are written together or not at all."""
    path = jsonl(tmp_path / "old.jsonl", [line()])
    import_history(engine, path)
    owner = open_engine(database_url, role=None)
    with owner.begin() as connection:
        connection.execute(text("ALTER TABLE litgo.match_history ADD CHECK (area <> 'refused')"))
    owner.dispose()
    before = rows(engine)
    corrected_and_new = [line(label="lost"), line(case_id="C-2"), line(case_id="C-3", area="refused")]
    with pytest.raises(DatabaseError, match="nothing was imported"):
        import_history(engine, jsonl(path, corrected_and_new))
    assert rows(engine) == before


def test_reading_holds_no_transaction_open(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the file is read nobody who waits for older transactions to end waits for this one; progress rises to the whole file."""
    monkeypatch.setattr(reading, "BATCH_LINES", 3)
    path = jsonl(tmp_path / "old.jsonl", [line(case_id=f"C-{number}") for number in range(10)])
    progress: list[tuple[int, int]] = []
    writing = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"

    def watch(done: int, total: int) -> None:
        progress.append((done, total))
        with engine.connect() as connection:
            assert connection.execute(text(writing)).scalar_one() == 0
            assert connection.execute(text("SELECT count(*) FROM litgo.match_history")).scalar_one() == 0

    import_history(engine, path, on_progress=watch)
    size = path.stat().st_size
    assert len(progress) == 5
    assert progress == sorted(progress)
    assert 0 < progress[0][0] < size
    assert progress[-1] == (size, size)


def test_an_import_waits_for_another_that_writes(engine: Engine, tmp_path: Path) -> None:
    """Rows that another transaction is about to commit are found, neither added twice nor a reason to fail."""
    import_history(engine, jsonl(tmp_path / "old.jsonl", [line()]))
    path = jsonl(tmp_path / "new.jsonl", [line(case_id="C-2"), line(case_id="C-3")])
    copied = ", ".join(column.name for column in match_history.c if column.name not in {"seq", "case_id"})
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor(1) as pool, engine.connect() as other, engine.connect() as watch:
        statement = text(f"INSERT INTO litgo.match_history (case_id, {copied}) SELECT :case_id, {copied} FROM litgo.match_history")
        other.execute(statement, {"case_id": history.case_uuid("C-2")})
        future = pool.submit(import_history, engine, path)
        deadline = time.monotonic() + 30
        while not watch.execute(waiting).scalar_one():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        other.commit()
        summary = future.result(30)
    assert (summary.inserted, summary.unchanged) == (1, 1)
    assert len(rows(engine)) == 3


def test_staging_goes_with_the_import(engine: Engine, tmp_path: Path) -> None:
    """No connection of the pool keeps the temporary tables."""
    import_history(engine, jsonl(tmp_path / "old.jsonl", [line()]))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT to_regclass('pg_temp.history_lines')")).scalar_one() is None
        # A server process drops its temporary tables as it ends, a moment after its client has gone.
        deadline = time.monotonic() + 20
        while connection.execute(text("SELECT count(*) FROM pg_class WHERE relname LIKE 'history_%'")).scalar_one():
            assert time.monotonic() < deadline, "the temporary tables stay"
            time.sleep(0.05)


@pytest.fixture
def command(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[typer.Typer]:
    """`import-history` as a command of its own, on the test's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://nobody@localhost/unused")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///unused")
    get_settings.cache_clear()
    app = typer.Typer()
    app.command()(verb.import_history)
    yield app
    get_settings.cache_clear()


def test_the_command_prints_its_summary_as_json(command: typer.Typer, tmp_path: Path) -> None:
    """`--json` prints one object with every count, and labels are translated as told."""
    path = jsonl(tmp_path / "old.jsonl", [line(label="hired"), b"bad"])
    result = CliRunner().invoke(command, [str(path), "--label", "hired=won", "--json", "--rejects", str(tmp_path / "bad.jsonl")])
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert (printed["lines"], printed["inserted"], printed["rejected"]) == (2, 1, 1)
    assert printed["rejects_file"] == str(tmp_path / "bad.jsonl")


def test_the_command_fails_when_every_line_is_bad(command: typer.Typer, tmp_path: Path) -> None:
    """It still prints the counts and where the reasons are, and exits with 1."""
    path = jsonl(tmp_path / "old.jsonl", [b"bad", line(label="hired")])
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 1
    assert "rejected" in result.stdout
    assert f"{path}.rejects.jsonl" in result.stdout


@pytest.mark.parametrize("labels", [["hired"], ["=won"], ["hired="], ["hired=won", "hired=lost"], ["hired=employed"]])
def test_the_command_refuses_labels_it_cannot_follow(command: typer.Typer, tmp_path: Path, labels: list[str]) -> None:
    """A translation that is no pair, contradicts another or ends in no label of ours is an error, not a guess."""
    path = jsonl(tmp_path / "old.jsonl", [line()])
    result = CliRunner().invoke(command, [str(path), *(part for label in labels for part in ("--label", label))])
    assert isinstance(result.exception, HistoryError)
