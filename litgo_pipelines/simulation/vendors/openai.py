"""OpenAI's stand-in: `POST /v1/embeddings`, with vectors made of the words of a text, so that similar texts are similar."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from litgo_pipelines.simulation.vendors.server import Behaviour, Received, Reply

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

KEY: Final = "sk-stand-in"
DIMENSIONS: Final = {"text-embedding-3-small": 1536, "text-embedding-3-large": 3072, "text-embedding-ada-002": 1536}
MOST_INPUTS: Final = 2048
MOST_TOKENS: Final = 8192
MOST_TOKENS_AT_ONCE: Final = 300_000


class OpenAIStandIn:
    """The endpoint.

    Attributes:
        key: that it takes; with another it refuses.
    """

    def __init__(self, key: str = KEY) -> None:
        self.key = key

    def answer(self, received: Received) -> Behaviour:
        """What the endpoint would say to a request."""
        sent = {name.lower(): value for name, value in received.headers.items()}
        if sent.get("authorization") != f"Bearer {self.key}":
            return _refusal(401, "Incorrect API key provided.", "invalid_api_key")
        if (received.method, received.path) != ("POST", "/v1/embeddings"):
            return _refusal(404, f"Invalid URL ({received.method} {received.path})", None)
        try:
            asked = received.json()
            texts = [asked["input"]] if isinstance(asked["input"], str) else asked["input"]
            model = asked["model"]
        except (ValueError, KeyError, TypeError):
            return _refusal(400, "We could not parse the JSON body of your request.", None)
        if model not in DIMENSIONS:
            return _refusal(404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found")
        fault = _fault(texts)
        if fault:
            return _refusal(400, fault, None, "$.input")
        return Reply.json(_answer(texts, model, asked.get("encoding_format", "float")))


def vector(text: str, dim: int) -> NDArray[np.float32]:
    """A unit vector, shape (dim,): the sum of one random direction a word, the same in every process."""
    import numpy as np

    words = re.findall(r"\w+", text.lower()) or [text]
    total = np.sum([_direction(word, dim) for word in words], axis=0)
    found: NDArray[np.float32] = (total / np.linalg.norm(total)).astype(np.float32)
    return found


@lru_cache(maxsize=20_000)
def _direction(word: str, dim: int) -> NDArray[np.float32]:
    import numpy as np

    seed = int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest(), "big")
    return np.random.default_rng(seed).standard_normal(dim, dtype=np.float32)


def _answer(texts: list[str], model: str, encoding: str) -> dict[str, Any]:
    vectors = [vector(text, DIMENSIONS[model]) for text in texts]
    written = [base64.b64encode(one.tobytes()).decode() if encoding == "base64" else one.tolist() for one in vectors]
    data = [{"object": "embedding", "index": index, "embedding": one} for index, one in enumerate(written)]
    tokens = sum(_tokens(text) for text in texts)
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _fault(texts: Any) -> str | None:
    """Why the endpoint would not embed this."""
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) and one for one in texts):
        return "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
    if len(texts) > MOST_INPUTS:
        return f"Invalid '$.input': array too long. Expected an array with maximum length {MOST_INPUTS}."
    tokens = [_tokens(one) for one in texts]
    if max(tokens) > MOST_TOKENS:
        return f"This model's maximum context length is {MOST_TOKENS} tokens, however you requested {max(tokens)} tokens."
    if sum(tokens) > MOST_TOKENS_AT_ONCE:
        return f"Requested {sum(tokens)} tokens, max {MOST_TOKENS_AT_ONCE} tokens per request"
    return None


def _tokens(text: str) -> int:
    """At most as many as there could be: a token is a byte at least."""
    return len(text.encode("utf-8", "replace"))


def _refusal(status: int, message: str, code: str | None, param: str | None = None) -> Reply:
    return Reply.json({"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}, status)
