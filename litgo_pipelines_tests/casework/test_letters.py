"""Letters and their words: what a lawyer reads is right, Portuguese, and about nobody else."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from litgo_pipelines.casework import wording as say
from litgo_pipelines.casework.equity_run import run_equity
from litgo_pipelines.casework.explanations import explain_decision, explain_lawyer
from litgo_pipelines.casework.findings import FEATURE_NAMES, Decision, Finding, LawyerExplanation, Numbers, Offer, Request, band_of
from litgo_pipelines.casework.letters import Office, review_letter
from litgo_pipelines.casework.matching import decide, note_offers
from litgo_pipelines.casework.recording import Recording, record
from litgo_pipelines.equity.allocation import OfferRule
from litgo_pipelines.marketplace import tables
from litgo_pipelines.ranking.ranker import HandWeights
from litgo_pipelines_tests.casework.conftest import NOON, Town

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
OFFICE = Office("Acordo Certo Ltda.", "lgpd@acordocerto.example", 10, 0.05)


def matched(town: Town, case: UUID, *, offers: bool = True, exploration: float = 0.0, **options: Any) -> None:
    given: dict[str, Any] = {"request_id": uuid4(), "at": NOON, "top_n": 2, "new_lawyer_offers": 3}
    market = town.market()
    decision = decide(market, town.as_case(case), HandWeights(), OfferRule(exploration=exploration), **(given | options))
    note_offers(market, decision)
    record(town.engine, market, [decision], Recording(DAY if offers else None, 4))


def explained(town: Town, lawyer: UUID, case: UUID | None = None) -> LawyerExplanation:
    with town.engine.connect() as connection:
        if case is not None:
            return explain_decision(connection, lawyer, case, NOON + HOUR, least_peers=2)
        return explain_lawyer(connection, lawyer, NOON - 30 * DAY, NOON + HOUR, least_peers=2)


def letter(found: LawyerExplanation, office: Office = OFFICE) -> str:
    """The letter with its lines joined and its spaces plain."""
    return " ".join(review_letter(found, office, NOON).split())


@pytest.fixture
def busy_town(town: Town) -> list[UUID]:
    """Lawyers of recognisable names, with requests that show, offer, explore, lose turns, fill up and go beyond the record."""
    lawyers = [
        town.lawyer(
            name=f"Zuleica{number} Quaresma{number}",
            oab_number=f"PR{700_000 + number}",
            cv_score=number / 8,
            max_concurrent_cases=1 + number,
            capacidade_mensal=1 + number,
        )
        for number in range(8)
    ]
    for number in range(14):
        case = town.case(summary=f"segredo{number} do cliente sobre a herança", subarea=f"assunto reservado {number}")
        matched(town, case, exploration=float(number % 4 == 3), offers=number != 5, at=NOON - number * HOUR, new_lawyer_offers=3)
    run_equity(town.engine, NOON, new_lawyer_offers=3)
    return lawyers


def test_a_letter_tells_of_nobody_but_its_addressee(busy_town: list[UUID], town: Town) -> None:
    """No id, name or number of another lawyer, no client, no word of a case, no id longer than a reference: for all in the database."""
    cases = town.rows("SELECT id, summary, subarea, client_id FROM litgo.cases")
    secrets = {str(row.id) for row in cases} | {row.summary for row in cases} | {row.subarea for row in cases}
    secrets |= {str(row.client_id) for row in cases} | {f"segredo{number}" for number in range(14)}
    secrets |= {str(row.id) for row in town.rows("SELECT id FROM litgo.match_requests")}
    people = town.rows("SELECT id, name, oab_number FROM litgo.lawyers")
    for lawyer in busy_town:
        others = {text for row in people if row.id != lawyer for text in (str(row.id), row.name, row.oab_number, say.oab(row.oab_number))}
        for case in (None, cases[0].id):
            text = review_letter(explained(town, lawyer, case), OFFICE, NOON)
            assert not [secret for secret in secrets | others if secret in text]
    assert {Finding.OFFERED, Finding.SHOWN, Finding.NOT_SHOWN, Finding.BEYOND_RECORD} <= {
        one.finding for lawyer in busy_town for one in explained(town, lawyer).decisions
    }


def test_of_the_last_one_shown_there_is_only_a_band(town: Town) -> None:
    """The result of another lawyer is in no letter, to no digit; the band that it lies in is."""
    town.lawyer(cv_score=1.0)
    other = town.lawyer(cv_score=0.1)
    matched(town, town.case(), top_n=1)
    found = explained(town, other)
    cutoff = found.decisions[0].request.cutoff
    assert cutoff is not None
    text = letter(found)
    assert say.points(cutoff) not in text
    assert f"último incluído na faixa {say.band(cutoff)}" in text


def test_a_letter_says_what_the_law_asks_for(busy_town: list[UUID], town: Town) -> None:
    """Controller, officer, date, addressee, law, criteria, data, rights, human review, and that nothing was recomputed."""
    found = explained(town, busy_town[3])
    text = letter(found)
    for part in (
        "**Controlador:** Acordo Certo Ltda.",
        "lgpd@acordocerto.example",
        "10 de março de 2026",
        "Zuleica3 Quaresma3, OAB/PR 700.003",
        "art. 20 da Lei nº 13.709, de 14 de agosto de 2018",
        "art. 20, § 1º",
        "nenhum foi recalculado",
        "proximidade, experiência com casos semelhantes, taxa de êxito, qualificação",
        "sexo ou gênero, raça ou cor, idade",
        "religião",
        "deficiência",
        "art. 18, III",
        "art. 18, § 1º",
        "art. 55-J, V",
        "sem exigir que seja feita por pessoa natural",
        "por prática própria",
        "hoje, menos de 10",
        "cerca de 5%",
        "o desconto correspondente a 100% da capacidade foi de 50,0 pontos",
        "por uma média dos critérios com pesos fixos",
        "segundo o cadastro atual",
    ):
        assert part in text, part
    summary = found.summary
    assert f"participou da comparação em {summary.compared} pedidos, dos quais {summary.compared_for_offers} com envio de ofertas" in text
    assert f"Recebeu {summary.offered} oferta" in text
    for decision in found.decisions:
        listed = f"caso {say.case_reference(decision.request.case_id)} (civil)" in text
        assert listed == (decision.finding is not Finding.BEYOND_RECORD)


def test_a_letter_can_be_read_as_plain_text(busy_town: list[UUID], town: Town) -> None:
    """Lines are short, and no line begins by chance with what Markdown takes for a list or heading."""
    text = review_letter(explained(town, busy_town[5]), OFFICE, NOON)
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    for line in text.splitlines():
        assert len(line) <= 96 or line.startswith("#")
        assert not re.match(r" +([-+*#]|\d+\.) ", line), line


def test_a_letter_about_one_case_is_about_that_case(town: Town) -> None:
    """Asked, answered and listed once; in the singular."""
    town.lawyer(cv_score=1.0)
    other, case = town.lawyer(cv_score=0.1), town.case()
    matched(town, case, top_n=1)
    matched(town, town.case(), top_n=1)
    text = letter(explained(town, other, case))
    assert f"o caso de referência {say.case_reference(case)}" in text
    assert "participou da comparação em 1 pedido, e o caso não lhe foi oferecido" in text
    assert text.count("resultado abaixo do obtido pelo último incluído") == 2


def test_what_is_not_recorded_is_counted_and_can_be_asked_for(town: Town) -> None:
    """By month of São Paulo and area, told apart by what the record allows to say; asked about alone, the one decision is listed."""
    lawyer = town.lawyer()
    late = datetime(2026, 3, 1, 2, tzinfo=UTC)
    lower = replace(REQUEST, least_recorded=0.25, cutoff=0.31)
    uncertain = replace(REQUEST, least_recorded=0.31, cutoff=0.31)
    beyond = [
        Decision(one, Finding.BEYOND_RECORD)
        for one in (lower, uncertain, lower, replace(lower, area="penal"), *(replace(one, at=late) for one in [uncertain] * 200))
    ]
    absent = Decision(replace(REQUEST, area="penal"), Finding.ABSENT)
    missed = Decision(replace(REQUEST, case_id=uuid4()), Finding.NOT_SHOWN, "full", numbers=FULL)
    found = replace(explained(town, lawyer), decisions=(*beyond, absent, missed))
    text = letter(found)
    assert (
        f"março de 2026, civil: 3 pedidos; em 2 deles, resultado em faixa inferior à do último incluído; em 1 deles, {say.UNCERTAIN}."
        in text
    )
    assert "março de 2026, penal: 1 pedido; resultado em faixa inferior à do último incluído." in text
    assert f"fevereiro de 2026, civil: 200 pedidos; {say.UNCERTAIN}." in text
    assert text.endswith("- março de 2026, penal: 1 pedido.")
    assert "um a um, pode ser pedida ao encarregado" in text
    assert f"caso {say.case_reference(missed.request.case_id)} (civil)" in text
    assert say.case_reference(REQUEST.case_id) not in text
    alone = letter(replace(found, case_id=REQUEST.case_id, decisions=(beyond[0],)))
    assert f"caso {say.case_reference(REQUEST.case_id)} (civil); resultado de no máximo 26" in alone


def test_a_letter_about_nothing_says_so(town: Town) -> None:
    """No decision on record is an answer too, with all rights."""
    text = letter(explained(town, town.lawyer()))
    assert "Não há registro de decisão em que V. Sa. tenha participado da comparação." in text
    assert "Nele não há nenhum pedido." in text
    assert "art. 18, § 1º" in text
    assert "Anexo" not in text


def test_a_letter_says_from_when_on_there_is_a_record(town: Town) -> None:
    """Where the period begins before the record does, and only there."""
    lawyer = town.lawyer()
    matched(town, town.case())
    found = explained(town, lawyer)
    assert "mantido por 180 dias. O primeiro pedido dele é de 10/03/2026." in letter(found)
    assert "mantido por" not in letter(replace(found, record_since=found.since))


def test_trained_models_are_named_by_version(town: Town) -> None:
    """Each version that decided, and the hand weights where they did."""
    lawyer = town.lawyer()
    for version in ("3", "4", None):
        case = town.case()
        matched(town, case)
        if version is not None:
            town.execute("UPDATE litgo.match_requests SET model_version = :v WHERE case_id = :case", v=version, case=case)
    text = letter(explained(town, lawyer))
    assert "por uma média dos critérios com pesos fixos e por um modelo estatístico (versões 3 e 4)" in text
    assert "sorteada" not in letter(explained(town, lawyer), replace(OFFICE, exploration=0.0))


def test_names_are_written_without_what_a_terminal_would_obey(town: Town) -> None:
    """Control characters and line breaks of a name do not reach the reader."""
    text = review_letter(explained(town, town.lawyer(name="Ana\n# Silva\x1b[31m")), OFFICE, NOON)
    assert "Prezado(a) Dr(a).\u00a0Ana # Silva [31m," in text


REQUEST = Request(uuid4(), uuid4(), "civil", NOON, "3", 0.5, 9, 0.31, False, 3, 5, 0.25)
FULL = Numbers(score=0.612, load=0.2, discount=0.1, bonus=0.05, value=0.562, is_new=True)


def test_numbers_are_written_as_in_brazil() -> None:
    """Decimal comma, points at thousands, true minus signs, and no negative zero."""
    assert (say.number(1234.5, 1), say.number(-0.04, 1), say.number(-12, 0)) == ("1.234,5", "0,0", "\N{MINUS SIGN}12")
    assert (say.points(0.612), say.percent(0.854), say.percent(0.279, 1)) == ("61,2", "85%", "27,9%")
    assert (say.counted(1, "pedido", "pedidos"), say.counted(2000, "pedido", "pedidos")) == ("1 pedido", "2.000 pedidos")
    assert (say.listed(["a"]), say.listed(["a", "b", "c"])) == ("a", "a, b e c")


def test_times_are_those_of_sao_paulo() -> None:
    """Late in the evening there it is the next day in UTC already."""
    late = datetime(2026, 4, 2, 1, 5, tzinfo=UTC)
    assert (say.day(late), say.day_and_hour(late), say.long_date(late)) == ("01/04/2026", "01/04/2026, 22h05", "1º de abril de 2026")


def test_a_number_that_cannot_be_read_stays_as_registered() -> None:
    """Others are written the one way."""
    assert (say.oab("sp123456a"), say.oab("em processo")) == ("OAB/SP 123.456-A", "OAB em processo")


def test_a_sum_is_told_as_far_as_it_is_recorded() -> None:
    """The bonus where there was one; without value or load nothing is made up."""
    minus = "\N{MINUS SIGN}"
    assert say.sum_of(FULL) == f"compatibilidade 61,2 {minus} desconto 10,0 (carga de 20%) + acréscimo inicial 5,0 = resultado 56,2"
    assert "acréscimo" not in say.sum_of(replace(FULL, bonus=1e-8, value=0.512))
    assert say.sum_of(replace(FULL, value=None, bonus=None)) == "compatibilidade 61,2; carga de 20%; resultado final não registrado"
    assert "carga não registrada" in say.sum_of(replace(FULL, load=None))


def test_every_recorded_reason_and_state_has_words() -> None:
    """Whatever the database may hold: reasons, findings, states of offers, reasons of refusals."""
    for table, column in (("match_candidates", "reason"), ("offers", "status"), ("offers", "decline_reason")):
        for value in _allowed(table, column):
            if column == "reason":
                assert say.reason_of(value, FULL)
            else:
                status, why = (value, None) if column == "status" else ("declined", value)
                assert say.offer_state(Offer(status, why, NOON, NOON + DAY, NOON), NOON)
    assert all(say.finding(one) for one in Finding)
    assert len(say.criteria_names()) == len(FEATURE_NAMES) - 1


def _allowed(table: str, column: str) -> list[str]:
    """The values that a check of the table allows in a column."""
    (check,) = [
        str(one.sqltext)  # type: ignore[attr-defined]
        for one in tables.metadata.tables[f"litgo.{table}"].constraints
        if str(getattr(one, "sqltext", "")).startswith(f"{column} IN")
    ]
    return re.findall(r"'(\w+)'", check)


def test_an_old_record_does_not_claim_a_lower_result() -> None:
    """Records without values called a lost turn `below_cutoff` too."""
    assert say.reason_of("below_cutoff", replace(FULL, value=None)) == say.OUTRANKED
    assert say.reason_of("below_cutoff", FULL) != say.OUTRANKED


def test_states_of_offers_are_told_as_they_are_today() -> None:
    """A pending one past its time was not answered; a closed one tells whether there was an answer."""
    pending = Offer("pending", None, NOON, NOON + DAY, None)
    assert say.offer_state(pending, NOON) == "aguardando resposta"
    assert say.offer_state(pending, NOON + DAY) == "prazo encerrado sem resposta"
    assert say.offer_state(replace(pending, status="declined", decline_reason="fee", responded_at=NOON), NOON) == (
        "recusada em 10/03/2026 (honorários)"
    )
    assert say.offer_state(replace(pending, status="closed", responded_at=NOON), NOON).startswith("interesse manifestado")
    assert say.offer_state(replace(pending, status="closed"), NOON) == "procura concluída antes da resposta"


def test_criteria_are_words_and_unknown_ones_say_so() -> None:
    """The area by its kind, the others of 0 to 100."""
    features: dict[str, float | None] = dict.fromkeys(FEATURE_NAMES, 0.5)
    assert say.criteria(features | {"area_match": 1.0, "proximity": 0.92}).startswith("área principal; proximidade 92; ")
    assert say.criteria(features | {"area_match": 0.6, "reviews": None}).startswith("área adicional")
    assert "avaliações de clientes sem informação" in say.criteria(features | {"reviews": None})


def test_decisions_of_one_meaning_stand_together() -> None:
    """Offered ones first; not offered ones by reason; requests without offers under a heading of their own."""
    missed = Decision(REQUEST, Finding.NOT_SHOWN, "full", numbers=FULL)
    shown_only = replace(missed, request=replace(REQUEST, offers_made=0))
    absent = Decision(REQUEST, Finding.ABSENT)
    offered = Decision(REQUEST, Finding.OFFERED, "value", 1, FULL)
    groups = say.grouped([absent, missed, shown_only, offered, missed])
    assert [len(decisions) for _, decisions in groups] == [1, 2, 1, 1]
    assert [decisions[0] for _, decisions in groups] == [offered, missed, shown_only, absent]


@given(st.floats(-1.5, 1.05))
def test_a_ceiling_bounds_and_hides(value: float) -> None:
    """The bound told is never below the value, by less than a band above it, and the same for all values of the band."""
    told = float(say.ceiling(value).replace("\N{MINUS SIGN}", "-"))
    assert 100 * value - 1e-6 <= told <= 100 * value + 2 + 1e-6
    assert say.ceiling(value) == say.ceiling(0.02 * band_of(value) + 0.01)
