"""`litgo experiment calibrate` as a person and as a program call it."""

from __future__ import annotations

import json

import pytest

from litgo_pipelines.cli import main
from litgo_pipelines_tests.cli.conftest import Litgo

SMALL = ("experiment", "calibrate", "--looks", "10", "--sims", "20", "--units", "5000", "--srm-sims", "50", "--seed", "3")
PROMISED = {"false_positive_rate", "naive_false_positive_rate", "power", "srm_false_alarm_rate", "sims", "share", "looks", "units", "lift"}


def test_one_share_is_an_object_and_several_are_a_list(litgo: Litgo) -> None:
    """A share finds the same alone and beside others, in every process; progress stays out of the answer."""
    alone = litgo(*SMALL, "--share", "0.2", "--json")
    assert alone.returncode == 0, alone.stderr
    several = litgo(*SMALL, "--share", "0.5", "--share", "0.2", "--json", PYTHONHASHSEED="2")
    found = json.loads(alone.stdout)
    assert found.keys() >= PROMISED
    assert [one["share"] for one in json.loads(several.stdout)] == [0.5, 0.2]
    assert json.loads(several.stdout)[1] == found
    assert (found["sims"], found["looks"], found["units"]) == (20, 10, 5000)
    assert "experiments" in several.stderr


def test_for_people_there_is_a_table_with_the_naive_test_beside(litgo: Litgo) -> None:
    """A row a share; a lift of nothing has no power, which is a dash."""
    done = litgo(*SMALL, "--share", "0.1", "--share", "0.5", "--lift", "0", "--ramp", COLUMNS="140")
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stdout.splitlines() if line.startswith("│")]
    assert [row[0] for row in rows] == ["10.0%", "50.0%"]
    assert all(row[3:5] == ["-", "-"] for row in rows)
    assert "naive z-test, peeking" in done.stdout
    assert "after steps of 1 % and 5 %" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--share", "1"), "--share"),
        (("--share", "0"), "--share"),
        (("--lift", "0.5"), "no more than all clients can sign"),
        (("--lift", "nan"), "--lift"),
        (("--looks", "5", "--ramp"), "a ramp needs 10 looks"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is simulated, with what may be given instead."""
    with pytest.raises(SystemExit) as stopped:
        main([*SMALL, *arguments])
    told = capsys.readouterr()
    assert (stopped.value.code, told.out) == (2, "")
    assert reason in " ".join(told.err.replace("│", " ").split())


def test_help_says_what_peeking_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads the naive column learns why it is so high."""
    with pytest.raises(SystemExit) as stopped:
        main(["experiment", "calibrate", "--help"])
    assert stopped.value.code == 0
    assert "peeking" in capsys.readouterr().out
