"""What client, lawyer and team are told of a contract: subjects and bodies. Pure.

Clients and lawyers read Portuguese, the team English. Of the parties nothing is said but the reference of their contract.
"""

from __future__ import annotations

from typing import Final, Literal

Event = Literal["manual", "retaken", "active", "canceled"]
TeamEvent = Literal["manual", "unclear", "lost", "declined", "signed-though-canceled"]
Party = Literal["client", "lawyer"]

_OTHER: Final[dict[Party, str]] = {"client": "o advogado ou a advogada", "lawyer": "o cliente ou a cliente"}
_SUBJECTS: Final[dict[Event, str]] = {
    "manual": "Seu contrato {reference} está pronto para assinatura",
    "retaken": "Contrato {reference}: a assinatura será eletrônica",
    "active": "Contrato {reference} assinado por todas as partes",
    "canceled": "Contrato {reference} cancelado",
}
_BODIES: Final[dict[Event, str]] = {
    "manual": (
        "Olá!\n\n"
        "O contrato de prestação de serviços advocatícios de referência {reference} está pronto. Desta vez, a assinatura será feita "
        "manualmente, sem a plataforma de assinatura eletrônica.\n\n"
        "O que fazer:\n"
        "1. Nossa equipe enviará a você o documento em PDF. Confira se a referência {reference} aparece em todas as páginas.\n"
        "2. Leia o documento com calma. Em caso de dúvida, fale com a nossa equipe antes de assinar.\n"
        "3. Assine de próprio punho ou com certificado digital ICP-Brasil (a conta gov.br também vale) e devolva o documento assinado, "
        "em resposta à mensagem em que o recebeu.\n\n"
        "O contrato passa a valer quando você e {other} tiverem assinado. Não pedimos senhas nem códigos de confirmação; não os "
        "informe a ninguém."
    ),
    "retaken": (
        "Olá!\n\n"
        "O contrato de referência {reference} será assinado eletronicamente. Em breve, você receberá do DocuSign uma mensagem com o "
        "documento. Pedimos que desconsidere as instruções anteriores de assinatura manual e não devolva o documento que recebeu da nossa "
        "equipe."
    ),
    "active": (
        "Olá!\n\n"
        "Todas as partes assinaram o contrato de referência {reference}, que passa a valer. Guarde a referência: é com ela que a nossa "
        "equipe localiza o documento."
    ),
    "canceled": (
        "Olá!\n\n"
        "O contrato de referência {reference} foi cancelado antes de valer. Não é preciso assinar nada; se você já recebeu o documento, "
        "pode descartá-lo. Em caso de dúvida, fale com a nossa equipe."
    ),
}
_SIGN_SUBJECT: Final = "Contrato {reference} para assinatura"
_SIGN_MESSAGE: Final = (
    "Olá!\n\n"
    "Segue, para assinatura eletrônica, o contrato de prestação de serviços advocatícios de referência {reference}. Confira se essa "
    "referência aparece em todas as páginas e leia o documento com calma antes de assinar. Em caso de dúvida, fale com a nossa equipe."
)
_TEAM_SUBJECTS: Final[dict[TeamEvent, str]] = {
    "manual": "Contract {reference} is to be signed by hand",
    "unclear": "Contract {reference} waits for DocuSign: it may be out for signature",
    "lost": "Contract {reference} can be signed nowhere: DocuSign does not know its envelope",
    "declined": "Contract {reference} was declined at DocuSign",
    "signed-though-canceled": "Contract {reference} was signed at DocuSign after it had been canceled",
}
_TEAM_BODIES: Final[dict[TeamEvent, str]] = {
    "manual": (
        "Why: {why}.\n\n"
        "1. litgo contract document {id} --output {reference}.pdf\n"
        "2. Send the document to both parties; they have been told to wait for it.\n"
        "3. When a party has returned it: litgo contract sign {id} --party client --evidence FILE (or --party lawyer)\n\n"
        "While nobody has signed, litgo contract retake {id} takes it back to DocuSign. See docs/runbooks/manual-signature.md."
    ),
    "unclear": (
        "DocuSign did not say whether it sent the envelope: {why}. It is asked again with growing pauses, and nothing is signed by hand "
        "meanwhile, so that nobody signs twice.\n\n"
        "If that takes too long, look for the reference {reference} in DocuSign. See docs/runbooks/manual-signature.md."
    ),
    "lost": (
        "Why: {why}.\n\n"
        "1. See that DOCUSIGN_ACCOUNT_ID and DOCUSIGN_BASE_URL are those under which it was sent, and look for the reference {reference} "
        "in DocuSign.\n"
        "2. If it is not there: litgo contract retake {id} gives the envelope up and has another one made. "
        "See docs/runbooks/manual-signature.md."
    ),
    "declined": "Why: {why}. The contract is canceled, its case is open again and will be offered to the next lawyer.",
    "signed-though-canceled": (
        "Both parties completed the envelope before it could be voided: {why}. The contract stays canceled here. Speak with both parties "
        "and agree on what holds. See docs/runbooks/manual-signature.md."
    ),
}


def to_party(event: Event, party: Party, reference: str) -> tuple[str, str]:
    """Subject and body of what a client or lawyer is told."""
    said = {"reference": reference, "other": _OTHER[party]}
    return _SUBJECTS[event].format(**said), _BODIES[event].format(**said)


def to_team(event: TeamEvent, contract_id: str, reference: str, why: str) -> tuple[str, str]:
    """Subject and body of what the operators are told."""
    said = {"id": contract_id, "reference": reference, "why": why}
    return _TEAM_SUBJECTS[event].format(**said), _TEAM_BODIES[event].format(**said)


def of_settings(why: str) -> tuple[str, str]:
    """Subject and body of what the operators are told where the account at DocuSign cannot be used as it is set."""
    body = (
        f"Why: {why}.\n\n"
        "Until that is mended contracts are signed by hand, or wait where FALLBACK_ENABLED is false. `litgo doctor` says whether the "
        "settings can be used. See docs/runbooks/manual-signature.md."
    )
    return "DocuSign cannot be used as it is set", body


def to_signers(reference: str) -> tuple[str, str]:
    """Subject and message of the e-mail in which DocuSign asks for a signature."""
    return _SIGN_SUBJECT.format(reference=reference), _SIGN_MESSAGE.format(reference=reference)
