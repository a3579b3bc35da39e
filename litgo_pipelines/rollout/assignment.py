"""Which clients are in an experiment, and on which side. Pure: the same client, salts and step give the same answer anywhere.

Two hashes of the client's id decide. The first, with the experiment's own salt, marks the clients whom treatment may ever reach, as
many as the last step of the ramp lets in; all others are control from the beginning. The second, with a salt of the ramp, tells at
which step a marked client is let in; until then the client is held back: the champion answers. So a step changes nobody from one side
to the other, and the sides of one experiment say nothing about those of another.

Who asked while held back is not counted later either: whoever comes back would otherwise be new to treatment and known to control, and
the sides would differ in more than the model.

Kohavi, Tang and Xu (2020), "Trustworthy Online Controlled Experiments", chapters 14 and 15.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

Variant = Literal["control", "treatment", "interleaved", "held back"]
Mode = Literal["ab", "interleaving"]


@dataclass(frozen=True)
class Split:
    """How an experiment divides the clients now.

    Attributes:
        salt, ramp_salt: of the two hashes.
        steps: shares of all clients in treatment, ascending, each in (0, 1).
        step: the step reached, from 0.
        mode: `interleaving` has no control: who is let in sees both models' lawyers in one list.
    """

    salt: str
    ramp_salt: str
    steps: tuple[float, ...]
    step: int
    mode: Mode = "ab"

    @property
    def share(self) -> float:
        """Share of all clients in treatment now."""
        return self.steps[self.step]

    @property
    def exposed_share(self) -> float:
        """Treatment's share of the clients who are counted now: control is there whole from the first step on."""
        return 1.0 if self.mode == "interleaving" else self.share / (self.share + 1 - self.steps[-1])


def place(client_id: UUID, salt: str) -> float:
    """Where a client stands under a salt, in [0, 1), uniformly."""
    return int.from_bytes(hashlib.blake2b(client_id.bytes, digest_size=8, key=salt.encode()).digest()) / 2**64


def assign(client_id: UUID, split: Split) -> Variant | None:
    """The client's side; None: not in the experiment at all, as most are while two lists are interleaved."""
    most = split.steps[-1]
    if place(client_id, split.salt) >= most:
        return None if split.mode == "interleaving" else "control"
    if place(client_id, split.ramp_salt) >= split.share / most:
        return "held back"
    return "interleaved" if split.mode == "interleaving" else "treatment"
