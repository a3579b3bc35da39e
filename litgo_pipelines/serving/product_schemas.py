"""Bodies of the product's own side: answers to offers, contracts, signatures, reviews, withdrawals, contacts.

They refuse what cannot be meant; what the state of things allows is judged in `casework`.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from litgo_pipelines.casework.cases import Case
from litgo_pipelines.casework.contract_fees import BadFees, checked
from litgo_pipelines.casework.contracts import Contract
from litgo_pipelines.casework.offers import Offer
from litgo_pipelines.casework.reviews import Review

MOST_EVIDENCE_BYTES = 10 * 1024 * 1024
MOST_COMMENT = 5000
MOST_REASON = 1000
EXAMPLE_CASE = "0b0e9c1e-3a55-4b8e-9d4e-0f6f0a4c7d11"
EXAMPLE_OFFER = "8f2d1e57-7d0c-4a4b-8a0e-0d1b7f3f6c33"
EXAMPLE_CONTRACT = "3c0f5b0a-9a5e-4d53-8d1f-6f0c2a7e9b44"

_DECLINED = "Why the offer was declined: no capacity, a conflict of interests, no interest, the fee, or something else."


def _fault(field: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("inconsistent", "{message}", {"message": message, "field": field})


def _one_line(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise PydanticCustomError("one_line", "must be one line of printable characters")
    return value


def _file_name(value: str) -> str:
    if "/" in value or "\\" in value:
        raise PydanticCustomError("file_name", "must be a file's name without its folders")
    return _one_line(value)


def _without_nul(value: str) -> str:
    if "\x00" in value:
        raise PydanticCustomError("nul", "must not contain the character NUL")
    return value


def _from_base64(value: Any) -> bytes:
    try:
        found = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise PydanticCustomError("base64", "must be the file's content as base64") from None
    if not 0 < len(found) <= MOST_EVIDENCE_BYTES:
        raise PydanticCustomError("size", "the file must not be empty, nor larger than 10 MiB")
    return found


def _not_later(value: datetime) -> datetime:
    if value > datetime.now(UTC):
        raise PydanticCustomError("future", "must not lie in the future")
    return value


PersonName = Annotated[str, Field(max_length=200), AfterValidator(_one_line)]
Email = Annotated[str, Field(max_length=254, pattern=r"^[!-?A-~]+@[!-?A-~]+$")]


class OfferResponse(BaseModel):
    """A lawyer's answer to an offer."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"answer": "interested"}, {"answer": "declined", "decline_reason": "capacity"}]}
    )

    answer: Literal["interested", "declined"] = Field(description="Interest may be taken back until a contract is requested.")
    decline_reason: Literal["capacity", "conflict", "not_interested", "fee", "other"] | None = Field(None, description=_DECLINED)

    @model_validator(mode="after")
    def _only_of_a_refusal(self) -> Self:
        if self.answer == "interested" and self.decline_reason is not None:
            raise _fault("decline_reason", "only an offer that is declined has a reason")
        return self


