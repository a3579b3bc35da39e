"""The match log: which pairs are seen, what became of them, and which cases are still open."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, insert, update

from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.database import DatabaseError
from litgo_pipelines.marketplace.match_log import OUTCOMES, read_matches, reviews_seen
from litgo_pipelines.marketplace.tables import FEATURE_COLUMNS

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LATER = START + timedelta(days=90)


class Marketplace:
    """Writes cases as they happen."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self.url = url
        self.client = self._add(tables.clients)

    def _add(self, table: Any, **values: Any) -> uuid.UUID:
        made = uuid.uuid4()
        with self._engine.begin() as connection:
            connection.execute(insert(table).values(id=made, **values))
        return made

    def lawyer(self) -> uuid.UUID:
        return self._add(tables.lawyers, name="L", primary_area="civil")

    def case(self, status: str = "closed", area: str = "civil") -> uuid.UUID:
        return self._add(tables.cases, client_id=self.client, area=area, urgency_h=24, summary="s", status=status, created_at=START)

    def request(self, case: uuid.UUID) -> uuid.UUID:
        return self._add(tables.match_requests, kind="matching", case_id=case, status="ok", started_at=START)

    def offer(
        self,
        case: uuid.UUID,
        status: str,
        *,
        request: uuid.UUID | None = None,
        position: int = 1,
        answered: bool | None = None,
        reason: str | None = None,
        sent_at: datetime = START,
        **features: float | None,
    ) -> uuid.UUID:
        """Show a new lawyer and offer the case; the lawyer's id."""
        lawyer = self.lawyer()
        match = self._add(
            tables.case_matches,
            request_id=request or self.request(case),
            case_id=case,
            lawyer_id=lawyer,
            position=position,
            raw_score=0.0,
            score=0.5,
            equity_price=0.0,
            fair_score=0.5,
            propensity=1.0,
            created_at=sent_at,
            **(dict.fromkeys(FEATURE_COLUMNS, 0.5) | features),
        )
        answered = status in {"interested", "declined"} if answered is None else answered
        self._add(
            tables.offers,
            case_id=case,
            lawyer_id=lawyer,
            match_id=match,
            status=status,
            decline_reason=reason,
            sent_at=sent_at,
            expires_at=sent_at + timedelta(days=1),
            responded_at=sent_at + timedelta(hours=2) if answered else None,
        )
        return lawyer

    def contract(
        self,
        case: uuid.UUID,
        lawyer: uuid.UUID,
        outcome: str | None,
        *,
        status: str = "closed",
        at: datetime = START + timedelta(days=2),
        reviewed_at: datetime = START + timedelta(days=30),
    ) -> None:
        contract = self._add(tables.contracts, case_id=case, lawyer_id=lawyer, client_id=self.client, status=status, created_at=at)
        if outcome is not None:
            self._add(
                tables.reviews,
                contract_id=contract,
                lawyer_id=lawyer,
                client_id=self.client,
                rating=4,
                outcome=outcome,
                created_at=reviewed_at,
            )

    def history(self, **values: Any) -> None:
        row = dict.fromkeys(FEATURE_COLUMNS, 0.5) | {
            "event": "match",
            "case_id": uuid.uuid4(),
            "lawyer_id": uuid.uuid4(),
            "label": "won",
            "occurred_at": START,
            "ordered_at": START,
            "position": 1,
            "area": "civil",
        }
        with self._engine.begin() as connection:
            connection.execute(insert(tables.match_history).values(**(row | values)))

    def outcomes(self, as_of: datetime = LATER) -> dict[uuid.UUID, str]:
        """Outcome by lawyer."""
        found = read_matches(self.url, as_of).to_pylist()
        return {uuid.UUID(bytes=row["lawyer_id"]): OUTCOMES[row["outcome"]] for row in found}


@pytest.fixture
def marketplace(engine: Engine, database_url: str) -> Marketplace:
    return Marketplace(engine, database_url)


