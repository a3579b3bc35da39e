"""The key under which ids are pseudonymised in logged training sets: given, or made once and kept."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

from litgo_pipelines.settings import Settings

_KEY_BYTES = 32


def pseudonym_key(settings: Settings) -> bytes:
    """The key of this installation. One is made in `LITGO_HOME`, readable by its owner alone, where none is given."""
    if settings.litgo_pseudonym_key is not None:
        return settings.litgo_pseudonym_key.get_secret_value().encode()
    file = settings.litgo_home / "pseudonym.key"
    if not file.exists():
        settings.litgo_home.mkdir(parents=True, exist_ok=True)
        descriptor, made = tempfile.mkstemp(dir=settings.litgo_home, prefix=".pseudonym-")
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(secrets.token_bytes(_KEY_BYTES))
        # A link fails where another process was first, and its key is then the one.
        try:
            os.link(made, file)
        except FileExistsError:
            pass
        finally:
            Path(made).unlink()
    return file.read_bytes()
