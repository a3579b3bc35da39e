"""What people are told of offers: a lawyer that there is one, the operators of cases that nobody is asked about any more. Pure.

A lawyer is told of the area, the time and a reference, nothing of the client: a message lies on a locked telephone's screen. Who
delivers it, and how, is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from litgo_pipelines.casework.wording import case_reference, counted, day_and_hour, plain

_NAMED = 20
_ADVICE = (
    "Talk to the client: who still looks for a lawyer asks again (POST /v1/matches with create_offers), and a case that is given up is "
    "withdrawn (litgo case withdraw ID --reason TEXT)."
)


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


def dropped(case_id: UUID, area: str, offers: int, *, rounds: bool) -> Message:
    """The operators are told that an open case is offered to nobody any more, in English.

    Args:
        rounds: whether it was offered on as often as it may be; else its time is over.
    """
    why = "as often as it may be (LITGO_NEXT_OFFER_ROUNDS)" if rounds else "for as long as it may be (LITGO_NEXT_OFFER_DAYS)"
    return Message(
        f"A case in {plain(area)} is offered to nobody any more",
        f"Case {case_id} is open without a contract. It was offered on {why}, and its {offers} offers have all come to nothing. {_ADVICE}",
    )


def many_dropped(case_ids: Sequence[UUID]) -> Message:
    """The same of many cases at once."""
    named = "\n".join(str(one) for one in case_ids[:_NAMED])
    more = f"\nand {len(case_ids) - _NAMED} more, which the details of this message name" if len(case_ids) > _NAMED else ""
    return Message(
        f"{len(case_ids)} cases are offered to nobody any more",
        f"{len(case_ids)} open cases without a contract were offered on for as long or as often as they may be (LITGO_NEXT_OFFER_DAYS, "
        f"LITGO_NEXT_OFFER_ROUNDS), and all their offers have come to nothing. {_ADVICE}\n\n{named}{more}\n",
    )
