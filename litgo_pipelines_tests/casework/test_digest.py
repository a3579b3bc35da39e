"""The weekly digest: what is read of a week's facts, and how it is told."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from litgo_pipelines.casework.digest import read_digest, send_digest
from litgo_pipelines.casework.digest_record import (
    Delivery,
    Digest,
    Ended,
    Fairness,
    Frozen,
    Job,
    Lift,
    Models,
    Move,
    Needs,
    Promise,
    Quality,
    Running,
    Vendor,
    Waiting,
)
from litgo_pipelines.casework.digest_text import as_markdown, as_text, sections, subject
from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.ranking.text import NO_SPACE, SPACE
from litgo_pipelines.rollout.watch import Reference
from litgo_pipelines.settings import Settings, load_settings
from litgo_pipelines.simulation.vendors.server import Reply
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.casework.signing import Desk, rsa_key, signing_desk  # noqa: F401 (fixtures)
from litgo_pipelines_tests.rollout.facts import Offer, Unit, write

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
MINUS = "\N{MINUS SIGN}"
MONDAY = datetime(2026, 3, 9, 11, tzinfo=UTC)
"""08:00 in São Paulo."""

NOTHING = Needs(0, 0, 0, 0, 0, 0, (), None, (), ())
UNKNOWN = Digest(MONDAY - 7 * DAY, MONDAY, NOTHING, None, Models(False, None, None, (), (), None), None, (), (), (), ())

FULL = Digest(
    since=MONDAY - 7 * DAY,
    until=MONDAY,
    needs=Needs(
        triages=3,
        overdue=1,
        unknown_messages=1,
        lost_contracts=1,
        stuck_contracts=2,
        manual_contracts=4,
        unexplained=(17,),
        approval="4",
        broken_jobs=("__ASSET_JOB", "move_offers"),
        frozen=(Frozen("models", "ana", MONDAY - 20 * DAY),),
        broken_promises=(
            Promise("gini_utilisation", 0.35, 0.01, 0.3, "fail"),
            Promise("share_offered", 0.7512, None, 0.8, "fail"),
            Promise("gap_new", 0.25, None, 0.2, "fail"),
        ),
        degraded="3",
        unequal_groups="5",
        waiting=Waiting(12, MONDAY - 40 * MINUTE),
        failed_messages=2,
        missing=("SENDGRID_API_KEY", "LITGO_OPS_EMAILS"),
        left_alone=("openai",),
    ),
    fairness=Fairness(
        MONDAY - timedelta(hours=6),
        (
            Promise("gini_utilisation", 0.2531, -0.0124, 0.3, "pass"),
            Promise("share_offered", 0.7512, None, 0.8, "fail"),
            Promise("gap_area", 0.125, 0.031, 0.2, "pass"),
            Promise("gap_new", None, None, 0.2, "insufficient data"),
        ),
    ),
    models=Models(
        True,
        "3",
        MONDAY - 2 * DAY,
        (Move("rollback", "4", "3", "done", "model_quality", MONDAY - 2 * DAY),),
        (("fail", 1), ("pass", 2)),
        Quality("3", 0.9824, "healthy"),
    ),
    running=Running(
        "3",
        "5",
        "ab",
        "running",
        MONDAY - 3 * DAY,
        0.05,
        (("control", 1512), ("treatment", 498)),
        (Lift("accepted", 0.032, -0.01, 0.074), Lift("contract", 0.4, 0.01, None), Lift("rating", None, None, None)),
        MONDAY - timedelta(hours=1),
        sample_ratio_broken=True,
    ),
    ended=(Ended("4", "3", "interleaving", "harm", MONDAY - 4 * DAY),),
    vendors=(
        Vendor("openai", True, 1204, 5, 3, 12, 800, 100, "open"),
        Vendor("docusign", False, 0, 0, 0, 0, 40, 40, "closed"),
        Vendor("onesignal", True, 1, 0, 0, 0, None, None, "closed"),
    ),
    deliveries=(Delivery("push", 1200, 0, 1, 2),),
    jobs=(Job("embed_texts", 0, 0, 12, 1), Job("expire_records", 7, 6, 6, 0)),
)


def lines(digest: Digest) -> dict[str, tuple[str, ...]]:
    return {one.title: one.lines for one in sections(digest)}


def test_everything_that_is_known_is_told_in_portuguese() -> None:
    """Decimal commas, points of thousands, true minus signs; each verdict in words; what needs a person with what to type."""
    told = lines(FULL)
    assert next(iter(told)) == "O que precisa de uma pessoa"
    assert told["O que precisa de uma pessoa"] == (
        "promessa de equidade descumprida, Gini da utilização: 0,350 (promessa: abaixo de 0,300); "
        "para ver: litgo fairness report; o que fazer: docs/runbooks/WorkSpreadUnevenly.md",
        "promessa de equidade descumprida, advogados com oferta em 30 dias: 75,1% (promessa: acima de 80,0%); "
        "para ver: litgo fairness report; o que fazer: docs/runbooks/LawyersWithoutOffers.md",
        "promessa de equidade descumprida, diferença entre recém-chegados e os demais: 25,0 p.p. (promessa: até 20,0 p.p.); "
        "para ver: litgo fairness report; o que fazer: docs/runbooks/GroupsUsedUnequally.md",
        "a versão 3, em uso, está degradada: litgo model history; "
        "para retirá-la: litgo model rollback --reason MOTIVO; o que fazer: docs/runbooks/ModelDegraded.md",
        "os grupos do experimento da versão 5 não têm os tamanhos previstos: litgo experiment status; "
        "para interromper: litgo experiment stop --reason MOTIVO; o que fazer: docs/runbooks/SampleRatioMismatch.md",
        "OpenAI em pausa, por falhas seguidas; para conferir a configuração: litgo doctor; o que fazer: docs/runbooks/BreakerOpen.md",
        "3 triagens sem decisão, 1 além do prazo: litgo triage list --undecided; "
        "para decidir: litgo triage decide CASO --area ÁREA --reason MOTIVO",
        "há mensagens que não chegam a ninguém sem SENDGRID_API_KEY e LITGO_OPS_EMAILS; depois de definir, para conferir: litgo doctor",
        "12 mensagens à espera há mais de 15 minutos, a mais antiga desde 09/03/2026, 07h20: "
        "litgo notification list --status queued --status sending; para enviar já: litgo notification send --all; "
        "o que fazer: docs/runbooks/OutboxOld.md",
        "1 mensagem de entrega incerta: litgo notification list --status unknown; "
        "se chegou: litgo notification settle NÚMERO --sent --reason MOTIVO; para enviar de novo: litgo notification resend NÚMERO",
        "2 mensagens da semana não foram enviadas: litgo notification list --status failed; "
        "para enviar de novo: litgo notification resend NÚMERO; "
        "se não é mais preciso: litgo notification settle NÚMERO --failed --reason MOTIVO",
        "1 contrato com envelope perdido no DocuSign: litgo contract list --unsigned; "
        "depois de procurar o envelope nas páginas do DocuSign, para enviar outro: litgo contract retake ID",
        "2 contratos parados, sem lugar para assinar: litgo contract list --status requested; "
        "resolvido o motivo, para tentar de novo: litgo contract check ID e litgo run process_contracts",
        "4 contratos à espera de assinatura manual: litgo contract list --unsigned; "
        "para registrar uma assinatura: litgo contract sign ID --party client --evidence ARQUIVO (ou --party lawyer)",
        "decisão 17, tomada no MLflow sem explicação: litgo model annotate 17 --reason MOTIVO",
        "a versão 4 venceu o experimento e aguarda aprovação: litgo experiment approve --by NOME --reason MOTIVO",
        "a última execução de ativos à mão no Dagster falhou, e o motivo está no Dagster; é lá também que se repete",
        "a última execução de move_offers falhou, e o motivo está no Dagster; para repetir: litgo run move_offers",
        "modelos congelados por ana desde 17/02/2026; para liberar: litgo model unfreeze --reason MOTIVO",
    )
    assert told["Equidade"] == (
        f"Gini da utilização: 0,253 ({MINUS}0,012 em relação à semana anterior); promessa (abaixo de 0,300): cumprida",
        "advogados com oferta em 30 dias: 75,1% (em relação à semana anterior: sem dados); promessa (acima de 80,0%): DESCUMPRIDA",
        "diferença entre áreas: 12,5 p.p. (+3,1 p.p. em relação à semana anterior); promessa (até 20,0 p.p.): cumprida",
        "diferença entre recém-chegados e os demais: sem dados; promessa (até 20,0 p.p.): dados insuficientes para um veredito",
    )
    assert told["Modelos"] == (
        "em uso: versão 3, desde 07/03/2026, 08h00",
        "qualidade da versão 3: 98,2% da referência na semana; saudável",
        "treinamentos: 1 reprovado, 2 aprovados",
        "retorno, versão 4 → versão 3, em 07/03/2026, 08h00: mudança feita",
    )
    assert told["Experimentos"] == (
        "em andamento: versão 5 contra versão 3, dois grupos de clientes (teste A/B), 5,0% dos clientes, desde 06/03/2026",
        "  clientes: controle 1.512, tratamento 498",
        "  ATENÇÃO: os tamanhos dos grupos não são os previstos",
        f"  aceitação de ofertas: +3,2% (intervalo de {MINUS}1,0% a +7,4%)",
        "  contratos: +40,0% (intervalo a partir de +1,0%)",
        "  avaliação: sem dados",
        "encerrado em 05/03/2026: versão 4 contra versão 3, listas intercaladas das duas versões; a nova versão causou dano",
    )
    assert told["Fornecedores e alternativas"] == (
        "OpenAI: 1.204 requisições, 5 falhas (0,4%), 3 por tempo esgotado; 12 chamadas evitadas durante pausas; operações feitas pela "
        "alternativa: 12,5% de 800; EM PAUSA, por falhas seguidas",
        "DocuSign: não configurado",
        "OneSignal: 1 requisição, nenhuma falha; operações feitas pela alternativa: sem dados",
    )
    assert told["Mensagens"] == ("push: 1.200 enviadas, 0 incertas, 1 falhou, 2 à espera",)
    assert told["Tarefas"] == (
        "executadas no prazo: 6 de 7 (85,7%)",
        "  expire_records: 6 de 7 no prazo",
        "execuções que falharam: embed_texts (1 de 12)",
    )


def test_what_is_not_known_is_said_to_be_unknown_and_never_0() -> None:
    """An empty marketplace without a daemon: no figure is made up."""
    body = as_text(UNKNOWN, "http://127.0.0.1:3001")
    told = lines(UNKNOWN)
    assert told["O que precisa de uma pessoa"] == ("nada no momento",)
    for title in ("Equidade", "Fornecedores e alternativas", "Mensagens", "Tarefas"):
        assert told[title] == ("sem dados",)
    assert told["Modelos"][:2] == ("em uso: sem dados", "qualidade: sem dados")
    assert not any(digit in line for section in told.values() for line in section for digit in "0123456789")
    assert body.startswith("De 02/03/2026, 08h00 a 09/03/2026, 08h00, horário de São Paulo.\n\nO QUE PRECISA DE UMA PESSOA\n- nada")
    assert body.endswith("Dagster: http://127.0.0.1:3001\n")


def test_jobs_without_a_schedule_say_nothing_of_punctuality() -> None:
    """Runs alone are no share of anything that was due."""
    told = lines(replace(UNKNOWN, jobs=(Job("move_offers", 0, 0, 3, 0),)))["Tarefas"]
    assert told == ("executadas no prazo: sem dados", "execuções que falharam: nenhuma")


def test_mail_and_page_tell_the_same() -> None:
    """Headings differ, and what belongs to a line above stands below it."""
    page, mail = as_markdown(FULL), as_text(FULL, "http://dagster")
    assert page.startswith(f"## {subject(FULL)}\n\n### O que precisa de uma pessoa\n\n- promessa de equidade")
    assert "### Equidade (apuração de 09/03/2026, 02h00)" in page
    assert "EQUIDADE (apuração de 09/03/2026, 02h00)\n- Gini" in mail
    for section in sections(FULL):
        for line in section.lines:
            shown = f"  - {line.strip()}" if line.startswith("  ") else f"- {line}"
            assert shown in page.splitlines()
            assert shown in mail.splitlines()


@pytest.mark.parametrize(
    ("until", "key"),
    [
        (datetime(2026, 3, 9, 2, tzinfo=UTC), "digest:2026-W10"),
        (MONDAY, "digest:2026-W11"),
        (datetime(2026, 12, 28, 11, tzinfo=UTC), "digest:2026-W53"),
        (datetime(2027, 1, 1, 11, tzinfo=UTC), "digest:2026-W53"),
        (datetime(2027, 1, 4, 11, tzinfo=UTC), "digest:2027-W01"),
    ],
)
def test_a_digest_belongs_to_its_iso_week_in_sao_paulo(until: datetime, key: str) -> None:
    """Sunday evening there is Monday in UTC already; the last week of a year may end in the next."""
    assert replace(UNKNOWN, until=until).key == key


@pytest.fixture
def settings() -> Settings:
    return load_settings(litgo_fairness_min_lawyers=2, litgo_fairness_min_cases=1)


def test_an_empty_marketplace_is_read(town: Town, settings: Settings) -> None:
    """Before the first lawyer all is unknown, and nobody is needed."""
    found = read_digest(town.engine, settings, MONDAY)
    assert (found.needs, found.fairness, found.models) == (NOTHING, None, UNKNOWN.models)
    assert (found.running, found.ended, found.deliveries, found.jobs) == (None, (), (), ())
    assert all((one.requests, one.work, one.breaker, one.configured) == (0, None, "closed", False) for one in found.vendors)


def test_fairness_is_read_with_the_change_of_a_week(town: Town, settings: Settings) -> None:
    """Two lawyers, one of whom had all of it; a week later the other one has as much."""
    first, second = town.lawyers(2)
    early = NOON - 10 * DAY
    town.contract(first, early)
    town.offer(first, early)
    town.execute("UPDATE litgo.cases SET created_at = :at", at=early)
    run_equity(town.engine, NOON - 7 * DAY, new_lawyer_offers=10)
    town.contract(second, NOON - DAY)
    run_equity(town.engine, NOON, new_lawyer_offers=10)
    digest = read_digest(town.engine, settings, NOON + timedelta(hours=3))
    found = digest.fairness
    assert found is not None
    assert digest.needs == replace(NOTHING, broken_promises=tuple(one for one in found.promises if one.figure == "share_offered"))
    assert found.as_of == NOON
    promises = {one.figure: one for one in found.promises}
    gini, offered = promises["gini_utilisation"], promises["share_offered"]
    assert (gini.value, gini.change, gini.verdict) == (pytest.approx(0), pytest.approx(-0.5), "pass")
    assert (offered.value, offered.change, offered.verdict) == (0.5, 0, "fail")
    assert promises["gap_area"].verdict == "insufficient data"


def message(town: Town, status: str, at: datetime, channel: str = "push", **values: Any) -> None:
    row = {
        "key": str(uuid4()),
        "audience": "client",
        "recipient_id": uuid4(),
        "subject": "s",
        "body": "b",
        "channel": channel,
        "due_at": at,
    }
    if values.get("audience") == "ops":
        row["recipient_id"] = None
    if status == "sending":
        values |= {"claim": uuid4(), "claimed_until": at}
    if status == "sent":
        values |= {"sent_at": at}
    columns = row | values | {"status": status, "created_at": at}
    listed = ", ".join(columns)
    town.execute(f"INSERT INTO litgo.notifications ({listed}) VALUES ({', '.join(f':{one}' for one in columns)})", **columns)


def test_messages_are_counted_by_channel_and_week(town: Town, settings: Settings) -> None:
    """What was sent before the week is not told, what waits is; what was overtaken by events did not fail."""
    for days in (1, 6, 8):
        message(town, "sent", MONDAY - days * DAY)
        message(town, "unknown", MONDAY - days * DAY, "email")
    message(town, "failed", MONDAY - DAY)
    message(town, "failed", MONDAY - DAY, trouble="overtaken: the offer was answered")
    message(town, "queued", MONDAY - 9 * DAY)
    message(town, "sending", MONDAY - DAY)
    message(town, "queued", MONDAY + DAY)
    found = read_digest(town.engine, settings, MONDAY)
    assert found.deliveries == (Delivery("email", 0, 2, 0, 0), Delivery("push", 2, 0, 1, 2))
    assert found.needs.unknown_messages == 3


def test_messages_that_wait_for_long_or_failed_need_a_person(town: Town, settings: Settings) -> None:
    """From 15 minutes on, being sent or not, counted with the oldest; what failed counts by its last try, unless overtaken."""
    message(town, "queued", MONDAY - 14 * MINUTE)
    message(town, "queued", MONDAY + MINUTE)
    message(town, "sent", MONDAY - DAY)
    found = read_digest(town.engine, settings, MONDAY).needs
    assert (found.waiting, found.failed_messages) == (None, 0)
    message(town, "queued", MONDAY - 15 * MINUTE)
    message(town, "sending", MONDAY - 40 * MINUTE, "email")
    for days in (1, 8):
        message(town, "failed", MONDAY - days * DAY)
    message(town, "failed", MONDAY - 8 * DAY, due_at=MONDAY - 6 * DAY)
    message(town, "failed", MONDAY - DAY, trouble="overtaken: the offer was answered")
    found = read_digest(town.engine, settings, MONDAY).needs
    assert (found.waiting, found.failed_messages) == (Waiting(2, MONDAY - 40 * MINUTE), 2)
    assert found == read_digest(town.engine, settings, MONDAY).needs


def test_what_a_person_did_about_a_message_counts(town: Town, settings: Settings) -> None:
    """One that is sent again waits from then on; one that need not be sent any more no longer failed."""
    from litgo_pipelines.casework import notifications

    for _ in range(2):
        message(town, "failed", MONDAY - DAY)
    message(town, "unknown", MONDAY - DAY)
    again, _, settled = (row.id for row in town.rows("SELECT id FROM litgo.notifications ORDER BY id"))
    with town.engine.begin() as connection:
        notifications.resend(connection, again, by="ana", at=MONDAY)
        notifications.settle(connection, settled, "failed", by="ana", reason="moot", at=MONDAY)
    early, late = (read_digest(town.engine, settings, MONDAY + minutes * MINUTE).needs for minutes in (14, 15))
    assert (early.waiting, late.waiting) == (None, Waiting(1, MONDAY))
    assert early.failed_messages == 1


SENDGRID, OPS = {"sendgrid_api_key": "k"}, {"litgo_ops_emails": "ana@example.com"}
ONESIGNAL = {"onesignal_app_id": "a", "onesignal_api_key": "k"}


@pytest.mark.parametrize(
    ("audience", "given", "missing"),
    [
        ("ops", {}, ("SENDGRID_API_KEY", "LITGO_OPS_EMAILS")),
        ("ops", SENDGRID, ("LITGO_OPS_EMAILS",)),
        ("ops", OPS, ("SENDGRID_API_KEY",)),
        ("ops", SENDGRID | OPS, ()),
        ("client", {}, ("SENDGRID_API_KEY",)),
        ("client", SENDGRID, ()),
        ("client", ONESIGNAL, ()),
        ("client", SENDGRID | OPS | {"fallback_enabled": False, "onesignal_app_id": "a"}, ("ONESIGNAL_API_KEY",)),
        (None, {}, ()),
    ],
)
def test_settings_without_which_messages_reach_nobody_are_named(
    town: Town, audience: str | None, given: dict[str, Any], missing: tuple[str, ...]
) -> None:
    """Only where a message waits that needs them: pushes go by mail where there is no OneSignal."""
    if audience is not None:
        message(town, "queued", MONDAY - MINUTE, "email" if audience == "ops" else "push", audience=audience)
    message(town, "sent", MONDAY - MINUTE, "email", audience="ops")
    assert read_digest(town.engine, load_settings(**given), MONDAY).needs.missing == missing


def experiment(town: Town, status: str) -> UUID:
    """Of version 2 against version 1."""
    return town.add(
        "experiments",
        mode="ab",
        champion="1",
        challenger="2",
        status=status,
        salt="s",
        ramp_salt="r",
        steps=[0.05, 0.1],
        max_days=28,
        at_the_end="keep",
        actor="promotion",
        reason="passed",
        created_at=MONDAY - 9 * DAY,
        started_at=MONDAY - 9 * DAY,
        step=1,
    )


def test_what_needs_a_person_is_read_from_where_it_waits(town: Town, settings: Settings) -> None:
    """A triage, contracts in three kinds of trouble, a move by hand, a winner, freezes of which one is fresh."""
    from litgo_pipelines.casework import prices
    from litgo_pipelines.rollout import decisions, freezes

    case = town.case(status="triage", created_at=MONDAY - 5 * DAY)
    request = town.add("match_requests", kind="triage", case_id=case, status="ok", started_at=MONDAY - 5 * DAY)
    town.execute(
        "INSERT INTO litgo.triages (case_id, request_id, urgency_h, complexity, confidence, space, nearest, created_at) "
        "VALUES (:case, :request, 48, 'LOW', .2, 'words', '[]', :at)",
        case=case,
        request=request,
        at=MONDAY - 5 * DAY,
    )
    lawyer = town.lawyer()
    town.contract(lawyer, MONDAY - timedelta(minutes=50), "requested")
    town.contract(lawyer, MONDAY - timedelta(hours=2), "requested")
    lost = town.contract(lawyer, MONDAY - DAY, "pending-signature")
    by_hand = town.contract(lawyer, MONDAY - DAY, "pending-signature")
    town.execute("UPDATE litgo.contracts SET lost_at = :at, signing_method = 'docusign' WHERE id = :id", at=MONDAY, id=lost)
    town.execute("UPDATE litgo.contracts SET signing_method = 'manual' WHERE id = :id", id=by_hand)
    with town.engine.begin() as connection:
        moved = decisions.record(
            connection, "alias moved", actor=decisions.MLFLOW_UI, reason="seen", at=MONDAY - DAY, result="followed", to_version="9"
        )
        freezes.freeze(connection, actor="ana", reason="férias", at=MONDAY - 8 * DAY)
        prices.freeze(connection, "ana", "obra", MONDAY - 6 * DAY)
    experiment(town, "approval")
    found = read_digest(town.engine, settings, MONDAY)
    assert found.needs == Needs(
        triages=1,
        overdue=1,
        unknown_messages=0,
        lost_contracts=1,
        stuck_contracts=1,
        manual_contracts=1,
        unexplained=(moved.id,),
        approval="2",
        broken_jobs=(),
        frozen=(Frozen("models", "ana", MONDAY - 8 * DAY),),
    )
    assert found.models.moves == (Move("alias moved", None, "9", "followed", decisions.MLFLOW_UI, MONDAY - DAY),)
    assert found.running is not None
    assert (found.running.status, found.running.share, found.running.lifts, found.running.read_at) == ("approval", 0.1, (), None)


def decided(town: Town, count: int, ago: timedelta, score: float, **changes: Any) -> None:
    """Decisions of version 1, one a minute."""
    write(town.engine, [Unit(MONDAY - ago + n * MINUTE, offers=(Offer(score=score),), **changes) for n in range(count)])


def watched(town: Town, reference: Reference | None) -> None:
    """Version 1 is champion for a month."""
    from litgo_pipelines.rollout import states

    with town.engine.begin() as connection:
        states.start_watch(connection, "1", MONDAY - 30 * DAY)
        if reference is not None:
            states.set_reference(connection, "1", reference.model_dump(mode="json"))


@pytest.mark.parametrize("left_out", ["what is too much to judge", "what was before a freeze ended", "the reference itself"])
def test_the_weeks_quality_is_of_the_whole_week(town: Town, settings: Settings, monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    """What the watch does not judge counts in the week's mean; other weeks, other versions and answers in fallback do not."""
    from litgo_pipelines.rollout import freezes, quality

    decided(town, 20, 6 * DAY, 0.4)
    decided(town, 10, DAY, 0.5)
    decided(town, 5, 8 * DAY, 0.1)
    decided(town, 5, 3 * DAY, 0.1, version="2")
    decided(town, 5, 2 * DAY, 0.1, space=NO_SPACE)
    ended = MONDAY - (5 if left_out == "the reference itself" else 20) * DAY
    watched(town, Reference(mean=0.5, sd=0.1, count=200, space=SPACE, began=MONDAY - 21 * DAY, ended=ended))
    if left_out == "what is too much to judge":
        monkeypatch.setattr(quality, "MOST_READ", 12)
    if left_out == "what was before a freeze ended":
        with town.engine.begin() as connection:
            freezes.freeze(connection, actor="ana", reason="férias", at=MONDAY - 5 * DAY)
            freezes.unfreeze(connection, actor="ana", reason="de volta", at=MONDAY - 4 * DAY)
    found = read_digest(town.engine, settings, MONDAY).models.quality
    assert found == Quality("1", pytest.approx((20 * 0.4 + 10 * 0.5) / 30 / 0.5), "healthy")


