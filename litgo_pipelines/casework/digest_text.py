"""The weekly digest in Brazilian Portuguese, as plain text for mail and as Markdown. Pure.

What is told is read in `digest`. Where nothing is known it says `sem dados`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from litgo_pipelines.casework.digest_record import Delivery, Digest, Ended, Job, Lift, Move, Needs, Promise, Running, Vendor
from litgo_pipelines.casework.wording import plain
from litgo_pipelines.rollout import audit_wording as say

NO_DATA: Final = "sem dados"

_FIGURES: Final = {
    "gini_utilisation": "Gini da utilização",
    "share_offered": "advogados com oferta em 30 dias",
    "gap_area": "diferença entre áreas",
    "gap_capacity": "diferença entre faixas de capacidade",
    "gap_new": "diferença entre recém-chegados e os demais",
}
_RUNBOOKS: Final = {"gini_utilisation": "WorkSpreadUnevenly", "share_offered": "LawyersWithoutOffers"}
"""What to do about a promise that is broken; about all others `GroupsUsedUnequally`."""
_VERDICTS: Final = {
    "pass": "cumprida",
    "fail": "DESCUMPRIDA",
    "insufficient data": "dados insuficientes para um veredito",
}
_QUALITY: Final = {"healthy": "saudável", "degraded": "DEGRADADA", "insufficient data": "dados insuficientes para um veredito"}
_TRAINED: Final = {
    "pass": ("aprovado", "aprovados"),
    "fail": ("reprovado", "reprovados"),
    "insufficient data": ("com dados insuficientes", "com dados insuficientes"),
}
_MOVES: Final = {"promotion": "promoção", "rollback": "retorno", "alias moved": "troca à mão no MLflow"}
_ENDED: Final = {
    "promote": "a nova versão venceu",
    "harm": "a nova versão causou dano",
    "inconclusive": "terminou sem conclusão",
    "stopped": "interrompido",
    "replaced": "substituído na fila antes de começar",
}
_METRICS: Final = {"accepted": "aceitação de ofertas", "contract": "contratos", "rating": "avaliação", "preference": "preferência"}
_SERVICES: Final = {"openai": "OpenAI", "docusign": "DocuSign", "onesignal": "OneSignal", "sendgrid": "SendGrid"}
_CHANNELS: Final = {"push": "push", "email": "e-mail"}
_HELD: Final = {
    "models": ("modelos congelados", "litgo model unfreeze"),
    "equity_price": ("preço da carga congelado", "litgo fairness price unfreeze"),
}


@dataclass(frozen=True)
class Section:
    """A heading, what it is of, and its lines; those that begin with two spaces belong to the one above."""

    title: str
    lines: tuple[str, ...]
    of: str = ""


def subject(digest: Digest) -> str:
    """One line."""
    return f"Resumo da semana de {say.day(digest.since)} a {say.day(digest.until)}"


def sections(digest: Digest) -> list[Section]:
    """All sections, what needs a person first."""
    of = "" if digest.fairness is None else f" (apuração de {say.day_and_hour(digest.fairness.as_of)})"
    promises = () if digest.fairness is None else digest.fairness.promises
    return [
        Section("O que precisa de uma pessoa", tuple(_needs(digest.needs)) or ("nada no momento",)),
        Section("Equidade", tuple(_promise(one) for one in promises) or (NO_DATA,), of),
        Section("Modelos", tuple(_models(digest))),
        Section("Experimentos", tuple(_experiments(digest))),
        Section("Fornecedores e alternativas", tuple(_vendor(one) for one in digest.vendors) or (NO_DATA,)),
        Section("Mensagens", tuple(_delivery(one) for one in digest.deliveries) or (NO_DATA,)),
        Section("Tarefas", tuple(_jobs(digest.jobs)) or (NO_DATA,)),
    ]


def as_text(digest: Digest, dagster: str) -> str:
    """The body of the mail.

    Args:
        dagster: where people open Dagster.
    """
    blocks = [f"De {say.day_and_hour(digest.since)} a {say.day_and_hour(digest.until)}, horário de São Paulo."]
    blocks += ["\n".join([one.title.upper() + one.of, *(_line(line) for line in one.lines)]) for one in sections(digest)]
    return "\n\n".join([*blocks, f"Dagster: {dagster}"]) + "\n"


def as_markdown(digest: Digest) -> str:
    """The same for Dagster's pages."""
    blocks = ["\n".join([f"### {one.title}{one.of}", "", *(_line(line) for line in one.lines)]) for one in sections(digest)]
    return "\n\n".join([f"## {subject(digest)}", *blocks]) + "\n"


