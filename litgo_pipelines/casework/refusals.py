"""Why a step of an offer, a contract, a review or a triage is refused. Whoever asks for it is told; nothing is written."""

from __future__ import annotations

from litgo_pipelines.settings import LitgoError


class NotAllowed(LitgoError):
    """What is there is in a state from which this step does not lead; the message says which, and what would be possible."""


class Unknown(LitgoError):
    """There is nothing with such an id."""
