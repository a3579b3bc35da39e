"""OpenAI's model of embeddings, through its SDK.

The SDK says what a request looks like and reads the answer; between the two stands `calls.call`, with its bounds, repetitions and rows.
Personal data are masked before.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx
import httpx2

from litgo_pipelines.integrations.attempts import CallLedger
from litgo_pipelines.integrations.calls import call
from litgo_pipelines.integrations.embedders import Space
from litgo_pipelines.integrations.policies import Deadline, Policy, policies_of
from litgo_pipelines.masking import mask
from litgo_pipelines.settings import Settings, SettingsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from openai import OpenAI
    from pydantic import SecretStr

DIMENSIONS: Final = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
# OpenAI does not change a model under its name.
REVISION: Final = "1"

MOST_BYTES: Final = 8_000
"""Of one text. The model takes 8,192 tokens, and a token is a byte at least."""
MOST_BYTES_AT_ONCE: Final = 300_000
"""Of all texts of a request, for the same reason."""
NO_WORDS: Final = "."
"""Stands for a text without any, which the endpoint refuses."""


@dataclass(frozen=True)
class OpenAIEmbedder:
    """A model at OpenAI, or at whoever speaks its language under `base_url`.

    Attributes:
        batch: texts that go into one request at most.
    """

    space: Space
    base_url: str
    key: SecretStr
    policy: Policy
    ledger: CallLedger
    batch: int = 64

    @classmethod
    def of(cls, settings: Settings, ledger: CallLedger) -> OpenAIEmbedder | None:
        """As the settings say; None where there is no key.

        Raises:
            SettingsError: the model's name, the key or the address cannot be used.
        """
        if settings.openai_api_key is None:
            return None
        model = settings.openai_embedding_model
        if model not in DIMENSIONS:
            raise SettingsError(f"OPENAI_EMBEDDING_MODEL must be one of {', '.join(DIMENSIONS)}, not {model}")
        import openai  # noqa: F401  # takes a second, which a call to come may not have

        _check_header(settings.openai_api_key)
        _check_address(settings.openai_base_url)
        space = Space(model, REVISION, DIMENSIONS[model])
        policy = policies_of(settings)["openai"]
        return cls(space, settings.openai_base_url, settings.openai_api_key, policy, ledger, settings.litgo_embedding_batch)

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:
        """Unit vectors of the texts with personal data masked, shape (n, dim). Of a long text the first 8,000 bytes count.

        Args:
            deadline: of all requests that the texts take. Without it each request has the policy's own: good for backfills, where one
                batch's trouble should not be the next one's. Whoever waits for an answer gives one.

        Raises:
            VendorUnavailable: no usable answer in time. An answer with other vectors than were asked for is not usable.
            VendorRefused: the key or the request was refused.
        """
        import numpy as np

        found = [self._request(part, deadline) for part in _requests([_sendable(one) for one in texts], self.batch)]
        return np.concatenate(found) if found else np.empty((0, self.space.dim), dtype=np.float32)

    def _request(self, texts: list[str], deadline: Deadline | None) -> NDArray[np.float32]:
        import numpy as np

        door = _Door(self.policy, self.ledger, self.space, len(texts), deadline)
        with httpx2.Client(transport=door, trust_env=False) as client:
            answer = self._sdk(client).embeddings.create(model=self.space.model, input=texts)
        ordered = sorted(answer.data, key=lambda one: one.index)
        vectors = np.asarray([one.embedding for one in ordered], dtype=np.float64)
        unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def _sdk(self, client: httpx2.Client) -> OpenAI:
        from openai import OpenAI

        # The answer is decoded by httpx, which may know fewer encodings than the SDK's client.
        return OpenAI(
            api_key=self.key.get_secret_value().strip(),
            base_url=self.base_url,
            max_retries=0,
            http_client=client,
            default_headers={"Accept-Encoding": "gzip"},
        )


@dataclass
class _Door(httpx2.BaseTransport):
    """Takes a request of the SDK to `calls.call`. Its errors pass through the SDK, which knows those of httpx2 alone."""

    policy: Policy
    ledger: CallLedger
    space: Space
    texts: int
    deadline: Deadline | None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        outward = httpx.Request(request.method, str(request.url), headers=request.headers.raw, content=request.read())
        content = call(self.policy, "embed", outward, self._read, ledger=self.ledger, deadline=self.deadline)
        return httpx2.Response(200, headers={"Content-Type": "application/json"}, content=content, request=request)

    def _read(self, answer: httpx.Response) -> bytes:
        """Its body, if that holds what was asked for."""
        _check(answer.json(), self.space, self.texts)
        return answer.content


def _check(answer: Any, space: Space, texts: int) -> None:
    """Whether there is one usable vector of the right model for each text; raises an error where not."""
    import numpy as np

    if space.model not in answer["model"]:
        raise ValueError("vectors of another model")
    if sorted(one["index"] for one in answer["data"]) != list(range(texts)):
        raise ValueError("other vectors than were asked for")
    for one in answer["data"]:
        given = one["embedding"]
        vector = np.frombuffer(base64.b64decode(given), dtype="<f4") if isinstance(given, str) else np.asarray(given, dtype=np.float32)
        if vector.shape != (space.dim,) or not np.isfinite(vector).all() or not vector.any():
            raise ValueError("not a vector of the space")


def _sendable(text: str) -> str:
    cut = mask(text).encode("utf-8", "ignore")[:MOST_BYTES].decode("utf-8", "ignore")
    return cut if cut.strip() else NO_WORDS


def _requests(texts: list[str], batch: int) -> Iterator[list[str]]:
    """The texts in order, as many at once as a request may hold."""
    part: list[str] = []
    size = 0
    for text in texts:
        more = len(text.encode())
        if part and (len(part) == batch or size + more > MOST_BYTES_AT_ONCE):
            yield part
            part, size = [], 0
        part.append(text)
        size += more
    if part:
        yield part


def _check_header(key: SecretStr) -> None:
    signs = key.get_secret_value().strip()
    if not signs or not all("!" <= one <= "~" for one in signs):
        raise SettingsError("OPENAI_API_KEY holds signs that a key cannot have: copy it again")


def _check_address(address: str) -> None:
    try:
        known = bool(httpx.URL(address).host)
    except httpx.InvalidURL:
        known = False
    if not known:
        raise SettingsError(f"OPENAI_BASE_URL is no address: {address}")
