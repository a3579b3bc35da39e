"""`litgo digest`: what operators are told on Monday, without telling anybody."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from typer.main import get_command

from litgo_pipelines.casework.digest_record import Digest, Frozen, Models, Needs, Promise, Waiting
from litgo_pipelines.casework.digest_text import sections
from litgo_pipelines.cli.app import build_app
from litgo_pipelines_tests.cli.conftest import Litgo, refused, said

if TYPE_CHECKING:
    from sqlalchemy import Engine


ROOT = Path(__file__).parents[2]
MONDAY = datetime(2026, 3, 9, 11, tzinfo=UTC)


@pytest.fixture
def verb(database_url: str, verbs: Callable[..., Litgo]) -> Litgo:
    """Call `litgo digest` on an empty marketplace."""
    return verbs("digest", DATABASE_URL=database_url, LITGO_DAGSTER_URL="https://dagster.example", LITGO_LOG_LEVEL="error")


def test_the_digest_is_shown_and_not_sent(verb: Litgo, engine: Engine) -> None:
    """In words as it goes out, and as JSON with every figure; what is unknown is null."""
    shown = said(verb("--as-of", "2026-03-09T08:00-03:00"))
    assert shown.startswith("Resumo da semana de 02/03/2026 a 09/03/2026\n\nDe 02/03/2026, 08h00 a 09/03/2026, 08h00")
    assert shown.endswith("Dagster: https://dagster.example\n")
    told = json.loads(said(verb("--as-of", "2026-03-09T08:00-03:00", "--json")))
    assert shown == f"{told['subject']}\n\n{told['body']}"
    assert told["key"] == "digest:2026-W11"
    assert told["digest"]["until"] == "2026-03-09T11:00:00+00:00"
    assert told["digest"]["fairness"] is None
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM litgo.notifications")).scalar_one() == 0


def test_each_command_of_the_digest_can_be_typed(tmp_path: Path) -> None:
    """Whoever copies it and fills in the words in capitals is refused neither an option nor for one that is missing."""
    evidence = tmp_path / "scan.pdf"
    evidence.write_bytes(b"%PDF-")
    frozen = tuple(Frozen(what, "ana", MONDAY) for what in ("models", "equity_price"))
    needs = Needs(1, 1, 1, 1, 1, 1, (17,), "4", ("move_offers",), frozen)
    promises = tuple(Promise(figure, 1.0, None, 0.5, "fail") for figure in ("gini_utilisation", "share_offered", "gap_area"))
    needs = replace(
        needs,
        broken_promises=promises,
        degraded="3",
        unequal_groups="5",
        waiting=Waiting(1, MONDAY),
        failed_messages=1,
        missing=("SENDGRID_API_KEY",),
        left_alone=("openai",),
    )
    told = "; ".join(sections(Digest(MONDAY, MONDAY, needs, None, Models(False, None, None, (), (), None), None, (), (), (), ()))[0].lines)
    found = re.findall(r"(?<=litgo )[a-z].*?(?=; | e litgo| \(|$)", told)
    assert len(found) == 17 + 14
    pages = re.findall(r"docs/\S+\.md", told)
    assert len(pages) == 7
    assert [page for page in pages if not (ROOT / page).is_file()] == []
    verbs = get_command(build_app())
    for command in found:
        words = [{"NÚMERO": "1", "ARQUIVO": str(evidence)}.get(word, word) for word in command.split()]
        parsed(verbs, words)


def parsed(command: Any, words: list[str]) -> None:
    """Read what was typed as click does before it calls a verb; what it does not take it raises."""
    with command.make_context("litgo", list(words)) as context:
        rest = [*context._protected_args, *context.args]
        if hasattr(command, "resolve_command"):
            _, inner, rest = command.resolve_command(context, rest)
            parsed(inner, rest)


def test_a_week_that_has_not_ended_is_refused(verb: Litgo) -> None:
    """There is nothing to tell of the future."""
    assert refused(verb("--as-of", "2999-01-01T00:00:00+00:00")).startswith("--as-of 2999-01-01T00:00:00+00:00 lies in the future")
