"""Texts in every space, and stored vectors that follow what they are made of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import numpy as np
import pytest

from litgo_pipelines.casework.embedding import Coverage, Embedding, Refreshed, coverage, refresh_cases, refresh_lawyers
from litgo_pipelines.integrations.calls import VendorUnavailable
from litgo_pipelines.integrations.local_embeddings import ModelMissing
from litgo_pipelines.marketplace.vectors import SpacesDiffer, read
from litgo_pipelines.ranking.text import vectorise
from litgo_pipelines.settings import PROJECT_FOLDER, load_settings
from litgo_pipelines_tests.casework.conftest import NOON, Town
from litgo_pipelines_tests.casework.embedders import WordModel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from litgo_pipelines.integrations.policies import Deadline

LOCAL, VENDOR = "words@1:256", "vendor@1:256"
DAY = timedelta(days=1)


def two_models(*, fallback: bool = True, answers: int | None = None) -> tuple[Embedding, WordModel, WordModel]:
    local, vendor = WordModel(), WordModel("vendor", answers=answers)
    return Embedding(local, vendor, fallback_enabled=fallback, batch=2), local, vendor


def covered(town: Town, embedding: Embedding, entity: str) -> list[tuple[int, int, int, int]]:
    """Wanted, current, outdated and missing, by space."""
    with town.engine.connect() as connection:
        found = coverage(connection, embedding.spaces, entity, NOON)  # type: ignore[arg-type]
    return [(one.wanted, one.current, one.outdated, one.missing) for one in found]


def vector(town: Town, space: str, entity: str, one: UUID) -> np.ndarray:
    with town.engine.connect() as connection:
        found: np.ndarray = read(connection, space, entity, [one]).rows[0]  # type: ignore[arg-type]
    return found


def test_texts_have_vectors_in_every_space_the_preferred_one_first() -> None:
    """The vendor's space comes before the local one, and each is asked once for all texts."""
    embedding, local, vendor = two_models()
    found = embedding.texts(["horas extras", "divórcio"])
    assert list(found.by_space) == [VENDOR, LOCAL] == list(embedding.spaces)
    assert (found.in_fallback, found.trouble) == (False, None)
    assert local.asked == vendor.asked == ["horas extras", "divórcio"]
    assert all(rows.shape == (2, 256) for rows in found.by_space.values())
    one, other = (found.vectors(space) for space in (VENDOR, LOCAL))
    assert one is not None
    assert other is not None
    with pytest.raises(SpacesDiffer, match=r"vendor@1:256 cannot be compared with those of words@1:256"):
        other.cosines(one)
    assert found.vectors("another") is None


def test_while_the_vendor_is_away_the_local_model_is_enough() -> None:
    """The answer says that it is a fallback and why."""
    embedding, _, _ = two_models(answers=0)
    found = embedding.texts(["horas extras"])
    assert list(found.by_space) == [LOCAL]
    assert found.in_fallback
    assert found.trouble == "openai gave no usable answer to embed: try again later"


def test_without_fallback_the_vendors_error_is_the_answer() -> None:
    """`FALLBACK_ENABLED=false`: fail clearly instead of answering in a simpler way."""
    embedding, _, _ = two_models(fallback=False, answers=0)
    with pytest.raises(VendorUnavailable, match="openai gave no usable answer"):
        embedding.texts(["horas extras"])


def test_without_any_model_there_are_no_vectors_and_no_error() -> None:
    """Whoever compares texts goes on with their words; why there are no vectors is told."""
    embedding = Embedding(None, trouble="no model at /nowhere")
    found = embedding.texts(["horas extras"])
    assert found.by_space == {}
    assert not found.in_fallback
    assert found.trouble == "no model at /nowhere"
    away = Embedding(None, WordModel("vendor", answers=0)).texts(["horas extras"])
    assert (away.by_space, away.in_fallback) == ({}, True)


class BrokenModel(WordModel):
    """A folder that looks like a model until it is loaded."""

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> NDArray[np.float32]:  # noqa: ARG002
        raise ModelMissing("/models/broken holds no model")


def test_a_model_that_does_not_load_is_as_none(town: Town) -> None:
    """Texts are compared by words and by the vendor's vectors; a refresh fills the vendor's space and says what is wrong."""
    embedding = Embedding(BrokenModel(), WordModel("vendor"))
    found = embedding.texts(["horas extras"])
    assert list(found.by_space) == [VENDOR]
    assert (found.in_fallback, found.trouble) == (False, "/models/broken holds no model")
    assert Embedding(BrokenModel()).texts(["horas extras"]).by_space == {}
    town.case()
    assert refresh_cases(town.engine, embedding, NOON) == [
        Refreshed(VENDOR, 1, 0),
        Refreshed(LOCAL, 0, 0, "/models/broken holds no model"),
    ]


def test_a_folder_that_is_no_model_stops_nobody(tmp_path: Path) -> None:
    """The settings may name a folder that is not there: it is told, and nothing raises."""
    embedding = Embedding.of(load_settings(local_embedding_model=str(tmp_path / "nowhere")))
    assert embedding.spaces == ()
    assert embedding.trouble is not None
    assert str(tmp_path / "nowhere") in embedding.trouble


