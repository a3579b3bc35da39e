"""Work goes on in time without a vendor, after exactly as many requests as were meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litgo_pipelines.casework.embedding import Embedding
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.casework.fallbacks import FAULTS, measure

if TYPE_CHECKING:
    from sqlalchemy import Engine

DEADLINE = 1.5
_AGAIN = 3


def test_whatever_a_vendor_does_the_fallback_comes_within_its_deadline(engine: Engine) -> None:
    """Texts, contracts and messages, while vendors hang, trickle, reset and fail: half a second after the deadline at most."""
    (space,) = Embedding.of(load_settings()).texts(["o modelo é carregado antes"]).by_space
    measure(engine, DEADLINE, ["error"])
    found = measure(engine, DEADLINE)
    assert {(one.vendor, one.fault) for one in found} == {(v, f) for v in ("openai", "docusign", "onesignal") for f in FAULTS}
    assert {one.vendor: one.instead for one in found} == {"openai": space, "docusign": "manual", "onesignal": "email"}
    # A request that hangs takes all the time there is; the others are over at once and made three times.
    assert {(one.fault, one.requests) for one in found} == {("hang", 1), ("trickle", 1), ("reset", 3), ("error", 3)}
    late = {one.fault for one in found if one.seconds > DEADLINE + 0.5}
    for _ in range(_AGAIN):
        # A busy machine takes its time now and then, not again and again.
        late &= {one.fault for one in measure(engine, DEADLINE, sorted(late)) if one.seconds > DEADLINE + 0.5}
    assert late == set()
