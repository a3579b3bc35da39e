"""Bodies of requests and answers, as pydantic models: they refuse what cannot be meant, and are the API's documentation.

What needs the database to be judged is judged in `matches`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

MOST_SHOWN = 50
MOST_SUMMARY = 20_000
MOST_NAME = 200
MOST_URGENCY_H = 100_000
MOST_RADIUS_KM = 40_000
EXAMPLE_CASE = "0b0e9c1e-3a55-4b8e-9d4e-0f6f0a4c7d11"
EXAMPLE_CLIENT = "7c1f4c7a-58d2-4f0c-8e0f-1b7f2f1d9a55"


def _printable(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("empty", "must not be empty")
    if "\x00" in value:
        raise PydanticCustomError("nul", "must not contain the character NUL")
    return value


def _fault(field: str, message: str) -> PydanticCustomError:
    return PydanticCustomError("inconsistent", "{message}", {"message": message, "field": field})


Name = Annotated[str, Field(max_length=MOST_NAME), AfterValidator(_printable)]


class InlineCase(BaseModel):
    """A case that is not stored yet. It is stored with the request, open."""

    model_config = ConfigDict(extra="forbid")

    id: UUID | None = Field(None, description="The case's id. Sent again with the same content it means the same case.")
    area: Name = Field(description="Area of law, as lawyers name theirs.", examples=["trabalhista"])
    subarea: Name | None = Field(None, description="Part of the area.", examples=["Rescisão"])
    urgency_h: Annotated[int, Field(strict=True, ge=1, le=MOST_URGENCY_H)] = Field(
        description="Hours within which the client needs an answer.", examples=[48]
    )
    radius_km: Annotated[int, Field(strict=True, ge=1, le=MOST_RADIUS_KM)] = Field(
        50, description="Kilometres beyond which a lawyer's distance counts as far."
    )
    summary: Annotated[str, Field(max_length=MOST_SUMMARY), AfterValidator(_printable)] = Field(
        description="What the case is about. Stored, compared with what lawyers handled, never logged.",
        examples=["Fui demitido sem justa causa e não recebi as verbas rescisórias."],
    )
    lat: Annotated[float, Field(strict=True, ge=-90, le=90, allow_inf_nan=False)] | None = Field(
        None, description="Degrees north. Together with `lng` or not at all.", examples=[-23.55]
    )
    lng: Annotated[float, Field(strict=True, ge=-180, le=180, allow_inf_nan=False)] | None = Field(
        None, description="Degrees east.", examples=[-46.63]
    )
    complexity: Literal["LOW", "MEDIUM", "HIGH"] = Field("MEDIUM", description="How hard the case is.")

    @model_validator(mode="after")
    def _both_coordinates(self) -> Self:
        if (self.lat is None) != (self.lng is None):
            raise _fault("lng" if self.lng is None else "lat", "lat and lng are given together or not at all")
        return self


class MatchRequest(BaseModel):
    """Which lawyers is this case shown to? Exactly one of `case_id` and `case` is given."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"case_id": EXAMPLE_CASE, "top_n": 5, "create_offers": True},
                {
                    "case": {
                        "area": "trabalhista",
                        "urgency_h": 48,
                        "summary": "Fui demitido sem justa causa.",
                        "lat": -23.55,
                        "lng": -46.63,
                    },
                    "client_id": EXAMPLE_CLIENT,
                },
            ]
        },
    )

    case_id: UUID | None = Field(None, description="A stored case. Lawyers who have an offer for it already are not shown again.")
    case: InlineCase | None = Field(None, description="A case that is not stored yet.")
    client_id: UUID | None = Field(None, description="Whose case it is. Needed with `case`; with `case_id` it must be the case's client.")
    top_n: Annotated[int, Field(strict=True, ge=1, le=MOST_SHOWN)] = Field(5, description="How many lawyers are wanted.")
    create_offers: Annotated[bool, Field(strict=True)] = Field(False, description="Whether the lawyers shown are sent an offer.")

    @model_validator(mode="before")
    @classmethod
    def _a_case(cls, given: Any) -> Any:
        if isinstance(given, dict):
            stored, inline = given.get("case_id") is not None, given.get("case") is not None
            if stored == inline:
                raise _fault("case_id", "give exactly one of case_id and case")
            if inline and given.get("client_id") is None:
                raise _fault("client_id", "an inline case needs the client it belongs to")
        return given


