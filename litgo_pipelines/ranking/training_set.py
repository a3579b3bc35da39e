"""The training set: what was shown and what became of it, in groups, ordered by time, split by time. Pure arrays.

A group is one request: pairs compete within it and nowhere else. The split goes by case, so that no case is on both sides.
Reading the database lives in `marketplace.match_log`, learning in `ranking.training`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from litgo_pipelines.marketplace.match_log import OUTCOMES
from litgo_pipelines.marketplace.names import FEATURE_COLUMNS, FEATURES
from litgo_pipelines.ranking import labels as outcome_labels
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    import pyarrow as pa

Part = Literal["train", "embargo", "calibration", "held_out"]
PARTS: tuple[Part, ...] = ("train", "embargo", "calibration", "held_out")

UNKNOWN_TIME = np.iinfo(np.int64).min
UNKNOWN_POSITION = 0
UNKNOWN_AREA = -1
_DAY_US = 86_400_000_000

_Number = TypeVar("_Number", bound=np.number)


class InsufficientData(Exception):
    """There is too little to learn from; the message says what is missing. A verdict, not a failure."""


class DatasetDamaged(LitgoError, RuntimeError):
    """A stored training set is not the one that was logged."""


@dataclass(frozen=True)
class TrainingSet:
    """n rows in g groups of k cases; groups are contiguous and ordered by the time of their case, unknown times first.

    Attributes:
        features: shape (n, 8), float32, 0..1, NaN where unknown.
        outcome: shape (n,), int8, index into `OUTCOMES`.
        label: shape (n,), int32, relevance 0..30.
        group: shape (n,), int32, 0..g-1, ascending.
        case: shape (n,), int32, 0..k-1, ascending.
        time: shape (n,), int64, microseconds since the epoch of the row's case; `UNKNOWN_TIME` where unknown.
        position: shape (n,), int16, place in the list that was shown, from 1; 0 where unknown.
        area: shape (n,), int16, index into `areas`; -1 where unknown.
        areas: names of the areas, sorted.
        part: shape (n,), int8, index into `PARTS`; all "train" before `split`.
        case_ids: shape (k,), bytes of each case's id or pseudonym.
        lawyer_ids: shape (n,), bytes of each lawyer's id or pseudonym.
    """

    features: NDArray[np.float32]
    outcome: NDArray[np.int8]
    label: NDArray[np.int32]
    group: NDArray[np.int32]
    case: NDArray[np.int32]
    time: NDArray[np.int64]
    position: NDArray[np.int16]
    area: NDArray[np.int16]
    areas: tuple[str, ...]
    part: NDArray[np.int8]
    case_ids: NDArray[np.bytes_]
    lawyer_ids: NDArray[np.bytes_]

    @property
    def rows(self) -> int:
        return len(self.label)

    @property
    def groups(self) -> int:
        return int(self.group[-1]) + 1 if self.rows else 0

    @property
    def cases(self) -> int:
        return int(self.case[-1]) + 1 if self.rows else 0

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """Shape (n,): whether the lawyer took the offer."""
        return outcome_labels.accepted(self.outcome)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Shape (n,): accepted or better."""
        return outcome_labels.good(self.outcome)

    @property
    def group_sizes(self) -> NDArray[np.int64]:
        """Shape (g,): rows of each group, as LightGBM takes them."""
        return np.bincount(self.group, minlength=self.groups).astype(np.int64)

    def split(self, held_out_share: float, embargo_days: float) -> TrainingSet:
        """The same rows with `part` set: train, embargo, calibration, held_out, from the oldest cases to the newest.

        The newest `held_out_share` of cases is held out: it judges models and is used for nothing else. Half as many cases
        before them calibrate. Cases of the `embargo_days` before the first calibration case train nothing, because their
        outcomes became known when the later cases were already there; where times are unknown there is no embargo.

        Raises:
            InsufficientData: nothing is left to train on.
        """
        cases = self.cases
        held_out = round(held_out_share * cases)
        calibration = max(1, round(held_out_share * cases / 2))
        first = cases - held_out - calibration
        if held_out < 1 or first < 1:
            raise InsufficientData(f"{cases} settled cases cannot be split into train, calibration and held out")
        time = self.time[_starts(self.case)]
        part = np.full(cases, PARTS.index("held_out"), dtype=np.int8)
        part[first : first + calibration] = PARTS.index("calibration")
        part[:first] = PARTS.index("train")
        if time[first] != UNKNOWN_TIME:
            late = (time[:first] != UNKNOWN_TIME) & (time[:first] > time[first] - round(embargo_days * _DAY_US))
            part[:first][late] = PARTS.index("embargo")
        if not np.any(part == PARTS.index("train")):
            raise InsufficientData(f"all {first} cases before the calibration cases lie within the embargo of {embargo_days:g} days")
        return replace(self, part=part[self.case])

    def of(self, part: Part) -> TrainingSet:
        """The rows of one part, groups and cases numbered anew."""
        return self._take(self.part == PARTS.index(part))

    def _take(self, rows: NDArray[np.bool_]) -> TrainingSet:
        return TrainingSet(
            features=self.features[rows],
            outcome=self.outcome[rows],
            label=self.label[rows],
            group=_dense(self.group[rows]),
            case=_dense(self.case[rows]),
            time=self.time[rows],
            position=self.position[rows],
            area=self.area[rows],
            areas=self.areas,
            part=self.part[rows],
            case_ids=self.case_ids[np.unique(self.case[rows])],
            lawyer_ids=self.lawyer_ids[rows],
        )

    def fingerprint(self) -> str:
        """SHA-256 over everything a training sees, split included; ids are left out, so that pseudonyms do not change it."""
        digest = hashlib.sha256("\n".join(self.areas).encode())
        for name in ("features", "outcome", "label", "group", "case", "time", "position", "area", "part"):
            column = np.ascontiguousarray(getattr(self, name))
            # NaN has many bit patterns; one of them stands for all.
            column = np.where(np.isnan(column), np.float32(np.nan), column) if name == "features" else column
            digest.update(f"{name}{column.shape}".encode())
            digest.update(column.astype(column.dtype.newbyteorder("<"), copy=False).data)
        return digest.hexdigest()

    def pseudonymise(self, key: bytes) -> TrainingSet:
        """The same rows with ids replaced by keyed BLAKE2b digests of 16 bytes: equal ids stay equal under one key.

        Raises:
            ValueError: the key is empty or longer than 64 bytes.
        """
        if not 1 <= len(key) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ValueError("the key of pseudonyms has 1 to 64 bytes")
        lawyers, index = np.unique(self.lawyer_ids, return_inverse=True)
        return replace(
            self,
            case_ids=_pseudonyms(self.case_ids, key, b"case"),
            lawyer_ids=_pseudonyms(lawyers, key, b"lawyer")[index],
        )

    def to_table(self) -> pa.Table:
        """As a table for parquet: split, group, case, lawyer (hex), time, position, a..c, label, outcome, accepted, area."""
        import pyarrow as pa

        lawyers, index = np.unique(self.lawyer_ids, return_inverse=True)
        columns: dict[str, pa.Array] = {
            "split": _dictionary(self.part, PARTS),
            "group": pa.array(self.group),
            "case": _dictionary(self.case, _hex(self.case_ids)),
            "lawyer": _dictionary(index, _hex(lawyers)),
            "time": pa.array(self.time, mask=self.time == UNKNOWN_TIME).cast(pa.timestamp("us", "UTC")),
            "position": pa.array(self.position, mask=self.position == UNKNOWN_POSITION),
        }
        # NaN, not null: what a reader hands to LightGBM is then what was trained on.
        columns |= {name: pa.array(self.features[:, at]) for at, name in enumerate(FEATURES)}
        columns |= {
            "label": pa.array(self.label),
            "outcome": _dictionary(self.outcome, OUTCOMES),
            "accepted": pa.array(self.accepted),
            "area": _dictionary(self.area, self.areas, mask=self.area == UNKNOWN_AREA),
        }
        return pa.table(columns)


