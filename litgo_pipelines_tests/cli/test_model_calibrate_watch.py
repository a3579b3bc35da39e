"""`litgo model calibrate-watch` as a person and as a program call it."""

from __future__ import annotations

import json

import pytest

from litgo_pipelines.cli import main
from litgo_pipelines_tests.cli.conftest import Litgo

SMALL = ("model", "calibrate-watch", "--sims", "20", "--seed", "5")


def test_for_programs_there_is_json_with_a_row_for_each_ratio(litgo: Litgo) -> None:
    """In the order asked for, of the threshold that is set; progress goes to stderr."""
    done = litgo(*SMALL, "--ratio", ".9", "--ratio", ".7", "--json", QUALITY_THRESHOLD="0.8")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    asked = {name: found[name] for name in ("sims", "threshold", "sd", "per_hour", "healthy")}
    assert asked == {"sims": 20, "threshold": 0.8, "sd": 0.1, "per_hour": 100, "healthy": 5_000}
    quiet, fallen = found["rows"]
    assert quiet == {"ratio": 0.9, "alarm_share_week": 0.0, "median_decisions": None, "p90_decisions": None}
    assert (fallen["ratio"], fallen["alarm_share_week"]) == (0.7, 1.0)
    assert 0 < fallen["median_decisions"] <= fallen["p90_decisions"] < 100
    assert "weeks" in done.stderr


def test_for_people_there_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Without an alarm within the week there is a dash; answers are counted as answers, 300 an hour."""
    with pytest.raises(SystemExit) as stopped:
        main(["model", "calibrate-watch", "--sims", "3", "--answers", "--ratio", "1", "--ratio", "0.4"])
    told = capsys.readouterr()
    assert stopped.value.code in (0, None)
    assert "reference of 15,000 answers, 300 an hour" in " ".join(told.out.split())
    rows = {line.split("│")[1].strip(): line.split("│")[2:5] for line in told.out.splitlines() if line.startswith("│")}
    assert [one.strip() for one in rows["1"]] == ["0.0%", "-", "-"]
    assert rows["0.4"][0].strip() == "100.0%"
    assert rows["0.4"][1].strip().endswith("h)")


@pytest.mark.parametrize(
    ("arguments", "reason"), [(("--ratio", "2.5"), "between 0 and 2"), (("--ratio", "nan"), "between 0 and 2"), (("--sims", "0"), "--sims")]
)
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, ...], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything is simulated."""
    with pytest.raises(SystemExit) as stopped:
        main([*SMALL, *arguments])
    told = capsys.readouterr()
    assert (stopped.value.code, told.out) == (2, "")
    assert reason in " ".join(told.err.replace("│", " ").split())
