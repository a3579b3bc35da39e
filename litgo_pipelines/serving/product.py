"""The product's own side over HTTP: what lawyers and clients do with cases, offers and contracts, each request one transition.

What a transition may do is known to `casework`; what a repeated request means, to `idempotency`. Matching has its own routes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

from anyio import CapacityLimiter
from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from litgo_pipelines.casework import cases, contacts, contracts, offers, reviews
from litgo_pipelines.casework.contracts import Evidence
from litgo_pipelines.serving.guards import Guarded, Waiting, idempotency_key, in_time
from litgo_pipelines.serving.idempotency import Answered, Asked, once
from litgo_pipelines.serving.lines import note
from litgo_pipelines.serving.product_schemas import (
    CaseAnswer,
    Contact,
    ContractAnswer,
    ContractRequest,
    OfferAnswer,
    OfferResponse,
    ReviewAnswer,
    ReviewRequest,
    SignatureRequest,
    WithdrawalRequest,
)
from litgo_pipelines.serving.requests import scoped_key
from litgo_pipelines.serving.schemas import ErrorAnswer

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

A = TypeVar("A", bound=BaseModel)

_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorAnswer, "description": "No token, or one that is not accepted."},
    404: {"model": ErrorAnswer, "description": "There is nothing with such an id."},
    422: {"model": ErrorAnswer, "description": "A field cannot be used; nothing was written."},
    503: {"model": ErrorAnswer, "description": "Not now: ask again after `Retry-After`."},
}
_TRANSITION_ERRORS: dict[int | str, dict[str, Any]] = {
    **_ERRORS,
    409: {
        "model": ErrorAnswer,
        "description": "Not from the state that things are in (`not_allowed`: the message says which, and what is possible), or the "
        "idempotency key stands for another request.",
    },
    413: {"model": ErrorAnswer, "description": "The body is too large."},
}


@dataclass(frozen=True)
class Product:
    """What lawyers and clients may do; each method is one transaction.

    Attributes:
        clock: the time, as an aware datetime.
        workers: requests worked on at the same time, those of matching included.
    """

    engine: Engine
    clock: Callable[[], datetime]
    workers: CapacityLimiter

    def offer(self, offer_id: UUID) -> OfferAnswer:
        """An offer as it stands.

        Raises:
            Unknown: there is none with this id.
        """
        with self.engine.connect() as connection:
            return OfferAnswer.of(offers.read(connection, offer_id), self.clock())

    def respond(self, asked: Asked, offer_id: UUID, body: OfferResponse) -> Answered[OfferAnswer]:
        """Write down a lawyer's answer; errors as `offers.respond` and `once`."""
        at = self.clock()

        def transition(connection: Connection) -> Answered[OfferAnswer]:
            return Answered(200, OfferAnswer.of(offers.respond(connection, offer_id, body.answer, body.decline_reason, at), at))

        return once(self.engine, asked, at, transition, OfferAnswer)

    def contract(self, contract_id: UUID) -> ContractAnswer:
        """A contract as it stands.

        Raises:
            Unknown: there is none with this id.
        """
        with self.engine.connect() as connection:
            return ContractAnswer.of(contracts.read(connection, contract_id))

    def request_contract(self, asked: Asked, body: ContractRequest) -> Answered[ContractAnswer]:
        """Make a contract of an offer, 201, or find the one that is there, 200; errors as `contracts.request_contract` and `once`."""
        at = self.clock()

        def transition(connection: Connection) -> Answered[ContractAnswer]:
            made, new = contracts.request_contract(connection, offer_id=body.offer_id, fee_model=body.fee_model.given(), at=at)
            if body.client is not None:
                contacts.keep(connection, made.client_id, "client", body.client.name, body.client.email, at)
            return Answered(201 if new else 200, ContractAnswer.of(made))

        return once(self.engine, asked, at, transition, ContractAnswer)

    def sign(self, asked: Asked, contract_id: UUID, body: SignatureRequest, actor: str) -> Answered[ContractAnswer]:
        """Record a signature by hand; errors as `contracts.sign` and `once`."""
        at = self.clock()
        evidence = Evidence(body.evidence.name, body.evidence.content)

        def transition(connection: Connection) -> Answered[ContractAnswer]:
            signed = contracts.sign(connection, contract_id, body.party, evidence=evidence, actor=actor, at=at, signed_at=body.signed_at)
            return Answered(200, ContractAnswer.of(signed))

        return once(self.engine, asked, at, transition, ContractAnswer)

    def review(self, asked: Asked, body: ReviewRequest) -> Answered[ReviewAnswer]:
        """Write down a review, 201, or find the same one there, 200; errors as `reviews.review` and `once`."""
        at = self.clock()

        def transition(connection: Connection) -> Answered[ReviewAnswer]:
            found, new = reviews.review(connection, body.contract_id, body.rating, body.outcome, body.comment, at)
            return Answered(201 if new else 200, ReviewAnswer.of(found))

        return once(self.engine, asked, at, transition, ReviewAnswer)

    def withdraw(self, asked: Asked, case_id: UUID, body: WithdrawalRequest) -> Answered[CaseAnswer]:
        """End a case that looks for a lawyer; errors as `cases.withdraw` and `once`."""
        at = self.clock()

        def transition(connection: Connection) -> Answered[CaseAnswer]:
            return Answered(200, CaseAnswer.of(cases.withdraw(connection, case_id, body.reason, at)))

        return once(self.engine, asked, at, transition, CaseAnswer)

    def keep_contact(self, person_id: UUID, body: Contact) -> Contact:
        """Write down how a person is reached.

        Raises:
            Unknown: there is no such lawyer or client.
        """
        with self.engine.begin() as connection:
            contacts.keep(connection, person_id, body.kind, body.name, body.email, self.clock())
        return body


