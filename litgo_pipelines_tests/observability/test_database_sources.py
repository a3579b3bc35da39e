"""Sources on the marketplace's database: counters that begin at 0 and never go back, and how things stand."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.marketplace.event_log import append
from litgo_pipelines.marketplace.outbox import tell
from litgo_pipelines.observability.collector import Collector, families
from litgo_pipelines.observability.database_sources import Counters, Disk, Reachable, Standing
from litgo_pipelines.observability.metrics import COUNTED
from litgo_pipelines_tests.casework.conftest import Town

if TYPE_CHECKING:
    from sqlalchemy import Engine


@pytest.fixture
def town(engine: Any) -> Town:
    return Town(engine)


def values(source: Any) -> dict[str, float]:
    """What a source says, by `name{values in the order of the list}`."""
    return {
        sample.name + (f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""): sample.value
        for family in families(source.read())
        for sample in family.samples
    }


def test_series_whose_labels_are_known_begin_at_nought(engine: Engine) -> None:
    """Or the first event would be no increase."""
    found = values(Counters(engine, known=[("job_runs_total", {"job": "embed_texts", "status": "failure"})]))
    assert found["triage_requests_total{error}"] == 0
    assert found["notifications_sent_total{push,unknown}"] == 0
    assert found["job_runs_total{embed_texts,failure}"] == 0
    assert found["notification_duration_seconds_count{push}"] == 0
    listed = {metric.name for metric in COUNTED if metric.kind == "counter" and set(metric.known) == set(metric.labels)}
    assert listed <= {name.partition("{")[0] for name in found}


def test_counters_go_on_where_another_process_left_them(engine: Engine, database_url: str) -> None:
    """A collector that begins anew shows what was counted before it, and counts once what two of them read."""
    for _ in range(3):
        with engine.begin() as connection:
            append(connection, "offers_ended_total", status="declined")
        values(Counters(engine))
    other = open_engine(database_url)
    with engine.begin() as connection:
        append(connection, "offers_ended_total", status="declined", amount=4)
    assert values(Counters(other))["offers_ended_total{declined}"] == 7
    assert values(Counters(engine))["offers_ended_total{declined}"] == 7
    other.dispose()


def test_events_that_nobody_knows_are_told_of(engine: Engine) -> None:
    """Of another version's metric, or with other labels: they are not shown, and not passed over in silence."""
    with engine.begin() as connection:
        append(connection, "unheard_of_total")
        append(connection, "offers_ended_total", amount=2, reason="x")
        append(connection, "offers_ended_total", status="declined")
        append(connection, "offers_ended_total", status=None)  # type: ignore[arg-type]
    found = values(Counters(engine))
    assert found["collector_events_uncountable"] == 4
    assert found["offers_ended_total{declined}"] == 1


def test_what_waits_is_counted_with_its_age(town: Town) -> None:
    """Offers, cases, contracts, messages and triages that are not settled; what is settled is not among them."""
    lawyer = town.lawyer()
    town.lawyer(status="inactive")
    town.offer(lawyer)
    town.offer(town.lawyer(), status="declined")
    old = datetime.now(UTC) - timedelta(hours=2)
    town.contract(lawyer, at=old, status="requested")
    town.contract(town.lawyer(), at=old, status="active")
    with town.engine.begin() as connection:
        tell(connection, key="a", subject="s", body="b", at=old)
        tell(connection, key="b", subject="s", body="b", at=datetime.now(UTC) + timedelta(hours=1))
        tell(connection, key="c", subject="s", body="b", at=old)
    town.execute("UPDATE litgo.notifications SET status = 'unknown' WHERE key = 'c'")
    town.add("match_requests", id=uuid4(), kind="matching", status="ok", started_at=datetime.now(UTC))
    town.add("match_requests", id=uuid4(), kind="matching", status="ok", started_at=old)
    found = values(Standing(town.engine))
    assert found["active_offers_count"] == 1
    assert found["active_lawyers_count"] == 3
    assert found["open_cases_count"] == 2
    assert found["pending_contracts_count{requested}"] == 1
    assert found["pending_contracts_count{pending-signature}"] == 0
    assert 7200 <= found["pending_contract_oldest_age_seconds"] < 7300
    assert (found["outbox_messages{queued}"], found["outbox_messages{unknown}"]) == (2, 1)
    assert 7200 <= found["outbox_oldest_due_age_seconds"] < 7300
    assert found["requests_last_hour{matching,ok}"] == 1
    assert found["database_size_bytes"] > 1e6


