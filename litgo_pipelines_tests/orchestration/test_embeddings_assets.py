"""Embeddings in Dagster: a real run with the real local model, and the sensor that starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from litgo_pipelines.casework.embedding import Embedding, Refreshed
from litgo_pipelines.casework.embedding_quality import MOST_EXAMPLES, Quality, labelled_examples, measure
from litgo_pipelines.orchestration.embedding_figures import refresh_metadata
from litgo_pipelines.orchestration.pictures import MOST_BYTES
from litgo_pipelines.orchestration.sensors.due import AGAIN, parsed
from litgo_pipelines.orchestration.sensors.embeddings import Cursor
from litgo_pipelines.ranking.retrieval import Scored
from litgo_pipelines.simulation.vendors.openai import KEY, OpenAIStandIn
from litgo_pipelines.simulation.vendors.server import faulty_server
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.casework.embedders import WordModel
from litgo_pipelines_tests.orchestration.conftest import Location, Ticks

if TYPE_CHECKING:
    import dagster as dg
    from sqlalchemy import Engine


@pytest.fixture
def town(engine: Engine, location: Location, database_url: str) -> Town:
    """Two cases, one of them handled by a lawyer, in the marketplace of `location`."""
    location.database = database_url
    found = Town(engine)
    found.case(summary="não recebi as horas extras")
    found.contract(found.lawyer(), NOON, case=found.case(summary="quero me divorciar"))
    return found


def shown(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """What a run showed of an asset, by name."""
    (found,) = result.asset_materializations_for_node(asset)
    return {name: value.value for name, value in found.metadata.items()}


def test_a_run_embeds_what_the_sensor_found_missing(location: Location, town: Town) -> None:
    """The sensor asks once, the run makes all vectors and judges the fallback, and then nothing is due until something changes."""
    ticks = Ticks(location, "texts_to_embed")
    request = ticks.tick()
    assert request is not None
    assert "2 in all-MiniLM-L6-v2@" in request.tags["litgo/reason"]
    result = location.execute("embed_texts")
    assert result.success
    cases, lawyers = shown(result, "case_embeddings"), shown(result, "lawyer_embeddings")
    assert (cases["new"], cases["outdated"], lawyers["new"]) == (2, 0, 1)
    assert cases["in_fallback"] is False
    assert cases["spaces"].startswith("all-MiniLM-L6-v2@")
    assert cases[f"coverage of {cases['spaces']}"] == lawyers[f"coverage of {cases['spaces']}"] == 1.0
    assert len(cases["picture"]) < 2 * MOST_BYTES
    (check,) = result.get_asset_check_evaluations()
    assert check.check_name == "fallback_quality"
    assert check.passed, check.description
    assert ticks.tick() is None
    assert ticks.told == "every vector is there"
    town.execute("UPDATE litgo.cases SET summary = 'outro caso' WHERE status = 'open'")
    assert ticks.tick() is None
    asked = parsed(Cursor, ticks.cursor).spaces
    earlier = {space: one.model_copy(update={"at": one.at - AGAIN}) for space, one in asked.items() if one.at is not None}
    ticks.cursor = Cursor(spaces=earlier).model_dump_json()
    assert ticks.tick() is not None


def test_a_vendor_is_sent_nothing_twice(location: Location, town: Town) -> None:
    """Case and examples go out with the first run; the second one measures by what is stored, and comes to the same."""
    del town
    with faulty_server(OpenAIStandIn().answer) as openai:
        given = {"openai_api_key": KEY, "openai_base_url": f"{openai.url}/v1", "local_embedding_model": "none"}
        first = location.execute("embed_texts", **given)
        sent = len(openai.requests)
        assert "não recebi as horas extras" in "".join(one.body.decode() for one in openai.requests)
        again = location.execute("embed_texts", **given)
        assert len(openai.requests) == sent >= 2
    ((before,), (after,)) = (found.get_asset_check_evaluations() for found in (first, again))
    assert before.metadata["share_of_primary"] == after.metadata["share_of_primary"]
    assert (first.success, again.success) == (True, True)


def test_a_vendor_that_did_not_finish_is_shown() -> None:
    """The run succeeds in fallback, with what kept the vendor's space from being filled."""
    embedding = Embedding(WordModel(), WordModel("vendor"))
    found = refresh_metadata(embedding, [Refreshed("vendor@1:256", 2, 0, "openai is away"), Refreshed("words@1:256", 5, 1)], [])
    assert (found["new"], found["outdated"], found["in_fallback"]) == (7, 1, True)
    assert found["spaces"] == "vendor@1:256, words@1:256"
    assert found["trouble"] == "vendor@1:256: openai is away"


def test_labelled_examples_are_looked_for_in_the_other_half() -> None:
    """No example is among the documents of its own half; each has relevant ones, and most are not."""
    first, second = labelled_examples()
    assert (first.queries, second.queries) == (second.documents, first.documents)
    assert not set(first.queries) & set(first.documents)
    assert 100 <= len(first.queries) + len(second.queries) <= MOST_EXAMPLES
    for relevance in (*first.relevance, *second.relevance):
        assert set(relevance) <= {0, 1, 2}
        assert 0 < (relevance > 0).mean() < 0.5


def quality(fallback: float, words: float, primary: float | None = None) -> Quality:
    scored = [Scored("hybrid words", fallback, 0, 1), Scored("bm25", words, 0, 1)]
    if primary is not None:
        scored.append(Scored("hybrid", primary, 0, 1))
    return Quality(scored, "hybrid words", None if primary is None else "hybrid")


def test_the_fallback_is_held_against_words_and_against_the_vendor() -> None:
    """Nine tenths of the vendor's quality are enough, never less than words alone."""
    assert quality(0.50, 0.50).faults == []
    assert quality(0.50, 0.50, 0.55).faults == []
    assert quality(0.49, 0.50).faults == ["hybrid words (0.490) is worse than words alone (0.500)"]
    (fault,) = quality(0.50, 0.40, 0.60).faults
    assert fault == "without the vendor 83% of its quality is left, less than 90%"


def test_the_vendors_space_is_measured_only_where_it_is_whole() -> None:
    """A vendor that fails on the way leaves the local space alone to be measured, and is asked no more."""
    vendor = WordModel("vendor", answers=2)
    embedding = Embedding(WordModel(), vendor, batch=64)
    found = measure(embedding, labelled_examples())
    assert {one.scorer for one in found.scored} == {"bm25", "words@1:256", "hybrid"}
    assert (found.fallback, found.primary, found.share) == ("hybrid", None, None)
    assert found.trouble is not None
    vendor.answers = None
    both = measure(embedding, labelled_examples())
    assert {one.scorer for one in both.scored} == {"bm25", "vendor@1:256", "words@1:256", "hybrid", "hybrid words@1:256"}
    assert (both.fallback, both.primary, both.share) == ("hybrid words@1:256", "hybrid", 1.0)
