"""`python -m litgo_pipelines_tests.casework.backfill_child URL BATCHES`: a backfill that hangs after some batches, to be killed there."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from litgo_pipelines.casework.embedding import Embedding, refresh_cases
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines_tests.casework.conftest import NOON
from litgo_pipelines_tests.casework.embedders import WordModel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from litgo_pipelines.integrations.policies import Deadline


class HangingModel(WordModel):
    """Answers a number of requests, and never the next."""

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:
        if self.answers == 0:
            print("hanging", flush=True)  # noqa: T201  # what the parent waits for
            time.sleep(600)
        return super().embed(texts, deadline)


if __name__ == "__main__":
    refresh_cases(open_engine(sys.argv[1]), Embedding(HangingModel(answers=int(sys.argv[2])), batch=10), NOON)
