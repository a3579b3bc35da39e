"""`litgo case`: what its verb tells, what it writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from litgo_pipelines_tests.casework.conftest import Town
from litgo_pipelines_tests.cli.conftest import Litgo

if TYPE_CHECKING:
    from sqlalchemy import Engine


@pytest.fixture
def case(database_url: str, verbs: Callable[..., Litgo]) -> Litgo:
    """Call `litgo case` on a fresh marketplace."""
    return verbs("case", DATABASE_URL=database_url)


def test_a_person_withdraws_a_case(case: Litgo, engine: Engine) -> None:
    """In words and as JSON, as often as it is asked for; the offers are closed and the reason is kept."""
    town = Town(engine)
    made = town.case()
    town.offer(town.lawyer(), case=made, status="interested")
    told = case("withdraw", str(made), "--reason", "the client settled")
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout.startswith(f"Case {made} is canceled, withdrawn at ")
    again = json.loads(case("withdraw", str(made), "--reason", "the client settled", "--json").stdout)
    assert (again["id"], again["status"]) == (str(made), "canceled")
    assert town.value("SELECT withdrawn_because FROM litgo.cases") == "the client settled"
    assert town.value("SELECT status FROM litgo.offers") == "closed"


def test_what_cannot_be_withdrawn_is_said_in_one_line(case: Litgo, engine: Engine) -> None:
    """No id, no case, a contract, no reason."""
    town = Town(engine)
    contracted = town.case(status="contracted")
    town.contract(town.lawyer(), case=contracted)
    for which, reason, why in (
        ("7", "gave up", "is no id of a case"),
        (str(uuid4()), "gave up", "there is no case"),
        (str(contracted), "gave up", "which is active"),
        (str(town.case()), " ", "needs a reason"),
    ):
        done = case("withdraw", which, "--reason", reason)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert why in done.stderr
