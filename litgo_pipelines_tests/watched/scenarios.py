"""What happens to a watched system: usual traffic, every expression that people look at, and faults that fire their alert and pass."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml

from litgo_pipelines.observability.dashboards.empty import EMPTY_IS_GOOD
from litgo_pipelines.simulation.visitors import NotAnswered, Visitors
from litgo_pipelines_tests.watched.system import DEPLOY, Watched

if TYPE_CHECKING:
    from uuid import UUID

RECORDED_LATER = {
    "alert:firing_began:count": "has a value only in the step in which an alert begins",
    "contracts:time_to_contract_seconds:p50_7d": "no contract is signed within these minutes",
}
"""Recording rules that need not have data here, and why."""


@contextmanager
def traffic(world: Watched, each_seconds: float = 1.0) -> Iterator[None]:
    """Clients come one after the other, and lawyers answer some of their offers."""
    stop = threading.Event()
    visitors = Visitors(world.engine, world.service)
    refused: list[str] = []

    def live() -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            try:
                (visit,) = visitors.come(1)
            except NotAnswered as error:
                refused.append(str(error))
                continue
            _answer(world, visit.answer, turn)
            if turn % 5 == 0:
                _tell_in_own_words(world, visit.client_id)
            stop.wait(each_seconds)

    thread = threading.Thread(target=live, name="clients")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert refused == [], f"clients were refused: {refused[:3]}"


def _answer(world: Watched, answer: dict[str, Any], turn: int) -> None:
    """Of the lawyers who were offered a case, one declines and one may be interested."""
    offers = [one["offer_id"] for one in answer["matches"] if one.get("offer_id")]
    words = ({"answer": "declined", "decline_reason": "fee"}, {"answer": "interested"})
    for offer, word in zip(offers, words if turn % 2 else words[:1], strict=False):
        world.service.post(f"/v1/offers/{offer}/response", json=word).raise_for_status()


def _tell_in_own_words(world: Watched, client: UUID) -> None:
    body = {"client_id": str(client), "text": "Fui demitido sem justa causa e não recebi as verbas da rescisão nem o FGTS."}
    world.service.post("/v1/triage", json=body).raise_for_status()


def warm_up(world: Watched) -> None:
    """Until what is looked at within minutes has been counted, and lawyers are known to the vendor's model."""
    world.until(lambda: world.query('serving_request_duration_seconds_count{route="/v1/matches"} > 30'), "30 answers are counted")
    world.until(
        lambda: world.query('service_operations_total{service="openai",mode="primary"} > 10'), "texts are compared by the vendor's model"
    )
    world.until(lambda: world.query('notifications_sent_total{type="push",status="sent"} > 5'), "messages are pushed")


def expressions() -> dict[str, dict[str, list[str]]]:
    """Every expression of every panel, by dashboard and panel."""
    found: dict[str, dict[str, list[str]]] = {}
    for file in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        dashboard = json.loads(file.read_text(encoding="utf-8"))
        for panel in _panels(dashboard["panels"]):
            texts = [target["expr"] for target in panel.get("targets", []) if "expr" in target]
            if texts:
                found.setdefault(dashboard["uid"], {})[panel["title"]] = texts
    return found


