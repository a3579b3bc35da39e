"""What people are told of offers: a lawyer that there is one, the operators that nobody is left for a case. Pure.

A lawyer is told of the area, the time and a reference, nothing of the client: a message lies on a locked telephone's screen. Who
delivers it, and how, is not known here.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from litgo_pipelines.casework.wording import case_reference, counted, day_and_hour, plain


class Message(NamedTuple):
    """A subject of one line, and a text."""

    subject: str
    body: str


def new_offer(case_id: UUID, area: str, urgency_h: int, expires_at: datetime) -> Message:
    """A lawyer is told of an offer, in Portuguese.

    Args:
        urgency_h: hours within which the client needs an answer.
    """
    return Message(
        f"Nova oferta de caso: {plain(area)}",
        f"""Olá!

Um caso da área {plain(area)} foi oferecido a você (referência {case_reference(case_id)}). O cliente precisa de um retorno em até \
{counted(urgency_h, "hora", "horas")}.

Abra a plataforma para ver os detalhes e responder até {day_and_hour(expires_at)} (horário de Brasília). Se não puder assumir o caso, \
basta recusar a oferta: a recusa libera a sua agenda e permite procurar logo outro profissional. Sem resposta até esse horário, a oferta \
se encerra automaticamente.

Por sigilo, esta mensagem não traz dados do cliente.
""",
    )


def nobody_left(case_id: UUID, area: str, offers: int) -> Message:
    """The operators are told that a case waits for lawyers there are none of, in English."""
    return Message(
        f"Nobody is left for a case in {plain(area)}",
        f"Case {case_id} is open, its {offers} offers have all come to nothing, and no other active lawyer practises {plain(area)}. "
        "Talk to the client, or win lawyers for the area: the case is offered to whoever joins while it is young enough "
        "(LITGO_NEXT_OFFER_DAYS).",
    )
