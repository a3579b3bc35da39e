"""`litgo fairness explain`: why a lawyer was or was not offered a case, on the terminal, as JSON, or as a letter.

What was recorded is read in `casework.explanations`; words are found in `casework.wording` and `casework.letters`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from litgo_pipelines.settings import LitgoError, Settings, get_settings

if TYPE_CHECKING:
    from rich.console import Console
    from sqlalchemy import Connection

    from litgo_pipelines.casework.findings import AnsweredRequest, Candidate, CaseExplanation, Decision, LawyerExplanation, Request

_DAYS = 30


class CannotExplain(LitgoError):
    """What was asked does not go together, or the letter cannot be written where it should."""


def explain(
    lawyer: Annotated[str | None, typer.Option(metavar="ID", help="A lawyer's id.")] = None,
    oab: Annotated[str | None, typer.Option(metavar="NUMBER", help="A lawyer's OAB number, in any spelling.")] = None,
    case: Annotated[str | None, typer.Option(metavar="ID", help="A case's id: alone, or with a lawyer for that one decision.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=180, help=f"Length of the period until now; {_DAYS} unless told.")] = None,
    letter: Annotated[bool, typer.Option("--letter", help="Write the reply to a request for review (LGPD, art. 20).")] = False,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the letter goes; by default it is printed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of `--out`.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that was recorded as JSON, numbers unrounded: for the house.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Decisions shown of each kind, newest first; JSON has all.")] = 20,
) -> None:
    """Say from the record why a lawyer was or was not offered a case.

    Texts are in Portuguese, for the lawyer: of others they tell bands of results alone. Nothing is recomputed. The record is kept for
    180 days. A letter lists what is recorded and counts the rest by month and area; whoever asks for the list gets it with a high
    `--limit`. `--json` has the exact results of others and `--case` alone lists everybody compared, with names: both are for the
    house, not for a lawyer.

    Example: `litgo fairness explain --oab "OAB/SP 123.456" --days 60 --letter --out resposta.md`
    """
    _require_one_question(lawyer, oab, case, days)
    _require_one_answer(lawyer or oab, letter=letter, out=out, force=force, as_json=as_json)
    lawyer_id, case_id = _as_id(lawyer, "--lawyer"), _as_id(case, "--case")
    settings, as_of = get_settings(), datetime.now(UTC)
    found = _read(lawyer_id, oab, case_id, as_of, days or _DAYS)
    if as_json:
        typer.echo(json.dumps(asdict(found), default=_plain, ensure_ascii=False, indent=2))
    elif letter:
        _deliver(_written(found, settings, as_of), out)
    else:
        _show(found, as_of, limit)


def _require_one_question(lawyer: str | None, oab: str | None, case: str | None, days: int | None) -> None:
    if lawyer is None and oab is None and case is None:
        raise CannotExplain("say whom or what to explain: --lawyer ID, --oab NUMBER or --case ID")
    if lawyer is not None and oab is not None:
        raise CannotExplain("--lawyer and --oab both name a lawyer: give one of them")
    if case is not None and days is not None:
        raise CannotExplain("--case takes every request for the case, however old: leave --days out")


def _require_one_answer(lawyer: str | None, *, letter: bool, out: Path | None, force: bool, as_json: bool) -> None:
    if letter and lawyer is None:
        raise CannotExplain("a letter needs an addressee: give --lawyer ID or --oab NUMBER")
    if letter and as_json:
        raise CannotExplain("--letter and --json are two answers: ask for one at a time")
    if out is not None and not letter:
        raise CannotExplain("--out is where a letter goes: add --letter")
    if force and out is None:
        raise CannotExplain("--force overwrites the file of --out: name it")
    if out is not None:
        _require_place(out, force=force)


def _require_place(out: Path, *, force: bool) -> None:
    """Before anything is read, so that a mistake costs no waiting."""
    try:
        if out.is_dir():
            raise CannotExplain(f"{out} is a folder: name a file in it")
        if not out.parent.is_dir():
            raise CannotExplain(f"the folder {out.parent} does not exist: make it first")
        if out.exists() and not force:
            raise CannotExplain(f"{out} exists: choose another name, or overwrite it with --force")
    except OSError as error:
        raise CannotExplain(f"{out} cannot be used: {error.strerror}") from None


def _as_id(text: str | None, option: str) -> UUID | None:
    if text is None:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise CannotExplain(f"{option} {text!r} is no id: ids look like 7e0b3f6e-6d4c-4f43-9a67-0d1d5c3a2b11") from None


def _read(lawyer_id: UUID | None, oab: str | None, case_id: UUID | None, as_of: datetime, days: int) -> LawyerExplanation | CaseExplanation:
    from litgo_pipelines.casework import explanations
    from litgo_pipelines.cli.marketplace import open_marketplace

    with open_marketplace() as marketplace, marketplace.snapshot() as connection:
        if oab is not None:
            lawyer_id = explanations.find_lawyer(connection, oab)
        return _explained(connection, marketplace.settings, lawyer_id, case_id, as_of, days)


def _explained(
    connection: Connection, settings: Settings, lawyer_id: UUID | None, case_id: UUID | None, as_of: datetime, days: int
) -> LawyerExplanation | CaseExplanation:
    from litgo_pipelines.casework.explanations import explain_case, explain_decision, explain_lawyer

    least = settings.litgo_fairness_min_lawyers
    if lawyer_id is None:
        assert case_id is not None
        return explain_case(connection, case_id)
    if case_id is not None:
        return explain_decision(connection, lawyer_id, case_id, as_of, least_peers=least)
    return explain_lawyer(connection, lawyer_id, as_of - timedelta(days=days), as_of, least_peers=least)


def _plain(value: Any) -> str:
    """Ids and times as JSON has them."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _written(found: LawyerExplanation | CaseExplanation, settings: Settings, as_of: datetime) -> str:
    from litgo_pipelines.casework.findings import LawyerExplanation
    from litgo_pipelines.casework.letters import Office, review_letter

    assert isinstance(found, LawyerExplanation)
    office = Office(
        settings.litgo_controller_name, settings.litgo_dpo_contact, settings.litgo_new_lawyer_offers, settings.litgo_exploration
    )
    return review_letter(found, office, as_of)


