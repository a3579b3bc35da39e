"""Models of embeddings that need no file and no network, and one that is out of reach when a test says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from litgo_pipelines.integrations.calls import VendorUnavailable
from litgo_pipelines.integrations.embedders import Space
from litgo_pipelines.ranking.text import DIMENSION, vectorise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from litgo_pipelines.integrations.policies import Deadline


@dataclass
class WordModel:
    """Hashed words as a model of their own.

    Attributes:
        asked: every text that was embedded, in order.
        answers: how many more requests are answered; None: all.
    """

    name: str = "words"
    revision: str = "1"
    asked: list[str] = field(default_factory=list)
    answers: int | None = None

    @property
    def space(self) -> Space:
        return Space(self.name, self.revision, DIMENSION)

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:  # noqa: ARG002
        if self.answers is not None:
            if self.answers == 0:
                raise VendorUnavailable("openai gave no usable answer to embed: try again later", "timeout", 3, True)
            self.answers -= 1
        self.asked += texts
        return vectorise(texts)
