"""Words that clients use for the same thing, so that a telling is near an example that says it otherwise.

General knowledge of the language and of the law, not taken from any telling. What is concluded from it is `triage`'s.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final

# Without accents; a star stands for any ending.
_GROUPS: Final = {
    "empregador": "chefe chefia coordenador* diretoria empregador* empreiteir* encarregad* firma gerente* patrao patroa rh supervisor*",
    "empregado": (
        "almoxarifado bater cargo carteira colega* contracheque empregad* emprego escala estagi* expediente folga* funcionari* holerite "
        "jornada oficio plantao ponto refeitorio salari* servico sindicato terceirizad* trabalh* turno* uniforme vestiario"
    ),
    "profissao": (
        "acougueir* ajudante* atendente* auxiliar* baba balconista* cabeleireir* caixa camareir* carteiro confeiteir* costureir* "
        "cozinheir* cuidador* diarista domestica eletricista enfermeir* estoquista* faxineir* frentista* garcom garconete manicure "
        "mecanic* metalurgic* motorista* operador* padeir* pedreir* porteir* recepcionista* repositor* servente* soldador* tecnic* "
        "vendedor* vigilante* zelador*"
    ),
    "demissao": (
        "acerto aviso contas decimo demissao demit* desemprego desligad* desligamento dispens* embora ferias fgts fundo homolog* justa "
        "multa rescis* seguro verbas"
    ),
    "tempo de trabalho": "almoco banco compens* dobr* domingo* emenda* extra* feriado* hora* intervalo madrugada noturno sobreaviso virar",
    "humilhacao": (
        "apelido* assedi* burnout cantada* constrang* discrimin* encost* grit* humilh* isol* mao meta* ofend* passa passou persegu* "
        "piada* preconceito racis* ridiculariz* xing*"
    ),
    "lesao no trabalho": (
        "acidente amput* andaime cat dedo* dort empilhadeira epi equipamento* esmag* estoque fabrica insalubr* ler maquina* obra prensa "
        "protecao queda queimad* serra"
    ),
    "credito": (
        "banco* cadastro caloteiro cartao clon* cobram cobranca* consignado conta* emprestimo* fatura* financeira fraude golpe* "
        "negativ* nome operadora pix protest* score serasa spc sujo"
    ),
    "compra": (
        "anuncio aparelho assistencia celular colchao compra* comprei concessionaria defeito eletrodomestic* entreg* estrag* "
        "fabricante* fogao garantia geladeira internet lavar loja* maquina marca moveis movel nota notebook produto* quebrou reembols* "
        "site sofa televisao troca* tv veio vendedor*"
    ),
    "plano de saude": (
        "ans autoriz* care carencia cirurgia* cobertura cobre convenio credenciad* exame* hospital* internac* medico* mensalidade "
        "negaram negou operadora* plano protese quimioterapia reajust* remedio* rol terapia* tratamento* uti"
    ),
    "viagem": (
        "aerea* aereo* aeroporto agencia aviao bagagem check conexao embarcar embarque excursao ferias hospedagem hotel* in mala* "
        "onibus pacote passagem passagens pousada rodoviaria turismo viagem viajar voo*"
    ),
    "divida entre pessoas": (
        "alugu* amiga amigo* calote caucao cheque* cobrar conhecido* cunhad* despejo deve devendo devolve* divida* emprest* emprestei "
        "escritura fiador imobiliaria inquilin* locacao pagou parcela* primo* promissoria recibo terreno"
    ),
    "transito": (
        "atropel* avenida bateram bateu batida bicicleta br caminhao capot* carro* choque cnh colisao conserto cruzamento estrada faixa "
        "freio lataria moto* motoqueiro oficina onibus para pedestre pista placa rodovia seguradora* seguro semaforo sinal ultrapass* "
        "van"
    ),
    "vizinhanca": (
        "apartamento* arvore barulh* cachorro* calha cerca condominio divisa esgoto festa fumaca galo garagem goteira infiltrac* laje "
        "morador* muro obra parede* portao quintal rachadura* reforma sindic* som telhado vazamento vizinh*"
    ),
    "heranca": (
        "alvara avo bens deixou enterro espolio falec* finad* heranc* herd* inventario irmaos morreu morte obito partilha testamento "
        "velorio viuv*"
    ),
    "casamento": (
        "amante casad* casamento companheir* comunhao conjuge divorc* espos* esposa estavel juntos marido morar mulher namorad* noiv* "
        "partilha regime separ* solteira traic* uniao"
    ),
    "pensao dos filhos": "alimentos atrasad* creche deposit* dna escola fralda* leite paternidade pensao registr* sustento",
    "criancas": (
        "adoc* adotar alienac* avo bebe conselho convivencia creche crianca* curatela enteada* filh* fim guarda mae menin* nene* neta* "
        "neto* pai semana sobrinh* tutela tutelar visita*"
    ),
    "previdencia": (
        "afastad* afastamento aposent* auxilio benefici* bpc carne carnes cnis contribui* contribuic* cras encostad* encostar gps "
        "guiche indefer* inss instituto loas pericia perit* posto ppp previdenci* segurad*"
    ),
    "tempo de contribuicao": "calor carencia especial garimpo idade insalubre lavoura pescador roca ruido rural tempo",
    "incapacidade": (
        "alta apto artrose atestado* avc cancer cirurgia coluna depressao fibromialgia gesso hernia incapaz* invalidez laudo lombar "
        "lupus muleta psiquiatra ressonancia reumatologista sequela"
    ),
    "assistencia": (
        "amparo autis* bpc cadastro cadeirante cadunico cegueira contribuiu cras deficien* down idos* loas minimo nunca paralisia renda "
        "salario surd* unico"
    ),
    "policia e justica penal": (
        "acusad* acusam algem* arma assalto boletim cadeia calunia carceragem condenad* crime crimes criminal custodia delegacia "
        "delegad* denuncia denunciad* depoimento depor distrito droga* estelionato fianca flagrante furto homicidio injuria inquerito "
        "intimad* investig* juri pena policia policial* pres* presidio prisao promotor* receptacao regime roub* semiaberto trafico "
        "viatura"
    ),
    "violencia em casa": (
        "agred* agress* ameac* apanh* bate bateu bebado chut* delegacia empurr* enforc* hematoma* machuc* maria matar medida medo "
        "mulher penha persegue protetiva quebrou roxo soco tapa violencia"
    ),
    "imposto de renda": (
        "capital carne cripto* declar* declarac* dedu* dependente despesas federal fina fisco fonte ganho imposto informe ir irpf "
        "isenc* isent* leao malha receita restituic* retenc* retid*"
    ),
    "cobranca de imposto": (
        "ativa auto bloque* certidao cofins divida estado execucao fazenda fiscal fiscaliza* icms imposto* infracao ipi iptu ipva iss "
        "itcmd itr leilao municipio nacional parcelamento penhor* pis prefeitura prescre* procuradoria refis simples taxa tributari* "
        "tributo*"
    ),
    "socios": (
        "abrimos acionista* administrador* assembleia cnpj comercial contas contrato cooperativa cotas dividendos falencia investidor* "
        "junta labore lucro* montamos prestac* pro quotas recuperacao soci* social sociedade startup"
    ),
    "negocio": (
        "adiantamento atacad* clausula cliente* comissao concorrente* confeccao contrato distribuidor* duplicata* empresa empresario "
        "encomend* exclusividade fabrica* faturamento fornecedor* franquead* franquia galpao industria inpi logo loja lote maquininha "
        "marca mercadoria* nota* padaria ponto representante royalties transportadora"
    ),
}

_WORD = re.compile(r"\w\w+")


def enriched(text: str) -> str:
    """A text with a made-up word added for each of its words that is in a group: one such word a group, no word of Portuguese."""
    return " ".join([text, *(group for word in _WORD.findall(plain(text)) for group in _groups_of(word))])


def plain(text: str) -> str:
    """In small letters, without accents."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(letter))


@lru_cache(maxsize=1)
def _known() -> dict[str, frozenset[str]]:
    """The groups of each word, and of each beginning with its star."""
    found: dict[str, set[str]] = {}
    for number, listed in enumerate(_GROUPS.values()):
        for word in listed.split():
            # Six letters, so that nothing of it is lost where words are cut to their beginnings.
            found.setdefault(word, set()).add(f"zz{number:02d}zz")
    return {word: frozenset(groups) for word, groups in found.items()}


def _groups_of(word: str) -> list[str]:
    known = _known()
    beginnings = (f"{word[:end]}*" for end in range(1, len(word) + 1))
    return sorted(known.get(word, frozenset()).union(*(known.get(one, frozenset()) for one in beginnings)))