@pytest.mark.parametrize(("review", "outcome"), [("won", "won"), ("lost", "lost"), ("settled", "accepted")])
def test_the_review_says_what_became_of_the_contract(marketplace: Marketplace, review: str, outcome: str) -> None:
    """A final review makes its pair won, lost, or, when settled, accepted; the interested one who was passed over accepted too."""
    case = marketplace.case()
    chosen, passed_over = marketplace.offer(case, "closed", answered=True), marketplace.offer(case, "closed", answered=True)
    marketplace.contract(case, chosen, review)
    assert marketplace.outcomes() == {chosen: outcome, passed_over: "accepted"}


def test_refusals_count_unless_they_were_for_lack_of_capacity(marketplace: Marketplace) -> None:
    """A decline for fee is a decline; declines for capacity, expired offers and those closed unanswered say nothing."""
    case = marketplace.case("canceled")
    declined = marketplace.offer(case, "declined", reason="fee")
    silent = marketplace.offer(case, "declined")
    marketplace.offer(case, "declined", reason="capacity")
    marketplace.offer(case, "expired")
    marketplace.offer(case, "closed")
    assert marketplace.outcomes() == {declined: "declined", silent: "declined"}


def test_a_canceled_contract_was_still_an_acceptance(marketplace: Marketplace) -> None:
    """The lawyer of a contract that was canceled accepted; the case is not open for its sake."""
    case = marketplace.case("open")
    lawyer = marketplace.offer(case, "interested")
    marketplace.contract(case, lawyer, None, status="canceled")
    assert marketplace.outcomes() == {lawyer: "accepted"}


@pytest.mark.parametrize("still", ["pending offer", "interest without contract", "contract without review", "ongoing review"])
def test_an_open_case_is_left_out_whole(marketplace: Marketplace, still: str) -> None:
    """While anything of a case is undecided none of its pairs is read, not even those that declined."""
    case = marketplace.case("open")
    marketplace.offer(case, "declined", reason="fee")
    lawyer = marketplace.offer(case, "pending" if still == "pending offer" else "interested")
    if still.startswith("contract"):
        marketplace.contract(case, lawyer, None, status="active")
    if still.startswith("ongoing"):
        marketplace.contract(case, lawyer, "ongoing", status="active")
    settled = marketplace.offer(marketplace.case("canceled"), "declined", reason="fee")
    assert marketplace.outcomes() == {settled: "declined"}


def test_what_came_later_is_not_seen(marketplace: Marketplace) -> None:
    """As of a moment before an answer, a contract or a review the case was open; before it was sent an offer was not there."""
    case = marketplace.case()
    lawyer = marketplace.offer(case, "closed", answered=True)
    marketplace.contract(case, lawyer, "won")
    for moment in (START + timedelta(hours=1), START + timedelta(days=1), START + timedelta(days=29)):
        assert marketplace.outcomes(moment) == {}
    assert marketplace.outcomes(START - timedelta(seconds=1)) == {}
    assert marketplace.outcomes(START + timedelta(days=30)) == {lawyer: "won"}


def test_an_offer_that_had_not_expired_yet_was_pending(marketplace: Marketplace) -> None:
    """An offer that is expired today keeps its case open as of a moment before it expired."""
    case = marketplace.case("canceled")
    declined = marketplace.offer(case, "declined", reason="fee")
    marketplace.offer(case, "expired")
    assert marketplace.outcomes(START + timedelta(hours=23)) == {}
    assert marketplace.outcomes(START + timedelta(hours=25)) == {declined: "declined"}


