"""`litgo embeddings evaluate` on files of judged queries, usable and not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from litgo_pipelines.cli.embeddings.evaluate import COLUMNS, UnusableFile, read_judgements
from litgo_pipelines.settings import PROJECT_FOLDER
from litgo_pipelines_tests.cli.conftest import Litgo

JURIS = PROJECT_FOLDER.parent / "shared" / "data" / "juristcu_dev.csv"

HEADER = ",".join(COLUMNS)
GOOD = ["1,horas extras,a,jornada de trabalho,2", "1,horas extras,b,guarda dos filhos,0", "2,guarda,a,jornada de trabalho,0.5"]


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    file = folder / "judged.csv"
    file.write_text("\n".join([header, *lines, ""]), encoding="utf-8")
    return file


def test_a_file_is_read_as_queries_with_their_documents(tmp_path: Path) -> None:
    """In the order of the file, in which a query's lines need not stand together; other columns do not disturb."""
    file = write(tmp_path, *(f"{line},x" for line in [*GOOD, "2,guarda,b,guarda dos filhos,3"]), header=f"\ufeff{HEADER},note")
    found = read_judgements(file)
    assert found.queries == ["horas extras", "guarda"]
    assert found.documents == ["jornada de trabalho", "guarda dos filhos"]
    assert [one.tolist() for one in found.pairs] == [[0, 1], [0, 1]]
    assert [one.tolist() for one in found.relevance] == [[2.0, 0.0], [0.5, 3.0]]


BAD = {
    "2,guarda,b,guarda dos filhos,muito": "line 5: relevance is 'muito', not a number from 0 on",
    "2,guarda,b,guarda dos filhos,-1": "line 5: relevance is '-1', not a number from 0 on",
    "2,guarda,b,guarda dos filhos,nan": "line 5: relevance is 'nan', not a number from 0 on",
    "2,guarda,b,guarda dos filhos,": "line 5: relevance is '', not a number from 0 on",
    "2,guarda,b": "line 5: doc_id or doc_text is missing",
    ",guarda,b,guarda dos filhos,1": "line 5: query_id or query_text is missing",
    "2,guarda,a,jornada de trabalho,1": "line 5: query '2' has document 'a' twice",
    "2,outra,b,guarda dos filhos,1": "line 5: query '2' has another text than before",
    "2,guarda,b,outro,1": "line 5: document 'b' has another text than before",
    '2,guarda,b,"aberto,1': "line 5: unexpected end of data",
    "3,férias,b,guarda dos filhos,1": "line 4: query '2' has one document alone",
}


@pytest.mark.parametrize(("line", "told"), BAD.items())
def test_a_line_that_cannot_be_used_is_named(line: str, told: str, tmp_path: Path) -> None:
    """Nothing is measured on half a file; whoever made it is told where to look."""
    with pytest.raises(UnusableFile) as refused:
        read_judgements(write(tmp_path, *GOOD, line))
    assert told in str(refused.value)


def test_a_file_without_lines_or_columns_is_refused(tmp_path: Path) -> None:
    """An empty file, a header alone, a missing column, something that is no text, and nothing at all."""
    with pytest.raises(UnusableFile, match="has no judged queries"):
        read_judgements(write(tmp_path))
    with pytest.raises(UnusableFile, match=r"line 1: there is no column doc_text and no column relevance; needed are query_id"):
        read_judgements(write(tmp_path, header="query_id,query_text,doc_id"))
    (tmp_path / "empty.csv").touch()
    with pytest.raises(UnusableFile, match="line 1: there is no column query_id"):
        read_judgements(tmp_path / "empty.csv")
    (tmp_path / "latin.csv").write_bytes(f"{HEADER}\n1,férias,a,x,1\n".encode("latin-1"))
    with pytest.raises(UnusableFile, match=r"latin\.csv cannot be read"):
        read_judgements(tmp_path / "latin.csv")
    with pytest.raises(UnusableFile, match="cannot be read"):
        read_judgements(tmp_path / "nowhere.csv")


def test_the_command_refuses_a_bad_file_before_it_loads_a_model(litgo: Litgo, tmp_path: Path) -> None:
    """One line on stderr, exit code 2, nothing on stdout."""
    done = litgo("embeddings", "evaluate", str(write(tmp_path, *GOOD)), "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"litgo: {tmp_path / 'judged.csv'}, line 4: query '2' has one document alone, so that every order is right"
    ]


@pytest.mark.skipif(not JURIS.exists(), reason="the judged queries of TCU are not on this machine")
def test_without_any_vendor_the_hybrid_finds_what_the_law_says(litgo: Litgo, tmp_path: Path) -> None:
    """Real queries of Brazilian law: both together find more than the local model, and no less than words. No database is started."""
    home = tmp_path / "home"
    done = litgo("embeddings", "evaluate", str(JURIS), "--json", LITGO_HOME=str(home))
    assert done.returncode == 0, done.stderr
    found = {one["scorer"]: one for one in json.loads(done.stdout)}
    (local,) = found.keys() - {"bm25", "hybrid"}
    assert local.startswith("all-MiniLM-L6-v2@")
    assert all(set(one) == {"scorer", "ndcg_at_10", "low", "high"} for one in found.values())
    assert all(one["low"] < one["ndcg_at_10"] < one["high"] for one in found.values())
    assert found["hybrid"]["ndcg_at_10"] >= 0.935
    assert found["hybrid"]["ndcg_at_10"] >= found["bm25"]["ndcg_at_10"] >= 0.93
    assert found[local]["ndcg_at_10"] == pytest.approx(0.904, abs=0.004)
    assert not (home / "postgres").exists()


def test_without_a_local_model_words_are_measured_alone(litgo: Litgo, tmp_path: Path) -> None:
    """The command says why there is no space."""
    file = write(tmp_path, *GOOD, "2,guarda,b,guarda dos filhos,3")
    done = litgo("embeddings", "evaluate", str(file), "--json", LOCAL_EMBEDDING_MODEL=str(tmp_path / "nowhere"))
    assert done.returncode == 0, done.stderr
    assert [one["scorer"] for one in json.loads(done.stdout)] == ["bm25"]
    assert str(tmp_path / "nowhere") in done.stderr


def test_figures_are_shown_as_a_table(litgo: Litgo, tmp_path: Path) -> None:
    """For people: how many queries and documents, and a line for each scorer."""
    file = write(tmp_path, *GOOD, "2,guarda,b,guarda dos filhos,3")
    done = litgo("embeddings", "evaluate", str(file), COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "NDCG@10 of 2 queries over 2 documents" in done.stdout
    for scorer in ("bm25", "hybrid", "all-MiniLM-L6-v2@"):
        assert scorer in done.stdout
