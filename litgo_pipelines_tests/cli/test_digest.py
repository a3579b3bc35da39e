"""`litgo digest`: what operators are told on Monday, without telling anybody."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from litgo_pipelines_tests.cli.conftest import Litgo, refused, said

if TYPE_CHECKING:
    from sqlalchemy import Engine


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


def test_a_week_that_has_not_ended_is_refused(verb: Litgo) -> None:
    """There is nothing to tell of the future."""
    assert refused(verb("--as-of", "2999-01-01T00:00:00+00:00")).startswith("--as-of 2999-01-01T00:00:00+00:00 lies in the future")