def test_a_row_carries_what_was_logged(marketplace: Marketplace) -> None:
    """Features, position, area and the case's time come as they were logged; an unknown feature is null; a request is one group."""
    case = marketplace.case("canceled", area="trabalhista")
    request = marketplace.request(case)
    marketplace.offer(case, "declined", request=request, position=1, feature_a=1.0, feature_s=None)
    marketplace.offer(case, "declined", request=request, position=2)
    marketplace.offer(case, "declined", position=7)
    rows = sorted(read_matches(marketplace.url, LATER).to_pylist(), key=lambda row: row["position"])
    assert [row["position"] for row in rows] == [1, 2, 7]
    assert rows[0]["request"] == rows[1]["request"] != rows[2]["request"]
    assert {row["area"] for row in rows} == {"trabalhista"}
    assert {row["moment"] for row in rows} == {START}
    assert rows[0]["case_id"] == case.bytes
    assert (rows[0]["feature_a"], rows[0]["feature_s"], rows[0]["feature_t"]) == (1.0, None, 0.5)
    assert rows[0]["seq"] == 0


def test_imported_history_is_read_along(marketplace: Marketplace) -> None:
    """A line of history is a pair; both events of a case are two groups; what is unknown is null; later lines are not seen."""
    case = uuid.uuid4()
    marketplace.history(case_id=case, label="lost", area=None, position=None, occurred_at=None, ordered_at=None)
    marketplace.history(case_id=case, label="accepted", event="recommend")
    marketplace.history(occurred_at=LATER, ordered_at=LATER + timedelta(seconds=1))
    rows = sorted(read_matches(marketplace.url, LATER).to_pylist(), key=lambda row: row["seq"])
    assert [OUTCOMES[row["outcome"]] for row in rows] == ["lost", "accepted"]
    assert rows[0]["request"] != rows[1]["request"]
    assert (rows[0]["moment"], rows[0]["position"], rows[0]["area"]) == (None, None, None)
    assert 0 < rows[0]["seq"] < rows[1]["seq"]


def test_an_empty_marketplace_gives_an_empty_table(marketplace: Marketplace) -> None:
    """Without any offer the table has its columns and no rows."""
    found = read_matches(marketplace.url, LATER)
    assert found.num_rows == 0
    assert {"request", "case_id", "lawyer_id", "moment", "area", "outcome", *FEATURE_COLUMNS} <= set(found.column_names)


def test_a_moment_without_a_time_zone_is_refused(marketplace: Marketplace) -> None:
    """A naive time would mean something else on every machine."""
    with pytest.raises(ValueError, match="time zone"):
        read_matches(marketplace.url, datetime(2026, 1, 1))  # noqa: DTZ001 (what is refused)


def test_a_database_without_the_schema_is_told_apart(empty_database_url: str) -> None:
    """Reading a database that was never migrated says so as a database error."""
    with pytest.raises(DatabaseError, match="match log"):
        read_matches(empty_database_url, LATER)


def test_reviews_are_counted_as_of_a_moment(marketplace: Marketplace, engine: Engine) -> None:
    """Only reviews written up to the moment count."""
    for days in (10, 20):
        case = marketplace.case()
        lawyer = marketplace.offer(case, "closed", answered=True)
        marketplace.contract(case, lawyer, "won", reviewed_at=START + timedelta(days=days))
    with engine.connect() as connection:
        assert [reviews_seen(connection, START + timedelta(days=days)) for days in (9, 10, 15, 20)] == [0, 1, 1, 2]


def test_a_case_closed_in_the_meantime_was_open_before_its_contract(marketplace: Marketplace, engine: Engine) -> None:
    """Interest as of a moment before the contract keeps the case open, although the case is contracted today."""
    case = marketplace.case("open")
    lawyer = marketplace.offer(case, "interested")
    marketplace.contract(case, lawyer, "won", at=START + timedelta(days=5))
    with engine.begin() as connection:
        connection.execute(update(tables.cases).where(tables.cases.c.id == case).values(status="contracted"))
    assert marketplace.outcomes(START + timedelta(days=4)) == {}
    assert marketplace.outcomes() == {lawyer: "won"}
