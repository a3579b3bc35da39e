"""`litgo experiment compare-modes` as a person and as a program call it."""

from __future__ import annotations

import json

import pytest

from litgo_pipelines.cli import main
from litgo_pipelines_tests.cli.conftest import Litgo

SMALL = ("experiment", "compare-modes", "--lawyers", "100", "--repeats", "1", "--cases", "300", "--blur", "3")


def test_for_machines_there_is_one_object_and_nothing_else(litgo: Litgo) -> None:
    """With all that was promised; progress goes to the other stream; hash seeds make no difference."""
    done = litgo(*SMALL, "--json", PYTHONHASHSEED="1")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() >= {
        "ab_cases_median",
        "interleaving_cases_median",
        "ratio",
        "repeats",
        "not_decided_ab",
        "not_decided_interleaving",
    }
    assert len(found["each"]) == found["repeats"] == 1
    assert found["interleaving_cases_median"] <= 300
    assert "marketplaces" in done.stderr
    again = json.loads(litgo(*SMALL, "--json", PYTHONHASHSEED="2").stdout)
    assert {**found, "seconds": 0} == {**again, "seconds": 0}


def test_for_people_there_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """One row a marketplace; who did not decide has a dash, and the last line says how many those are."""
    with pytest.raises(SystemExit) as stopped:
        main([*SMALL[:-1], "0"])
    told = capsys.readouterr().out
    assert stopped.value.code == 0
    assert "100 lawyers, 8 offers a case" in told
    assert [cell.strip() for cell in next(line for line in told.splitlines() if "median" in line).split("│")][-3:-1] == ["-", "-"]
    assert "A/B test 1, interleaving 1" in " ".join(told.split())


@pytest.mark.parametrize("arguments", [("--lawyers", "99"), ("--cases", "199"), ("--repeats", "0"), ("--blur", "-1"), ("--top-n", "0")])
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is lived through, by the option's name."""
    with pytest.raises(SystemExit) as stopped:
        main(["experiment", "compare-modes", *arguments])
    told = capsys.readouterr()
    assert (stopped.value.code, told.out) == (2, "")
    assert arguments[0] in told.err