def test_a_message_that_is_tried_in_vain_gets_older(town: Town) -> None:
    """Each try puts it off; its age is counted from when it was written. One for later that was never due has none."""
    hour = datetime.now(UTC) - timedelta(hours=1)
    with town.engine.begin() as connection:
        for key in ("refused", "later"):
            tell(connection, key=key, subject="s", body="b", at=hour)
    town.execute("UPDATE litgo.notifications SET due_at = now() + interval '15 min'")
    assert values(Standing(town.engine))["outbox_oldest_due_age_seconds"] == 0
    town.execute("UPDATE litgo.notifications SET tries = 6 WHERE key = 'refused'")
    assert 3600 <= values(Standing(town.engine))["outbox_oldest_due_age_seconds"] < 3700


def test_a_triage_waits_for_a_person_until_its_case_is_withdrawn(town: Town) -> None:
    """Nobody decides what nobody wants any more."""
    for status in ("triage", "canceled"):
        case = town.case(status=status)
        request = town.add("match_requests", kind="triage", status="ok", started_at=datetime.now(UTC))
        town.execute(
            "INSERT INTO litgo.triages (case_id, request_id, urgency_h, complexity, confidence, space, nearest, created_at) "
            "VALUES (:case, :request, 48, 'LOW', 0.2, 'words', '[]', now())",
            case=case,
            request=request,
        )
    assert values(Standing(town.engine))["undecided_triages_count"] == 1


def test_an_empty_marketplace_has_nothing_that_waits(engine: Engine) -> None:
    """No age is 0, and no sum is missing."""
    found = values(Standing(engine))
    assert found["outbox_oldest_due_age_seconds"] == found["pending_contract_oldest_age_seconds"] == 0
    assert found["outbox_messages{unknown}"] == 0


def test_a_database_that_is_away_is_said_to_be(database_url: str) -> None:
    """The other sources on it are down; what is asked elsewhere is still shown, and no figure is made up."""
    away = open_engine(database_url.rpartition("/")[0] + "/nowhere", seconds=1)
    collector = Collector([Reachable(away), Standing(away), Counters(away), Disk(Path("/"))])
    for source in collector.sources:
        collector.read(source)
    found = {
        sample.name + (f"{{{','.join(sample.labels.values())}}}" if sample.labels else ""): sample.value
        for family in collector.collect()
        for sample in family.samples
    }
    assert found["database_up"] == found["system_health_score"] == 0
    assert found["collector_source_up{database}"] == found["collector_source_up{disk}"] == 1
    assert found["collector_source_up{marketplace}"] == found["collector_source_up{events}"] == 0
    assert 0 < found["disk_free_bytes{home}"] <= found["disk_size_bytes{home}"]
    assert "active_offers_count" not in found
    assert "triage_requests_total{ok}" not in found


def test_a_database_that_hangs_is_said_to_be_away(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections and answers nothing; once it answers again, that is said as well."""
    free = threading.Event()
    source = Reachable(engine, seconds=0.2)
    answers = source._answers
    monkeypatch.setattr(source, "_answers", lambda: free.wait(30) and answers())
    assert values(source) == values(source) == {"database_up": 0}
    free.set()
    deadline = time.monotonic() + 10
    while values(source) != {"database_up": 1}:
        assert time.monotonic() < deadline


def test_figures_are_read_through_indexes_however_much_has_gone_by(town: Town) -> None:
    """Messages that were sent are not read again every five seconds."""
    from litgo_pipelines.observability import database_sources

    town.execute(
        "INSERT INTO litgo.notifications (key, audience, channel, subject, body, status, created_at, due_at, sent_at) "
        "SELECT CAST(g AS text), 'ops', 'email', 's', 'b', 'sent', now(), now(), now() FROM generate_series(1, 20000) g"
    )
    with town.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in (database_sources._MESSAGES, database_sources._STANDING):
            plan = "\n".join(row[0] for row in connection.exec_driver_sql(f"EXPLAIN {statement}"))
            assert "Seq Scan on notifications" not in plan, plan


def test_a_statement_that_takes_too_long_is_cut_off(town: Town, database_url: str) -> None:
    """The collector waits for no lock and no slow plan."""
    from sqlalchemy.exc import OperationalError

    bounded = open_engine(database_url, seconds=0.2)
    with town.engine.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE litgo.offers IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(OperationalError, match="statement timeout"):
            Standing(bounded).read()
    assert Standing(bounded).read()
    bounded.dispose()
