"""What turns texts into vectors must be able to do, and the spaces that vectors lie in. Who does it is in the modules beside this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from litgo_pipelines.integrations.policies import Deadline


@dataclass(frozen=True)
class Space:
    """A space of vectors. Those of two spaces are never compared.

    Attributes:
        revision: tells two states of the same model apart.
        dim: length of the vectors.
    """

    model: str
    revision: str
    dim: int

    @property
    def name(self) -> str:
        """As it is stored with vectors and told in answers: `all-MiniLM-L6-v2@1a2b3c4d:384`."""
        return f"{self.model}@{self.revision}:{self.dim}"


class TextEmbedder(Protocol):
    """A model that embeds texts."""

    @property
    def space(self) -> Space: ...

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:
        """Unit vectors of masked texts, shape (n, dim); a text of no words has one as well.

        Args:
            deadline: of several calls together; a model on this machine does not look at it.

        Raises:
            VendorUnavailable, VendorRefused: of a vendor's model.
        """
