"""What tellings are found to be about, by labelled examples, with and without models."""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from litgo_pipelines.casework.triage import Judged, Triage, most_hours
from litgo_pipelines.casework.triage_examples import COLUMNS, Example, UnusableExamples, read_examples
from litgo_pipelines.casework.triage_quality import TriageQuality, measure
from litgo_pipelines.casework.triage_words import enriched
from litgo_pipelines.marketplace.vectors import Vectors
from litgo_pipelines.ranking.text import vectorise
from litgo_pipelines.settings import PROJECT_FOLDER
from litgo_pipelines.simulation.texts import AREAS

HELD_OUT = PROJECT_FOLDER / "litgo_pipelines_tests" / "data" / "triage_held_out.csv"


@lru_cache(maxsize=1)
def by_words() -> Triage:
    return Triage(tuple(read_examples()), 0.5)


@lru_cache(maxsize=1)
def held_out() -> tuple[list[Example], list[Judged]]:
    tellings = read_examples(HELD_OUT)
    return tellings, [by_words().judge(one.text) for one in tellings]


@lru_cache(maxsize=1)
def quality() -> TriageQuality:
    return measure(*held_out())


def test_every_subarea_of_the_marketplace_has_examples_and_no_other_has() -> None:
    """Names agree with those that cases have; each area has 20 examples at least, each subarea 4."""
    found = Counter((one.area, one.subarea) for one in read_examples())
    assert {pair for pair in found if pair[0]} == {(area.name, part.name) for area in AREAS for part in area.subareas}
    assert min(count for pair, count in found.items() if pair[0]) >= 4
    assert min(Counter(one.area for one in read_examples()).values()) >= 20


def test_examples_are_nobody_elses_sentences() -> None:
    """No example is what the simulator's clients say, and no held-out telling is an example."""

    def folded(text: str) -> str:
        return " ".join(re.findall(r"\w+", text.lower()))

    examples = [folded(one.text) for one in read_examples()]
    simulated = [folded(told) for area in AREAS for part in area.subareas for told in part.happened]
    assert not [told for told in simulated if any(told in one for one in examples)]
    held = [folded(one.text) for one in read_examples(HELD_OUT)]
    assert not set(examples) & set(held)
    assert len(set(examples)) == len(examples)


def test_without_any_model_most_held_out_tellings_find_their_area() -> None:
    """By words alone .77 were right when this was written, .84 of those named; no area is left behind."""
    found = quality()
    assert found.space == "bm25"
    assert found.accuracy >= 0.72
    assert found.accuracy_named is not None
    assert found.accuracy_named >= 0.76
    assert found.coverage >= 0.75
    assert min(one.accuracy for one in found.areas) >= 0.5
    assert len(found.areas) == len(AREAS)


def test_confidence_means_what_it_says() -> None:
    """Over the held-out tellings that get an area, mean confidence and accuracy are near, and the surer half is right more often."""
    found = quality()
    assert found.accuracy_named is not None
    assert found.mean_confidence is not None
    assert abs(found.accuracy_named - found.mean_confidence) <= 0.1
    pairs = sorted((judged.confidence, judged.likely[0] == one.area) for one, judged in zip(*held_out(), strict=True) if one.area)
    half = len(pairs) // 2
    assert np.mean([right for _, right in pairs[half:]]) > np.mean([right for _, right in pairs[:half]]) + 0.1


@pytest.mark.parametrize("told", ["bom dia, preciso de ajuda", "oi", "?!", "xyzzy plugh", "Quero falar com um advogado."])
def test_what_says_nothing_gets_no_area(told: str) -> None:
    """A greeting, or words that no example has, waits for a person."""
    found = by_words().judge(told)
    assert found.area is None
    assert found.subarea is None
    assert found.confidence < 0.5


def test_most_held_out_tellings_without_an_area_are_left_to_a_person() -> None:
    """.61 were when this was written: some tell a matter of another law in words of ours, some tell much that is none."""
    assert quality().abstained is not None
    assert quality().abstained >= 0.55


