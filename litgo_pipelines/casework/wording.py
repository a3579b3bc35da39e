"""Recorded decisions in Portuguese words: numbers, dates, reasons, criteria. Pure; what terminal and letters share.

What was recorded is read in `explanations`; whole letters are written in `letters`. Shares are told in points of a hundred, so that a
reader can add them up.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

from litgo_pipelines.casework.equity_run import TIMEZONE
from litgo_pipelines.casework.findings import Decision, Finding, Numbers, Offer, band_of
from litgo_pipelines.casework.oab import parse_oab
from litgo_pipelines.equity.allocation import BAND
from litgo_pipelines.ranking.features import PRIMARY_AREA_MATCH

_MONTHS = "janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro".split()
_VISIBLE = 0.0005
_MINUS = "\N{MINUS SIGN}"

SHOWN_REASONS: Final = {
    "value": "inclusão pelo resultado",
    "explored": "inclusão em pedido cuja ordem, entre resultados equivalentes, foi sorteada",
    "filled": "inclusão para completar a lista: todos os que tinham espaço já estavam nela, e vieram em seguida os de menor carga",
}
NOT_SHOWN_REASONS: Final = {
    "below_cutoff": "resultado abaixo do obtido pelo último incluído",
    "waited_less": "resultado equivalente ao do último incluído, mas outros esperavam há mais tempo por uma oferta",
    "tied": "resultado equivalente ao do último incluído, com o mesmo tempo de espera por uma oferta; decidiu a menor carga e, persistindo "
    "o empate, um número calculado a partir dos códigos internos do caso e do advogado",
    "not_drawn": "resultado equivalente ao do último incluído, em pedido cuja ordem foi sorteada",
    "full": "capacidade mensal tomada: mais uma oferta a ultrapassaria",
}
OUTRANKED: Final = "outros ficaram à frente; o registro da época não guardou o resultado final"
"""`below_cutoff` of a record without values, in which losing a turn was not told from a lower value."""
UNCERTAIN: Final = "o registro não permite dizer se faltou resultado, vez ou capacidade"
"""Of somebody beyond the record who does not surely lie in a lower band."""

_FINDINGS = {
    Finding.OFFERED: "casos oferecidos",
    Finding.SHOWN: "nome apresentado ao cliente, em pedidos sem envio de ofertas",
    Finding.NOT_SHOWN: "casos não oferecidos",
    Finding.BEYOND_RECORD: "casos não oferecidos: houve comparação, segundo o cadastro atual, mas fora dos melhores resultados, os únicos "
    "que ficam registrados",
    Finding.ALREADY_OFFERED: "casos que já lhe tinham sido oferecidos",
    Finding.JOINED_LATER: "pedidos anteriores à entrada na plataforma",
    Finding.NO_RECORD: "registro da comparação já eliminado",
    Finding.OTHER_AREA: "áreas em que não atua, segundo o cadastro atual",
    Finding.INACTIVE: "conta não ativa, segundo o cadastro atual",
    Finding.ABSENT: "ausência declarada no momento do pedido, segundo o cadastro atual",
    Finding.NOT_COMPARED: "fora da comparação na época, por motivo que o cadastro atual não mostra",
}
_NOT_PRESENTED = "nome não apresentado ao cliente, em pedidos sem envio de ofertas"
_FEATURES = {
    "proximity": "proximidade",
    "case_similarity": "experiência com casos semelhantes",
    "success_rate": "taxa de êxito",
    "qualification": "qualificação",
    "reviews": "avaliações de clientes",
    "response_time": "tempo de resposta",
    "soft_skills": "relacionamento com o cliente",
}
_OFFERS = {
    "pending": "aguardando resposta",
    "interested": "interesse manifestado",
    "declined": "recusada",
    "expired": "prazo encerrado sem resposta",
    "closed": "procura concluída antes da resposta",
}
_DECLINES = {
    "capacity": "falta de disponibilidade",
    "conflict": "conflito de interesses",
    "not_interested": "falta de interesse",
    "fee": "honorários",
    "other": "outro motivo",
}


def number(value: float, digits: int = 0) -> str:
    """A number as it is written in Brazil: 1.234,5, with a true minus sign."""
    plain = f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,"))
    return plain.removeprefix("-") if not plain.strip("-0,.") else plain.replace("-", _MINUS)


def points(share: float) -> str:
    """A share in points of a hundred: .612 is 61,2."""
    return number(100 * share, 1)


def percent(share: float, digits: int = 0) -> str:
    """A share as a percentage: .279 is 28%, or 27,9% with one digit."""
    return f"{number(100 * share, digits)}%"


def day(moment: datetime) -> str:
    """The date in São Paulo: 12/03/2026."""
    return f"{moment.astimezone(TIMEZONE):%d/%m/%Y}"


def day_and_hour(moment: datetime) -> str:
    """Date and time in São Paulo: 12/03/2026, 14h05."""
    return f"{moment.astimezone(TIMEZONE):%d/%m/%Y, %Hh%M}"


def month(moment: datetime) -> str:
    """The month in São Paulo: março de 2026."""
    local = moment.astimezone(TIMEZONE)
    return f"{_MONTHS[local.month - 1]} de {local.year}"


def long_date(moment: datetime) -> str:
    """The date in São Paulo as letters bear it: 12 de março de 2026, and 1º de março."""
    local = moment.astimezone(TIMEZONE)
    return f"{'1º' if local.day == 1 else local.day} de {month(moment)}"


def case_reference(case_id: UUID) -> str:
    """A short reference of a case: the first eight characters of its id."""
    return str(case_id)[:8]


def oab(registered: str) -> str:
    """A registered OAB number as it is written in Brazil, OAB/SP 123.456; one that cannot be read stays as it is."""
    found = parse_oab(registered)
    return f"OAB {plain(registered)}" if found is None else str(found)


def plain(text: str) -> str:
    """Text from the database on one line, without characters that a terminal would obey."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def listed(words: list[str]) -> str:
    """Words in a row: a, b e c."""
    return " e ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def counted(count: int, one: str, many: str) -> str:
    """A count with its noun: 1 pedido, 1.200 pedidos."""
    return f"{number(count)} {one if count == 1 else many}"