class OfferAnswer(BaseModel):
    """An offer as it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "offer_id": EXAMPLE_OFFER,
                    "case_id": EXAMPLE_CASE,
                    "lawyer_id": "e7d4a1f2-6d8c-4c80-9d26-51a9a9c9a001",
                    "status": "interested",
                    "decline_reason": None,
                    "sent_at": "2026-03-10T12:00:00Z",
                    "expires_at": "2026-03-11T12:00:00Z",
                    "responded_at": "2026-03-10T13:30:00Z",
                }
            ]
        }
    )

    offer_id: UUID
    case_id: UUID
    lawyer_id: UUID
    status: Literal["pending", "interested", "declined", "expired", "closed"] = Field(
        description="`expired` from its last moment on; `closed`: the search ended otherwise, or no contract followed the interest in time."
    )
    decline_reason: str | None = Field(description=_DECLINED)
    sent_at: datetime
    expires_at: datetime = Field(description="Until when it can be answered.")
    responded_at: datetime | None

    @classmethod
    def of(cls, offer: Offer, at: datetime) -> Self:
        """The offer as it stands at `at`."""
        return cls(
            offer_id=offer.id,
            case_id=offer.case_id,
            lawyer_id=offer.lawyer_id,
            status=offer.status_at(at),
            decline_reason=offer.decline_reason,
            sent_at=offer.sent_at,
            expires_at=offer.expires_at,
            responded_at=offer.responded_at,
        )


_Amount = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class FeeModel(BaseModel):
    """How the lawyer is paid: exactly the fields of its type."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["fixed", "hourly", "success", "mixed"] = Field(
        description="`fixed`: `value`; `hourly`: `rate`; `success`: `percent`; `mixed`: `value` and `percent`."
    )
    value: _Amount | None = Field(None, description="In BRL.", examples=[1500.0])
    rate: _Amount | None = Field(None, description="In BRL an hour.")
    percent: _Amount | None = Field(None, description="Of what the client gains, above 0 and up to 50.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        try:
            checked(self.given())
        except BadFees as error:
            raise PydanticCustomError("fees", "{message}", {"message": str(error)}) from None
        return self

    def given(self) -> dict[str, Any]:
        """The fields that were given, as `contract_fees.checked` takes them."""
        return self.model_dump(exclude_none=True)


class ClientContact(BaseModel):
    """How the client is reached about the contract."""

    model_config = ConfigDict(extra="forbid")

    name: PersonName = Field(description="As it stands in the contract.", examples=["Maria Souza"])
    email: Email = Field(examples=["maria@example.com"])


class ContractRequest(BaseModel):
    """A contract between the client and a lawyer who is interested."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "offer_id": EXAMPLE_OFFER,
                    "fee_model": {"type": "success", "percent": 20.0},
                    "client": {"name": "Maria Souza", "email": "maria@example.com"},
                }
            ]
        },
    )

    offer_id: UUID = Field(description="Of the lawyer whom the client chose; the lawyer must be interested.")
    fee_model: FeeModel
    client: ClientContact | None = Field(None, description="Kept in place of what was known of the client before. Never logged.")


class ContractAnswer(BaseModel):
    """A contract as it stands."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "contract_id": EXAMPLE_CONTRACT,
                    "reference": "CT-2026-3C0F-5B0A-9A5E",
                    "case_id": EXAMPLE_CASE,
                    "lawyer_id": "e7d4a1f2-6d8c-4c80-9d26-51a9a9c9a001",
                    "client_id": "7c1f4c7a-58d2-4f0c-8e0f-1b7f2f1d9a55",
                    "status": "pending-signature",
                    "signing_method": "manual",
                    "fee_model": {"type": "success", "percent": 20.0},
                    "signed_client": None,
                    "signed_lawyer": "2026-03-10T15:00:00Z",
                    "created_at": "2026-03-10T14:00:00Z",
                    "ended_at": None,
                }
            ]
        }
    )

    contract_id: UUID
    reference: str = Field(description="What people quote.")
    case_id: UUID
    lawyer_id: UUID
    client_id: UUID
    status: Literal["requested", "pending-signature", "active", "closed", "canceled"]
    signing_method: Literal["docusign", "manual"] | None = Field(description="How it is signed; null: not decided yet.")
    fee_model: dict[str, Any] | None
    signed_client: datetime | None = Field(description="When the client signed.")
    signed_lawyer: datetime | None = Field(description="When the lawyer signed.")
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, contract: Contract) -> Self:
        """The contract as it stands."""
        return cls(
            contract_id=contract.id,
            reference=contract.reference,
            case_id=contract.case_id,
            lawyer_id=contract.lawyer_id,
            client_id=contract.client_id,
            status=contract.status,
            signing_method=contract.signing_method,
            fee_model=contract.fee_model,
            signed_client=contract.signed_client,
            signed_lawyer=contract.signed_lawyer,
            created_at=contract.created_at,
            ended_at=contract.ended_at,
        )


