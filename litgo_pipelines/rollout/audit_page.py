"""The auditor's report about one version of the ranker: one HTML page in Brazilian Portuguese, without scripts, fetching nothing.

Facts come in from `audit`, words and numbers from `audit_wording`. The template beside this module escapes all text.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from litgo_pipelines.marketplace.names import FEATURES
from litgo_pipelines.ranking.calibration import TOLERATED_ERROR
from litgo_pipelines.rollout import audit_wording as say
from litgo_pipelines.rollout.audit import SYSTEM, Data, Facts, GateTest, Training, Trial, gate_tests
from litgo_pipelines.rollout.audit_pictures import Look, importance_picture, interval_picture
from litgo_pipelines.rollout.decisions import MLFLOW_UI, Decision
from litgo_pipelines.rollout.following import FOUND
from litgo_pipelines.rollout.gate import LEAST_CASES_OF_AN_AREA, MOST_LOSS_OF_AN_AREA, GateEvidence, GateResult
from litgo_pipelines.rollout.readout import SAMPLE_RATIO_ALPHA, ExperimentResult, Figure, Guardrail, GuardrailFinding
from litgo_pipelines.rollout.registry import MODEL

_TEMPLATE = "audit.html.jinja"


@dataclass(frozen=True)
class Controller:
    """Who answers for the personal data (LGPD), and where the data protection officer is reached."""

    name: str
    contact: str


@dataclass(frozen=True)
class Block:
    """A piece of a section, as the template knows it. With `below` a listing's last cell stands under its row, over the whole width."""

    kind: Literal["text", "heading", "facts", "listing", "items", "terms", "commands", "picture"]
    text: str = ""
    rows: Sequence[tuple[str, ...]] = ()
    columns: tuple[str, ...] = ()
    right: tuple[int, ...] = ()
    items: Sequence[str] = ()
    png: str = ""
    note: bool = False
    below: bool = False


@dataclass(frozen=True)
class Section:
    """A numbered section. `short` is its name in the list above."""

    title: str
    short: str
    blocks: list[Block]


@dataclass(frozen=True)
class Page:
    """What the template fills in."""

    title: str
    controller: str
    contact: str
    issued: str
    summary: list[str]
    at_a_glance: list[tuple[str, str]]
    warnings: list[str]
    sections: list[Section] = field(default_factory=list)