def band(value: float) -> str:
    """The value band that a value lies in, in points: de 24 a 26. Values of one band count as equal."""
    low = band_of(value)
    return f"de {number(100 * BAND * low)} a {number(100 * BAND * (low + 1))}"


def ceiling(value: float) -> str:
    """The upper edge of a value's band, in points: a bound that gives nobody's own value away."""
    return number(100 * BAND * (band_of(value) + 1))


def finding(what: Finding) -> str:
    """What a finding means, as the heading of the cases it was made in."""
    return _FINDINGS[what]


def reason(decision: Decision) -> str:
    """Why a recorded candidate was or was not on the list; for those not recorded what the finding means."""
    if decision.reason is None:
        return _FINDINGS[decision.finding]
    return reason_of(decision.reason, decision.numbers)


def reason_of(recorded: str, numbers: Numbers | None) -> str:
    """What a recorded reason means. Records without a value do not tell a lower one from a lost turn."""
    if recorded == "below_cutoff" and (numbers is None or numbers.value is None):
        return OUTRANKED
    return (SHOWN_REASONS | NOT_SHOWN_REASONS)[recorded]


def sum_of(numbers: Numbers) -> str:
    """How the result came about: compatibilidade 61,2 - desconto 10,0 (carga de 20%) + acréscimo inicial 5,0 = resultado 56,2."""
    told = f"compatibilidade {points(numbers.score)}"
    load = "carga não registrada" if numbers.load is None else f"carga de {percent(numbers.load)}"
    if numbers.discount is None or numbers.value is None:
        return f"{told}; {load}; resultado final não registrado"
    told += f" {_MINUS} desconto {points(numbers.discount)} ({load})"
    if numbers.bonus is not None and numbers.bonus >= _VISIBLE:
        told += f" + acréscimo inicial {points(numbers.bonus)}"
    return f"{told} = resultado {points(numbers.value)}"


def criteria(features: dict[str, float | None]) -> str:
    """The criteria of somebody who was shown, each of 0 to 100: área principal; proximidade 92; …"""
    match = features["area_match"]
    area = "sem informação sobre a área" if match is None else "área principal" if match >= PRIMARY_AREA_MATCH else "área adicional"
    told = [f"{name} {_level(features[key])}" for key, name in _FEATURES.items()]
    return "; ".join([area, *told])


def criteria_names() -> list[str]:
    """The criteria other than the area."""
    return list(_FEATURES.values())


def _level(value: float | None) -> str:
    return "sem informação" if value is None else number(100 * value)


def offer_told(decision: Decision, as_of: datetime) -> str | None:
    """What came of the offer that a request made, or of the one before it; None where there was none."""
    if decision.offer is None:
        return None
    sent = f" de {day(decision.offer.sent_at)}" if decision.finding is Finding.ALREADY_OFFERED else ""
    return f"oferta{sent}: {offer_state(decision.offer, as_of)}"


def offer_state(offer: Offer, as_of: datetime) -> str:
    """Where an offer stands: recusada em 10/03/2026 (honorários)."""
    if offer.status == "pending" and offer.expires_at <= as_of:
        return _OFFERS["expired"]
    if offer.status == "closed" and offer.responded_at is not None:
        return f"{_OFFERS['interested']} em {day(offer.responded_at)}; oferta encerrada"
    told = _OFFERS[offer.status]
    if offer.responded_at is not None and offer.status in ("interested", "declined"):
        told += f" em {day(offer.responded_at)}"
    return told if offer.decline_reason is None else f"{told} ({_DECLINES[offer.decline_reason]})"


def bounds(decision: Decision) -> Iterator[str]:
    """What a lawyer who was not shown may know of the others' results: bands and ceilings, nobody's own value."""
    request = decision.request
    beyond = decision.finding is Finding.BEYOND_RECORD
    if beyond and request.least_recorded is not None:
        yield f"resultado de no máximo {ceiling(request.least_recorded)}"
    yield "nenhum incluído tinha espaço" if request.cutoff is None else f"último incluído na faixa {band(request.cutoff)}"
    if beyond and not request.beyond_are_lower:
        yield UNCERTAIN


def grouped(decisions: Iterable[Decision]) -> list[tuple[str, list[Decision]]]:
    """Decisions of one meaning together, under what they have in common: the offered first, then those compared, then the others."""
    found: dict[tuple[int, str], list[Decision]] = {}
    order = list(Finding)
    for one in decisions:
        found.setdefault((order.index(one.finding), _heading(one)), []).append(one)
    return [(heading, found[place, heading]) for place, heading in sorted(found)]


def _heading(decision: Decision) -> str:
    if decision.finding is not Finding.NOT_SHOWN:
        return finding(decision.finding)
    return f"{finding(decision.finding) if decision.request.offers_made else _NOT_PRESENTED}: {reason(decision)}"
