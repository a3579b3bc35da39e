"""Reviews: when a contract may be reviewed, what a final one ends, and that there is one a contract."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from litgo_pipelines.casework import reviews
from litgo_pipelines.casework.refusals import NotAllowed, Unknown
from litgo_pipelines.casework.reviews import Outcome, Review
from litgo_pipelines_tests.casework.conftest import NOON, Town

DAY = timedelta(days=1)
COLUMNS = "contract_id, lawyer_id, client_id, rating, outcome, comment, created_at"


def say(town: Town, contract: UUID, outcome: Outcome = "won", rating: int = 5, comment: str | None = None, days: float = 1) -> Review:
    return told(town, contract, outcome, rating, comment, days)[0]


def told(town: Town, contract: UUID, outcome: Outcome, rating: int = 5, comment: str | None = None, days: float = 1) -> tuple[Review, bool]:
    with town.engine.begin() as connection:
        return reviews.review(connection, contract, rating, outcome, comment, NOON + days * DAY)


def standing(town: Town, contract: UUID) -> Any:
    """Status of the contract and of its case, and when it ended."""
    ((*found,),) = town.rows(
        "SELECT c.status, k.status, c.ended_at FROM litgo.contracts c JOIN litgo.cases k ON k.id = c.case_id WHERE c.id = :id", id=contract
    )
    return tuple(found)


@pytest.mark.parametrize("outcome", ["won", "lost", "settled"])
def test_a_final_review_ends_contract_and_case(town: Town, outcome: Outcome) -> None:
    """It is recorded with the contract's lawyer and client."""
    lawyer = town.lawyer()
    contract = town.contract(lawyer)
    found = say(town, contract, outcome, 2, "demorou")
    ((*row,),) = town.rows(f"SELECT {COLUMNS} FROM litgo.reviews")
    assert row == [contract, lawyer, town.client, 2, outcome, "demorou", NOON + DAY]
    assert (found.contract_id, found.lawyer_id, found.client_id, found.rating, found.outcome, found.comment, found.created_at) == tuple(row)
    assert standing(town, contract) == ("closed", "closed", NOON + DAY)


def test_a_matter_may_go_on_before_it_ends(town: Town) -> None:
    """An ongoing review ends nothing; the final one takes its place and its time, and stays."""
    contract = town.contract(town.lawyer())
    first = say(town, contract, "ongoing", 4)
    assert standing(town, contract) == ("active", "contracted", None)
    with pytest.raises(NotAllowed, match="reviewed already, as ongoing: say how it ended once it has"):
        say(town, contract, "ongoing", 3)
    final = say(town, contract, "lost", 1, days=9)
    assert (final.id, final.outcome, final.created_at) == (first.id, "lost", NOON + 9 * DAY)
    assert standing(town, contract) == ("closed", "closed", NOON + 9 * DAY)
    for other in ("won", "ongoing"):
        with pytest.raises(NotAllowed, match="reviewed already, and a review stays as it is"):
            say(town, contract, other)
    assert town.value("SELECT count(*) FROM litgo.reviews") == 1


@pytest.mark.parametrize("outcome", ["won", "ongoing"])
def test_the_same_review_again_is_no_error_and_changes_nothing(town: Town, outcome: Outcome) -> None:
    """However late it comes; another rating or comment is another review."""
    contract = town.contract(town.lawyer())
    first = told(town, contract, outcome, 5, "ótimo")
    assert first[1]
    assert told(town, contract, outcome, 5, "ótimo", days=5) == (first[0], False)
    for rating, comment in ((4, "ótimo"), (5, None)):
        with pytest.raises(NotAllowed, match="reviewed already"):
            say(town, contract, outcome, rating, comment)


def test_a_contract_that_has_ended_is_reviewed_with_how_it_ended(town: Town) -> None:
    """It cannot be ongoing any more, and its end stays when it was."""
    contract = town.contract(town.lawyer(), status="closed", case=town.case(status="closed"))
    with pytest.raises(NotAllowed, match="is closed: its matter cannot be ongoing"):
        say(town, contract, "ongoing")
    assert say(town, contract, "settled").outcome == "settled"
    assert standing(town, contract) == ("closed", "closed", None)


@pytest.mark.parametrize("status", ["requested", "pending-signature", "canceled"])
def test_a_contract_that_is_not_signed_or_was_canceled_is_not_reviewed(town: Town, status: str) -> None:
    """The message says how it stands; nothing is written."""
    contract = town.contract(town.lawyer(), status=status)
    with pytest.raises(NotAllowed, match=rf"contract {contract} is {status}: .*; only a contract that both parties signed is reviewed"):
        say(town, contract)
    assert town.value("SELECT count(*) FROM litgo.reviews") == 0


def test_what_is_not_there_or_means_nothing_is_refused(town: Town) -> None:
    """An unknown contract, and a rating off the scale."""
    with pytest.raises(Unknown, match="there is no contract"):
        say(town, uuid4())
    for rating in (0, 6):
        with pytest.raises(ValueError, match="from 1 to 5"):
            say(town, town.contract(town.lawyer()), rating=rating)
