"""The letter to a lawyer who asks for a review of automated decisions (LGPD, Lei 13.709/2018, art. 20). Pure: an explanation in, text out.

Markdown that reads as plain text, wrapped. It tells of nobody but its addressee: of others there are only bands of values and medians.
What was recorded is read in `explanations`, the words for single numbers and reasons are in `wording`.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from litgo_pipelines.casework import wording as say
from litgo_pipelines.casework.findings import COMPARED, KEPT_DAYS, Decision, Finding, LawyerExplanation
from litgo_pipelines.ranking.ranker import HAND_WEIGHTS_VERSION

_WIDTH = 96
_LEFT_OUT = frozenset({Finding.JOINED_LATER})
_UNRECORDED = frozenset({Finding.BEYOND_RECORD, Finding.NO_RECORD, Finding.INACTIVE, Finding.ABSENT, Finding.NOT_COMPARED})
_ON_REQUEST = (
    "Destes pedidos não há números de V. Sa. registrados; por isso, estão contados por mês e área. A lista deles, um a um, pode ser pedida "
    "ao encarregado."
)
_LOWER = "resultado em faixa inferior à do último incluído"
# Numbers of articles stay with their words, and signs with what follows them (a line that begins with "+ " would become a list).
_TOGETHER = re.compile(r"(\bart\.|\bDr\(a\)\.|\bnº|\bV\.|[§+\N{MINUS SIGN}=]) (?=\S)")


@dataclass(frozen=True)
class Office:
    """Who writes, and the constants of the offer rule as they are today.

    Attributes:
        controller: name of the controller of personal data.
        dpo_contact: where the data protection officer (encarregado) is reached.
        new_lawyer_offers: offers after which a lawyer is no longer new.
        exploration: share of requests whose order inside value bands is drawn by lot.
    """

    controller: str
    dpo_contact: str
    new_lawyer_offers: int
    exploration: float


def review_letter(found: LawyerExplanation, office: Office, as_of: datetime) -> str:
    """The whole letter, in Portuguese, dated `as_of` in São Paulo."""
    parts = [
        _head(found, office, as_of),
        _asked(found),
        _decision(),
        _procedure(found, office),
        _data(),
        _results(found),
        _rights(office),
        _review(),
        _farewell(office),
        _annex(found, as_of),
    ]
    return "\n\n".join(_wrapped(block) for part in parts for block in part) + "\n"


def _head(found: LawyerExplanation, office: Office, as_of: datetime) -> Iterator[str]:
    oab = say.oab(found.lawyer.oab_number) if found.lawyer.oab_number else "inscrição na OAB não informada"
    yield "# Resposta a pedido de revisão de decisão automatizada (LGPD, art. 20)"
    yield f"**Controlador:** {say.plain(office.controller)}"
    yield f"**Encarregado pelo tratamento de dados pessoais:** {say.plain(office.dpo_contact)}"
    yield f"**Data:** {say.long_date(as_of)}"
    yield f"**Destinatário(a):** {say.plain(found.lawyer.name)}, {oab}"
    yield (
        "**Assunto:** decisões automatizadas sobre a oferta de casos; art. 20 da Lei nº 13.709, de 14 de agosto de 2018 "
        "(Lei Geral de Proteção de Dados Pessoais, LGPD)"
    )
    yield f"Prezado(a) Dr(a). {say.plain(found.lawyer.name)},"


def _asked(found: LawyerExplanation) -> Iterator[str]:
    yield "## 1. O pedido"
    if found.case_id is None:
        asked = (
            f"V. Sa. pediu a revisão das decisões automatizadas que definiram, de {say.day(found.since)} a {say.day(found.until)}, "
            "quais casos lhe seriam oferecidos na plataforma."
        )
    else:
        asked = (
            "V. Sa. pediu a revisão da decisão automatizada que definiu se lhe seria oferecido o caso de referência "
            f"{say.case_reference(found.case_id)}."
        )
    yield (
        f"{asked} Esta carta informa os critérios e os procedimentos dessas decisões, como prevê o art. 20, § 1º, da LGPD, e o "
        "resultado de cada uma delas."
    )
    yield (
        "Os números são os que foram registrados no momento de cada decisão; nenhum foi recalculado para esta carta. Datas e horários "
        "são os de São Paulo. Onde se lê “segundo o cadastro atual”, a informação decorre do cadastro como está hoje, pois o cadastro "
        "da época não fica guardado."
    )


def _decision() -> Iterator[str]:
    yield "## 2. A decisão automatizada"
    yield (
        "Quando um cliente apresenta um caso, um programa de computador compara os advogados que poderiam atendê-lo e forma uma lista "
        "curta, sem intervenção humana. Quem está na lista recebe a oferta do caso; em alguns pedidos não há envio de ofertas, e a lista "
        "apenas é apresentada ao cliente. A decisão vale somente para aquele caso. Depois dela, cada advogado decide livremente se "
        "aceita a oferta, e o cliente escolhe quem vai contratar."
    )


def _procedure(found: LawyerExplanation, office: Office) -> Iterator[str]:
    yield "## 3. Critérios e procedimentos"
    yield "Em cada pedido, o programa segue sempre os mesmos passos:"
    yield (
        "1. **Quem participa da comparação.** Os advogados com conta ativa que atuam na área do caso, não declararam ausência para "
        "aquele momento e ainda não receberam oferta do mesmo caso."
    )
    yield (
        "2. **Compatibilidade.** De 0 a 100 pontos, estima-se a chance de o advogado aceitar o caso. Contam a área (principal ou "
        f"adicional), {say.listed(say.criteria_names())}. {_models(found)}"
    )
    yield (
        "3. **Desconto pela carga.** A carga soma os casos contratados nos últimos 30 dias e uma fração das ofertas em aberto "
        "(proporcional à frequência com que as ofertas se tornam contratos), e divide o total pela capacidade mensal do advogado. "
        f"Quanto maior a carga, maior o desconto. {_price(found)}"
    )
    yield (
        "4. **Acréscimo inicial.** Quem recebeu poucas ofertas desde que entrou na plataforma "
        f"(hoje, menos de {say.number(office.new_lawyer_offers)}) recebe alguns pontos a mais, para que tenha oportunidade de começar."
    )
    yield (
        "5. **Resultado e vez.** O resultado é a compatibilidade, menos o desconto, mais o acréscimo. Resultados da mesma faixa de 2 "
        "pontos são tratados como equivalentes: entre eles, a vez é de quem está há mais tempo sem receber oferta; havendo empate, de "
        "quem tem menor carga; e, por fim, decide um número calculado a partir dos códigos internos do caso e do advogado, alheio "
        f"a qualquer característica da pessoa. {_exploration(office)}"
    )
    yield (
        "6. **Limite de capacidade.** Quem ultrapassaria a própria capacidade mensal com mais uma oferta só entra na lista se não "
        "houver outros em número suficiente, começando pela menor carga."
    )
    yield (
        "A capacidade mensal parte de 10 casos, aumenta com o tempo de exercício da profissão, o porte do escritório e a taxa de êxito "
        "do cadastro, chega no máximo a 30 e nunca supera o limite que o próprio advogado declarou."
    )
    yield (
        "Os pesos internos do cálculo da compatibilidade são segredo comercial e não são informados (art. 20, § 1º). Se V. Sa. julgar "
        "que, por isso, as informações são insuficientes, a autoridade nacional poderá realizar auditoria para verificar aspectos "
        "discriminatórios no tratamento (art. 20, § 2º). Para proteger outros advogados, o resultado do último incluído em cada lista "
        "aparece apenas como faixa."
    )


def _models(found: LawyerExplanation) -> str:
    versions = {one.request.model_version for one in found.decisions if one.finding in COMPARED} - {None}
    trained = sorted(str(one) for one in versions if one != HAND_WEIGHTS_VERSION)
    told = []
    if HAND_WEIGHTS_VERSION in versions:
        told.append("por uma média dos critérios com pesos fixos")
    if trained:
        word = "versão" if len(trained) == 1 else "versões"
        told.append(f"por um modelo estatístico ({word} {say.listed(trained)}) que aprendeu com o desfecho de ofertas anteriores")
    return f"Nas decisões desta carta, a estimativa foi feita {say.listed(told)}." if told else ""


def _price(found: LawyerExplanation) -> str:
    prices = [one.request.price for one in found.decisions if one.finding in COMPARED and one.request.price is not None]
    if not prices:
        return ""
    least, most = say.points(min(prices)), say.points(max(prices))
    told = f"foi de {least} pontos" if least == most else f"ficou entre {least} e {most} pontos"
    return f"Nas decisões desta carta, o desconto correspondente a 100% da capacidade {told}."


def _exploration(office: Office) -> str:
    if office.exploration == 0:
        return ""
    return (
        f"Em uma pequena parte dos pedidos (hoje, cerca de {say.percent(office.exploration)}), a vez dentro da faixa é sorteada, o que "
        "permite avaliar o próprio sistema."
    )


def _data() -> Iterator[str]:
    yield "## 4. Dados utilizados"
    yield (
        "Foram utilizados os seguintes dados de V. Sa.: situação da conta e ausências declaradas; áreas de atuação; localização "
        "profissional, para a distância até o cliente; descrição e desfecho dos casos que atendeu pela plataforma; avaliações de clientes; "
        "tempo habitual de resposta; nota de qualificação do currículo; nota de relacionamento com o cliente; contratos dos últimos 30 "
        "dias e ofertas em aberto; total de ofertas recebidas e data da última. Para a capacidade mensal: tempo de exercício da "
        "profissão, porte do escritório, taxa de êxito e limite de casos declarado."
    )
    yield (
        "Não são utilizados nome, sexo ou gênero, raça ou cor, idade, estado civil, orientação sexual, religião, opinião política, "
        "filiação sindical, deficiência, saúde, dados biométricos ou fotografia, nem qualquer outro dado pessoal sensível de V. Sa. "
        "(art. 5º, II)."
    )


def _results(found: LawyerExplanation) -> Iterator[str]:
    summary = found.summary
    yield "## 5. Resultados no período" if found.case_id is None else "## 5. Resultado"
    if found.record_since is None or found.record_since > found.since:
        yield (
            f"O registro das comparações é mantido por {KEPT_DAYS} dias. "
            + (
                "Nele não há nenhum pedido."
                if found.record_since is None
                else f"O primeiro pedido dele é de {say.day(found.record_since)}."
            )
        )
    yield _participation(found)
    counts = [f"- {heading}: {say.number(len(ones))}" for heading, ones in say.grouped(found.decisions) if ones[0].finding in COMPARED]
    if counts:
        yield "\n".join(counts)
    others = [f"- {what}: {say.number(count)}" for what, count in _not_compared_counts(found)]
    if others:
        yield f"V. Sa. não participou da comparação em {say.counted(summary.requests - summary.compared, 'pedido', 'pedidos')}:"
        yield "\n".join(others)
    yield from _load(found)


def _participation(found: LawyerExplanation) -> str:
    summary = found.summary
    if not summary.compared:
        return "Não há registro de decisão em que V. Sa. tenha participado da comparação."
    told = f"V. Sa. participou da comparação em {say.counted(summary.compared, 'pedido', 'pedidos')}"
    if summary.offered_share is None:
        return f"{told}, sem envio de ofertas:"
    if summary.compared_for_offers < summary.compared:
        told += f", dos quais {say.number(summary.compared_for_offers)} com envio de ofertas"
    elif summary.compared == 1:
        return f"{told}, e o caso {'' if summary.offered else 'não '}lhe foi oferecido:"
    return f"{told}. Recebeu {say.counted(summary.offered, 'oferta', 'ofertas')} ({say.percent(summary.offered_share, 1)}):"


def _not_compared_counts(found: LawyerExplanation) -> Iterator[tuple[str, int]]:
    for finding in Finding:
        count = found.summary.by_finding[finding]
        if count and finding not in COMPARED:
            yield say.finding(finding), count


def _load(found: LawyerExplanation) -> Iterator[str]:
    window = "no período" if found.case_id is None else "nos 30 dias anteriores ao pedido"
    if found.load:
        first, last = found.load[0], found.load[-1]
        mean = sum(one.utilisation for one in found.load) / len(found.load)
        course = f" e {say.percent(last.utilisation)} em {say.day(last.as_of)}; a média {window} foi de {say.percent(mean)}"
        yield (
            f"Pela apuração diária, os casos contratados por V. Sa. em 30 dias representavam {say.percent(first.utilisation)} da "
            f"capacidade mensal em {say.day(first.as_of)}{course if len(found.load) > 1 else ''}. Na última apuração, a capacidade mensal "
            f"era de {say.counted(last.capacidade_mensal, 'caso', 'casos')}."
        )
    peers = found.peers
    if peers.utilisation is not None and peers.offers is not None:
        yield (
            f"Para comparação: entre os {say.number(peers.lawyers)} advogados que têm {say.plain(peers.area)} como área principal, a "
            f"mediana era de {say.percent(peers.utilisation)} da capacidade mensal e de "
            f"{say.number(peers.offers, 0 if peers.offers == int(peers.offers) else 1)} casos oferecidos {window}."
        )


def _rights(office: Office) -> Iterator[str]:
    yield "## 6. O que V. Sa. pode fazer"
    yield "\n".join(
        (
            "- **Atualizar o cadastro:** áreas de atuação, endereço profissional, ausências e limite de casos valem para os pedidos "
            "seguintes.",
            "- **Pedir a correção** de dados incompletos, inexatos ou desatualizados (art. 18, III, da LGPD).",
            "- **Pedir a revisão** de qualquer das decisões desta carta (art. 20, caput), inclusive por uma pessoa, como se explica no "
            f"item 7. Basta escrever ao encarregado: {say.plain(office.dpo_contact)}.",
            "- **Peticionar à autoridade nacional** de proteção de dados, a ANPD (art. 18, § 1º), depois de apresentar reclamação ao "
            "controlador que não seja solucionada (art. 55-J, V).",
        )
    )


def _review() -> Iterator[str]:
    yield "## 7. A revisão por uma pessoa"
    yield (
        "A lei assegura a revisão de decisões tomadas unicamente com base em tratamento automatizado, sem exigir que seja feita por "
        "pessoa natural. O controlador a oferece, por prática própria, a quem a pedir. A pessoa encarregada da revisão:"
    )
    yield "\n".join(
        (
            "- confere com V. Sa. se os dados utilizados estavam corretos e atualizados;",
            "- confere, no registro de cada decisão questionada, os números e a sua soma;",
            "- verifica se a regra foi aplicada como descrita no item 3, a V. Sa. e aos demais;",
            "- considera circunstâncias que o programa não conhece e que V. Sa. queira expor;",
            "- responde por escrito, com as razões da conclusão.",
        )
    )
    yield (
        "Se houver erro, corrige-se o dado ou a regra, e examina-se se o caso ainda pode ser oferecido a V. Sa. Contratos já firmados "
        "entre clientes e outros advogados não são desfeitos."
    )


def _farewell(office: Office) -> Iterator[str]:
    yield "Atenciosamente,"
    yield f"{say.plain(office.controller)}\n\nEncarregado pelo tratamento de dados pessoais: {say.plain(office.dpo_contact)}"


def _annex(found: LawyerExplanation, as_of: datetime) -> Iterator[str]:
    groups = say.grouped(one for one in found.decisions if one.finding not in _LEFT_OUT)
    if not groups:
        return
    yield "## Anexo: as decisões, caso a caso"
    yield (
        "As mais recentes vêm primeiro. Cada linha de decisão traz data e horário do pedido, referência do caso (os oito primeiros "
        "caracteres do seu código) e área. Compatibilidade, desconto, acréscimo e resultado estão em pontos, arredondados a uma casa, de "
        "modo que a soma pode diferir em 0,1. Cada critério vai de 0 a 100. Pedidos de outras áreas ou anteriores à entrada na "
        "plataforma constam apenas do item 5."
    )
    for heading, decisions in groups:
        yield f"### {heading[0].upper()}{heading[1:]} ({say.number(len(decisions))})"
        if found.case_id is None and decisions[0].finding in _UNRECORDED:
            yield _ON_REQUEST
            yield "\n".join(f"- {line}" for line in _counts(decisions))
        else:
            yield "\n".join(f"- {_line(one, as_of)}" for one in decisions)


def _counts(decisions: Sequence[Decision]) -> Iterator[str]:
    """Decisions of which nothing is recorded, counted by month and area in their order."""
    found: dict[tuple[str, str], list[Decision]] = {}
    for one in decisions:
        found.setdefault((say.month(one.request.at), say.plain(one.request.area)), []).append(one)
    for (month, area), ones in found.items():
        told = [f"{month}, {area}: {say.counted(len(ones), 'pedido', 'pedidos')}"]
        why = Counter(_LOWER if one.request.beyond_are_lower else say.UNCERTAIN for one in ones if one.finding is Finding.BEYOND_RECORD)
        told += [words if count == len(ones) else f"em {say.number(count)} deles, {words}" for words, count in why.most_common()]
        yield "; ".join(told) + "."


def _line(decision: Decision, as_of: datetime) -> str:
    request = decision.request
    told = f"{say.day_and_hour(request.at)}, caso {say.case_reference(request.case_id)} ({say.plain(request.area)})"
    return "; ".join([told, *_details(decision, as_of)]) + "."


def _details(decision: Decision, as_of: datetime) -> Iterator[str]:
    if decision.position is not None:
        yield f"{decision.position}º lugar na lista"
    if offer := say.offer_told(decision, as_of):
        yield offer
    if decision.reason in ("filled", "explored"):
        yield say.reason(decision)
    if decision.numbers is not None:
        yield say.sum_of(decision.numbers)
    if decision.finding in (Finding.NOT_SHOWN, Finding.BEYOND_RECORD):
        yield from say.bounds(decision)
    if decision.features is not None:
        yield f"critérios: {say.criteria(decision.features)}"


def _wrapped(block: str) -> str:
    """A block's lines wrapped, those of lists with hanging indents. Headings stay whole."""
    return "\n".join(_wrap(line) for line in block.split("\n"))


def _wrap(line: str) -> str:
    if line.startswith("#"):
        return line
    mark = re.match(r"(- |\d\. )?", line)
    indent = " " * len(mark.group()) if mark else ""
    return textwrap.fill(_TOGETHER.sub("\\1\u00a0", line), _WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