@pytest.mark.parametrize(("score", "degraded"), [(0.5, None), (0.05, "1")])
def test_a_degraded_champion_needs_a_person(town: Town, settings: Settings, score: float, degraded: str | None) -> None:
    """One that does as well as its reference does not."""
    watched(town, Reference(mean=0.5, sd=0.1, count=500, space=SPACE, began=MONDAY - 25 * DAY, ended=MONDAY - 20 * DAY))
    decided(town, 100, DAY, score)
    found = read_digest(town.engine, settings, MONDAY)
    assert found.models.quality is not None
    assert found.models.quality.verdict == ("healthy" if degraded is None else "degraded")
    assert found.needs.degraded == degraded


def test_groups_that_are_not_as_large_as_designed_need_a_person(town: Town, settings: Settings) -> None:
    """By the newest reading of the experiment that runs."""
    trial = experiment(town, "running")
    seen = []
    for days, figures in ((3, '{"alarm": true}'), (2, '{"alarm": false}'), (1, '{"alarm": true}')):
        town.execute(
            "INSERT INTO litgo.experiment_readouts (experiment_id, read_at, figures) "
            "VALUES (:id, :at, jsonb_build_object('figures', '[]'::jsonb, 'sample_ratio', CAST(:figures AS jsonb)))",
            id=trial,
            at=MONDAY - days * DAY,
            figures=figures,
        )
        seen.append(read_digest(town.engine, settings, MONDAY).needs.unequal_groups)
    assert seen == ["2", None, "2"]


