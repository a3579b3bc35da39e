"""The load tool: it tells the truth about a service, and goes nowhere else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from litgo_pipelines_tests.serving import load
from litgo_pipelines_tests.serving.conftest import serving

if TYPE_CHECKING:
    from litgo_pipelines.settings import Settings
    from litgo_pipelines_tests.serving.conftest import Marketplace


def test_a_short_load_is_answered_and_every_answer_is_recorded_once(
    database_url: str, marketplace: Marketplace, serving_settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stored and inline cases, with and without offers, from a filled marketplace."""
    with marketplace.engine.begin() as connection:
        load.fill(connection, lawyers=200, cases=60, contracts=100)
    with serving(database_url, serving_settings) as served:
        arguments = ["--url", served.url, "--database-url", database_url, "--rate", "20", "--seconds", "2", "--p95-ms", "5000"]
        status = load.main(arguments)
    told = capsys.readouterr().out
    report = json.loads(told[told.index('{\n  "requests"') :])
    assert (status, report["requests"], report["statuses"], report["recorded_wrongly"]) == (0, 40, {"200": 40}, [])
    assert marketplace.count("match_requests") == 40
    assert report["offers"] == marketplace.count("offers") - 100 > 0


def test_an_answer_that_is_not_recorded_as_told_is_found(database_url: str, marketplace: Marketplace, serving_settings: Settings) -> None:
    """A lost row, another lawyer and a lost offer are each reported."""
    with marketplace.engine.begin() as connection:
        load.fill(connection, lawyers=50, cases=3, contracts=0)
        bodies = load.questions(connection, 3, offers=1.0, inline=0.0)
    with serving(database_url, serving_settings) as served:
        told = load.press(served.url, None, bodies, rate=20, clients=3)
    first, second, third = (one.answer["request_id"] for one in told if one.answer is not None)
    with marketplace.engine.begin() as connection:
        assert load.compare(connection, told) == []
        connection.exec_driver_sql("UPDATE litgo.match_requests SET status = 'error' WHERE id = %(id)s", {"id": first})
        swap = "UPDATE litgo.case_matches SET position = position + 10 WHERE request_id = %(id)s AND position = 1"
        connection.exec_driver_sql(swap, {"id": second})
        connection.exec_driver_sql(
            "DELETE FROM litgo.offers WHERE match_id IN (SELECT id FROM litgo.case_matches WHERE request_id = %(id)s AND position = 1)",
            {"id": third},
        )
        assert sorted(line.partition(":")[0] for line in load.compare(connection, told)) == sorted([first, second, third])


def test_the_load_stays_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    """Another host is refused before anything is sent, and so is a load without bounds."""
    for arguments in (["--url", "http://192.0.2.1:8000"], ["--seconds", "100000"], ["--rate", "1000"], ["--clients", "0"]):
        with pytest.raises(SystemExit) as refused:
            load.main(["--database-url", "postgresql://x@127.0.0.1:9/x", *arguments])
        assert refused.value.code == 2
    assert "192.0.2.1 is not this machine" in capsys.readouterr().err
