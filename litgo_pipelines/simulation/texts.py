"""Areas of law, their demand, and case texts as clients tell them, in Portuguese."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Subarea:
    """A kind of case: how a client tells it, with what happened and what is wanted."""

    name: str
    happened: tuple[str, ...]
    wanted: tuple[str, ...]


@dataclass(frozen=True)
class Area:
    """An area of law: its share of the cases, its share of the lawyers, and its kinds of cases."""

    name: str
    demand: float
    supply: float
    subareas: tuple[Subarea, ...]


AREAS = (
    Area(
        "trabalhista",
        0.23,
        0.21,
        (
            Subarea(
                "horas extras",
                (
                    "trabalhei dois anos num supermercado saindo todo dia depois das nove da noite",
                    "a empresa não registrava no ponto as horas que eu ficava além do horário",
                    "fui motorista de entrega e fazia doze horas por dia sem intervalo de almoço",
                ),
                ("quero receber as horas extras com os reflexos", "preciso saber se ainda dá tempo de cobrar as horas"),
            ),
            Subarea(
                "rescisão",
                (
                    "fui demitido sem justa causa e não pagaram o aviso prévio nem o FGTS",
                    "a empresa fechou e ninguém recebeu as verbas da rescisão",
                    "me mandaram embora por justa causa dizendo que abandonei o emprego, o que não é verdade",
                ),
                ("quero receber a rescisão e a multa do FGTS", "quero reverter a justa causa"),
            ),
            Subarea(
                "assédio no trabalho",
                (
                    "meu chefe me humilhava na frente dos colegas em toda reunião",
                    "recebi mensagens impróprias do gerente e, quando reclamei, fui trocada de setor",
                    "fui colocado para não fazer nada depois que voltei do afastamento",
                ),
                ("quero indenização por danos morais", "quero a rescisão indireta"),
            ),
            Subarea(
                "acidente de trabalho",
                (
                    "cortei a mão numa máquina sem proteção na fábrica",
                    "caí de um andaime na obra e fiquei seis meses sem andar direito",
                    "desenvolvi uma lesão no ombro carregando caixas no depósito",
                ),
                ("quero estabilidade e indenização", "a empresa não abriu a comunicação do acidente e preciso dela"),
            ),
        ),
    ),
    Area(
        "consumidor",
        0.18,
        0.17,
        (
            Subarea(
                "negativação indevida",
                (
                    "meu nome foi parar no cadastro de devedores por uma conta de telefone que nunca tive",
                    "paguei a dívida do cartão e mesmo assim continuo negativado",
                    "fizeram um empréstimo no meu CPF e agora o banco me cobra",
                ),
                ("quero limpar meu nome e ser indenizado", "quero que declarem que não devo nada"),
            ),
            Subarea(
                "produto com defeito",
                (
                    "comprei uma geladeira que parou de funcionar na segunda semana",
                    "o celular novo esquenta e a assistência devolve sem consertar",
                    "o carro zero está na oficina pela quarta vez com o mesmo problema",
                ),
                ("quero trocar o produto ou o dinheiro de volta", "quero que a loja responda pelo defeito"),
            ),
            Subarea(
                "plano de saúde",
                (
                    "o plano de saúde negou a cirurgia que o médico pediu com urgência",
                    "o convênio aumentou a mensalidade em quarenta por cento de uma vez",
                    "o plano não cobre o remédio do tratamento do meu pai",
                ),
                ("preciso de uma liminar para o tratamento", "quero que o plano pague o que está no contrato"),
            ),
            Subarea(
                "viagem e transporte",
                (
                    "a companhia aérea cancelou o voo e passamos a noite no aeroporto",
                    "a mala foi extraviada e até hoje não apareceu",
                    "a agência sumiu com o dinheiro do pacote da lua de mel",
                ),
                ("quero ser ressarcido do que gastei", "quero indenização pelo transtorno"),
            ),
        ),
    ),
    Area(
        "civil",
        0.16,
        0.17,
        (
            Subarea(
                "cobrança",
                (
                    "emprestei dinheiro a um conhecido com recibo e ele não paga há um ano",
                    "prestei serviço de reforma e o cliente não pagou a última parte",
                    "tenho um cheque sem fundos de uma venda",
                ),
                ("quero cobrar na justiça o que me devem", "preciso saber se posso executar o recibo"),
            ),
            Subarea(
                "acidente de trânsito",
                (
                    "um carro avançou o sinal e bateu na minha moto",
                    "o ônibus freou e minha mãe caiu e quebrou o braço",
                    "bateram no meu carro parado e o seguro se recusa a pagar",
                ),
                ("quero o conserto e as despesas médicas", "quero que a seguradora cubra o prejuízo"),
            ),
            Subarea(
                "vizinhança",
                (
                    "a obra do vizinho causou rachaduras na minha parede",
                    "há infiltração do apartamento de cima e o dono não conserta",
                    "o vizinho construiu avançando sobre o meu terreno",
                ),
                ("quero que ele pague o reparo", "quero que a obra pare"),
            ),
            Subarea(
                "inventário",
                (
                    "meu pai faleceu e deixou uma casa e uma conta no banco",
                    "os irmãos não entram em acordo sobre a herança da avó",
                    "descobrimos um testamento depois de feita a partilha",
                ),
                ("quero fazer o inventário", "preciso saber qual é a minha parte na herança"),
            ),
        ),
    ),
    Area(
        "família",
        0.15,
        0.14,
        (
            Subarea(
                "divórcio",
                (
                    "quero me separar depois de doze anos de casamento e temos um apartamento financiado",
                    "meu marido saiu de casa e não aceita o divórcio",
                    "vivemos em união estável e agora cada um quer seguir sua vida",
                ),
                ("quero o divórcio e a partilha dos bens", "quero um acordo sem brigas"),
            ),
            Subarea(
                "pensão alimentícia",
                (
                    "o pai do meu filho não paga a pensão há cinco meses",
                    "perdi o emprego e não consigo mais pagar o valor da pensão",
                    "minha filha entrou na faculdade e o pai quer parar de pagar os alimentos",
                ),
                ("quero cobrar a pensão atrasada", "quero rever o valor da pensão"),
            ),
            Subarea(
                "guarda e visitas",
                (
                    "a mãe não me deixa ver as crianças nos fins de semana",
                    "quero mudar de cidade com meu filho e o pai não concorda",
                    "os avós querem conviver com a neta e são impedidos",
                ),
                ("quero a guarda compartilhada", "quero regular as visitas"),
            ),
        ),
    ),
    Area(
        "previdenciário",
        0.12,
        0.12,
        (
            Subarea(
                "aposentadoria",
                (
                    "trabalhei na roça desde criança e o INSS não reconhece esse tempo",
                    "pedi a aposentadoria por idade e foi negada por falta de contribuição",
                    "trabalhei vinte anos com ruído alto e não contaram como tempo especial",
                ),
                ("quero me aposentar", "quero rever o cálculo do benefício"),
            ),
            Subarea(
                "auxílio-doença",
                (
                    "tenho hérnia de disco e a perícia disse que posso trabalhar",
                    "cortaram meu auxílio antes de eu terminar o tratamento de depressão",
                    "o INSS marcou a perícia para daqui a quatro meses e estou sem renda",
                ),
                ("quero o benefício de volta", "preciso do auxílio enquanto não posso trabalhar"),
            ),
            Subarea(
                "benefício assistencial",
                (
                    "meu filho é autista e negaram o benefício por causa da renda da família",
                    "minha mãe tem sessenta e sete anos e nunca contribuiu",
                ),
                ("quero o benefício de prestação continuada", "quero saber se temos direito ao BPC"),
            ),
        ),
    ),
    Area(
        "penal",
        0.07,
        0.08,
        (
            Subarea(
                "defesa criminal",
                (
                    "meu irmão foi preso em flagrante e a audiência de custódia é amanhã",
                    "recebi uma intimação da delegacia para depor sobre um furto",
                    "fui acusado de estelionato por uma venda que deu errado",
                ),
                ("preciso de defesa urgente", "quero responder em liberdade"),
            ),
            Subarea(
                "violência doméstica",
                (
                    "meu ex-companheiro me ameaça e ronda a minha casa",
                    "fui agredida e fiz o boletim de ocorrência ontem",
                ),
                ("preciso de medida protetiva", "quero acompanhar o processo como vítima"),
            ),
        ),
    ),
    Area(
        "tributário",
        0.05,
        0.06,
        (
            Subarea(
                "imposto de renda",
                (
                    "caí na malha fina por causa das despesas médicas",
                    "a Receita cobra imposto sobre a venda da minha casa",
                ),
                ("quero me defender da cobrança", "quero parcelar ou anular o débito"),
            ),
            Subarea(
                "execução fiscal",
                (
                    "bloquearam a conta da empresa por uma dívida de ICMS antiga",
                    "recebi uma execução de IPTU de um imóvel que já vendi",
                ),
                ("quero desbloquear a conta", "quero provar que a dívida prescreveu"),
            ),
        ),
    ),
    Area(
        "empresarial",
        0.04,
        0.05,
        (
            Subarea(
                "sociedade",
                (
                    "meu sócio retirou dinheiro da empresa sem avisar",
                    "quero sair da sociedade e não chegamos a um valor para as cotas",
                ),
                ("quero dissolver a sociedade", "quero uma prestação de contas"),
            ),
            Subarea(
                "contratos comerciais",
                (
                    "o fornecedor não entregou a mercadoria e não devolve o adiantamento",
                    "o franqueador não dá o suporte prometido",
                ),
                ("quero rescindir o contrato com multa", "quero que cumpram o contrato"),
            ),
        ),
    ),
)

_OPENINGS = ("Bom dia, ", "Olá, preciso de ajuda: ", "Boa tarde. ", "", "Doutor, ", "Preciso de um advogado, ")
_DETAILS = (
    "Tenho os documentos e testemunhas.",
    "Não tenho muitos documentos.",
    "Já tentei resolver conversando.",
    "Tenho tudo registrado em mensagens.",
    "Isso começou no ano passado.",
    "Estou sem dormir por causa disso.",
)


def case_text(subarea: Subarea, draws: tuple[float, float, float, float]) -> str:
    """A client's telling of a case; `draws` are four uniform numbers in [0, 1) that choose its parts."""
    parts = (_OPENINGS, subarea.happened, subarea.wanted, _DETAILS)
    opening, happened, wanted, detail = (options[int(draw * len(options))] for options, draw in zip(parts, draws, strict=True))
    told = f"{opening}{happened}; {wanted}. {detail}"
    return told[0].upper() + told[1:]
