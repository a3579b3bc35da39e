"""The whole system and those who watch it: real Prometheus and Alertmanager see usual traffic, and faults that come and go.

One test, because starting all of it takes longest, and a system that has something to do is what every panel is looked at with.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from litgo_pipelines_tests.watched import scenarios
from litgo_pipelines_tests.watched.system import Watched, missing, watched


@pytest.fixture
def world() -> Iterator[Watched]:
    """A system of its own, where the database's own user may enter."""
    if missing():
        pytest.skip(f"{' and '.join(missing())} not installed (Debian: apt-get install prometheus prometheus-alertmanager)")
    with tempfile.TemporaryDirectory(prefix="litgo-watched-") as home, watched(Path(home)) as found:
        yield found


def test_people_see_everything_and_are_told_once_of_what_is_wrong(world: Watched, subtests: pytest.Subtests) -> None:
    """Each fault fires its alert, which is told once, and resolves, which is told once; no panel is empty that should not be."""
    with scenarios.traffic(world):
        scenarios.warm_up(world)
        for fault in (scenarios.a_job_fails, scenarios.a_vendor_is_away, scenarios.work_is_spread_unevenly):
            with subtests.test(fault.__name__):
                assert fault(world) == ["firing", "resolved"]
        with subtests.test("every panel"):
            assert scenarios.empty_panels(world) == []
        with subtests.test("every recording rule"):
            assert scenarios.empty_records(world) == []
        with subtests.test("every rule"):
            assert scenarios.rules_in_trouble(world) == []
    with subtests.test("nobody was woken"):
        assert scenarios.pages(world) == []