def from_table(table: pa.Table) -> TrainingSet:
    """What `to_table` wrote."""
    part, _ = _codes(table["split"], PARTS)
    outcome, _ = _codes(table["outcome"], OUTCOMES)
    case, case_names = _codes(table["case"])
    lawyer, lawyer_names = _codes(table["lawyer"])
    area, areas = _codes(table["area"], tuple(sorted(_names(table["area"]))))
    first = _starts(_numbers(table["group"], np.int32, 0))
    dense = _dense(case)
    return TrainingSet(
        features=np.stack([_numbers(table[name], np.float32, np.nan) for name in FEATURES], axis=1),
        outcome=outcome.astype(np.int8),
        label=_numbers(table["label"], np.int32, 0),
        group=np.repeat(np.arange(first.size, dtype=np.int32), np.diff(np.append(first, table.num_rows))),
        case=dense,
        time=_times(table["time"]),
        position=_numbers(table["position"], np.int16, UNKNOWN_POSITION),
        area=area.astype(np.int16),
        areas=areas,
        part=part.astype(np.int8),
        case_ids=_unhex(case_names)[case[_starts(dense)]],
        lawyer_ids=_unhex(lawyer_names)[lawyer],
    )


def from_matches(matches: pa.Table, labels: Mapping[str, int]) -> TrainingSet:
    """Group and order the match log (the table of `marketplace.match_log.read_matches`).

    Cases come in the order of their earliest known time, those without any before all others in the order of arrival; within
    a case its requests, within a request the positions, then the lawyers' ids. The order in which rows were read leaves no trace.
    """
    case_id, lawyer_id = _ids(matches["case_id"]), _ids(matches["lawyer_id"])
    order, group, case = _ordered(
        request=_numbers(matches["request"], np.int64, 0),
        case_id=case_id,
        lawyer_id=lawyer_id,
        time=_times(matches["moment"]),
        seq=_numbers(matches["seq"], np.int64, 0),
        position=_numbers(matches["position"], np.int16, UNKNOWN_POSITION),
    )
    outcome = _numbers(matches["outcome"], np.int8, 0)[order]
    features = np.empty((len(order), len(FEATURES)), dtype=np.float32)
    for at, name in enumerate(FEATURE_COLUMNS):
        features[:, at] = _numbers(matches[name], np.float32, np.nan)[order]
    area, areas = _codes(matches["area"], tuple(sorted(_names(matches["area"]))))
    first = _starts(case)
    return TrainingSet(
        features=features,
        outcome=outcome,
        label=outcome_labels.relevance(outcome, labels),
        group=group,
        case=case,
        time=_earliest(_times(matches["moment"])[order], first)[case],
        position=_numbers(matches["position"], np.int16, UNKNOWN_POSITION)[order],
        area=area.astype(np.int16)[order],
        areas=areas,
        part=np.zeros(len(order), dtype=np.int8),
        case_ids=case_id[order][first],
        lawyer_ids=lawyer_id[order],
    )