def _line(line: str) -> str:
    return f"  - {line.lstrip()}" if line.startswith("  ") else f"- {line}"


def _needs(needs: Needs) -> Iterator[str]:
    yield from _alarms(needs)
    if needs.triages:
        late = f", {say.number(needs.overdue)} além do prazo" if needs.overdue else ""
        yield (
            f"{say.counted(needs.triages, 'triagem sem decisão', 'triagens sem decisão')}{late}: litgo triage list --undecided; "
            "para decidir: litgo triage decide CASO --area ÁREA --reason MOTIVO"
        )
    yield from _messages(needs)
    yield from _contracts(needs)
    for number in needs.unexplained:
        yield f"decisão {number}, tomada no MLflow sem explicação: litgo model annotate {number} --reason MOTIVO"
    if needs.approval is not None:
        told = f"a {say.version(needs.approval)} venceu o experimento e aguarda aprovação"
        yield f"{told}: litgo experiment approve --by NOME --reason MOTIVO"
    for name in needs.broken_jobs:
        again = "é lá também que se repete" if _by_hand(name) else f"para repetir: litgo run {name}"
        yield f"a última execução de {_job(name)} falhou, e o motivo está no Dagster; {again}"
    for held in needs.frozen:
        what, lift = _HELD[held.what]
        yield f"{what} por {plain(held.by)} desde {say.day(held.since)}; para liberar: {lift} --reason MOTIVO"


def _alarms(needs: Needs) -> Iterator[str]:
    for one in needs.broken_promises:
        told = f"promessa de equidade descumprida, {_FIGURES[one.figure]}: {_share(one.figure, one.value)} (promessa: {_bound(one)})"
        page = _RUNBOOKS.get(one.figure, "GroupsUsedUnequally")
        yield f"{told}; para ver: litgo fairness report; o que fazer: docs/runbooks/{page}.md"
    if needs.degraded is not None:
        yield (
            f"a {say.version(needs.degraded)}, em uso, está degradada: litgo model history; "
            "para retirá-la: litgo model rollback --reason MOTIVO; o que fazer: docs/runbooks/ModelDegraded.md"
        )
    if needs.unequal_groups is not None:
        yield (
            f"os grupos do experimento da {say.version(needs.unequal_groups)} não têm os tamanhos previstos: litgo experiment status; "
            "para interromper: litgo experiment stop --reason MOTIVO; o que fazer: docs/runbooks/SampleRatioMismatch.md"
        )
    for service in needs.left_alone:
        told = f"{_SERVICES[service]} em pausa, por falhas seguidas"
        yield f"{told}; para conferir a configuração: litgo doctor; o que fazer: docs/runbooks/BreakerOpen.md"


def _messages(needs: Needs) -> Iterator[str]:
    if needs.missing:
        yield f"há mensagens que não chegam a ninguém sem {say.listed(list(needs.missing))}; depois de definir, para conferir: litgo doctor"
    if needs.waiting is not None:
        told = say.counted(needs.waiting.messages, "mensagem à espera", "mensagens à espera")
        yield (
            f"{told} há mais de 15 minutos, a mais antiga desde {say.day_and_hour(needs.waiting.oldest)}: "
            "litgo notification list --status queued --status sending; para enviar já: litgo notification send --all; "
            "o que fazer: docs/runbooks/OutboxOld.md"
        )
    if needs.unknown_messages:
        told = say.counted(needs.unknown_messages, "mensagem de entrega incerta", "mensagens de entrega incerta")
        yield (
            f"{told}: litgo notification list --status unknown; se chegou: litgo notification settle NÚMERO --sent --reason MOTIVO; "
            "para enviar de novo: litgo notification resend NÚMERO"
        )
    if needs.failed_messages:
        told = say.counted(needs.failed_messages, "mensagem da semana não foi enviada", "mensagens da semana não foram enviadas")
        yield (
            f"{told}: litgo notification list --status failed; para enviar de novo: litgo notification resend NÚMERO; "
            "se não é mais preciso: litgo notification settle NÚMERO --failed --reason MOTIVO"
        )