async def _product(request: Request) -> Product:
    product: Product = request.app.state.service.product
    return product


Used = Annotated[Product, Depends(_product)]
Key = Annotated[str | None, Depends(idempotency_key)]


@dataclass(frozen=True)
class _Exchange:
    """A request for a transition, and the response that is being made."""

    request: Request
    response: Response
    key: Key

    def asked(self, body: BaseModel) -> Asked:
        """What is asked for, under the caller's own key."""
        caller = self.request.state.caller
        operation = f"{self.request.method} {self.request.url.path}"
        return Asked(operation, body, None if self.key is None else scoped_key(caller, self.key))

    async def answer(self, product: Product, work: Callable[[], Answered[A]], **told: object) -> A:
        """Do the work and fill the response in; `told` is what the log says of it."""
        note(**told)
        found = await in_time(work, product.workers)
        note(case_id=getattr(found.answer, "case_id", None))
        self.response.status_code = found.status
        if found.replayed:
            self.response.headers["Idempotent-Replayed"] = "true"
        self.request.state.told = {"replayed": found.replayed}
        return found.answer


Exchanged = Annotated[_Exchange, Depends()]


def product_api() -> APIRouter:
    """The routes; they find their `Product` at the application's service."""
    router = APIRouter(prefix="/v1", route_class=Guarded, dependencies=[Depends(HTTPBearer(auto_error=False)), Depends(Waiting())])

    @router.get("/offers/{offer_id}", summary="An offer as it stands", responses=_ERRORS, tags=["offers"])
    async def offer(offer_id: UUID, product: Used) -> OfferAnswer:
        """Where an offer stands, and until when it can be answered."""
        return await in_time(partial(product.offer, offer_id), product.workers)

    @router.post("/offers/{offer_id}/response", summary="Answer an offer", responses=_TRANSITION_ERRORS, tags=["offers"])
    async def respond(offer_id: UUID, body: OfferResponse, product: Used, exchange: Exchanged) -> OfferAnswer:
        """Write down that a lawyer is interested or declines, until the offer's time is up.

        The same answer again changes nothing. Interest may be taken back until a contract of the case is requested; a refusal stays.
        """
        work = partial(product.respond, exchange.asked(body), offer_id, body)
        return await exchange.answer(product, work, offer_id=offer_id, answer=body.answer)

    @router.post(
        "/contracts",
        summary="Request a contract",
        status_code=201,
        responses={**_TRANSITION_ERRORS, 200: {"model": ContractAnswer, "description": "This contract is there already."}},
        tags=["contracts"],
    )
    async def request_contract(body: ContractRequest, product: Used, exchange: Exchanged) -> ContractAnswer:
        """Make a contract of an offer whose lawyer is interested; both parties are asked to sign soon after.

        The case is contracted and its other offers are closed. The same offer with the same fees again finds the contract that is there.
        """
        work = partial(product.request_contract, exchange.asked(body), body)
        return await exchange.answer(product, work, offer_id=body.offer_id)

    @router.get("/contracts/{contract_id}", summary="A contract as it stands", responses=_ERRORS, tags=["contracts"])
    async def contract(contract_id: UUID, product: Used) -> ContractAnswer:
        """Where a contract stands: how it is signed, and who has."""
        return await in_time(partial(product.contract, contract_id), product.workers)

    @router.post("/contracts/{contract_id}/signatures", summary="Record a signature", responses=_TRANSITION_ERRORS, tags=["contracts"])
    async def sign(contract_id: UUID, body: SignatureRequest, product: Used, exchange: Exchanged) -> ContractAnswer:
        """Record that a party signed by hand, with what shows it; once both have, the contract is active.

        Only while the contract waits for signatures by hand. The same evidence again changes nothing; nobody signs twice.
        """
        actor = f"api:{exchange.request.state.caller}"
        work = partial(product.sign, exchange.asked(body), contract_id, body, actor)
        return await exchange.answer(product, work, contract_id=contract_id, party=body.party)

    @router.post(
        "/reviews",
        summary="Review a contract",
        status_code=201,
        responses={**_TRANSITION_ERRORS, 200: {"model": ReviewAnswer, "description": "This review is there already."}},
        tags=["reviews"],
    )
    async def review(body: ReviewRequest, product: Used, exchange: Exchanged) -> ReviewAnswer:
        """Write down what the client says of an active or closed contract; a final outcome closes contract and case.

        One review a contract. One that says `ongoing` is replaced by the final one, once.
        """
        work = partial(product.review, exchange.asked(body), body)
        return await exchange.answer(product, work, contract_id=body.contract_id, outcome=body.outcome)

    @router.post("/cases/{case_id}/withdrawal", summary="Withdraw a case", responses=_TRANSITION_ERRORS, tags=["cases"])
    async def withdraw(case_id: UUID, body: WithdrawalRequest, product: Used, exchange: Exchanged) -> CaseAnswer:
        """Write down that a client looks for nobody any more: the case is canceled and its offers are closed, which frees their lawyers.

        A case with a contract is not withdrawn; one that is canceled already stays as it is.
        """
        work = partial(product.withdraw, exchange.asked(body), case_id, body)
        return await exchange.answer(product, work, case_id=case_id)

    @router.put("/contacts/{person_id}", summary="Set how a person is reached", responses=_ERRORS, tags=["contacts"])
    async def contact(person_id: UUID, body: Contact, product: Used) -> Contact:
        """Keep name and e-mail of a lawyer or a client, in place of what was known before."""
        return await in_time(partial(product.keep_contact, person_id, body), product.workers)

    return router
