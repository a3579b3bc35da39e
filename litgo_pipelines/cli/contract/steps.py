"""`litgo contract check`, `sign`, `retake`, `cancel` and `close`: what a person does about a contract."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from litgo_pipelines.cli.common import By, Json, Reason, answer, name_of, transaction
from litgo_pipelines.cli.contract.listing import Id, contract_id
from litgo_pipelines.settings import LitgoError, SettingsError, get_settings

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy import Connection

    from litgo_pipelines.casework.contracts import Contract


def check(
    contract: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Id of a contract; without it all that DocuSign is asked about.")
    ] = None,
    json: Json = False,
) -> None:
    """Have the next run look at a contract, or at all that wait for DocuSign, at once; else envelopes are looked at ever more rarely.

    Example: `litgo contract check 7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11`, then `litgo run process_contracts`
    """
    from litgo_pipelines.casework import contracts

    which = None if contract is None else contract_id(contract)
    with transaction() as connection:
        count = contracts.look_now(connection, which, at=datetime.now(UTC))
    told = f"Due at once: {count} contract{'' if count == 1 else 's'}."
    answer(json, {"contracts": count}, f"{told} Next: litgo run process_contracts" if count else told)


def sign(
    contract: Id,
    party: Annotated[Literal["client", "lawyer"], typer.Option("--party", help="Who signed.")],
    evidence: Annotated[Path, typer.Option("--evidence", metavar="FILE", help="The signed document, such as a scan; it is kept.")],
    by: By = None,
    json: Json = False,
) -> None:
    """Record that a party signed by hand. Once both have, the contract is active and both are told.

    The same file again changes nothing; another one is refused, for nobody signs twice.

    Example: `litgo contract sign 7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11 --party client --evidence scan.pdf`
    """
    from litgo_pipelines.casework import contracts

    which, actor = contract_id(contract), name_of(by)
    try:
        shown = contracts.Evidence(evidence.name, evidence.read_bytes())
    except OSError as error:
        raise LitgoError(f"the evidence {evidence} cannot be read: {error.strerror}") from None
    with transaction() as connection:
        found = contracts.sign(connection, which, party, evidence=shown, actor=actor, at=datetime.now(UTC))
    missing = [name for name, at in (("client", found.signed_client), ("lawyer", found.signed_lawyer)) if at is None]
    rest = f"the {missing[0]} has still to sign" if missing else "it is signed by both parties"
    answer(json, found, f"Contract {found.reference} is {found.status}: {rest}.")


def retake(
    contract: Annotated[str | None, typer.Argument(metavar="[ID]", help="Id of a contract.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All contracts that wait for manual signatures and nobody has signed yet.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Even where DocuSign cannot be used at the moment.")] = False,
    json: Json = False,
) -> None:
    """Take contracts that were to be signed by hand back to DocuSign, while nobody has signed; or one whose envelope DocuSign has lost.

    They are sent within a minute, and then the parties are told. DocuSign is tried first: where it cannot be used nothing is taken back,
    for it would come back to manual signature with the next run.

    Example: `litgo contract retake --all`
    """
    if (contract is None) != every:
        raise LitgoError("say which: the ID of one contract, or --all")
    _require_docusign(force=force)
    with transaction() as connection:
        which = [contract_id(contract)] if contract is not None else _unsigned(connection)
        taken = [one for one in (_retaken(connection, found, skip=every) for found in which) if one is not None]
    answer(json, {"contracts": taken}, f"Taken back to DocuSign: {len(taken)} contract{'' if len(taken) == 1 else 's'}.")


def _require_docusign(*, force: bool) -> None:
    from litgo_pipelines.cli.marketplace import open_marketplace
    from litgo_pipelines.integrations.calls import VendorRefused, VendorUnavailable
    from litgo_pipelines.integrations.docusign import DocuSign
    from litgo_pipelines.marketplace.call_ledger import PostgresCallLedger

    if get_settings().docusign_account_id is None:
        raise LitgoError("DocuSign is not configured: set DOCUSIGN_ACCOUNT_ID and its key first (litgo settings)")
    if force:
        return
    with open_marketplace() as marketplace:
        try:
            docusign = DocuSign.of(marketplace.settings, PostgresCallLedger(marketplace.engine))
            assert docusign is not None
            docusign.try_out()
        except (VendorUnavailable, VendorRefused, SettingsError) as error:
            raise LitgoError(f"nothing is taken back, for DocuSign cannot be used: {error}; mend that first, or say --force") from None


def _unsigned(connection: Connection) -> list[UUID]:
    from litgo_pipelines.casework import contracts

    found = contracts.listed(connection, statuses=["pending-signature"], unsigned=True, most=1_000_000)
    waiting = [one for one in found if one.signing_method == "manual" and one.signed_client is None and one.signed_lawyer is None]
    # Always in one order, so that two who do this at once wait for each other.
    return sorted(one.id for one in waiting)


def _retaken(connection: Connection, which: UUID, *, skip: bool) -> Contract | None:
    """The contract; None where somebody has signed it meanwhile and it may be skipped."""
    from litgo_pipelines.casework import contracts
    from litgo_pipelines.casework.refusals import NotAllowed

    try:
        return contracts.retake(connection, which, at=datetime.now(UTC))
    except NotAllowed:
        if skip:
            return None
        raise


def cancel(contract: Id, reason: Reason, by: By = None, json: Json = False) -> None:
    """Cancel a contract that is not active yet: its case is open again, and both parties are told. An envelope that is out is voided.

    Example: `litgo contract cancel 7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11 --reason "the client gave up"`
    """
    from litgo_pipelines.casework import contracts

    with transaction() as connection:
        found = contracts.cancel(connection, contract_id(contract), reason=reason, actor=name_of(by), at=datetime.now(UTC))
    rest = " Its envelope at DocuSign is voided within a minute or two." if found.envelope_id is not None else ""
    answer(json, found, f"Contract {found.reference} is canceled; its case is open again.{rest}")


def close(contract: Id, json: Json = False) -> None:
    """End an active contract, and its case: the work is done.

    Example: `litgo contract close 7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11`
    """
    from litgo_pipelines.casework import contracts

    with transaction() as connection:
        found = contracts.close(connection, contract_id(contract), at=datetime.now(UTC))
    answer(json, found, f"Contract {found.reference} is closed, and so is its case.")