def _panels(listed: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in listed:
        yield panel
        yield from _panels(panel.get("panels", []))


def empty_panels(world: Watched) -> list[str]:
    """Expressions of panels that give nothing although they should."""
    from litgo_pipelines.observability.promql import without_variables

    return [
        f"{dashboard} / {title}: {one}"
        for dashboard, panels in expressions().items()
        for title, listed in panels.items()
        for one in listed
        if not world.query(without_variables(one)) and title not in EMPTY_IS_GOOD.get(dashboard, {})
    ]


def empty_records(world: Watched) -> list[str]:
    """Recording rules without data although there should be."""
    names = {
        rule["record"]
        for file in sorted((DEPLOY / "prometheus" / "rules").glob("*.yaml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    return sorted(name for name in names - RECORDED_LATER.keys() if not world.query(name))


def rules_in_trouble(world: Watched) -> list[str]:
    """Rules that Prometheus could not evaluate."""
    groups = world.prometheus.get("/api/v1/rules").json()["data"]["groups"]
    return [f"{rule['name']}: {rule.get('lastError')}" for group in groups for rule in group["rules"] if rule["health"] != "ok"]


def pages(world: Watched) -> list[str]:
    """Alerts of which somebody was woken."""
    labels = [one["labels"] for _, body in world.webhook.received for one in body["alerts"]]
    return sorted({one["alertname"] for one in labels if one["severity"] == "page"})


def _fires_and_passes(world: Watched, alert: str, mend: Any, what: str) -> list[str]:
    """What people are told of an alert that must be firing soon, and no longer once it is mended."""
    world.until(lambda: world.firing(alert), f"{what}: {alert} fires")
    world.until(lambda: "firing" in world.webhook.told(alert), f"{what}: people are told")
    mend()
    world.until(lambda: not world.firing(alert), f"{what}: {alert} is over")
    world.until(lambda: "resolved" in world.webhook.told(alert), f"{what}: people are told so")
    return world.webhook.told(alert)


def a_job_fails(world: Watched) -> list[str]:
    """The nightly deletion may not delete."""
    _write(world, "CREATE TRIGGER broken BEFORE DELETE ON litgo.job_runs EXECUTE FUNCTION litgo.refuse_change()")
    world.fails("run", "expire_records")

    def mend() -> None:
        _write(world, "DROP TRIGGER broken ON litgo.job_runs")
        world.litgo("run", "expire_records")

    return _fires_and_passes(world, "JobFailed", mend, "a job fails")


def a_vendor_is_away(world: Watched) -> list[str]:
    """OpenAI answers with errors; texts are compared without it."""
    world.litgo("chaos", "fault", "openai=error")
    return _fires_and_passes(world, "BreakerOpen", lambda: world.litgo("chaos", "fault", "openai=none"), "a vendor is away")


_CROWD = """
WITH few AS (SELECT id, row_number() OVER (ORDER BY id) AS number FROM litgo.lawyers WHERE status = 'active' ORDER BY id LIMIT 8),
     made AS (
        INSERT INTO litgo.cases (id, client_id, area, urgency_h, summary, status, created_at)
        SELECT gen_random_uuid(), (SELECT id FROM litgo.clients LIMIT 1), 'civil', 24, 'made up to be uneven', 'contracted', :at
        FROM generate_series(1, 400) RETURNING id, client_id
     ), counted AS (SELECT id, client_id, row_number() OVER () AS number FROM made)
INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status, created_at)
SELECT gen_random_uuid(), c.id, f.id, c.client_id, 'closed', :at FROM counted c JOIN few f ON f.number = 1 + c.number % 8
"""
_DISPERSE = (
    "DELETE FROM litgo.contracts WHERE case_id IN (SELECT id FROM litgo.cases WHERE summary = 'made up to be uneven')",
    "DELETE FROM litgo.cases WHERE summary = 'made up to be uneven'",
)


def work_is_spread_unevenly(world: Watched) -> list[str]:
    """Eight lawyers have got 400 contracts, as the night's figures see it."""
    from datetime import UTC, datetime

    from litgo_pipelines.casework.equity_run import as_of_partition, latest_partition

    night = as_of_partition(latest_partition(datetime.now(UTC)))
    _write(world, _CROWD, at=night - timedelta(days=1))
    world.litgo("run", "calculate_equity_metrics")

    def mend() -> None:
        for statement in _DISPERSE:
            _write(world, statement)
        world.litgo("run", "calculate_equity_metrics")

    return _fires_and_passes(world, "WorkSpreadUnevenly", mend, "work is spread unevenly")


def _write(world: Watched, statement: str, **values: Any) -> None:
    from sqlalchemy import text

    with world.owner.begin() as connection:
        connection.execute(text(statement), values)