def _contracts(needs: Needs) -> Iterator[str]:
    if needs.lost_contracts:
        told = say.counted(needs.lost_contracts, "contrato com envelope perdido", "contratos com envelope perdido")
        yield (
            f"{told} no DocuSign: litgo contract list --unsigned; depois de procurar o envelope nas páginas do DocuSign, "
            "para enviar outro: litgo contract retake ID"
        )
    if needs.stuck_contracts:
        told = say.counted(needs.stuck_contracts, "contrato parado", "contratos parados")
        yield (
            f"{told}, sem lugar para assinar: litgo contract list --status requested; "
            "resolvido o motivo, para tentar de novo: litgo contract check ID e litgo run process_contracts"
        )
    if needs.manual_contracts:
        told = say.counted(needs.manual_contracts, "contrato à espera de assinatura manual", "contratos à espera de assinatura manual")
        yield (
            f"{told}: litgo contract list --unsigned; para registrar uma assinatura: "
            "litgo contract sign ID --party client --evidence ARQUIVO (ou --party lawyer)"
        )


def _by_hand(job: str) -> bool:
    """Whether it is Dagster's own name for what people start by hand in its pages, which is no job of ours."""
    return job.startswith("__")


def _job(name: str) -> str:
    return "ativos à mão no Dagster" if _by_hand(name) else name


def _promise(one: Promise) -> str:
    ratio = one.figure == "gini_utilisation"
    told = f"{_FIGURES[one.figure]}: {_share(one.figure, one.value)}"
    if one.value is not None:
        told += f" ({_change(one.change, ratio=ratio)})"
    return f"{told}; promessa ({_bound(one)}): {_VERDICTS[one.verdict]}"


def _bound(one: Promise) -> str:
    side = {"share_offered": "acima de", "gini_utilisation": "abaixo de"}.get(one.figure, "até")
    return f"{side} {_share(one.figure, one.limit)}"


def _share(figure: str, value: float | None) -> str:
    if value is None:
        return NO_DATA
    if figure == "gini_utilisation":
        return say.number(value, 3)
    return say.percent(value, 1) if figure == "share_offered" else f"{say.number(100 * value, 1)} p.p."


def _change(change: float | None, *, ratio: bool) -> str:
    if change is None:
        return "em relação à semana anterior: sem dados"
    return f"{say.signed(change, 3) if ratio else f'{say.signed(100 * change, 1)} p.p.'} em relação à semana anterior"


def _models(digest: Digest) -> Iterator[str]:
    models = digest.models
    if not models.seen:
        yield f"em uso: {NO_DATA}"
    else:
        yield f"em uso: {say.version(models.champion)}, desde {say.day_and_hour(models.since)}"
    if models.quality is None:
        yield f"qualidade: {NO_DATA}"
    else:
        ratio = NO_DATA if models.quality.ratio is None else f"{say.percent(models.quality.ratio, 1)} da referência na semana"
        yield f"qualidade da {say.version(models.quality.version)}: {ratio}; {_QUALITY[models.quality.verdict]}"
    trained = [say.counted(count, *_TRAINED[verdict]) for verdict, count in models.trainings]
    yield f"treinamentos: {', '.join(trained) or 'nenhum na semana'}"
    if not models.moves:
        yield "promoções e retornos: nenhum na semana"
    for move in models.moves:
        yield _move(move)


def _move(one: Move) -> str:
    said = say.RESULTS.get(one.result, one.result)
    way = f"{say.version(one.from_version)} → {say.version(one.to_version)}"
    return f"{_MOVES[one.action]}, {way}, em {say.day_and_hour(one.at)}: mudança {said}"


def _experiments(digest: Digest) -> Iterator[str]:
    if digest.running is None:
        yield "em andamento: nenhum"
    else:
        yield from _running(digest.running)
    if not digest.ended:
        yield "encerrados na semana: nenhum"
    for one in digest.ended:
        yield _ended(one)