def named(beginning: str) -> float:
    """Share of the long held-out tellings with such ids that get an area."""
    pairs = [judged for one, judged in zip(*held_out(), strict=True) if one.id.startswith(beginning)]
    assert all(len(one.text.split()) >= 80 for one in held_out()[0] if one.id.startswith(beginning))
    return float(np.mean([judged.area is not None for judged in pairs]))


def test_much_that_says_nothing_of_law_is_left_to_a_person() -> None:
    """Recipes, outings and rules of a game: by words alone 6 of 16 got an area when this was written, none of them surely."""
    surest = max(judged.confidence for one, judged in zip(*held_out(), strict=True) if one.id.startswith("l-fora-"))
    assert named("l-fora-") <= 0.45
    assert surest < 0.8


def test_much_that_tells_a_matter_gets_its_area() -> None:
    """Abstaining from whatever is long would be no help: all 8 got an area when this was written, 7 the right one."""
    pairs = [(one, judged) for one, judged in zip(*held_out(), strict=True) if one.id.startswith("l-") and one.area]
    assert len(pairs) == len(AREAS)
    assert sum(one.area == judged.area for one, judged in pairs) >= 6


def test_what_is_said_three_times_is_no_surer_than_said_once() -> None:
    """Confidence is of what is told, not of how often; also in a space of vectors, where the vector stays the same."""
    examples = tuple(read_examples())
    in_space = Triage(examples, 0.5, (Vectors("words", vectorise([one.text for one in examples])),))
    for one in held_out()[0][::4]:
        thrice = " ".join([one.text] * 3)
        vectors = [Vectors("words", vectorise([one.text]))]
        assert abs(by_words().judge(thrice).confidence - by_words().judge(one.text).confidence) < 0.01
        assert abs(in_space.judge(thrice, vectors).confidence - in_space.judge(one.text, vectors).confidence) < 0.01


def test_a_telling_like_an_example_is_that_subarea() -> None:
    """An example told again is found again, with its urgency of the neighbourhood and its id among the nearest."""
    for one in read_examples()[::40]:
        found = by_words().judge(one.text)
        assert one.id in [near.example for near in found.nearest]
        if one.area and found.area:
            assert (found.area, found.subarea) == (one.area, one.subarea)


def test_words_that_mean_the_same_bring_tellings_together() -> None:
    """Employer and boss are one more word in common; words of no group add nothing."""
    assert set(enriched("meu patrão").split()[2:]) & set(enriched("a supervisora").split()[2:])
    assert enriched("xyzzy") == "xyzzy"


AXES = {"rescisão": 0, "divórcio": 1}


def small() -> tuple[Example, ...]:
    """Six examples of two areas that share no word with what is asked."""
    tellings = [("trabalhista", "rescisão", 168, "LOW"), ("família", "divórcio", 720, "HIGH")]
    return tuple(
        Example(f"{area}-{number}", area, part, hours, complexity, f"{part}{number} {area}{number}")  # type: ignore[arg-type]
        for area, part, hours, complexity in tellings
        for number in range(3)
    )


def corpus(space: str, examples: tuple[Example, ...], flipped: bool = False) -> Vectors:
    rows = np.eye(2, dtype=np.float32)[[AXES[str(one.subarea)] for one in examples]]
    return Vectors(space, rows[:, ::-1].copy() if flipped else rows)


def test_vectors_decide_where_no_word_is_shared() -> None:
    """A model finds the area of a telling that has no word in common with any example."""
    triage = Triage(small(), 0.0, (corpus("model", small()),))
    for axis, area in enumerate(("trabalhista", "família")):
        found = triage.judge("nada em comum", [Vectors("model", np.eye(2, dtype=np.float32)[[axis]])])
        assert found.area == area
        assert found.space == "bm25+model"
    assert found.urgency_h == 720
    assert found.complexity == "HIGH"


def test_spaces_never_mix() -> None:
    """A telling is compared in the first of its spaces that the examples have; with vectors of no such space by words alone."""
    triage = Triage(small(), 0.0, (corpus("local", small()), corpus("vendor", small(), flipped=True)))
    towards = np.eye(2, dtype=np.float32)[[0]]
    preferred = triage.judge("x", [Vectors("vendor", towards), Vectors("local", towards)])
    assert (preferred.space, preferred.area) == ("bm25+vendor", "família")
    assert triage.judge("x", [Vectors("unheard-of", towards), Vectors("local", towards)]).space == "bm25+local"
    assert triage.judge("x", [Vectors("unheard-of", towards)]).space == "bm25"