def test_a_refresh_embeds_what_is_missing_and_what_changed(town: Town) -> None:
    """A second refresh asks no model; a case told anew is embedded anew, and it alone."""
    embedding, local, vendor = two_models()
    cases = [town.case(summary=f"caso número {number} de horas extras") for number in range(5)]
    town.case(summary="do futuro", created_at=NOON + DAY)
    calls: list[tuple[int, int]] = []
    found = refresh_cases(town.engine, embedding, NOON, progress=lambda done, of: calls.append((done, of)))
    assert found == [Refreshed(VENDOR, 5, 0), Refreshed(LOCAL, 5, 0)]
    assert calls == [(0, 10), (2, 10), (4, 10), (5, 10), (7, 10), (9, 10), (10, 10)]
    assert covered(town, embedding, "case") == [(5, 5, 0, 0)] * 2
    town.execute("UPDATE litgo.cases SET summary = 'divórcio' WHERE id = :id", id=cases[2])
    assert covered(town, embedding, "case") == [(5, 4, 1, 0)] * 2
    del local.asked[:], vendor.asked[:]
    assert refresh_cases(town.engine, embedding, NOON) == [Refreshed(VENDOR, 0, 1), Refreshed(LOCAL, 0, 1)]
    assert local.asked == vendor.asked == ["divórcio"]
    np.testing.assert_allclose(vector(town, LOCAL, "case", cases[2]), vectorise(["divórcio"])[0], atol=1e-3)
    assert refresh_cases(town.engine, embedding, NOON) == [Refreshed(VENDOR, 0, 0), Refreshed(LOCAL, 0, 0)]


def test_a_limit_takes_the_newest_cases(town: Town) -> None:
    """A backfill that may not do everything does first what is asked for most."""
    model = WordModel()
    for number in range(5):
        town.case(summary=f"caso {number}", created_at=NOON - number * DAY)
    refresh_cases(town.engine, Embedding(model), NOON, limit=2)
    assert sorted(model.asked) == ["caso 0", "caso 1"]


def test_another_revision_of_a_model_is_another_space(town: Town) -> None:
    """All is embedded anew beside what there was; nothing is overwritten."""
    case = town.case(summary="horas extras")
    refresh_cases(town.engine, Embedding(WordModel()), NOON)
    town.execute("UPDATE litgo.embeddings SET vector = vector * vector")
    refresh_cases(town.engine, Embedding(WordModel(revision="2")), NOON)
    old, new = (vector(town, f"words@{revision}:256", "case", case) for revision in (1, 2))
    assert not np.allclose(old, new, atol=0.01)


def test_a_vendor_that_fails_keeps_its_own_space_waiting_alone(town: Town) -> None:
    """The local space is finished, what the vendor did is kept, and the next refresh goes on there."""
    embedding, local, vendor = two_models(answers=2)
    for number in range(7):
        town.case(summary=f"caso {number}")
    found = refresh_cases(town.engine, embedding, NOON)
    assert [(one.space, one.new) for one in found] == [(VENDOR, 4), (LOCAL, 7)]
    assert found[0].trouble is not None
    assert found[1].trouble is None
    assert covered(town, embedding, "case") == [(7, 4, 0, 3), (7, 7, 0, 0)]
    vendor.answers = None
    assert refresh_cases(town.engine, embedding, NOON) == [Refreshed(VENDOR, 3, 0), Refreshed(LOCAL, 0, 0)]
    assert sorted(vendor.asked) == sorted(set(vendor.asked)) == sorted(local.asked)


def test_without_fallback_a_refresh_fails_once_the_local_space_is_done(town: Town) -> None:
    """The error is the vendor's; what the local model made is kept."""
    embedding, _, _ = two_models(fallback=False, answers=1)
    for number in range(3):
        town.case(summary=f"caso {number}")
    with pytest.raises(VendorUnavailable):
        refresh_cases(town.engine, embedding, NOON)
    assert covered(town, embedding, "case") == [(3, 2, 0, 1), (3, 3, 0, 0)]