def _running(one: Running) -> Iterator[str]:
    since = "" if one.since is None else f", desde {say.day(one.since)}"
    told = (
        f"{say.version(one.challenger)} contra {say.version(one.champion)}, {say.MODES[one.mode]}, {say.percent(one.share, 1)} dos clientes"
    )
    yield f"{say.EXPERIMENTS.get(one.status, one.status)}: {told}{since}"
    groups = [f"{say.VARIANTS.get(variant, 'fora do experimento')} {say.number(count)}" for variant, count in one.units]
    yield f"  clientes: {', '.join(groups) or NO_DATA}"
    if one.sample_ratio_broken:
        yield "  ATENÇÃO: os tamanhos dos grupos não são os previstos"
    for lift in one.lifts:
        name = _METRICS.get(lift.metric, lift.metric)
        if lift.estimate is None:
            yield f"  {name}: {NO_DATA}"
        else:
            yield f"  {name}: {_signed(lift.estimate)} ({_interval(lift)})"
    if not one.lifts:
        yield f"  diferença entre os grupos: {NO_DATA}"


def _signed(share: float) -> str:
    return f"{say.signed(100 * share, 1)}%"


def _interval(lift: Lift) -> str:
    if lift.low is not None and lift.high is not None:
        return f"intervalo de {_signed(lift.low)} a {_signed(lift.high)}"
    if lift.low is not None:
        return f"intervalo a partir de {_signed(lift.low)}"
    return "intervalo sem limites" if lift.high is None else f"intervalo até {_signed(lift.high)}"


def _ended(one: Ended) -> str:
    what = f"{say.version(one.challenger)} contra {say.version(one.champion)}"
    return f"encerrado em {say.day(one.at)}: {what}, {say.MODES[one.mode]}; {_ENDED[one.verdict]}"


def _vendor(one: Vendor) -> str:
    told = [] if one.configured else ["não configurado"]
    if one.requests:
        failed = "nenhuma falha"
        if one.failed:
            failed = f"{say.counted(one.failed, 'falha', 'falhas')} ({say.percent(one.failed / one.requests, 1)})"
            failed += f", {say.number(one.timeouts)} por tempo esgotado" if one.timeouts else ""
        told.append(f"{say.counted(one.requests, 'requisição', 'requisições')}, {failed}")
    elif one.configured:
        told.append("nenhuma requisição na semana")
    if one.turned_away:
        told.append(f"{say.counted(one.turned_away, 'chamada evitada', 'chamadas evitadas')} durante pausas")
    # Without the vendor all is done without it, and that is as it should be.
    if one.configured and one.service != "sendgrid":
        share = NO_DATA if not one.work or one.fallback is None else f"{say.percent(one.fallback / one.work, 1)} de {say.number(one.work)}"
        told.append(f"operações feitas pela alternativa: {share}")
    if one.breaker != "closed":
        told.append("EM PAUSA, por falhas seguidas")
    return f"{_SERVICES[one.service]}: {'; '.join(told)}"


def _delivery(one: Delivery) -> str:
    return (
        f"{_CHANNELS[one.channel]}: {say.counted(one.sent, 'enviada', 'enviadas')}, {say.counted(one.unknown, 'incerta', 'incertas')}, "
        f"{say.counted(one.failed, 'falhou', 'falharam')}, {say.number(one.waiting)} à espera"
    )


def _jobs(jobs: tuple[Job, ...]) -> Iterator[str]:
    if not jobs:
        return
    due, executed = sum(one.due for one in jobs), sum(one.executed for one in jobs)
    on_time = NO_DATA if not due else f"{say.number(executed)} de {say.number(due)} ({say.percent(executed / due, 1)})"
    yield f"executadas no prazo: {on_time}"
    for one in jobs:
        if one.executed < one.due:
            yield f"  {_job(one.name)}: {say.number(one.executed)} de {say.number(one.due)} no prazo"
    failed = [f"{_job(one.name)} ({say.number(one.failed)} de {say.number(one.ended)})" for one in jobs if one.failed]
    yield f"execuções que falharam: {', '.join(failed) or 'nenhuma'}"