def test_quality_without_a_reference_or_without_a_decision_is_unknown(town: Town, settings: Settings) -> None:
    """The week's decisions have nothing to be a share of, or there are none."""
    decided(town, 5, DAY, 0.4)
    watched(town, None)
    assert read_digest(town.engine, settings, MONDAY).models.quality == Quality("1", None, "insufficient data")
    watched(town, Reference(mean=0.5, sd=0.1, count=200, space=SPACE))
    for week, ratio in ((MONDAY, pytest.approx(0.8)), (MONDAY + 8 * DAY, None)):
        found = read_digest(town.engine, settings, week).models.quality
        assert found is not None
        assert found.ratio == ratio


def stuck(desk: Desk) -> int:
    return read_digest(desk.town.engine, desk.settings, desk.now).needs.stuck_contracts


def test_a_contract_that_nobody_takes_up_is_stuck_an_hour_after_it_was_taken_back(desk: Desk) -> None:
    """However old it is: before, there was a place to sign it."""
    from litgo_pipelines.casework import contracts

    contract = desk.requested()
    desk.stand_in.refuse["create"] = Reply(503)
    desk.now += HOUR
    desk.process()
    assert desk.state(contract) == ("pending-signature", "manual")
    desk.now += 3 * DAY
    with desk.town.engine.begin() as connection:
        contracts.retake(connection, contract, at=desk.now)
    desk.now += 10 * MINUTE
    assert stuck(desk) == 0
    desk.now += 2 * HOUR
    assert stuck(desk) == 1


