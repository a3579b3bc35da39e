"""Bodies of triage requests and their answers, as pydantic models: they refuse what cannot be meant, and are the API's documentation."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from litgo_pipelines.serving.schemas import EXAMPLE_CASE, EXAMPLE_CLIENT, MOST_RADIUS_KM, MOST_SUMMARY, _printable

_TOLD = "Fui mandada embora semana passada e a firma não pagou meu acerto nem liberou o fundo de garantia."


class TriageRequest(BaseModel):
    """What is this client's case about?"""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"text": _TOLD, "client_id": EXAMPLE_CLIENT}]})

    text: Annotated[str, Field(max_length=MOST_SUMMARY), AfterValidator(_printable)] = Field(
        description="What happened, in Portuguese, as the client tells it. Stored with the case, never logged; what names people is masked "
        "before anything of it is sent to a vendor.",
        examples=[_TOLD],
    )
    client_id: UUID = Field(description="Whose case it is.")
    case_id: UUID | None = Field(
        None, description="The case's id. Sent again with the same content it means the same case, and the first answer is repeated."
    )
    lat: Annotated[float, Field(strict=True, ge=-90, le=90, allow_inf_nan=False)] | None = Field(
        None, description="Degrees north. Together with `lng` or not at all.", examples=[-23.55]
    )
    lng: Annotated[float, Field(strict=True, ge=-180, le=180, allow_inf_nan=False)] | None = Field(
        None, description="Degrees east.", examples=[-46.63]
    )
    radius_km: Annotated[int, Field(strict=True, ge=1, le=MOST_RADIUS_KM)] = Field(
        50, description="Kilometres beyond which a lawyer's distance counts as far."
    )

    @model_validator(mode="after")
    def _both_coordinates(self) -> Self:
        if (self.lat is None) != (self.lng is None):
            field = "lng" if self.lng is None else "lat"
            raise PydanticCustomError("inconsistent", "lat and lng are given together or not at all", {"field": field})
        return self


class NearestExample(BaseModel):
    """A labelled example that the telling was judged by."""

    id: str
    area: str | None = Field(description="null: it speaks for naming no area.")
    subarea: str | None


class TriageAnswer(BaseModel):
    """What a telling was found to be about; the case is stored."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "request_id": "5a1c6c52-1d43-4c6e-8a3a-2f5f6f0f9b10",
                    "case_id": EXAMPLE_CASE,
                    "area": "trabalhista",
                    "subarea": "rescisão",
                    "urgency_h": 168,
                    "complexity": "LOW",
                    "confidence": 0.97,
                    "embedding_space": "bm25",
                    "fallback": False,
                    "likely": [],
                    "nearest": [{"id": "tra-06", "area": "trabalhista", "subarea": "rescisão"}],
                }
            ]
        }
    )

    request_id: UUID = Field(description="Id of the record in `match_requests`.")
    case_id: UUID
    area: str | None = Field(
        description="Area of law; null: not sure enough. Such a case waits for a person (`litgo triage decide`) and is offered to nobody."
    )
    subarea: str | None
    urgency_h: int = Field(description="Hours within which the client needs an answer.")
    complexity: Literal["LOW", "MEDIUM", "HIGH"]
    confidence: float = Field(description="That the likeliest area is right, between 0 and 1.")
    embedding_space: str = Field(description="Space in which the telling was compared with the labelled examples; `bm25`: by words alone.")
    fallback: bool = Field(description="Whether the preferred model did not answer, and another way of comparing stood in for it.")
    likely: list[str] = Field(description="Where no area is named: the likeliest ones, the likeliest first.")
    nearest: list[NearestExample] = Field(description="The labelled examples nearest to the telling.")
