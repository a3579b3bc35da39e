"""Who may ask: bearer tokens, and the rule that a service without tokens is for this machine alone."""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from pydantic import SecretStr

from litgo_pipelines.serving.errors import Refusal
from litgo_pipelines.settings import LitgoError

ANONYMOUS = "anonymous"
_SCHEME = "bearer"


class OpenToEverybody(LitgoError):
    """The service would answer the network without asking for a token."""


class Tokens:
    """The tokens that are accepted; none: everybody who reaches the service may ask.

    Only digests are kept, so that neither a dump of the process nor a comparison's duration tells a token.
    """

    def __init__(self, keys: Sequence[SecretStr]) -> None:
        self._digests = [_digest(key.get_secret_value()) for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def caller(self, authorization: str | None) -> str:
        """A name for who asks, from the header `Authorization`: part of a token's digest.

        Raises:
            Refusal: 401, no token or one that is not accepted.
        """
        if not self._digests:
            return ANONYMOUS
        scheme, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip())
        # No short cut: how long this takes must not tell how many tokens were compared.
        known = sum(hmac.compare_digest(given, one) for one in self._digests)
        if scheme.lower() != _SCHEME or not known:
            refusal = Refusal(
                401, "unauthorised", "send a token that is accepted here as `Authorization: Bearer <token>`", field="Authorization"
            )
            refusal.headers["WWW-Authenticate"] = "Bearer"
            raise refusal
        return given[:16]


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def require_guarded(host: str, tokens: Tokens) -> None:
    """Refuse to bind to anything but loopback without tokens.

    Raises:
        OpenToEverybody: no tokens, and `host` is not loopback or cannot be resolved.
    """
    if tokens or _is_loopback(host):
        return
    raise OpenToEverybody(
        f"without LITGO_API_KEYS serving binds to loopback only, not to {host!r}: set LITGO_API_KEYS or use --host 127.0.0.1"
    )


def _is_loopback(host: str) -> bool:
    try:
        # No host means every address.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except OSError:
        return False
    return bool(found) and all(ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found)