class SignatureEvidence(BaseModel):
    """What shows that somebody signed, such as the scanned document."""

    # What was sent is hashed for its idempotency key.
    model_config = ConfigDict(extra="forbid", ser_json_bytes="base64")

    name: Annotated[str, Field(max_length=200), AfterValidator(_file_name)] = Field(
        description="The file's name, without folders.", examples=["contrato-assinado.pdf"]
    )
    content: Annotated[
        bytes, BeforeValidator(_from_base64), WithJsonSchema({"type": "string", "contentEncoding": "base64"}, mode="validation")
    ] = Field(description="The file as base64; 10 MiB at most before encoding. Stored, never logged.")


class SignatureRequest(BaseModel):
    """That a party signed by hand."""

    model_config = ConfigDict(
        extra="forbid",
        ser_json_bytes="base64",
        json_schema_extra={
            "examples": [
                {
                    "party": "client",
                    "evidence": {"name": "contrato-assinado.pdf", "content": "JVBERi0xLjcK"},
                    "signed_at": "2026-03-10T15:00:00-03:00",
                }
            ]
        },
    )

    party: Literal["client", "lawyer"]
    evidence: SignatureEvidence
    signed_at: Annotated[AwareDatetime, AfterValidator(_not_later)] | None = Field(
        None, description="When the party signed, with a zone; null: now."
    )


class ReviewRequest(BaseModel):
    """What a client says of a contract."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"contract_id": EXAMPLE_CONTRACT, "rating": 5, "outcome": "won", "comment": "Muito atenciosa."}]},
    )

    contract_id: UUID = Field(description="Active or closed.")
    rating: Annotated[int, Field(strict=True, ge=1, le=5)] = Field(description="From 1 (bad) to 5 (very good).")
    outcome: Literal["won", "lost", "settled", "ongoing"] = Field(
        description="How the matter ended, which closes contract and case; `ongoing`: not yet, and said once more when it has."
    )
    comment: Annotated[str, Field(max_length=MOST_COMMENT), AfterValidator(_without_nul)] | None = Field(
        None, description="Stored, never logged."
    )


class ReviewAnswer(BaseModel):
    """A review as it is recorded."""

    review_id: UUID
    contract_id: UUID
    lawyer_id: UUID
    rating: int
    outcome: Literal["won", "lost", "settled", "ongoing"]
    created_at: datetime

    @classmethod
    def of(cls, review: Review) -> Self:
        """The review as it is recorded."""
        return cls(
            review_id=review.id,
            contract_id=review.contract_id,
            lawyer_id=review.lawyer_id,
            rating=review.rating,
            outcome=review.outcome,
            created_at=review.created_at,
        )


def _not_blank(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return _without_nul(value)


class WithdrawalRequest(BaseModel):
    """That a client looks for nobody any more."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "O cliente fez um acordo."}]})

    reason: Annotated[str, Field(max_length=MOST_REASON), AfterValidator(_not_blank)] = Field(description="Why. Stored, never logged.")


class CaseAnswer(BaseModel):
    """A case as it stands."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"case_id": EXAMPLE_CASE, "status": "canceled", "withdrawn_at": "2026-03-12T09:00:00Z"}]}
    )

    case_id: UUID
    status: Literal["triage", "open", "contracted", "closed", "canceled"]
    withdrawn_at: datetime | None = Field(description="When it was withdrawn first.")

    @classmethod
    def of(cls, case: Case) -> Self:
        """The case as it stands."""
        return cls(case_id=case.id, status=case.status, withdrawn_at=case.withdrawn_at)


class Contact(BaseModel):
    """How a lawyer or a client is reached."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"kind": "lawyer", "name": "Ana Lima", "email": "ana@example.com"}]}
    )

    kind: Literal["lawyer", "client"]
    name: PersonName | None = Field(None, description="Null: not known. Never logged.")
    email: Email | None = Field(None, description="Null: not reached by mail. Never logged.")