def test_a_contract_whose_envelope_was_voided_is_stuck_once_it_was_sent_in_vain_for_an_hour(desk: Desk) -> None:
    """That it is tried again and again makes it no younger."""
    contract = desk.requested()
    desk.process()
    desk.now += 3 * DAY
    desk.stand_in.void(desk.envelope.id)
    desk.stand_in.refuse["create"] = Reply(503)
    begun, told = desk.now, []
    while desk.now < begun + 3 * HOUR:
        desk.process(fallback_enabled=False)
        told.append((desk.now - begun, stuck(desk)))
        desk.now = desk.contract(contract).due_at or desk.now
    patience = HOUR + desk.settings.contract_manual_after * MINUTE
    assert len(told) > 7
    assert told == [(waited, int(waited > patience)) for waited, _ in told]


def test_vendors_are_told_by_their_requests_and_by_what_was_done_without_them(town: Town, settings: Settings) -> None:
    """Timeouts are failures too; calls that made no request are not; a vendor that failed five times in a row is left alone."""
    from litgo_pipelines.marketplace.event_log import append

    now = datetime.now(UTC) + timedelta(seconds=5)

    def called(service: str, outcome: str, ago: timedelta, number: int = 1) -> None:
        town.execute(
            "INSERT INTO litgo.external_calls (service, operation, outcome, number, started_at, duration_ms) "
            "VALUES (:service, 'embed', :outcome, :number, :at, 5)",
            service=service,
            outcome=outcome,
            number=number,
            at=now - ago,
        )

    for n in range(5):
        called("openai", "timeout" if n else "http_5xx", timedelta(seconds=20 + n))
    called("openai", "ok", DAY)
    called("openai", "ok", 8 * DAY)
    called("openai", "breaker_open", timedelta(seconds=10), number=0)
    called("sendgrid", "http_4xx", DAY)
    with town.engine.begin() as connection:
        append(connection, "service_operations_total", amount=3, service="openai", mode="primary")
        append(connection, "service_operations_total", amount=1, service="openai", mode="fallback")
        append(connection, "service_operations_total", amount=2, service="docusign", mode="fallback")
    found = {one.service: one for one in read_digest(town.engine, settings, now).vendors}
    assert found["openai"] == Vendor("openai", False, 6, 5, 4, 1, 4, 1, "open")
    assert read_digest(town.engine, settings, now).needs.left_alone == ("openai",)
    assert found["sendgrid"] == Vendor("sendgrid", False, 1, 0, 0, 0, None, None, "closed")
    assert (found["docusign"].work, found["docusign"].fallback) == (2, 2)


