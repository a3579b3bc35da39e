"""The labelled examples that tellings are compared with: a file of the package, and their stored vectors.

What is concluded from them is `triage`'s.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, cast, get_args
from uuid import UUID, uuid5

from litgo_pipelines.marketplace.vectors import Vectors, content_hash, put, read, register
from litgo_pipelines.settings import LitgoError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Engine

    from litgo_pipelines.integrations.embedders import Space, TextEmbedder
    from litgo_pipelines.integrations.policies import Deadline

Complexity = Literal["LOW", "MEDIUM", "HIGH"]

COLUMNS: Final = ("id", "area", "subarea", "urgency_h", "complexity", "text")

_NAMESPACE: Final = UUID("6a7c2a3e-0d0d-4f5f-9f0e-6a8f3f6f7c11")


class UnusableExamples(LitgoError, ValueError):
    """A file of labelled tellings that cannot be used; the message says where and why."""


@dataclass(frozen=True)
class Example:
    """A telling that somebody has labelled.

    Attributes:
        area, subarea: None: no matter of any area here, or too vague to tell.
        urgency_h: hours within which the client needs an answer.
    """

    id: str
    area: str | None
    subarea: str | None
    urgency_h: int
    complexity: Complexity
    text: str

    @property
    def entity_id(self) -> UUID:
        """Under which its vectors are stored. Another text has another one, so that no vector outlives what it was made of."""
        return uuid5(_NAMESPACE, f"{self.id} {content_hash(self.text)}")


def read_examples(file: Path | None = None) -> list[Example]:
    """The labelled tellings of a file with the columns `COLUMNS`, or those that come with the package.

    Raises:
        UnusableExamples: it cannot be read, or a line cannot be used.
    """
    source: Traversable = file or resources.files("litgo_pipelines.casework").joinpath("triage_examples.csv")
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableExamples(f"{source} cannot be read: {error}") from None
    found: dict[str, Example] = {}
    rows = csv.DictReader(lines, strict=True)
    try:
        if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
            raise ValueError(f"the column {missing[0]} is missing: {', '.join(COLUMNS)} are needed")
        for row in rows:
            one = _example(row)
            if one.id in found:
                raise ValueError(f"the id {one.id!r} is there twice")
            found[one.id] = one
    except (ValueError, csv.Error) as error:
        raise UnusableExamples(f"{source}, line {rows.line_num}: {error}") from None
    if not found:
        raise UnusableExamples(f"{source} has no labelled tellings: only a header")
    return list(found.values())


def _example(row: dict[str, str | None]) -> Example:
    given = {name: (row[name] or "").strip() for name in COLUMNS}
    for name in ("id", "text"):
        if not given[name]:
            raise ValueError(f"{name} is missing")
    if bool(given["area"]) != bool(given["subarea"]):
        raise ValueError("area and subarea are given together or not at all")
    if given["complexity"] not in get_args(Complexity):
        raise ValueError(f"complexity is {given['complexity']!r}, not one of {', '.join(get_args(Complexity))}")
    if not given["urgency_h"].isdecimal() or int(given["urgency_h"]) < 1:
        raise ValueError(f"urgency_h is {given['urgency_h']!r}, not a whole number of hours from 1 on")
    return Example(
        given["id"],
        given["area"] or None,
        given["subarea"] or None,
        int(given["urgency_h"]),
        cast(Complexity, given["complexity"]),
        given["text"],
    )


def embed_examples(
    embedder: TextEmbedder, examples: Sequence[Example], batch: int, progress: Callable[[int, int], None] = lambda _done, _of: None
) -> Vectors:
    """The vectors of examples by a model, one row each, not stored anywhere.

    Raises:
        VendorUnavailable, VendorRefused: of a vendor's model.
    """
    import numpy as np

    parts = []
    for start in range(0, len(examples), batch):
        parts.append(embedder.embed([one.text for one in examples[start : start + batch]]))
        progress(min(start + batch, len(examples)), len(examples))
    return Vectors(embedder.space.name, np.concatenate(parts))


def keep_examples(
    engine: Engine,
    embedder: TextEmbedder,
    examples: Sequence[Example],
    batch: int,
    at: datetime,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Vectors:
    """The vectors of examples as they are stored; the model is asked for those that are missing, and they are stored.

    Each batch is committed by itself, so that no vector is asked for again after a failure.

    Returns:
        One row an example, in their order.

    Raises:
        VendorUnavailable, VendorRefused: of a vendor's model; what was made until then is stored.
    """
    space, ids = embedder.space.name, [one.entity_id for one in examples]
    with engine.begin() as connection:
        register(connection, embedder.space)
        found = read(connection, space, "example", ids)
    missing = [one for one, known in zip(examples, found.known, strict=True) if not known]
    if not missing:
        return found
    for start in range(0, len(missing), batch):
        part = missing[start : start + batch]
        # Outside any transaction: a vendor may take its time.
        vectors = Vectors(space, embedder.embed([one.text for one in part]))
        with engine.begin() as connection:
            put(connection, "example", [one.entity_id for one in part], [content_hash(one.text) for one in part], vectors, at)
        progress(min(start + batch, len(missing)), len(missing))
    with engine.connect() as connection:
        return read(connection, space, "example", ids)


@dataclass(frozen=True)
class KeptExamples:
    """A model that embeds labelled examples alone, each of them once: what is stored is read.

    Attributes:
        examples: by their texts.
        at: when vectors that are made count as made.
    """

    engine: Engine
    embedder: TextEmbedder
    examples: Mapping[str, Example]
    at: datetime

    @property
    def space(self) -> Space:
        """That of the model."""
        return self.embedder.space

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:  # noqa: ARG002
        """As the model does, in the precision in which vectors are stored.

        Raises:
            KeyError: a text is no labelled example.
            VendorUnavailable, VendorRefused: of a vendor's model.
        """
        return keep_examples(self.engine, self.embedder, [self.examples[one] for one in texts], max(1, len(texts)), self.at).rows