@settings(deadline=None, max_examples=60)
@given(
    st.text(max_size=300)
    | st.lists(st.sampled_from(read_examples()), min_size=1, max_size=3).map(lambda all: " ".join(one.text for one in all))
)
def test_any_text_is_judged_the_same_way_each_time(told: str) -> None:
    """Whatever is told: confidence from 0 to 1, an area only above the threshold, known labels, no more hours than the words leave."""
    found = by_words().judge(told)
    assert found == by_words().judge(told)
    assert 0 <= found.confidence <= 1
    assert (found.area is not None) == (found.confidence >= 0.5)
    assert set(found.likely) <= {area.name for area in AREAS}
    assert found.area in (None, found.likely[0])
    assert 0 < found.urgency_h <= most_hours(told)
    assert found.area is not None or found.subarea is None


@pytest.mark.parametrize(
    ("told", "hours"),
    [
        ("A audiência de custódia é de tarde", 12),
        ("disse que vai me matar se eu sair", 12),
        ("A audiência é amanhã!", 24),
        ("amanhã tenho audiência", 24),
        ("Preciso de uma liminar", 24),
        ("o prazo termina na sexta", 48),
        ("Amanhã faço aniversário. A audiência é no ano que vem.", 10**6),
        ("Emprestei dinheiro ao meu cunhado", 10**6),
    ],
)
def test_words_of_urgency_leave_few_hours(told: str, hours: int) -> None:
    """What a telling says of its time bounds the hours; other words do not."""
    assert most_hours(told) == hours


def test_words_of_urgency_only_shorten() -> None:
    """A telling whose neighbours have less time keeps theirs."""
    told = "Prenderam meu filho, a audiência de custódia é amanhã"
    assert by_words().judge(told).urgency_h == 12
    calm = "Emprestei dinheiro para um amigo com recibo e ele não me paga"
    assert by_words().judge(calm).urgency_h >= 168
    assert by_words().judge(f"{calm}, e o prazo termina logo").urgency_h == 48


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["x,civil,cobrança,24,LOW"], "line 2: text is missing"),
        (["x,civil,,24,LOW,a"], "line 2: area and subarea are given together"),
        (["x,civil,cobrança,0,LOW,a"], "urgency_h is '0'"),
        (["x,civil,cobrança,24,EASY,a"], "complexity is 'EASY'"),
        (["x,civil,cobrança,24,LOW,a", "x,civil,cobrança,24,LOW,b"], "line 3: the id 'x' is there twice"),
        ([], "only a header"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, lines: list[str], told: str) -> None:
    """The message says which line and what is wrong with it."""
    file = tmp_path / "tellings.csv"
    file.write_text("\n".join([",".join(COLUMNS), *lines]), encoding="utf-8")
    with pytest.raises(UnusableExamples, match=re.escape(told)):
        read_examples(file)


def test_quality_counts_what_was_found() -> None:
    """Accuracy, coverage, abstention, pairs and urgency of three tellings, computed by hand."""
    tellings = [
        Example("a", "civil", "cobrança", 720, "LOW", "a"),
        Example("b", "civil", "cobrança", 24, "LOW", "b"),
        Example("c", None, None, 168, "LOW", "c"),
    ]
    right = Judged("civil", "vizinhança", 720, "LOW", 0.9, "bm25", ("civil", "penal"), ())
    unsure = Judged(None, None, 72, "HIGH", 0.3, "bm25", ("penal", "civil"), ())
    found = measure(tellings, [right, unsure, unsure])
    assert (found.accuracy, found.coverage, found.accuracy_named, found.subarea_accuracy) == (0.5, 0.5, 1.0, 0.0)
    assert (found.abstained, found.too_late, found.urgency_error_h, found.complexity_accuracy) == (1.0, 0.5, 24.0, 0.5)
    assert [(one.area, one.taken_for, one.tellings) for one in found.confused] == [("civil", "penal", 1)]
    with pytest.raises(ValueError, match="no telling has an area"):
        measure(tellings[2:], [unsure])
