"""`litgo contract list`, `show` and `document`: how contracts stand, and what is signed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from litgo_pipelines.casework.contracts import STATUSES, Status
from litgo_pipelines.cli.common import Json, answer, as_json, moment, transaction
from litgo_pipelines.settings import LitgoError, get_settings

if TYPE_CHECKING:
    from uuid import UUID

    from litgo_pipelines.casework.contracts import Contract, Signature

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of a contract, as `litgo contract list` shows it.")]

_NOT_ENDED: tuple[Status, ...] = ("requested", "pending-signature", "active")
_NOT_SIGNED: tuple[Status, ...] = ("requested", "pending-signature")
_COLOURS: dict[Status, str] = {
    "requested": "cyan",
    "pending-signature": "yellow",
    "active": "green",
    "closed": "dim",
    "canceled": "dim",
}


def contract_id(text: str) -> UUID:
    """An id as it was typed.

    Raises:
        LitgoError: it is none.
    """
    from uuid import UUID

    try:
        return UUID(text)
    except ValueError:
        raise LitgoError(f"{text!r} is no id of a contract: `litgo contract list` shows them") from None


def list_contracts(
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Only those that a party has still to sign.")] = False,
    status: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(STATUSES)}; may be given several times. Default: all that have not ended.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    json: Json = False,
) -> None:
    """List contracts, the newest first: how each stands, where it is signed, who has signed, and what stands in the way.

    Example: `litgo contract list --unsigned`
    """
    from litgo_pipelines.casework import contracts

    with transaction() as connection:
        found = contracts.listed(connection, statuses=_statuses(status, unsigned=unsigned), unsigned=unsigned, most=limit)
    if json:
        typer.echo(as_json({"contracts": [{"reference": one.reference, **asdict(one)} for one in found]}))
    elif found:
        _print(found)
    else:
        typer.echo("There are no such contracts.")


def _statuses(given: Sequence[str] | None, *, unsigned: bool) -> tuple[Status, ...]:
    strange = [one for one in given or () if one not in STATUSES]
    if strange:
        raise LitgoError(f"no contract is {strange[0]!r}: --status takes {', '.join(STATUSES)}")
    return tuple(one for one in STATUSES if one in given) if given else _NOT_SIGNED if unsigned else _NOT_ENDED


def show(contract: Id, json: Json = False) -> None:
    """Show one contract with its signatures, and what is possible next.

    Example: `litgo contract show 7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11`
    """
    from litgo_pipelines.casework import contracts

    with transaction() as connection:
        found = contracts.read(connection, contract_id(contract))
        signed = contracts.signatures(connection, found.id)
    answer(json, {"reference": found.reference, **asdict(found), "signatures": signed}, *_told(found, signed))


def document(
    contract: Id,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where the PDF goes.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if there is one.")] = False,
    json: Json = False,
) -> None:
    """Write a contract's document to a file: as it went out to be signed, or as it would by now.

    Example: `litgo contract document 7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11 --output contrato.pdf`
    """
    from litgo_pipelines.casework import contracts
    from litgo_pipelines.casework.contract_documents import document_of, parties_of

    if output.exists() and not force:
        raise LitgoError(f"{output} exists: choose another name, or overwrite it with --force")
    with transaction() as connection:
        found = contracts.read(connection, contract_id(contract))
        parties = parties_of(connection, [found.id])[found.id]
        made = document_of(connection, found, parties, get_settings(), datetime.now(UTC))
    try:
        output.write_bytes(made.pdf)
    except OSError as error:
        raise LitgoError(f"the document cannot be written to {output}: {error.strerror}") from None
    written = {"file": str(output), "reference": made.reference, "sha256": made.sha256}
    answer(json, written, f"Wrote {made.reference} to {output} (SHA-256 {made.sha256}).")


def where(contract: Contract) -> str:
    """Where a contract is signed."""
    return {"docusign": "at DocuSign", "manual": "by hand", None: ""}[contract.signing_method]


def _told(found: Contract, signed: Sequence[Signature]) -> list[str]:
    facts = {
        "id": found.id,
        "case": found.case_id,
        "lawyer": found.lawyer_id,
        "client": found.client_id,
        "fees": ", ".join(f"{name} {value}" for name, value in (found.fee_model or {}).items()) or None,
        "requested": moment(found.created_at),
        "signed": where(found) or None,
        "envelope": found.envelope_id,
        "trouble": found.trouble,
        "next look": None if found.due_at is None else moment(found.due_at),
        "possible": found.possible,
        "ended": None if found.ended_at is None else moment(found.ended_at),
        "because": found.ended_because,
    }
    lines = [
        f"Contract {found.reference}: {found.status}",
        *(f"  {name:<10} {value}" for name, value in facts.items() if value is not None),
    ]
    for one in signed:
        evidence = "" if one.evidence_name is None else f", evidence {one.evidence_name} (SHA-256 {one.evidence_sha256})"
        lines.append(f"  {one.party:<10} signed {moment(one.signed_at)}, recorded by {one.actor}{evidence}")
    return lines


def _print(found: Sequence[Contract]) -> None:
    """An id that can be copied and the state, what else is known below; wide tables are cut where a terminal is narrow."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for one in found:
        place = f", {where(one)}" if where(one) and one.status in _NOT_SIGNED else ""
        console.print(Text.assemble((str(one.id), "bold"), "  ", (f"{one.status}{place}", _COLOURS[one.status])), soft_wrap=True)
        signed = [party for party, at in (("client", one.signed_client), ("lawyer", one.signed_lawyer)) if at is not None]
        facts = [one.reference, f"requested {moment(one.created_at)}", f"signed by {' and '.join(signed) or 'nobody'}"]
        for told in ("  ".join(facts), one.trouble):
            if told:
                console.print(Text(f"  {told}"), soft_wrap=True)