def _ordered(
    *,
    request: NDArray[np.int64],
    case_id: NDArray[np.bytes_],
    lawyer_id: NDArray[np.bytes_],
    time: NDArray[np.int64],
    seq: NDArray[np.int64],
    position: NDArray[np.int16],
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]:
    """The order of the rows, and the group and case number of each ordered row. Shapes (n,)."""
    by_request = np.argsort(request, kind="stable")
    first = _starts(request[by_request])
    group = np.empty(request.size, dtype=np.int32)
    group[by_request] = _dense(request[by_request])
    one = by_request[first]
    group_seq = np.minimum.reduceat(seq[by_request], first) if first.size else seq
    group_time = _earliest(time[by_request], first)
    # From here on there is one entry a group: several times fewer than rows.
    high, low = _halves(case_id[one])
    by_case = np.lexsort((low, high))
    case_first = _starts(high[by_case], low[by_case])
    case = np.empty(one.size, dtype=np.int32)
    case[by_case] = np.repeat(np.arange(case_first.size, dtype=np.int32), np.diff(np.append(case_first, one.size)))
    case_time = _earliest(group_time[by_case], case_first)
    case_seq = np.minimum.reduceat(group_seq[by_case], case_first) if case_first.size else group_seq
    case_rank = np.empty(case_first.size, dtype=np.int32)
    case_rank[np.lexsort((case_seq, case_time))] = np.arange(case_first.size, dtype=np.int32)
    ordered_groups = np.lexsort((request[one], group_seq, case_rank[case]))
    group_rank = np.empty(one.size, dtype=np.int64)
    group_rank[ordered_groups] = np.arange(one.size)
    # An unknown position sorts behind all known ones of its group.
    key = (group_rank[group] << 16) | (position.astype(np.int64) - 1 & 0xFFFF)
    order = np.argsort(key, kind="stable")
    order = _settle_ties(order, key, lawyer_id, seq)
    ranked = group_rank[group][order].astype(np.int32)
    return order, ranked, case_rank[case[ordered_groups]][ranked]