def _deliver(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CannotExplain(f"the letter cannot be written to {out}: {error.strerror}") from None
    typer.echo(f"Carta gravada em {out}.")


def _show(found: LawyerExplanation | CaseExplanation, as_of: datetime, limit: int) -> None:
    from rich.console import Console

    from litgo_pipelines.casework.findings import CaseExplanation

    console = Console(highlight=False)
    if isinstance(found, CaseExplanation):
        _show_case(console, found, as_of, limit)
    else:
        _show_lawyer(console, found, as_of, limit)


def _show_lawyer(console: Console, found: LawyerExplanation, as_of: datetime, limit: int) -> None:
    from litgo_pipelines.casework import wording as say

    oab = f" ({say.oab(found.lawyer.oab_number)})" if found.lawyer.oab_number else ""
    _line(console, f"{say.plain(found.lawyer.name)}{oab}", style="bold")
    if found.case_id is None:
        _line(console, f"Ofertas de casos de {say.day(found.since)} a {say.day(found.until)}, com os números registrados em cada decisão.")
    else:
        _line(console, f"Oferta do caso {found.case_id}, com os números registrados na decisão.")
    if found.record_since is None or found.record_since > found.since:
        _line(console, _record_note(found), style="yellow")
    _summary(console, found)
    for heading, decisions in say.grouped(found.decisions):
        console.print()
        _line(console, f"{heading[0].upper()}{heading[1:]} ({say.number(len(decisions))})", style="bold")
        for decision in decisions[:limit]:
            _decision(console, decision, as_of)
        _rest(console, len(decisions) - limit)


def _record_note(found: LawyerExplanation) -> str:
    from litgo_pipelines.casework import wording as say
    from litgo_pipelines.casework.findings import KEPT_DAYS

    if found.record_since is None:
        return "Ainda não há nenhum pedido registrado."
    return f"O registro começa em {say.day(found.record_since)}; ele é mantido por {KEPT_DAYS} dias."


def _summary(console: Console, found: LawyerExplanation) -> None:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    figures = list(_figures(found))
    for what, figure in figures:
        indent = len(what) - len(what.lstrip())
        table.add_row(Padding(Text(what.lstrip()), (0, 0, 0, indent)), Text(figure))
    if figures:
        console.print()
        console.print(table)
    if not found.decisions:
        _line(console, "Não há, no registro, decisão sobre esta pessoa.")


def _figures(found: LawyerExplanation) -> Iterator[tuple[str, str]]:
    if found.case_id is None:
        yield from _counts(found)
    yield from _loads(found)


def _counts(found: LawyerExplanation) -> Iterator[tuple[str, str]]:
    from litgo_pipelines.casework import wording as say
    from litgo_pipelines.casework.findings import COMPARED, Finding

    summary = found.summary
    yield "Pedidos registrados, de todas as áreas", say.number(summary.requests)
    yield "Pedidos em que participou da comparação", say.number(summary.compared)
    if summary.offered_share is not None:
        of = f"{say.number(summary.offered)} de {say.number(summary.compared_for_offers)} ({say.percent(summary.offered_share, 1)})"
        yield "  casos oferecidos, entre os pedidos com ofertas", of
    for heading, decisions in say.grouped(found.decisions):
        if decisions[0].finding in COMPARED - {Finding.OFFERED}:
            yield f"  {heading}", say.number(len(decisions))
    yield "Pedidos em que não participou", say.number(summary.requests - summary.compared)
    for finding in Finding:
        if finding not in COMPARED and summary.by_finding[finding]:
            yield f"  {say.finding(finding)}", say.number(summary.by_finding[finding])


def _loads(found: LawyerExplanation) -> Iterator[tuple[str, str]]:
    from litgo_pipelines.casework import wording as say

    if found.load:
        first, last = found.load[0], found.load[-1]
        if len(found.load) > 1:
            yield f"Carga em {say.day(first.as_of)}, pela apuração diária", say.percent(first.utilisation)
        yield (
            f"Carga em {say.day(last.as_of)}: {say.counted(last.cases_30d, 'caso', 'casos')} para uma capacidade mensal de "
            f"{last.capacidade_mensal}",
            say.percent(last.utilisation),
        )
    peers = found.peers
    if peers.utilisation is not None and peers.offers is not None:
        yield f"  mediana de {say.number(peers.lawyers)} advogados da área ({say.plain(peers.area)})", say.percent(peers.utilisation)
        yield "  mediana de casos oferecidos a cada um deles", say.number(peers.offers, 0 if peers.offers == int(peers.offers) else 1)


def _decision(console: Console, decision: Decision, as_of: datetime) -> None:
    from litgo_pipelines.casework import wording as say

    request = decision.request
    _line(
        console,
        f"{say.day_and_hour(request.at)}  caso {say.case_reference(request.case_id)}  {say.plain(request.area)}",
        style="cyan",
        indent=2,
    )
    for told in _details(decision, as_of):
        _line(console, told, indent=4)


def _details(decision: Decision, as_of: datetime) -> Iterator[str]:
    from litgo_pipelines.casework import wording as say
    from litgo_pipelines.casework.findings import Finding

    place = [] if decision.position is None else [f"{decision.position}º lugar na lista"]
    offer = say.offer_told(decision, as_of)
    if place or offer:
        yield "; ".join([*place, *([offer] if offer else [])])
    if decision.reason in ("filled", "explored"):
        yield say.reason(decision)
    if decision.numbers is not None:
        yield say.sum_of(decision.numbers)
    if decision.finding in (Finding.NOT_SHOWN, Finding.BEYOND_RECORD):
        yield "; ".join(say.bounds(decision))
    if decision.features is not None:
        yield f"critérios, de 0 a 100: {say.criteria(decision.features)}"


def _show_case(console: Console, found: CaseExplanation, as_of: datetime, limit: int) -> None:
    from litgo_pipelines.casework import wording as say

    _line(console, f"Caso {found.case_id} ({say.plain(found.area)}), de {say.day_and_hour(found.created_at)}", style="bold")
    _line(console, "Para uso interno: contém dados de vários advogados.", style="yellow")
    if not found.requests:
        _line(console, "Não há nenhum pedido registrado para este caso.")
    for answered in found.requests:
        console.print()
        _request(console, answered.request)
        _candidates(console, answered.candidates[:limit], as_of)
        _rest(console, len(answered.candidates) - limit)
        _beyond(console, answered)


def _request(console: Console, request: Request) -> None:
    from litgo_pipelines.casework import wording as say

    kind = "com envio de ofertas" if request.offers_made else "sem envio de ofertas"
    compared = "não registrados" if request.eligible is None else say.number(request.eligible)
    price = "não registrado" if request.price is None else f"{say.points(request.price)} pontos para 100% de carga"
    last = "não houve" if request.cutoff is None else say.points(request.cutoff)
    drawn = "; ordem entre equivalentes sorteada" if request.exploration else ""
    _line(console, f"Pedido de {say.day_and_hour(request.at)}, {kind}", style="bold")
    _line(console, f"comparados: {compared}; desconto: {price}; resultado do último incluído: {last}{drawn}", indent=2)
    _line(console, f"modelo: {say.plain(request.model_version or 'não registrado')}; pedido {request.id}", indent=2)


def _candidates(console: Console, candidates: Sequence[Candidate], as_of: datetime) -> None:
    from litgo_pipelines.casework import wording as say

    for one in candidates:
        place = f"{one.position}º" if one.position is not None else " -"
        name = "cadastro excluído" if one.name is None else say.plain(one.name)
        oab = f", {say.oab(one.oab_number)}" if one.oab_number else ""
        _line(console, f"{place} {name}{oab}  {one.lawyer_id}", style="cyan" if one.outcome == "shown" else None, indent=2)
        why = "motivo já eliminado do registro" if one.reason is None else say.reason_of(one.reason, one.numbers)
        offer = f"; oferta: {say.offer_state(one.offer, as_of)}" if one.offer is not None else ""
        _line(console, f"{why}{offer}", indent=5)
        _line(console, say.sum_of(one.numbers), indent=5)


def _beyond(console: Console, answered: AnsweredRequest) -> None:
    from litgo_pipelines.casework import wording as say

    if answered.beyond is None:
        _line(console, "O registro dos demais comparados já foi eliminado.", indent=2)
    elif answered.beyond:
        least = answered.request.least_recorded
        bound = "" if least is None else f", com resultado de no máximo {say.points(least)}"
        _line(console, f"Mais {say.counted(answered.beyond, 'advogado comparado', 'advogados comparados')}, sem registro{bound}.", indent=2)


def _rest(console: Console, more: int) -> None:
    from litgo_pipelines.casework import wording as say

    if more > 0:
        _line(console, f"… e mais {say.number(more)}: veja com --limit", style="dim", indent=2)


def _line(console: Console, text: str, *, style: str | None = None, indent: int = 0) -> None:
    """Text as it is, nothing in it taken as markup, wrapped inside its indent."""
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(text, style=style or ""), (0, 0, 0, indent), expand=False))