def test_a_killed_backfill_goes_on_where_it_was(town: Town, database_url: str) -> None:
    """What was committed before the kill is there, and no text of it is embedded again."""
    for number in range(45):
        town.case(summary=f"caso {number}")
    command = [sys.executable, "-m", "litgo_pipelines_tests.casework.backfill_child", database_url, "3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT_FOLDER) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "hanging\n"
        child.kill()
    model = WordModel()
    embedding = Embedding(model, batch=10)
    assert covered(town, embedding, "case") == [(45, 30, 0, 15)]
    assert refresh_cases(town.engine, embedding, NOON) == [Refreshed(LOCAL, 15, 0)]
    assert len(model.asked) == len(set(model.asked)) == 15
    assert covered(town, embedding, "case") == [(45, 45, 0, 0)]


def test_a_lawyers_vector_is_the_mean_of_the_latest_cases(town: Town) -> None:
    """Of the twenty latest, in unit length; an older one and a canceled contract do not count."""
    lawyer, idle = town.lawyer(), town.lawyer()
    texts = [f"{'horas extras' if number % 3 else 'divórcio'} processo {number}" for number in range(20)]
    for number, told in enumerate(texts):
        town.contract(lawyer, NOON - number * DAY, case=town.case(summary=told))
    town.contract(lawyer, NOON - 30 * DAY, case=town.case(summary="inventário antigo"))
    town.contract(lawyer, NOON, "canceled", case=town.case(summary="usucapião"))
    embedding, _, _ = two_models()
    refresh_cases(town.engine, embedding, NOON)
    assert refresh_lawyers(town.engine, embedding, NOON) == [Refreshed(VENDOR, 1, 0), Refreshed(LOCAL, 1, 0)]
    mean = vectorise(texts).mean(axis=0)
    np.testing.assert_allclose(vector(town, LOCAL, "lawyer", lawyer), mean / np.linalg.norm(mean), atol=2e-3)
    assert np.isnan(vector(town, LOCAL, "lawyer", idle)).all()
    assert covered(town, embedding, "lawyer") == [(1, 1, 0, 0)] * 2


def test_a_lawyers_vector_follows_what_is_handled(town: Town) -> None:
    """A contract, a case told anew and a cancellation each make it outdated; who handled nothing after all has none."""
    embedding = Embedding(WordModel())
    lawyer = town.lawyer()
    first = town.case(summary="horas extras")
    only = town.contract(lawyer, NOON - DAY, case=first)

    def refreshed() -> tuple[int, int]:
        refresh_cases(town.engine, embedding, NOON)
        (found,) = refresh_lawyers(town.engine, embedding, NOON)
        return found.new, found.outdated

    assert refreshed() == (1, 0)
    assert refreshed() == (0, 0)
    second = town.contract(lawyer, NOON, case=town.case(summary="divórcio"))
    assert refreshed() == (0, 1)
    town.execute("UPDATE litgo.cases SET summary = 'férias' WHERE id = :id", id=first)
    assert refreshed() == (0, 1)
    town.execute("UPDATE litgo.contracts SET status = 'canceled' WHERE id = :id", id=second)
    assert refreshed() == (0, 1)
    np.testing.assert_allclose(vector(town, LOCAL, "lawyer", lawyer), vectorise(["férias"])[0], atol=1e-3)
    town.execute("UPDATE litgo.contracts SET status = 'canceled' WHERE id = :id", id=only)
    assert refreshed() == (0, 0)
    assert np.isnan(vector(town, LOCAL, "lawyer", lawyer)).all()


def test_what_came_since_a_moment_is_counted_alone(town: Town) -> None:
    """New cases, and lawyers with a new contract, each of whom is held against all that the lawyer handled."""
    embedding = Embedding(WordModel())
    old, new = town.lawyer(), town.lawyer()
    for lawyer in (old, new):
        town.contract(lawyer, NOON - 3 * DAY, case=town.case(summary=f"antigo {lawyer}", created_at=NOON - 3 * DAY))

    def since(at: datetime) -> list[tuple[int, int]]:
        """Wanted and current, of cases and of lawyers."""
        with town.engine.connect() as connection:
            found = [coverage(connection, [LOCAL], entity, NOON, at)[0] for entity in ("case", "lawyer")]  # type: ignore[arg-type]
        return [(one.wanted, one.current) for one in found]

    assert since(NOON - DAY) == [(0, 0), (0, 0)]
    assert since(NOON - 4 * DAY) == [(2, 0), (0, 0)]
    refresh_cases(town.engine, embedding, NOON)
    refresh_lawyers(town.engine, embedding, NOON)
    assert since(NOON - 4 * DAY) == [(2, 2), (2, 2)]
    case = town.case(summary="novo", created_at=NOON - DAY / 2)
    assert since(NOON - DAY) == [(1, 0), (0, 0)]
    refresh_cases(town.engine, embedding, NOON)
    town.contract(new, NOON - DAY / 4, case=case)
    assert since(NOON - DAY) == [(1, 1), (1, 0)]
    refresh_lawyers(town.engine, embedding, NOON)
    assert since(NOON - DAY) == [(1, 1), (1, 1)]
    assert since(NOON) == [(0, 0), (0, 0)]


def test_coverage_of_nothing_is_unknown(town: Town) -> None:
    """Where there is no case there is no share of covered ones; a space that nobody has heard of covers nothing."""
    with town.engine.connect() as connection:
        assert coverage(connection, [LOCAL], "case", NOON) == [Coverage(LOCAL, "case", 0, 0, 0)]
    assert Coverage(LOCAL, "case", 0, 0, 0).share is None
    town.case(id=uuid4())
    with town.engine.connect() as connection:
        (found,) = coverage(connection, ["unheard of"], "case", NOON)
    assert (found.share, found.missing, found.newest) == (0.0, 1, None)
