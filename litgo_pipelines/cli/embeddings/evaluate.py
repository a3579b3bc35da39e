"""`litgo embeddings evaluate`: how well each way of comparing texts finds what a file says should be found."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.cli.common import Json, as_json, progress_bar
from litgo_pipelines.cli.embeddings import embedding_here
from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from litgo_pipelines.casework.embedding_quality import Quality
    from litgo_pipelines.ranking.retrieval import Judgements

COLUMNS = ("query_id", "query_text", "doc_id", "doc_text", "relevance")

File = Annotated[Path, typer.Argument(metavar="FILE.csv", help=f"Columns {', '.join(COLUMNS)}; UTF-8.", show_default=False)]


class UnusableFile(LitgoError, ValueError):
    """A file of judged queries that cannot be used; the message says where and why."""


def evaluate(file: File, json: Json = False) -> None:
    """Measure on judged queries how well words, vectors and both together find what they should.

    NDCG@10 (linear gain, as scikit-learn has it) with 95 % intervals, bootstrapped over the queries: of BM25, of every space there is,
    and of the hybrid of both, which is what the product uses. `hybrid` is with the preferred space: OpenAI's where `OPENAI_API_KEY` is
    set, else the local one; other spaces are named. A database is needed only to ask OpenAI.

    Example: `litgo embeddings evaluate judged.csv --json`
    """
    from litgo_pipelines.casework.embedding_quality import measure

    judged = read_judgements(file)
    with embedding_here(get_settings()) as embedding, progress_bar("embedding", "texts") as progress:
        found = measure(embedding, [judged], progress)
    if found.trouble is not None:
        typer.echo(f"litgo: {found.trouble}", err=True)
    if json:
        typer.echo(as_json(found.scored))
    else:
        _print(found, judged)


@dataclass
class _Texts:
    """Texts by their ids, in the order they came in."""

    what: str
    row: dict[str, int] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def add(self, name: str, text: str) -> int:
        row = self.row.setdefault(name, len(self.texts))
        if row == len(self.texts):
            self.texts.append(text)
        elif self.texts[row] != text:
            raise ValueError(f"{self.what} {name!r} has another text than before")
        return row


def read_judgements(file: Path) -> Judgements:
    """Read a file of judged queries.

    Raises:
        UnusableFile: it cannot be read, lacks a column, or a line holds what cannot be used; the message names the line.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return _judgements(file, csv.DictReader(lines, strict=True))
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableFile(f"{file} cannot be read: {error}") from None


def _judgements(file: Path, reader: csv.DictReader[str]) -> Judgements:
    import numpy as np

    from litgo_pipelines.ranking.retrieval import Judgements

    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise UnusableFile(f"{file}, line 1: there is no column {' and no column '.join(missing)}; needed are {', '.join(COLUMNS)}")
    queries, documents = _Texts("query"), _Texts("document")
    found: list[dict[int, float]] = []
    first: list[int] = []
    try:
        for line in reader:
            query, document = (_add(texts, line) for texts in (queries, documents))
            if query == len(found):
                found.append({})
                first.append(reader.line_num)
            if document in found[query]:
                raise ValueError(f"query {line['query_id']!r} has document {line['doc_id']!r} twice")
            found[query][document] = _relevance(line["relevance"])
    except (ValueError, csv.Error) as error:
        raise UnusableFile(f"{file}, line {reader.reader.line_num}: {error}") from None
    if not found:
        raise UnusableFile(f"{file} has no judged queries: only a header")
    for name, line_number, judged in zip(queries.row, first, found, strict=True):
        if len(judged) < 2:
            raise UnusableFile(f"{file}, line {line_number}: query {name!r} has one document alone, so that every order is right")
    return Judgements(
        queries.texts,
        documents.texts,
        [np.array(list(one), dtype=np.intp) for one in found],
        [np.array(list(one.values())) for one in found],
    )


def _add(texts: _Texts, line: dict[str, str | None]) -> int:
    prefix = "query" if texts.what == "query" else "doc"
    name, text = line[f"{prefix}_id"], line[f"{prefix}_text"]
    if not name or text is None:
        raise ValueError(f"{prefix}_id or {prefix}_text is missing")
    return texts.add(name, text)


def _relevance(given: str | None) -> float:
    try:
        found = float(given or "")
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise ValueError(f"relevance is {given!r}, not a number from 0 on")
    return found


def _print(found: Quality, judged: Judgements) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"NDCG@10 of {len(judged.queries):,} queries over {len(judged.documents):,} documents")
    table.add_column("scorer", no_wrap=True)
    for heading in ("NDCG@10", "95 % from", "to"):
        table.add_column(heading, justify="right")
    for one in found.scored:
        table.add_row(one.scorer, *(f"{value:.4f}" for value in (one.ndcg_at_10, one.low, one.high)))
    console = Console()
    console.print(table)
    for fault in found.faults:
        console.print(f"Fallback: {fault}.", style="yellow", markup=False)