def _settle_ties(
    order: NDArray[np.intp], key: NDArray[np.int64], lawyer_id: NDArray[np.bytes_], seq: NDArray[np.int64]
) -> NDArray[np.intp]:
    """Order rows of equal key by lawyer, then by arrival. Shape (n,)."""
    same = key[order][1:] == key[order][:-1]
    tied = np.zeros(order.size, dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    rows = order[tied]
    high, low = _halves(lawyer_id[rows])
    settled = order.copy()
    settled[tied] = rows[np.lexsort((seq[rows], low, high, key[rows]))]
    return settled


def _starts(*columns: NDArray[np.generic]) -> NDArray[np.intp]:
    """Where a new value begins in sorted columns."""
    if columns[0].size == 0:
        return np.empty(0, dtype=np.intp)
    changed = np.zeros(columns[0].size, dtype=bool)
    changed[0] = True
    for column in columns:
        changed[1:] |= column[1:] != column[:-1]
    return np.flatnonzero(changed)


def _dense(column: NDArray[np.generic]) -> NDArray[np.int32]:
    """Number the runs of a column 0, 1, 2, …"""
    first = _starts(column)
    return np.repeat(np.arange(first.size, dtype=np.int32), np.diff(np.append(first, column.size)))


def _earliest(time: NDArray[np.int64], first: NDArray[np.intp]) -> NDArray[np.int64]:
    """Earliest known time of each run; `UNKNOWN_TIME` where none is known."""
    if first.size == 0:
        return time[:0]
    late = np.iinfo(np.int64).max
    earliest = np.minimum.reduceat(np.where(time == UNKNOWN_TIME, late, time), first)
    return np.where(earliest == late, UNKNOWN_TIME, earliest)


def _halves(ids: NDArray[np.bytes_]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """The two big-endian halves of 16-byte ids: they sort as the ids do, several times sooner."""
    words = np.ascontiguousarray(ids).view(">u8").reshape(-1, 2).astype(np.uint64)
    return words[:, 0], words[:, 1]


def _ids(column: pa.ChunkedArray) -> NDArray[np.bytes_]:
    """A binary column of 16 bytes each. Shape (n,)."""
    chunks = []
    for chunk in column.chunks:
        _, offsets, data = chunk.buffers()
        starts = np.frombuffer(offsets, dtype=np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
        if len(chunk) and not np.all(np.diff(starts) == 16):
            raise ValueError("ids have 16 bytes")
        if len(chunk):
            chunks.append(np.frombuffer(data, dtype="S16", count=len(chunk), offset=int(starts[0])))
    return np.concatenate(chunks) if chunks else np.empty(0, dtype="S16")


def _numbers(column: pa.ChunkedArray, dtype: type[_Number], missing: float) -> NDArray[_Number]:
    """A numeric column with `missing` for null. Shape (n,)."""
    import pyarrow.compute as pc

    filled = column if column.null_count == 0 else pc.fill_null(column, _scalar(missing, column.type))
    numbers: NDArray[_Number] = filled.to_numpy().astype(dtype, copy=False)
    return numbers


def _scalar(value: float, kind: pa.DataType) -> pa.Scalar:
    import pyarrow as pa

    return pa.scalar(value if pa.types.is_floating(kind) else int(value), type=kind)


def _times(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """Microseconds since the epoch, `UNKNOWN_TIME` for null. Shape (n,)."""
    import pyarrow as pa

    return _numbers(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), np.int64, UNKNOWN_TIME)


def _names(column: pa.ChunkedArray) -> set[str]:
    return {name for name in column.unique().to_pylist() if name is not None}


def _codes(column: pa.ChunkedArray, names: tuple[str, ...] | None = None) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """A text column as indices into `names` (default: its own, in order of appearance); -1 for null.

    Raises:
        DatasetDamaged: the column holds a name that is none of them.
    """
    import pyarrow as pa

    array = column.combine_chunks()
    array = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) and array.num_chunks else array
    own = array.dictionary.to_pylist() if len(array) else []
    names = tuple(own) if names is None else names
    place = {name: at for at, name in enumerate(names)}
    try:
        # The last entry answers for null.
        lookup = np.array([place[name] for name in own] + [-1], dtype=np.int32)
    except KeyError as error:
        raise DatasetDamaged(f"the column holds {error.args[0]!r}, which is none of {', '.join(names)}") from None
    indices = array.indices.fill_null(len(own)).to_numpy() if len(array) else np.empty(0, dtype=np.int32)
    return lookup[indices], names


def _dictionary(codes: NDArray[np.integer], names: tuple[str, ...] | list[str], mask: NDArray[np.bool_] | None = None) -> pa.Array:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32), mask=mask), pa.array(names, type=pa.string()))


def _pseudonyms(ids: NDArray[np.bytes_], key: bytes, purpose: bytes) -> NDArray[np.bytes_]:
    if ids.size == 0:
        return ids.astype("S16")
    plain = np.ascontiguousarray(ids.astype("S16")).view("V16")
    digests = b"".join(hashlib.blake2b(one.tobytes(), digest_size=16, key=key, person=purpose).digest() for one in plain)
    return np.frombuffer(digests, dtype="S16")


def _hex(ids: NDArray[np.bytes_]) -> list[str]:
    return [one.tobytes().hex() for one in np.ascontiguousarray(ids.astype("S16")).view("V16")] if ids.size else []


def _unhex(names: tuple[str, ...]) -> NDArray[np.bytes_]:
    return np.frombuffer(b"".join(bytes.fromhex(name) for name in names), dtype="S16")
