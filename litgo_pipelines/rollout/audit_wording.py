"""Words and numbers of the auditor's report in Brazilian Portuguese: criteria, decisions, results, states. Pure.

Whole sections are in `audit_page`.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION
from litgo_pipelines.rollout.decisions import Action, Decision

_ZONE = ZoneInfo("America/Sao_Paulo")
_MINUS = "\N{MINUS SIGN}"

NONE: Final = "não registrado"

CRITERIA: Final = {
    "a": ("Área", "se a área do caso é a principal ou uma adicional do advogado"),
    "s": ("Casos semelhantes", "semelhança entre o caso e a experiência do advogado"),
    "t": ("Êxito", "taxa de êxito, suavizada para quem tem poucos casos"),
    "g": ("Proximidade", "distância entre o caso e o advogado, em relação ao raio pedido"),
    "q": ("Qualificação", "avaliação do currículo"),
    "u": ("Tempo de resposta", "tempo habitual de resposta do advogado, em relação à urgência do caso"),
    "r": ("Avaliações", "avaliações dadas por clientes"),
    "c": ("Relacionamento", "habilidades de relacionamento com o cliente"),
}
"""Each feature's name and what it measures."""

PARTS: Final = {
    "train": "treinamento",
    "embargo": "intervalo de segurança (não usado)",
    "calibration": "calibração",
    "held_out": "avaliação (reservada)",
}

OUTCOMES: Final = {"lost": "causa perdida", "declined": "oferta recusada", "accepted": "oferta aceita", "won": "causa ganha"}

CALIBRATIONS: Final = {
    "platt": "curva logística sobre a pontuação (Platt)",
    "isotonic": "curva crescente por degraus sobre a pontuação (isotônica)",
    "features": "modelo próprio de aceitação, crescente em cada critério",
}

VERDICTS: Final = {"pass": "aprovado", "fail": "reprovado", "insufficient data": "dados insuficientes"}

ACTIONS: Final[dict[Action, str]] = {
    "gate": "comparação prévia",
    "promotion": "promoção",
    "rollback": "retorno a outra versão",
    "experiment queued": "experimento na fila",
    "experiment started": "início do experimento",
    "experiment ramped": "ampliação do experimento",
    "experiment read": "leitura do experimento",
    "experiment ended": "fim do experimento",
    "watch": "acompanhamento em uso",
    "alias moved": "mudança feita no registro de modelos",
    "version deleted": "versão excluída do registro de modelos",
    "proven": "comprovação em uso",
    "approval": "aprovação",
    "freeze": "congelamento",
    "unfreeze": "fim do congelamento",
    "annotation": "anotação",
}

RESULTS: Final = {
    **VERDICTS,
    "superseded": "sem efeito: outra mudança veio antes",
    "refused": "negada",
    "done": "feita",
    "held": "retida pelo congelamento",
    "followed": "acompanhada",
    "override": "acompanhada, contra as regras",
    "waits": "aguarda",
    "start": "iniciado",
    "ramp": "ampliado",
    "stay": "mantido",
    "promote": "promover",
    "harm": "dano",
    "inconclusive": "inconclusivo",
    "stopped": "interrompido",
    "replaced": "substituído na fila",
    "go on": "continuar",
    "healthy": "saudável",
    "degraded": "degradado",
    "proven": "comprovada",
    "not yet": "ainda não",
    "approved": "aprovada",
    "frozen": "congelado",
    "lifted": "liberado",
    "noted": "anotado",
}
"""What came of a decision. One that is not here is told as it was recorded."""

STATES: Final = {"unproven": "ainda não comprovada em uso", "proven": "comprovada em uso", "blocked": "bloqueada"}

EXPERIMENTS: Final = {
    "waiting": "na fila",
    "running": "em andamento",
    "approval": "aguarda a aprovação de uma pessoa",
    "ended": "encerrado",
}
AT_THE_END: Final = {
    "keep": "manter a versão em uso",
    "promote-if-not-inferior": "promover a nova versão, se comprovadamente não for inferior",
}
MODES: Final = {"ab": "dois grupos de clientes (teste A/B)", "interleaving": "listas intercaladas das duas versões"}
VARIANTS: Final = {"control": "controle", "treatment": "tratamento", "interleaved": "listas intercaladas"}


def number(value: float | None, digits: int = 0) -> str:
    """A number as it is written in Brazil: 1.234,5, with a true minus sign."""
    if value is None:
        return NONE
    plain = f"{value:,.{digits}f}".translate(str.maketrans(",.", ".,"))
    return plain.removeprefix("-") if not plain.strip("-0,.") else plain.replace("-", _MINUS)


def signed(value: float | None, digits: int) -> str:
    """A difference with its sign: +0,060."""
    told = number(value, digits)
    return f"+{told}" if value is not None and value > 0 else told


def significant(value: float) -> str:
    """A number with three digits that count: 131, 0,284, 1.230."""
    digits = 0 if value == 0 else max(0, 2 - math.floor(math.log10(abs(value))))
    return number(value, digits)


def percent(share: float | None, digits: int = 0) -> str:
    """A share as a percentage: .279 is 28%, or 27,9% with one digit."""
    return NONE if share is None else f"{number(100 * share, digits)}%"


def day(moment: datetime | None) -> str:
    """The date in São Paulo: 12/03/2026."""
    return NONE if moment is None else f"{moment.astimezone(_ZONE):%d/%m/%Y}"


def day_and_hour(moment: datetime | None) -> str:
    """Date and time in São Paulo: 12/03/2026, 14h05."""
    return NONE if moment is None else f"{moment.astimezone(_ZONE):%d/%m/%Y, %Hh%M}"


def lasted(time: timedelta) -> str:
    """A length of time: 3 dias, 1 dia, 5 horas."""
    if time >= timedelta(days=1):
        return counted(time.days, "dia", "dias")
    return counted(round(time / timedelta(hours=1)), "hora", "horas")


def counted(count: int, one: str, many: str) -> str:
    """A count with its noun: 1 pedido, 1.200 pedidos."""
    return f"{number(count)} {one if count == 1 else many}"


def listed(words: list[str]) -> str:
    """Words in a row: a, b e c."""
    return " e ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def version(number_or_name: str | None) -> str:
    """A version, or the hand weights where there is none."""
    if number_or_name is None or number_or_name == HAND_WEIGHTS_VERSION:
        return "pesos manuais"
    return f"versão {number_or_name}"


def result(decision: Decision) -> str:
    """What came of a decision."""
    if decision.result is None:
        return "pretendida"
    return RESULTS.get(decision.result, decision.result)


def versions(decision: Decision) -> str:
    """From which version to which; empty where a decision is about none."""
    if decision.from_version is None and decision.to_version is None:
        return ""
    if decision.from_version == decision.to_version:
        return version(decision.to_version)
    return f"{version(decision.from_version)} → {version(decision.to_version)}"
