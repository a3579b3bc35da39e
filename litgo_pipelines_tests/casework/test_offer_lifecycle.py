"""Offers, contracts and reviews together: whatever people do in whatever order, the database tells a possible story."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from litgo_pipelines.casework import cases, contracts, next_offers, offers, reviews
from litgo_pipelines.casework.contracts import Evidence
from litgo_pipelines.casework.next_offers import Terms
from litgo_pipelines.casework.refusals import NotAllowed
from litgo_pipelines_tests.casework.conftest import NOON, Town

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

HOUR = timedelta(hours=1)
FINAL = ("won", "lost", "settled")
TERMS = Terms(timedelta(days=7), 1, 10, timedelta(hours=30))

ENDS = "SELECT ended_at FROM litgo.contracts WHERE case_id = :case AND status = 'canceled'"

STEPS = [
    "answer",
    "answer",
    "request",
    "request",
    "ask_for_signatures",
    "sign",
    "sign",
    "review",
    "wait",
    "run_out",
    "lapse",
    "withdraw",
    "cancel",
    *["go_on"] * 4,
]

OFFER_STEPS = {
    ("pending", "interested"),
    ("pending", "declined"),
    ("pending", "expired"),
    ("pending", "closed"),
    ("interested", "declined"),
    ("interested", "closed"),
}
CONTRACT_STEPS = {
    (None, "requested"),
    ("requested", "pending-signature"),
    ("requested", "canceled"),
    ("pending-signature", "active"),
    ("pending-signature", "canceled"),
    ("active", "closed"),
}
CASE_STEPS = {("open", "contracted"), ("contracted", "open"), ("contracted", "closed"), ("open", "canceled")}


class People(RuleBasedStateMachine):
    """Three lawyers with an offer each of one case, its client, and a clock that goes on."""

    town: ClassVar[Town]

    @initialize()
    def begin(self) -> None:
        self.now = NOON
        self.case = self.town.case(created_at=NOON)
        self.offers = [self.town.offer(self.town.lawyer(), case=self.case, hours=hours) for hours in (6, 12, 24)]
        self.seen: dict[str, dict[UUID, str]] = self.look()

    def tried(self, step: Callable[[Connection], Any]) -> Any:
        """What a step returns; None where it is refused, which must leave everything as it was."""
        before = self.everything()
        try:
            with self.town.engine.begin() as connection:
                return step(connection)
        except NotAllowed:
            assert self.everything() == before
            return None

    def repeated(self, step: Callable[[Connection], Any]) -> Any:
        """What a step returns that, done again, changes nothing."""
        found = self.tried(step)
        if found is not None:
            before = self.everything()
            assert self.tried(step) is not None
            assert self.everything() == before
        return found

    def everything(self) -> list[Any]:
        return [
            sorted(map(repr, self.town.rows(f"SELECT * FROM litgo.{table}")))
            for table in ("cases", "offers", "contracts", "contract_signatures", "reviews", "notifications")
        ]

    def look(self) -> dict[str, dict[UUID, str]]:
        return {
            "offers": {
                row.id: row.status for row in self.town.rows("SELECT id, status FROM litgo.offers WHERE case_id = :id", id=self.case)
            },
            "contracts": {
                row.id: row.status for row in self.town.rows("SELECT id, status FROM litgo.contracts WHERE case_id = :id", id=self.case)
            },
            "case": {self.case: self.town.value("SELECT status FROM litgo.cases WHERE id = :id", id=self.case)},
        }

    def contract(self) -> UUID | None:
        """The newest one."""
        rows = self.town.rows("SELECT id FROM litgo.contracts WHERE case_id = :id ORDER BY created_at DESC LIMIT 1", id=self.case)
        return rows[0].id if rows else None

    def wait(self, hours: int) -> None:
        self.now += hours * HOUR

    def answer(self, which: int, answer: Any) -> None:
        at = self.now
        found = self.repeated(lambda connection: offers.respond(connection, self.offers[which], answer, None, at))
        assert found is None or found.status == answer

    def run_out(self) -> None:
        offers.expire_all(self.town.engine, self.now)

    def lapse(self) -> None:
        offers.lapse_all(self.town.engine, self.now, TERMS.interest)

    def withdraw(self) -> None:
        at = self.now
        found = self.repeated(lambda connection: cases.withdraw(connection, self.case, "desistiu", at))
        assert found is None or found.status == "canceled"

    def request(self, which: int) -> None:
        fees, at = {"type": "fixed", "value": 900}, self.now
        self.repeated(lambda connection: contracts.request_contract(connection, offer_id=self.offers[which], fee_model=fees, at=at))

    def ask_for_signatures(self) -> None:
        """As the signing queue does where DocuSign is away."""
        self.town.execute(
            "UPDATE litgo.contracts SET status = 'pending-signature', signing_method = 'manual' "
            "WHERE case_id = :case AND status = 'requested'",
            case=self.case,
        )

    def sign(self, party: Any, evidence: bytes) -> None:
        contract, at = self.contract(), self.now
        if contract is not None:
            shown = Evidence("contrato.pdf", evidence)
            self.repeated(lambda connection: contracts.sign(connection, contract, party, evidence=shown, actor="ana", at=at))

    def cancel(self) -> None:
        contract, at = self.contract(), self.now
        if contract is not None:
            self.tried(lambda connection: contracts.cancel(connection, contract, reason="desistiu", actor="ana", at=at))

    def review(self, outcome: Any, rating: int) -> None:
        contract, at = self.contract(), self.now
        if contract is not None:
            self.repeated(lambda connection: reviews.review(connection, contract, rating, outcome, None, at))

    def go_on(self) -> None:
        """The next step of a story that goes well, so that most get somewhere."""
        standing = [one for one, status in self.seen["contracts"].items() if status != "canceled"]
        interested = [one for one in self.offers if self.seen["offers"][one] == "interested"]
        if not standing:
            self.request(self.offers.index(interested[0])) if interested else self.answer(0, "interested")
        elif self.seen["contracts"][standing[0]] == "requested":
            self.ask_for_signatures()
        elif self.seen["contracts"][standing[0]] == "pending-signature":
            self.sign("client", b"signed")
            self.sign("lawyer", b"signed")
        else:
            self.review("won", 5)

    # One rule, not one a step: hypothesis leaves rules out at random, and without any one of these steps no story gets far.
    @rule(step=st.sampled_from(STEPS), which=st.integers(0, 2), data=st.data())
    def act(self, step: str, which: int, data: st.DataObject) -> None:
        """Somebody does something."""
        match step:
            case "wait":
                self.wait(data.draw(st.integers(1, 5)))
            case "answer":
                self.answer(which, data.draw(st.sampled_from(["interested", "interested", "declined"])))
            case "request":
                self.request(which)
            case "sign":
                evidence = data.draw(st.sampled_from([b"signed", b"signed", b"other"]))
                self.sign(data.draw(st.sampled_from(["client", "lawyer"])), evidence)
            case "review":
                self.review(data.draw(st.sampled_from(["ongoing", *FINAL])), data.draw(st.integers(1, 5)))
            case _:
                getattr(self, step)()

    @invariant()
    def only_possible_steps_were_taken(self) -> None:
        found = self.look()
        for kind, steps in (("offers", OFFER_STEPS), ("contracts", CONTRACT_STEPS), ("case", CASE_STEPS)):
            for one, status in found[kind].items():
                before = self.seen[kind].get(one)
                assert before == status or (before, status) in steps, (kind, before, status)
        self.seen = found

    @invariant()
    def the_story_is_possible(self) -> None:
        found = self.look()
        (case,), held = found["case"].values(), list(found["contracts"].values())
        standing = [status for status in held if status != "canceled"]
        assert len(standing) <= 1
        assert (case in ("open", "canceled")) == (not standing)
        if case == "canceled":
            assert not {"pending", "interested"} & set(found["offers"].values())
        assert (case == "closed") == (standing == ["closed"])
        said = self.town.rows(
            "SELECT r.outcome, c.status FROM litgo.reviews r JOIN litgo.contracts c ON c.id = r.contract_id WHERE c.case_id = :id",
            id=self.case,
        )
        assert all(row.status == ("closed" if row.outcome in FINAL else "active") for row in said)
        if standing:
            # Whom the client did not choose waits for nothing any more.
            assert list(found["offers"].values()).count("interested") <= 1
            assert "pending" not in found["offers"].values()

    @invariant()
    def a_case_waits_for_others_only_where_nobody_can_take_it(self) -> None:
        with self.town.engine.connect() as connection:
            waits = next_offers.waiting(connection, self.now, TERMS).cases
            live = [offers.read(connection, one).status_at(self.now) in ("pending", "interested") for one in self.offers]
        begun = max([NOON, *(row.ended_at for row in self.town.rows(ENDS, case=self.case))])
        open_case = self.look()["case"][self.case] == "open" and self.now < begun + TERMS.lasting
        assert waits == (open_case and not any(live))

    def teardown(self) -> None:
        # Cases of earlier stories would wait in the next one.
        self.town.execute("UPDATE litgo.cases SET status = 'canceled'")


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_whatever_people_do_the_records_tell_a_possible_story(town: Town) -> None:
    """Steps are those of the state machines, refused ones change nothing, repeated ones neither, and a case has one contract at most."""
    machine = type("Story", (People,), {"town": town})
    quiet = settings(max_examples=20, stateful_step_count=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(machine, settings=quiet)
    reached = {row.status for row in town.rows("SELECT DISTINCT status FROM litgo.contracts")}
    assert "closed" in reached, "no story got far enough to tell anything"