class Match(BaseModel):
    """A lawyer the case is shown to."""

    lawyer_id: UUID
    position: int = Field(description="From 1, best first.")
    raw_score: float = Field(description="The model's own score; comparable within one answer only.")
    acceptance: float = Field(description="Probability that the lawyer accepts, between 0 and 1.")
    equity_price: float = Field(description="What the lawyer's load costs: the rule's `a` times the effective load.")
    fair_score: float = Field(description="acceptance - equity_price, plus the bonus of new lawyers; what decides.")
    match_id: UUID
    offer_id: UUID | None = Field(None, description="The offer that was sent, where offers were asked for.")


class MatchAnswer(BaseModel):
    """The lawyers a case is shown to, as recorded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "5a1c6c52-1d43-4c6e-8a3a-2f5f6f0f9b10",
                    "case_id": EXAMPLE_CASE,
                    "model_version": "7",
                    "embedding_space": "hashed-words-pt-256",
                    "offers_created": 1,
                    "eligible": 212,
                    "matches": [
                        {
                            "lawyer_id": "e7d4a1f2-6d8c-4c80-9d26-51a9a9c9a001",
                            "position": 1,
                            "raw_score": 1.82,
                            "acceptance": 0.61,
                            "equity_price": 0.1,
                            "fair_score": 0.51,
                            "match_id": "c0a8f0de-2f0f-4a88-9a39-7b0f4f5e7a10",
                            "offer_id": "8f2d1e57-7d0c-4a4b-8a0e-0d1b7f3f6c33",
                        }
                    ],
                }
            ]
        },
        # `model_version` is the product's word; pydantic reserves the prefix only to warn.
        protected_namespaces=(),
    )

    request_id: UUID = Field(description="Id of the record in `match_requests`; also in the header `X-Request-Id`.")
    case_id: UUID
    model_version: str = Field(description="Version of the model that answered, or `hand-weights`.")
    embedding_space: str = Field(description="Space in which case texts were compared.")
    offers_created: int
    eligible: int = Field(description="Lawyers who could have been shown: active, present, practising the area, without an offer for it.")
    matches: list[Match] = Field(description="At most `top_n`; empty where nobody is eligible.")


class ExperimentAnswer(BaseModel):
    """A candidate that answers a share of the clients."""

    id: UUID
    mode: Literal["ab", "interleaving"]
    champion: str = Field(description="Version that the other clients are answered by, or `hand-weights`.")
    challenger: str = Field(description="Version on trial.")
    share: float = Field(description="Share of all clients that it answers (interleaved: takes part in answering), 0..1.")
    error: str | None = Field(description="Why nobody takes part at the moment; null: nothing is wrong.")


class ModelAnswer(BaseModel):
    """Which model answers and whether it is the one that should, and the price of load that answers use."""

    version: str = Field(description="Version that answers, or `hand-weights`.", examples=["7"])
    source: Literal["registry", "last champion", "hand weights"] = Field(
        description="`last champion`: the copy kept on this machine, used while the registry is away."
    )
    alias: str = Field(description="The registry's alias that is followed.", examples=["champion"])
    loaded_at: datetime = Field(description="Since when this version answers.")
    last_checked_at: datetime | None = Field(description="When the registry last said where the alias points.")
    wanted_version: str | None = Field(description="Where the alias pointed then; null: nowhere.")
    stale: bool = Field(description="Whether another version should answer, or nobody knows because the registry is away.")
    error: str | None = Field(description="Why, in that case.")
    equity_price: float | None = Field(description="Price of load, the rule's `a`; null: none was read yet.", examples=[0.5])
    price_id: int | None = Field(description="Its row in `equity_prices`; null: from the settings.")
    experiment: ExperimentAnswer | None = Field(description="The experiment that runs; null: none.")


class Readiness(BaseModel):
    """Whether this process should receive requests."""

    ready: bool
    reasons: list[str] = Field(description="Why not.")
    market_age_seconds: float | None = Field(description="Age of the lawyers and loads in memory; null: none were read yet.")
    lawyers: int | None
    model_version: str


class Fault(BaseModel):
    """Why a request was not answered."""

    code: str = Field(description="Stable, for programs.", examples=["invalid_field"])
    message: str = Field(description="For people.", examples=["Input should be greater than or equal to 1"])
    field: str | None = Field(None, description="The part of the request at fault, where there is one.", examples=["case.urgency_h"])


class ErrorAnswer(BaseModel):
    """Every answer that is not a success has this body."""

    error: Fault