def audit_page(facts: Facts, controller: Controller) -> str:
    """The whole page as HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("litgo_pipelines.rollout", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(page=_page(facts, controller))


def _page(facts: Facts, controller: Controller) -> Page:
    return Page(
        title=f"modelo {MODEL}, versão {facts.version.version}",
        controller=controller.name,
        contact=controller.contact,
        issued=say.day_and_hour(facts.as_of),
        summary=list(_summary(facts)),
        at_a_glance=list(_at_a_glance(facts)),
        warnings=list(_warnings(facts)),
        sections=[
            Section("Para que serve o modelo", "Finalidade", list(_purpose())),
            Section("Dados de treinamento", "Dados", list(_data(facts.data, facts.training))),
            Section("Treinamento", "Treinamento", list(_training(facts.training))),
            Section("Calibração da chance de aceitação", "Calibração", list(_calibration(facts.training))),
            Section("Comparação prévia, antes de qualquer uso", "Comparação prévia", list(_gate(facts.gate))),
            Section("Experimento com clientes", "Experimento", list(_trials(facts))),
            Section("Uso e acompanhamento", "Uso", list(_use(facts))),
            Section("Decisões registradas", "Decisões", list(_decisions(facts))),
            Section("Pessoas envolvidas", "Pessoas", list(_people(facts))),
            Section("Situação na data deste relatório", "Situação", list(_today(facts))),
            Section("Como conferir este relatório", "Conferência", list(_checking(facts))),
            Section("Termos usados", "Termos", [_TERMS]),
        ],
    )


def _text(text: str, *, note: bool = False) -> Block:
    return Block("text", text=text, note=note)


def _heading(text: str) -> Block:
    return Block("heading", text=text)


def _rows(rows: Sequence[tuple[str, str]]) -> Block:
    return Block("facts", rows=rows)


def _listing(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], right: tuple[int, ...] = ()) -> Block:
    return Block("listing", columns=columns, rows=rows, right=right)


def _picture(png: bytes, told: str) -> Block:
    return Block("picture", png=base64.b64encode(png).decode(), text=told)


def _summary(facts: Facts) -> Iterator[str]:
    data = facts.data
    yield (
        "Este relatório reúne o que está registrado sobre uma versão do modelo que ajuda a decidir a quais advogados um caso é oferecido: "
        "com que dados foi treinada, como foi testada, quem decidiu o quê, por que motivo, e como qualquer pessoa pode refazer as contas."
    )
    made = f"A versão {facts.version.version} foi registrada em {say.day(facts.version.created_at)}"
    if data is not None and data.rows is not None:
        made += f"; para treiná-la e testá-la foram reunidos os desfechos de {say.counted(data.cases or 0, 'caso', 'casos')}"
    yield f"{made}. {_gate_told(facts.gate)} {_trial_told(facts.trials)}"
    yield f"{_standing(facts)} {_people_told(facts)}"


def _gate_told(gate: GateResult | None) -> str:
    if gate is None:
        return "Não há registro de comparação prévia."
    against = say.version(gate.evidence.get("incumbent")) if gate.evidence else None
    with_whom = f", em que foi medida contra {_the(against)}" if against else ""
    return {
        "pass": f"Foi aprovada na comparação prévia{with_whom}.",
        "fail": f"Foi reprovada na comparação prévia{with_whom}.",
        "insufficient data": "Na comparação prévia não havia dados suficientes para um juízo.",
    }[gate.verdict]


def _the(version: str) -> str:
    return f"os {version}" if version.startswith("pesos") else f"a {version}"


def _trial_told(trials: Sequence[Trial]) -> str:
    if not trials:
        return "Não houve experimento com clientes."
    newest = trials[-1].experiment
    if newest.status != "ended":
        return f"Um experimento com clientes está {say.EXPERIMENTS[newest.status]}."
    told = f"Participou de {say.counted(len(trials), 'experimento', 'experimentos')}"
    return f"{told}; o último terminou com o resultado “{_verdict(newest.verdict)}”."


def _verdict(verdict: str | None) -> str:
    return say.NONE if verdict is None else say.RESULTS.get(verdict, verdict)


def _standing(facts: Facts) -> str:
    if facts.share <= 0:
        return f"Hoje a versão não atende nenhum cliente; quem responde é {_who(facts)}."
    if facts.is_champion:
        return f"Hoje é a versão em uso e atende {say.percent(facts.share)} dos clientes."
    return f"Hoje atende {say.percent(facts.share)} dos clientes, em experimento; aos demais responde {_who(facts)}."


def _who(facts: Facts) -> str:
    told = say.version(facts.champion)
    return "o cálculo com pesos manuais" if told.startswith("pesos") else f"a {told}"


def _people_told(facts: Facts) -> str:
    named = [one.name for one in facts.people if one.name != MLFLOW_UI and one.acts.keys() - {"freeze", "unfreeze"}]
    if not facts.decisions:
        return "Não há decisões registradas sobre ela."
    if not named:
        return "Nenhuma pessoa identificada tomou decisão sobre ela; as que há foram tomadas pelo sistema, segundo regras fixas."
    return f"Tomaram decisões sobre ela: {say.listed(named)}."


def _at_a_glance(facts: Facts) -> Iterator[tuple[str, str]]:
    gate = facts.gate
    yield "Atende hoje", f"{say.percent(facts.share)} dos clientes"
    yield "Estado", say.STATES["unproven" if facts.state is None else facts.state.state]
    yield "Comparação prévia", "não registrada" if gate is None else say.VERDICTS[gate.verdict]
    yield "Experimento", say.EXPERIMENTS[facts.trials[-1].experiment.status] if facts.trials else "não houve"
    yield "Decisões registradas", say.number(len(facts.decisions))


def _warnings(facts: Facts) -> Iterator[str]:
    if facts.unexplained:
        numbers = say.listed([str(one) for one in facts.unexplained])
        yield (
            f"Atenção: houve mudança feita diretamente no registro de modelos, sem explicação até esta data (decisão {numbers}). "
            "O registro de modelos não informa quem a fez."
        )
    if facts.data is not None and facts.data.found is not None and facts.data.found != facts.data.fingerprint:
        yield "Atenção: o arquivo de dados encontrado hoje não é o que foi registrado no treinamento; as impressões digitais diferem."
    if facts.state is not None and facts.state.state == "blocked":
        yield f"Atenção: esta versão está bloqueada. Motivo registrado: {facts.state.reason}"


def _purpose() -> Iterator[Block]:
    yield _text(
        "Quando um cliente apresenta um caso, o modelo compara os advogados que poderiam atendê-lo e dá a cada um duas medidas: uma "
        "pontuação, que os põe em ordem de compatibilidade com o caso, e a chance estimada de que aceitem a oferta."
    )
    yield _text(
        "O modelo não decide sozinho quem recebe a oferta. Depois dele, uma regra fixa desconta a carga de trabalho de cada um e dá a vez "
        "a quem espera há mais tempo entre resultados equivalentes. O advogado é livre para recusar, e o cliente escolhe quem contratar."
    )
    yield _text(
        "Uma versão nova só passa a atender todos os clientes depois de etapas: comparação prévia com dados que ela não viu; experimento "
        "com uma parte dos clientes, quando ligado; e acompanhamento depois da promoção, com retorno a outra versão em caso de queda."
    )


def _data(data: Data | None, training: Training | None) -> Iterator[Block]:
    if data is None or training is None:
        yield _text(
            "Não há registro dos dados com que esta versão foi treinada. Ela não foi criada pelo processo de treinamento deste sistema."
        )
        return
    yield _text(
        "Cada linha é um par de caso e advogado que foi mostrado a um cliente e cujo desfecho se conhece, com os critérios como estavam "
        "naquele momento. Casos em aberto ficam de fora; ofertas vencidas ou recusadas por falta de tempo nada dizem sobre a "
        "compatibilidade e não contam."
    )
    yield _rows(
        [
            ("Período dos casos", _period(data)),
            ("Leitura dos dados", _as_of(training)),
            ("Linhas", say.number(data.rows)),
            ("Pedidos", say.number(data.requests)),
            ("Casos", say.number(data.cases)),
            ("Impressão digital (SHA-256)", data.fingerprint),
            ("Conferência do arquivo", _fingerprint(data)),
        ]
    )
    if data.parts:
        yield _text("Os casos foram divididos por data, dos mais antigos aos mais novos, de modo que nenhum caso está em duas partes:")
        yield _listing(
            ("Parte", "Linhas", "Casos"),
            [(say.PARTS[name], say.number(rows), say.number(cases)) for name, (rows, cases) in data.parts.items()],
            (1, 2),
        )
    yield from _labels(training)
    yield _heading("Dados pessoais")
    yield _text(
        "Os códigos de casos e de advogados foram trocados por pseudônimos, calculados com uma chave secreta (BLAKE2b com chave, 16 bytes) "
        "que fica com o controlador, separada do arquivo. Nome, inscrição na OAB, relato do caso e dados do cliente não constam do arquivo."
    )
    if data.columns:
        yield _text(f"Colunas do arquivo: {', '.join(data.columns)}.", note=True)
    yield from _criteria()


def _period(data: Data) -> str:
    return say.NONE if data.first is None else f"{say.day(data.first)} a {say.day(data.last)}"


def _as_of(training: Training) -> str:
    from datetime import datetime

    logged = training.parameters.get("as_of")
    return say.NONE if logged is None else say.day_and_hour(datetime.fromisoformat(logged))


def _fingerprint(data: Data) -> str:
    if data.found is None:
        return "não foi possível: o arquivo não está acessível"
    if data.found == data.fingerprint:
        return "confere: recalculada para este relatório a partir do arquivo guardado"
    return f"NÃO confere: o arquivo guardado tem {data.found}"


def _labels(training: Training) -> Iterator[Block]:
    logged = training.parameters.get("labels")
    if logged is None:
        return
    rows = [(say.OUTCOMES.get(name, name), str(value)) for name, value in json.loads(logged).items()]
    yield _text("O que o modelo aprende a pôr primeiro é dado por um peso para cada desfecho:")
    yield _listing(("Desfecho", "Peso"), rows, (1,))


def _criteria() -> Iterator[Block]:
    yield _heading("Critérios")
    yield _text(
        "O modelo usa apenas os oito critérios abaixo, cada um de 0 a 1. Em todos, um valor maior nunca diminui a pontuação: essa condição "
        "é imposta ao treinamento."
    )
    yield _listing(("Critério", "O que mede"), [say.CRITERIA[name] for name in FEATURES])
    yield _text(
        "A carga de trabalho não é critério do modelo; ela entra depois, pela regra de oferta. Gênero, raça ou etnia, deficiência, "
        "religião, saúde, filiação e outros atributos protegidos não são critérios: o sistema não os lê, não os deduz e não os guarda. "
        "Isso não exclui que um critério, como as avaliações ou o tempo de resposta, reflita desigualdades de origem; o sistema não pode "
        "medi-lo, justamente porque não conhece esses atributos."
    )


_PARAMETERS = {
    "objective": "Método",
    "num_boost_round": "Rodadas",
    "learning_rate": "Taxa de aprendizado",
    "num_leaves": "Folhas por árvore",
    "min_data_in_leaf": "Mínimo de linhas por folha",
    "lambdarank_truncation_level": "Posições consideradas",
    "lambdarank_position_bias_regularization": "Regularização do viés de posição",
    "uses_position": "Corrige o viés da posição mostrada",
    "monotone_constraints": "Sentido imposto a cada critério",
    "deterministic": "Cálculo determinístico",
    "seed": "Semente",
    "num_threads": "Processos paralelos",
    "held_out_share": "Parte reservada à avaliação",
    "embargo_days": "Dias do intervalo de segurança",
}
_PLAIN = {"True": "sim", "False": "não", "lambdarank": "LightGBM LambdaRank (árvores que aprendem a ordenar)"}


def _training(training: Training | None) -> Iterator[Block]:
    if training is None:
        yield _text("Não há registro do treinamento.")
        return
    yield _text(
        "O treinamento é determinístico: os mesmos dados, parâmetros, semente e bibliotecas dão, letra por letra, o mesmo modelo. Com a "
        "versão foram guardadas pontuações de referência; uma cópia que não as reproduza não é posta em uso."
    )
    known = [(told, _parameter(training.parameters[name])) for name, told in _PARAMETERS.items() if name in training.parameters]
    yield _rows(
        [
            ("Início", say.day_and_hour(training.started_at)),
            ("Fim, com a avaliação", say.day_and_hour(training.ended_at)),
            ("Execução no MLflow", training.run_id),
            ("Execução no Dagster", training.tags.get("dagster_run_id", say.NONE)),
            ("Bibliotecas", ", ".join(training.libraries) or say.NONE),
            ("Python", training.python or say.NONE),
            *known,
        ]
    )
    gains = {say.CRITERIA[name][0]: training.metrics[f"gain_{name}"] for name in FEATURES if f"gain_{name}" in training.metrics}
    if gains:
        yield _heading("Importância dos critérios")
        yield _picture(
            importance_picture(gains),
            "Parte de cada critério no ganho total das árvores. Mostra o que pesou no aprendizado, não uma causa.",
        )
    else:
        yield _text("A importância dos critérios não foi registrada.")


def _parameter(logged: str) -> str:
    """A logged parameter as a reader in Brazil expects it; what is no number or known word stays as it is."""
    if re.fullmatch(r"\[1(, 1)*\]", logged):
        return "crescente em todos"
    if re.fullmatch(r"\d+\.\d+", logged):
        return logged.removesuffix(".0").replace(".", ",")
    return _PLAIN.get(logged, logged)


def _calibration(training: Training | None) -> Iterator[Block]:
    found = None if training is None else training.calibration
    if found is None:
        yield _text("Não há registro de calibração.")
        return
    yield _text(
        "A pontuação do modelo só ordena. Para que se possa ler “chance de 30%” como 30 aceitações em 100 ofertas, ela é convertida por "
        "uma curva ajustada em casos que o modelo não viu. O erro de calibração é a distância média entre a chance prometida e a observada."
    )
    error = found.get("error")
    within = "" if error is None else " (dentro do tolerado)" if error <= TOLERATED_ERROR else " (acima do tolerado)"
    yield _rows(
        [
            ("Método escolhido", say.CALIBRATIONS.get(str(found.get("method")), str(found.get("method")))),
            ("Erro de calibração", "não medido" if error is None else f"{say.number(error, 4)}{within}"),
            ("Tolerado", say.number(TOLERATED_ERROR, 2)),
        ]
    )
    losses = dict(found.get("log_loss") or {})
    if losses:
        yield _text("Métodos experimentados; em validação cruzada, a perda menor é melhor:")
        yield _listing(
            ("Método", "Perda logarítmica"),
            [(say.CALIBRATIONS.get(str(name), str(name)), say.number(value, 4)) for name, value in losses.items()],
            (1,),
        )


def _gate(gate: GateResult | None) -> Iterator[Block]:
    if gate is None:
        yield _text("Não há registro de comparação prévia.")
        return
    yield _text(
        "Antes de atender qualquer cliente, a versão e quem estava em uso ordenam os mesmos casos reservados, que a versão não viu no "
        "treinamento. A medida é o NDCG@5: 1 seria a ordem perfeita dos cinco primeiros, segundo o desfecho conhecido."
    )
    if not gate.evidence:
        yield _rows([("Resultado", say.VERDICTS[gate.verdict])])
        yield _text(f"Não havia o que comparar. Motivo registrado: {'; '.join(gate.reasons)}")
        return
    evidence = GateEvidence.model_validate(gate.evidence)
    yield _rows(
        [
            ("Resultado", say.VERDICTS[gate.verdict]),
            ("Comparada com", say.version(evidence.incumbent)),
            ("Casos reservados que servem", f"{say.number(evidence.held_out_cases)} (mínimo: {say.number(evidence.min_held_out_cases)})"),
        ]
    )
    tests = gate_tests(evidence)
    if not tests:
        yield _text("Com tão poucos casos reservados nada se afirma: o resultado não é aprovação nem reprovação.")
        return
    yield _listing(("Teste", "Medido", "Antes", "Limite", "Resultado"), [_test(one, evidence) for one in tests], (1, 2, 3))
    small = [one.area for one in evidence.areas if one.cases < LEAST_CASES_OF_AN_AREA]
    if small:
        yield _text(
            f"Áreas com menos de {LEAST_CASES_OF_AN_AREA} casos reservados não são testadas em separado: {say.listed(small)}.", note=True
        )


def _test(test: GateTest, evidence: GateEvidence) -> tuple[str, str, str, str, str]:
    digits = 3 if test.what == "evenness" else 4
    told = {
        "improvement": f"NDCG@5 maior que o anterior multiplicado por {say.number(evidence.min_improvement, 2)}",
        "error": f"erro (um menos o NDCG@5) reduzido em {say.percent(evidence.min_improvement - 1)}, pois não há espaço para multiplicar",
        "certainty": "limite inferior da melhora (intervalo de 95%, reamostragem por caso) acima de zero",
        "area": f"área {test.area}, {test.cases} casos: perda de no máximo {say.percent(MOST_LOSS_OF_AN_AREA)}",
        "evenness": "desigualdade da carga (Gini) simulada com a versão",
    }[test.what]
    if test.figure is None:
        return told, "sem dados", "", say.number(test.threshold, digits), "não testado"
    sign = {"improvement": "> ", "error": "≤ ", "certainty": "> ", "area": "≥ ", "evenness": "≤ "}[test.what]
    figure = say.signed(test.figure, digits) if test.what == "certainty" else say.number(test.figure, digits)
    before = "" if test.before is None else say.number(test.before, digits)
    return told, figure, before, f"{sign}{say.number(test.threshold, digits)}", "passou" if test.passed else "não passou"


def _trials(facts: Facts) -> Iterator[Block]:
    if not facts.trials:
        yield _text("Não houve experimento.")
        return
    for at, one in enumerate(facts.trials, 1):
        if len(facts.trials) > 1:
            yield _heading(f"Experimento {at} de {len(facts.trials)}")
        yield from _trial(one, facts.version.version)


def _trial(trial: Trial, version: str) -> Iterator[Block]:
    experiment = trial.experiment
    role = "tratamento, a versão em teste" if experiment.challenger == version else "controle, a versão em uso"
    yield _rows(
        [
            ("Identificação", str(experiment.id)),
            ("Situação", say.EXPERIMENTS[experiment.status]),
            ("Resultado", "ainda não há" if experiment.verdict is None else _verdict(experiment.verdict)),
            ("Conclusão registrada", experiment.conclusion or "ainda não há"),
            ("Forma", say.MODES[experiment.mode]),
            ("Controle", say.version(experiment.champion)),
            ("Tratamento", say.version(experiment.challenger)),
            ("Papel desta versão", role),
            ("Pedido por", f"{_actor(experiment.actor)}: {experiment.reason}"),
            (
                "Início e fim",
                f"{say.day_and_hour(experiment.started_at)} a {say.day_and_hour(experiment.ended_at)}"
                if experiment.ended_at
                else _since(trial),
            ),
            ("Etapas (parte dos clientes)", " → ".join(say.percent(step, _digits(step)) for step in experiment.steps)),
            ("Etapa alcançada", f"{experiment.step + 1} de {len(experiment.steps)}"),
            ("Prazo máximo", say.counted(round(experiment.max_days), "dia", "dias")),
            ("Sem resultado no prazo", say.AT_THE_END[experiment.at_the_end]),
            ("Aprovado por", experiment.approved_by or "não houve aprovação por pessoa"),
        ]
    )
    yield from _design(trial)
    yield from _exposures(trial)
    if trial.result is None:
        yield _text("Não há leitura registrada deste experimento.")
    else:
        yield from _readout(trial, trial.result)


def _design(trial: Trial) -> Iterator[Block]:
    if trial.experiment.mode == "interleaving":
        yield _text(
            "Cada cliente que participa vê uma única lista, em que os advogados indicados pelas duas versões se intercalam por sorteio; "
            "compara-se de qual delas vieram os que aceitaram. Conta o primeiro pedido de cada cliente."
        )
    else:
        yield _text(
            "Cada cliente fica sempre do mesmo lado, por um sorteio calculado do seu código com um número secreto do experimento; as "
            "etapas só acrescentam clientes ao tratamento, sem trocar ninguém de lado. Conta o primeiro pedido de cada cliente."
        )
    yield _text(
        "As duas versões disputam os mesmos advogados: a capacidade que uma ocupa falta à outra. Por isso, a comparação não mostra efeitos "
        "sobre a carga de trabalho, que são vistos na comparação prévia e no acompanhamento diário da distribuição."
    )


def _since(trial: Trial) -> str:
    begun = trial.experiment.started_at
    return "não começou" if begun is None else f"desde {say.day_and_hour(begun)}"


def _digits(share: float) -> int:
    return 0 if abs(100 * share - round(100 * share)) < 1e-9 else 1


def _exposures(trial: Trial) -> Iterator[Block]:
    if not trial.exposed:
        yield _text("Nenhum cliente chegou a participar.")
        return
    steps = trial.experiment.steps
    variants = [name for name in say.VARIANTS if any(variant == name for _, variant in trial.exposed)]
    rows = [
        (
            f"{step + 1}ª",
            say.percent(steps[step], _digits(steps[step])) if step < len(steps) else say.NONE,
            *(say.number(trial.exposed.get((step, name), 0)) for name in variants),
        )
        for step in sorted({step for step, _ in trial.exposed})
    ]
    yield _text("Clientes que participaram, por etapa:")
    columns = ("Etapa", "Parte dos clientes", *(say.VARIANTS[name] for name in variants))
    yield _listing(columns, rows, tuple(range(1, len(columns))))


_METRICS = {
    "accepted": "aceitações por oferta do pedido",
    "contract": "clientes que contrataram",
    "rating": "avaliação dada pelo cliente",
    "preference": "preferência pelos advogados de cada versão",
}
_GUARDRAILS = {
    "latency p95 (ms)": "tempo de resposta do sistema, percentil 95, em milissegundos",
    "answers in fallback": "parte das respostas dadas em contingência",
    "Gini of the whole market": "desigualdade da carga (Gini) no mercado inteiro",
}
_GUARDS = {"holds": "respeitado", "broken": "violado", "unknown": "sem dados"}


def _readout(trial: Trial, result: ExperimentResult) -> Iterator[Block]:
    yield _heading("Leitura que vale")
    yield _rows(
        [
            ("Juízo", _verdict(result.verdict)),
            ("Equilíbrio entre os grupos", _ratio(result)),
        ]
    )
    yield _text(
        "Os intervalos valem a qualquer momento em que se olhe, e não só ao fim (testes sequenciais); o nível de erro de 5% é repartido "
        "entre as medidas. Um intervalo todo acima de zero indica melhora; todo abaixo, dano; os demais nada permitem afirmar."
    )
    rows = [_figure(one) for one in result.figures]
    if any(one.metric == "contract" for one in result.figures):
        yield _text(
            "Nas contratações, a diferença relativa compara quantos clientes contrataram de cada lado, segundo a divisão prevista; "
            "por isso pode não coincidir com a razão entre as duas taxas."
        )
    yield _listing(
        ("Medida", "Clientes (contr. / trat.)", "Controle", "Tratamento", "Diferença relativa", "Intervalo", "Leitura"),
        rows,
        (1, 2, 3, 4, 5),
    )
    if result.guardrails:
        yield _text("Limites que uma versão promovida não pode ultrapassar:")
        bounds = [Guardrail.model_validate(one) for one in result.evidence["guardrails"]]
        guards = [_guard(*both) for both in zip(bounds, result.guardrails, strict=True)]
        yield _listing(("Limite", "Controle", "Tratamento", "Máximo no tratamento", "Situação"), guards, (1, 2, 3))
    else:
        yield _text("Nenhum limite adicional foi registrado para este experimento.")
    yield from _over_time(trial)


def _guard(bound: Guardrail, found: GuardrailFinding) -> tuple[str, str, str, str, str]:
    ratio = None if bound.control is None or bound.most_ratio is None else bound.control * bound.most_ratio
    most = min((one for one in (ratio, bound.limit) if one is not None), default=None)
    control, treatment, limit = ("sem dados" if one is None else say.significant(one) for one in (bound.control, bound.treatment, most))
    return _GUARDRAILS.get(bound.name, bound.name), control, treatment, limit, _GUARDS[found.state]


def _ratio(result: ExperimentResult) -> str:
    found = result.sample_ratio
    if found.p_value is None:
        return "não se aplica, ou ainda não há clientes"
    state = "desequilíbrio: clientes se perderam de um lado" if found.alarm else "sem sinal de desequilíbrio"
    return (
        f"{state} (previsto no tratamento {say.percent(found.expected, 1)}, encontrado {say.percent(found.found, 1)}; "
        f"valor-p {say.number(found.p_value, 4)}, alarme abaixo de {say.number(SAMPLE_RATIO_ALPHA, 3)})"
    )


def _figure(figure: Figure) -> tuple[str, ...]:
    units = f"{say.number(figure.units[0])} / {say.number(figure.units[1])}"
    interval = f"{_bound(figure.low)} a {_bound(figure.high)}" if figure.low is not None or figure.high is not None else "sem dados"
    return (
        f"{_METRICS.get(figure.metric, figure.metric)} (nível {say.percent(figure.alpha)})",
        units,
        "sem dados" if figure.control is None else say.number(figure.control, 4),
        "sem dados" if figure.treatment is None else say.number(figure.treatment, 4),
        "sem dados" if figure.lift is None else _relative(figure.lift),
        interval,
        _reading(figure),
    )


def _relative(value: float) -> str:
    return f"{say.signed(100 * value, 1)}%"


def _bound(value: float | None) -> str:
    return "sem limite" if value is None else _relative(value)


def _reading(figure: Figure) -> str:
    if figure.high is not None and figure.high < 0:
        return "pior"
    if not figure.enough:
        return "dados insuficientes"
    return "melhor" if figure.low is not None and figure.low > 0 else "não se distingue"


def _over_time(trial: Trial) -> Iterator[Block]:
    drawn = False
    for metric, told in _METRICS.items():
        looks = _looks(trial, metric)
        if len(looks) >= 2:
            drawn = True
            picture = interval_picture(looks, "diferença relativa")
            yield _picture(picture, f"{told[0].upper()}{told[1:]}: diferença relativa do tratamento, com intervalo, leitura por leitura.")
    if not drawn:
        yield _text("Não há leituras em número suficiente para mostrar o intervalo ao longo do tempo.", note=True)


def _looks(trial: Trial, metric: str) -> list[Look]:
    """The readings of a metric that have a whole interval; those before the first are left out, as are unbounded ones."""
    return [
        Look(at, one.lift, one.low, one.high)
        for at, figures in trial.readouts
        for one in figures
        if one.metric == metric and one.lift is not None and one.low is not None and one.high is not None
    ]


def _use(facts: Facts) -> Iterator[Block]:
    use = facts.use
    if use.requests:
        yield _text(
            f"Esta versão respondeu a {say.counted(use.requests, 'pedido', 'pedidos')}: o primeiro em {say.day_and_hour(use.first)}, o "
            f"mais recente em {say.day_and_hour(use.last)}."
        )
    else:
        yield _text("Nenhum pedido respondido por esta versão está registrado.")
    if facts.reigns:
        yield _text("Períodos em que foi vista como a versão em uso:")
        rows = [
            (say.day_and_hour(one.since), say.day_and_hour(one.until) if one.until else "até hoje", _actor(one.actor))
            for one in facts.reigns
        ]
        yield _listing(("Desde", "Até", "Posta em uso por"), rows)
    elif facts.is_champion:
        yield _text("É a versão em uso; desde quando, o registro ainda não mostra.")
    else:
        yield _text("O registro não mostra nenhum período em que tenha sido a versão em uso de todos.")
    yield from _watch(facts)


def _watch(facts: Facts) -> Iterator[Block]:
    told = [one for one in facts.decisions if one.action in ("watch", "proven", "rollback") and one.result is not None]
    since = None if facts.state is None else facts.state.watched_since
    if not told and since is None:
        yield _text("Não há registro de acompanhamento em uso desta versão.")
        return
    yield _text(
        "Em uso, a versão é comparada com as próprias primeiras decisões: a chance média de aceitação dos advogados mostrados e as "
        "aceitações em relação ao prometido. Respostas dadas em contingência não contam contra ela."
    )
    reference = None if facts.state is None else facts.state.reference
    rows = [("Em acompanhamento desde", say.day_and_hour(since) if since else "não está em acompanhamento")]
    if reference is None:
        rows.append(("Referência", "ainda não há decisões suficientes" if since else "não registrada"))
    else:
        mean = say.percent(float(reference["mean"]), 1)
        rows.append(("Referência", f"chance média de {mean}, de {say.counted(int(reference['count']), 'decisão', 'decisões')}"))
    if told:
        newest = told[-1]
        rows += [
            ("Última decisão a respeito", f"{say.ACTIONS[newest.action]}: {say.result(newest)} (decisão {newest.id})"),
            ("Motivo, como registrado", newest.reason),
        ]
    yield _rows(rows)


def _actor(name: str) -> str:
    if name == MLFLOW_UI:
        return "alguém, diretamente no registro de modelos"
    return "já estava em uso na primeira observação" if name == FOUND else f"sistema ({name})" if name in SYSTEM else name


def _decisions(facts: Facts) -> Iterator[Block]:
    if not facts.decisions:
        yield _text("Não há decisões registradas sobre esta versão.")
        return
    yield _text(
        "O registro só recebe acréscimos: o banco de dados recusa alterar ou excluir uma linha. O que muda algo fora dele é escrito duas "
        "vezes, antes (“pretendida”) e depois. Os motivos estão como foram registrados; os do sistema, em inglês."
    )
    columns = ("Nº", "Quando", "O quê", "Versões", "Resultado", "Quem")
    yield Block("listing", columns=columns, rows=[_decision(one, facts) for one in facts.decisions], below=True)


def _decision(one: Decision, facts: Facts) -> tuple[str, ...]:
    what = say.ACTIONS[one.action] if one.about is None else f"{say.ACTIONS[one.action]} sobre a decisão {one.about}"
    who = _actor(one.actor) + (" (sem explicação)" if one.id in facts.unexplained else "")
    return str(one.id), say.day_and_hour(one.decided_at), what, say.versions(one), say.result(one), who, one.reason


def _people(facts: Facts) -> Iterator[Block]:
    if not facts.people:
        rest = " As que há foram tomadas pelo sistema, segundo regras fixas." if facts.decisions else ""
        yield _text(f"Nenhuma pessoa tomou decisão registrada sobre esta versão.{rest}")
        return
    rows = []
    for one in facts.people:
        acts = [
            f"{say.ACTIONS[action]} (decisão {say.listed([str(number) for number in numbers])})" for action, numbers in one.acts.items()
        ]
        rows.append((_actor(one.name), "; ".join(acts)))
    yield _listing(("Quem", "O que decidiu"), rows)
    yield _text("Decisões que não constam aqui foram tomadas pelo sistema, segundo regras fixas.", note=True)


def _today(facts: Facts) -> Iterator[Block]:
    state = facts.state
    rows = [
        ("Atende hoje", f"{say.percent(facts.share)} dos clientes"),
        ("Responde aos demais", _others(facts)),
        ("Marcas no registro de modelos", ", ".join(facts.version.aliases) or "nenhuma"),
        ("Estado", say.STATES["unproven" if state is None else state.state]),
    ]
    if state is not None:
        rows += [("Motivo do estado", state.reason), ("Estado desde", say.day_and_hour(state.changed_at))]
        if state.cooldown_until is not None and state.cooldown_until > facts.as_of:
            rows.append(("Nada é promovido pelo sistema até", say.day_and_hour(state.cooldown_until)))
    if facts.freeze is None:
        rows.append(("Congelamento", "não há: promoções, retornos e experimentos seguem as regras do sistema"))
    else:
        rows.append(("Congelamento", f"por {facts.freeze.actor}, desde {say.day_and_hour(facts.freeze.changed_at)}: {facts.freeze.reason}"))
    yield _rows(rows)


def _others(facts: Facts) -> str:
    if facts.share >= 1:
        return "ninguém mais: todos são atendidos por esta versão"
    return "a versão em teste, no experimento" if facts.is_champion else _who(facts)


def _checking(facts: Facts) -> Iterator[Block]:
    number = facts.version.version
    yield _text(
        "Cada decisão guarda os números de que partiu. Quem os tiver refaz a conta sem acesso ao banco de dados nem ao registro de modelos:"
    )
    shown = next((one.id for one in reversed(facts.decisions) if one.evidence), None)
    at = "N" if shown is None else str(shown)
    yield Block(
        "commands",
        text=f"litgo model history --version {number}\n"
        f"litgo model show {at} --json > decisao.json\n"
        "litgo model replay decisao.json\n"
        f"litgo model replay {at}",
    )
    yield _text(
        "O comando replay termina com código 0 se o resultado for o mesmo e com código 1, dizendo o que difere, se não for. Decisões de "
        "pessoas não têm conta a refazer; nelas se confere que nome e motivo foram registrados."
    )
    if facts.training is not None:
        yield _text(
            f"O treinamento também pode ser refeito: os dados (pasta “dataset”, arquivo parquet) "
            f"e os parâmetros estão na execução {facts.training.run_id} do MLflow. As linhas com split = train dão o mesmo modelo; as com "
            "split = held_out, a mesma avaliação."
        )
    yield _text(
        "Este relatório foi gerado por um programa a partir dos registros. Não contém nomes de advogados nem de clientes.", note=True
    )


_TERMS = Block(
    "terms",
    rows=[
        ("NDCG@5", "medida de 0 a 1 de quão boa é a ordem dos cinco primeiros de uma lista; 1 é a melhor ordem possível."),
        ("Gini", "medida de 0 a 1 de desigualdade; 0 quando todos têm a mesma carga em relação à sua capacidade."),
        (
            "Intervalo",
            "faixa em que a diferença verdadeira está, com a confiança indicada; se contém zero, não se pode dizer que há diferença.",
        ),
        ("Pesos manuais", "cálculo com pesos fixos, escolhidos por pessoas, que responde enquanto não há modelo treinado em uso."),
        ("Controle e tratamento", "no experimento, os clientes atendidos pela versão em uso e os atendidos pela versão em teste."),
        ("Impressão digital", "código calculado de todo o conteúdo de um arquivo; qualquer alteração o muda."),
        (
            "Comprovada em uso",
            "versão que respondeu tempo e casos suficientes sem queda; só a uma dessas o sistema retorna por conta própria.",
        ),
    ],
)