def test_jobs_are_told_by_what_was_due_and_by_how_runs_ended(town: Town, settings: Settings) -> None:
    """A job whose last run succeeded is not broken, whatever failed before."""
    for number, (job, status, days) in enumerate(
        [("a", "failure", 2), ("a", "success", 1), ("b", "success", 3), ("b", "failure", 2), ("b", "canceled", 1), ("b", "failure", 9)]
    ):
        town.execute(
            "INSERT INTO litgo.job_runs (run_id, job, status, ended_at) VALUES (:id, :job, :status, :at)",
            id=str(number),
            job=job,
            status=status,
            at=MONDAY - days * DAY,
        )
    for days, executed in ((1, True), (2, False), (7, True)):
        town.execute(
            "INSERT INTO litgo.job_dues (job, due_at, executed, judged_at) VALUES ('c', :at, :executed, :at)",
            at=MONDAY - days * DAY,
            executed=executed,
        )
    found = read_digest(town.engine, settings, MONDAY)
    assert found.jobs == (Job("a", 0, 0, 2, 1), Job("b", 0, 0, 3, 1), Job("c", 2, 1, 0, 0))
    assert found.needs.broken_jobs == ("b",)


def test_a_week_has_one_digest(town: Town) -> None:
    """Whoever sends it again queues nothing, whatever it says by then."""

    def send(digest: Digest) -> bool:
        with town.engine.begin() as connection:
            return send_digest(connection, digest, subject(digest), as_text(digest, "http://dagster"), digest.until)

    assert send(FULL)
    assert not send(replace(UNKNOWN, until=MONDAY + 5 * DAY))
    assert send(replace(UNKNOWN, until=MONDAY + 7 * DAY))
    assert [row.audience for row in town.rows("SELECT audience FROM litgo.notifications")] == ["ops", "ops"]
