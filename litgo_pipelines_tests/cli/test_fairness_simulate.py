"""`litgo fairness simulate` as a person and as a program call it."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from litgo_pipelines.cli import main
from litgo_pipelines_tests.cli.conftest import Litgo

SMALL = ("fairness", "simulate", "--lawyers", "100", "--seed", "5")
PROMISED = {
    "gini_utilisation",
    "gini_offers",
    "share_offered",
    "utilisation_gap_area",
    "utilisation_gap_capacity",
    "utilisation_gap_new",
    "mean_relevance",
    "ndcg5_loss",
    "available_ndcg5",
    "fill_rate",
    "rerank_p50_us",
}
BY_THE_CLOCK = {"seconds", "rerank_p50_us"}


def findings(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def repeatable(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name not in BY_THE_CLOCK}


def test_a_seed_finds_the_same_in_every_process_alone_or_beside_others(litgo: Litgo) -> None:
    """Under another PYTHONHASHSEED, and whatever was simulated before, all but the clock is equal; each policy has all figures."""
    every = findings(litgo(*SMALL, "--policy", "all", "--json", PYTHONHASHSEED="1"))
    assert [one["policy"] for one in every] == ["relevance", "relevance_cap", "predecessor", "price"]
    for one in every:
        assert one.keys() >= PROMISED
        assert {name for name in PROMISED if one[name] is None} <= {"utilisation_gap_area", "utilisation_gap_new"}
    assert every[0]["ndcg5_loss"] == 0
    assert [one["price"] for one in every] == [None, None, None, 0.5]
    alone = findings(litgo(*SMALL, "--json", PYTHONHASHSEED="2"))
    assert repeatable(alone) == repeatable(every[-1])


def test_for_people_there_is_a_table(litgo: Litgo) -> None:
    """The price in force under this name at the head; what is unknown is a dash; progress does not get into the answer."""
    done = litgo(*SMALL, "--price", "0.2", "--stale", COLUMNS="140", LITGO_FAIRNESS_MIN_LAWYERS="60")
    assert done.returncode == 0, done.stderr
    assert "seed 5, 100 lawyers, utilisation 0.6" in done.stdout
    assert "price 0.2" in done.stdout
    rows = {line.split("│")[1].strip(): line.split("│")[2].strip() for line in done.stdout.splitlines() if line.startswith("│")}
    assert 0 < float(rows["Gini of utilisation"]) < 1
    assert rows["gap between areas"] == "-"
    assert "days" in done.stderr
    assert "/85 days" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--policy", "lottery"), "relevance, relevance_cap, predecessor, price, all"),
        (("--price", "dear"), "a number from 0 to 10"),
        (("--price", "nan"), "a number from 0 to 10"),
        (("--price", "10.5"), "a number from 0 to 10"),
        (("--policy", "predecessor", "--price", "0.3"), "no price"),
        (("--policy", "relevance", "--price", "replay"), "no price"),
        (("--utilisation", "1.6"), "--utilisation"),
        (("--lawyers", "99"), "--lawyers"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is lived through, with what may be given instead."""
    with pytest.raises(SystemExit) as stopped:
        main(["fairness", "simulate", *arguments])
    told = capsys.readouterr()
    assert (stopped.value.code, told.out) == (2, "")
    assert reason in " ".join(told.err.replace("│", " ").split())


def test_too_small_a_marketplace_is_one_line_that_says_what_to_take(capsys: pytest.CaptureFixture[str]) -> None:
    """Too few answers for a replay are no price."""
    with pytest.raises(SystemExit) as stopped:
        main([*SMALL, "--utilisation", "0.05", "--price", "replay", "--json"])
    told = capsys.readouterr()
    assert (stopped.value.code, told.out) == (2, "")
    last = told.err.splitlines()[-1]
    assert last.startswith("litgo: the marketplace is too small")
    assert "--lawyers" in last
