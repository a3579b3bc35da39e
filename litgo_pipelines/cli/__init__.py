"""The `litgo` command.

What lives here: one thin function a verb, and the one place where an error becomes a line and an exit code. What a verb does lives in
the rooms below. Importing this package and its verbs imports nothing heavy: `litgo --help` must answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from litgo_pipelines.settings import LitgoError

EXIT_FAULT = 2


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `litgo` with these arguments (default: those of the process) and exit.

    Exits with 0 when done, 2 after one line on stderr when a person can mend it (also for wrong usage), 130 after Ctrl-C.
    Anything else is a defect of ours and shows its traceback.
    """
    from litgo_pipelines.cli.app import build_app

    try:
        build_app()(args=None if arguments is None else list(arguments), prog_name="litgo")
    except LitgoError as error:
        sys.stderr.write(f"litgo: {' '.join(str(error).split())}\n")
        sys.exit(EXIT_FAULT)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
