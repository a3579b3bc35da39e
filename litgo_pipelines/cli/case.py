"""`litgo case`: what is done about a client's case as a whole."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from litgo_pipelines.cli.common import Json, Reason, answer, moment, transaction
from litgo_pipelines.settings import LitgoError


def withdraw(
    case: Annotated[str, typer.Argument(metavar="ID", help="Id of a case.")],
    reason: Reason,
    json: Json = False,
) -> None:
    """End a case whose client looks for nobody any more. Its offers are closed, which frees their lawyers.

    A case with a contract is not withdrawn: cancel the contract first. One that is withdrawn already stays as it is.

    Example: `litgo case withdraw 0b0e9c1e-3a55-4b8e-9d4e-0f6f0a4c7d11 --reason "the client settled out of court"`
    """
    from litgo_pipelines.casework import cases

    try:
        case_id = UUID(case)
    except ValueError:
        raise LitgoError(f"{case!r} is no id of a case: messages to the operators and `litgo contract show` name it") from None
    with transaction() as connection:
        found = cases.withdraw(connection, case_id, reason, datetime.now(UTC))
    since = "" if found.withdrawn_at is None else f", withdrawn at {moment(found.withdrawn_at)}"
    answer(json, found, f"Case {found.id} is {found.status}{since}.")
