"""What Prometheus sees of a modelled marketplace: one value a scrape of every series, or none. What happens is in `happening`.

The collector shows each source as it was read last, 0 to 5 s ago; of a source that fails its figures grow old and are withheld after 60 s.
Serving's counters begin anew with its process. A scrape that fails ends all series of its job; one that was not tried ends none.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from litgo_pipelines.observability.collector import LONGEST_SHOWN
from litgo_pipelines.observability.health import health_samples
from litgo_pipelines.observability.metrics import COUNTED, METRICS, Metric
from litgo_pipelines.observability.sources import EVERY_SECONDS, Sample
from litgo_pipelines_tests.deploy.campaign.conditions import (
    DAEMONS,
    DAY,
    HOUR,
    JOBS,
    MINUTE,
    PAST,
    SCHEDULES,
    SENSORS,
    SERVICES,
    SOURCES,
    WITHOUT_DATABASE,
    Conditions,
    Floats,
)
from litgo_pipelines_tests.deploy.campaign.happening import LATELY, Facts, Happening, Key

JITTER: Final = 0.5
"""Seconds by which a scrape comes early or late."""
LOST_SCRAPES: Final = 0.0005
"""Share of scrapes of a target that run into their timeout."""
SERVING_RESTARTS: Final = 12.0
"""Seconds for which a new process of serving does not answer yet."""
DISK_BYTES: Final = 100e9
EXPERIMENT: Final = "12"
CHALLENGER: Final = "8"
TICK_SLACK: Final = 180.0
COLLECTOR, SERVING = "litgo-collector", "litgo-serving"
_SOURCE_OF: Final = {
    "fairness": ("fairness_", "equity_price"),
    "evidence": ("model_quality_ratio", "model_degraded", "model_watch", "experiment_units"),
    "rollout": ("champion_", "model_quality_threshold", "unexplained", "frozen", "experiment_"),
    "vendors": ("vendor_", "breaker_", "fallback_"),
    "dagster": ("job_", "tick_", "daemon_"),
    "disk": ("disk_",),
    "database": ("database_up",),
}


@dataclass(frozen=True)
class Line:
    """One series.

    Attributes:
        values: one a scrape; NaN where there is none.
        ended: whether it is known to be over where there is none, or only not known.
        nan: scrapes at which its value is not a number.
    """

    name: str
    labels: Mapping[str, str]
    values: Floats
    ended: npt.NDArray[np.bool_]
    nan: npt.NDArray[np.bool_] | None = None


@dataclass
class View:
    """What Prometheus sees of it all.

    Args:
        step: seconds between two scrapes.
        restarts: when serving's process was replaced, beside where it was down.
    """

    happening: Happening
    step: float
    restarts: tuple[float, ...] = ()
    seed: int = 0
    lines: list[Line] = field(default_factory=list)
    rng: np.random.Generator = field(init=False)
    scrapes: Floats = field(init=False)
    asked: Floats = field(init=False)
    reads: dict[str, Floats] = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, 7])
        self.scrapes = np.arange(0.0, self.happening.ends + 0.1, self.step)
        self.asked = np.clip(self.scrapes + self.rng.uniform(-JITTER, JITTER, len(self.scrapes)), -PAST, self.happening.ends)
        self.reads = {source: self._read(source) for source in SOURCES}

    @property
    def conditions(self) -> Conditions:
        """Under which it happens."""
        return self.happening.conditions

    def series(self, *, with_health: bool = True) -> list[Line]:
        """All series; the health score takes the longest."""
        self._targets()
        self._counted()
        self._standing()
        self._fairness()
        self._models()
        self._vendors()
        self._dagster()
        self._collector_itself()
        self._serving()
        if with_health:
            self._health()
        return self.lines

    # How a scrape comes by a value

    def _read(self, source: str) -> Floats:
        """When the figures of a source were read that each scrape sees."""
        grid = np.arange(-HOUR, self.happening.ends + EVERY_SECONDS, EVERY_SECONDS) + self.rng.uniform(0, EVERY_SECONDS)
        good = self.conditions.at(f"source:{source}", grid) > 0
        if source not in WITHOUT_DATABASE:
            good &= self.conditions.at("database", grid) > 0
        last = np.maximum.accumulate(np.where(good, grid, -math.inf))
        found: Floats = last[np.maximum(0, np.searchsorted(grid, self.asked, side="right") - 1)]
        return found

    def _reachable(self, job: str) -> npt.NDArray[np.bool_]:
        """Scrapes of a job that were answered."""
        name = "collector" if job == COLLECTOR else "serving"
        up: npt.NDArray[np.bool_] = self.conditions.at(name, self.asked) > 0
        if job == SERVING:
            for at in self.restarts:
                up &= ~((self.asked >= at) & (self.asked < at + SERVING_RESTARTS))
        lost = np.random.default_rng([self.seed, len(name)]).random(len(up)) < LOST_SCRAPES
        return up & ~lost

    def _shown(self, job: str, name: str, labels: Mapping[str, str], values: Any, there: Any = True, nan: Any = None) -> None:
        """One series of a job, where it is there and the job is scraped."""
        tried = self.conditions.at("prometheus", self.scrapes) > 0
        visible = tried & self._up[job] & there
        target = {"job": job, "instance": "127.0.0.1:9108" if job == COLLECTOR else "127.0.0.1:8000"}
        # honor_labels: the collector's own label `job` stays.
        self.lines.append(Line(name, {**target, **labels}, np.where(visible, values, np.nan), tried, nan))

    def _gauge(self, metric: str, values: Any, there: Any = True, /, *, source: str | None = None, **labels: str) -> None:
        """One gauge of the collector, as its source was read."""
        reads = self.reads[source or source_of(metric)]
        self._shown(COLLECTOR, metric, labels, values, there & (self.asked - reads <= LONGEST_SHOWN))

    def _at(self, source: str) -> Floats:
        """When the source was read, never infinitely long ago."""
        return np.maximum(self.reads[source], -PAST)

    def _targets(self) -> None:
        self._up = {job: self._reachable(job) for job in (COLLECTOR, SERVING)}
        tried = self.conditions.at("prometheus", self.scrapes) > 0
        ports = {COLLECTOR: 9108, SERVING: 8000, "prometheus": 9090, "alertmanager": 9093}
        for job, port in ports.items():
            labels = {"job": job, "instance": f"127.0.0.1:{port}"}
            up = self._up.get(job, np.ones(len(self.scrapes), bool))
            self.lines.append(Line("up", labels, np.where(tried, up, np.nan), np.zeros(len(up), bool)))
            took = np.where(up, self.rng.lognormal(np.log(0.03), 0.4, len(up)), 10.0)
            self.lines.append(Line("scrape_duration_seconds", labels, np.where(tried, took, np.nan), np.zeros(len(up), bool)))
            memory = 8e7 + np.cumsum(self.rng.normal(0, 1e4, len(up)))
            self.lines.append(Line("process_resident_memory_bytes", labels, np.where(tried & up, memory, np.nan), tried))

    # Counters and histograms

    def _counted(self) -> None:
        """All that is made of events; while counting stands still, the counters do."""
        held = self.conditions.at("counting", self._at("events")) == 0
        reads = self._at("events")
        since = np.maximum.accumulate(np.where(held, -PAST, reads))
        there = self.asked - self.reads["events"] <= LONGEST_SHOWN
        for metric in COUNTED:
            for name, labels, values, begun in _countings(metric, self.happening.facts, since):
                self._shown(COLLECTOR, name, labels, values, there & begun)
        age = np.where(held, reads - since, np.random.default_rng(1).exponential(0.4, len(reads)))
        self._gauge("collector_events_unread_age_seconds", age, source="events")
        self._gauge("collector_events_uncountable", self.conditions.at("uncountable", reads), source="events")

    # Gauges of the marketplace

    def _standing(self) -> None:
        reads, happening, conditions = self._at("marketplace"), self.happening, self.conditions
        forgotten = conditions.at("forgotten", reads)
        self._gauge("active_offers_count", _live(*happening.offers, reads))
        self._gauge("open_cases_count", _live(*happening.cases, reads))
        made, sent, over = happening.contracts
        self._gauge("pending_contracts_count", _live(made, sent, reads), status="requested")
        self._gauge("pending_contracts_count", _live(sent, over, reads) + (forgotten > 0), status="pending-signature")
        self._gauge("pending_contract_oldest_age_seconds", np.maximum(_oldest(list(zip(made, over, strict=True)), reads), forgotten))
        self._gauge("undecided_triages_count", np.round(3 + 2 * np.sin(reads / 4000)) + conditions.at("undecided", reads))
        self._gauge("active_lawyers_count", np.full(len(reads), happening.size.lawyers))
        self._gauge("outbox_oldest_due_age_seconds", _oldest(happening.queued, reads))
        queued, unknown = np.array(happening.queued).reshape(-1, 2), np.array(happening.unknown).reshape(-1, 2)
        self._gauge("outbox_messages", _live(queued[:, 0], queued[:, 1], reads), status="queued")
        self._gauge("outbox_messages", np.zeros(len(reads)), status="sending")
        self._gauge("outbox_messages", _live(unknown[:, 0], unknown[:, 1], reads), status="unknown")
        for (kind, status), when in happening.requests.items():
            recent = _live(when, when + HOUR, reads)
            self._gauge("requests_last_hour", recent, recent > 0, kind=kind, status=status)
        self._gauge("database_size_bytes", 9e9 + 2e3 * reads, source="marketplace")
        self._gauge("database_up", conditions.at("database", self._at("database")))
        free = DISK_BYTES * (0.42 - conditions.at("disk_used", self._at("disk"))) - 1e4 * self._at("disk")
        self._gauge("disk_size_bytes", np.full(len(reads), DISK_BYTES), folder="home")
        self._gauge("disk_free_bytes", free, folder="home")

    def _fairness(self) -> None:
        """As the nightly report sees it: what changed by day is told by night, except where a fault changes the figure itself."""
        reads, conditions = self._at("fairness"), self.conditions
        night = np.floor((reads - (2 - conditions.hour) * HOUR - MINUTE) / DAY)
        drawn = np.random.default_rng([self.seed, 3]).normal(0, 1, (64, 4))[(night % 64).astype(int)]
        gini = 0.245 + 0.006 * drawn[:, 0] + conditions.at("gini", reads)
        offered = 0.93 + 0.01 * drawn[:, 1] + conditions.at("offered", reads)
        self._gauge("fairness_gini", gini)
        self._gauge("fairness_gini_week_change", 0.004 * drawn[:, 2] + conditions.at("gini", reads))
        self._gauge("fairness_offered_ratio", offered)
        self._gauge("fairness_offered_ratio_week_change", 0.004 * drawn[:, 3] + conditions.at("offered", reads))
        kept = {"gini": gini < 0.3, "offered": offered > 0.8}
        for number, between in enumerate(("areas", "capacity", "newcomers")):
            gap = 0.1 + 0.015 * drawn[:, number] + conditions.at(f"gap:{between}", reads)
            self._gauge("fairness_gap_ratio", gap, between=between)
            self._gauge("fairness_gap_week_change", 0.004 * drawn[:, 3] + conditions.at(f"gap:{between}", reads), between=between)
            kept[f"gap_{between}"] = gap <= 0.2
        for promise, limit in (("gini", 0.3), ("offered", 0.8), ("gap", 0.2)):
            self._gauge("fairness_limit", np.full(len(reads), limit), promise=promise)
        for promise, good in kept.items():
            self._gauge("fairness_kept", good.astype(float), promise=promise)
        done = [(when, when - 40.0) for _, job, when, _ in self.happening.judged if job == "calculate_equity_metrics" and np.isfinite(when)]
        self._gauge("fairness_report_timestamp_seconds", _latest(done, reads)[0])
        self._gauge("equity_price", np.full(len(reads), 0.52))

    def _models(self) -> None:
        reads, conditions = self._at("rollout"), self.conditions
        champion = conditions.at("champion", reads - 8.0)
        for version in np.unique(champion):
            self._gauge("champion_info", np.ones(len(reads)), champion == version, version=f"{version:.0f}" if version else "nobody")
        turns = [(at, at) for at in conditions.turns("champion")]
        self._gauge("champion_since_timestamp_seconds", _latest([(-2 * DAY, -2 * DAY), *turns], reads)[0])
        self._gauge("model_quality_threshold", np.full(len(reads), 0.9))
        judged = self._at("evidence")
        degraded = conditions.at("degraded", judged)
        ratio = 1.0 + 0.01 * np.sin(judged / 5000) - 0.2 * degraded
        watched = conditions.at("champion", judged)
        for version in np.unique(watched[watched > 0]):
            mine = watched == version
            self._gauge("model_quality_ratio", ratio, mine, version=f"{version:.0f}")
            # After a change of the champion nothing can be said for half an hour.
            fresh = conditions.turns("champion")
            early = np.any([(judged >= at) & (judged < at + 1800) for at in fresh], axis=0) if fresh else np.zeros(len(reads), bool)
            self._gauge("model_degraded", degraded, mine & ~early, version=f"{version:.0f}")
        self._gauge("model_watch_timestamp_seconds", np.floor(judged / 60) * 60, watched > 0)
        self._gauge("unexplained_promotions_count", conditions.at("unexplained", reads))
        self._gauge("frozen", np.zeros(len(reads)), what="models")
        self._experiment(reads)

    def _experiment(self, reads: Floats) -> None:
        runs = (self.conditions.at("champion", reads) == 7) & (reads < 20 * HOUR)
        about = {"champion": "7", "challenger": CHALLENGER, "mode": "split", "status": "running"}
        self._gauge("experiment_info", np.ones(len(reads)), runs, experiment=EXPERIMENT, **about)
        self._gauge("experiment_share", np.full(len(reads), 0.2), runs, experiment=EXPERIMENT)
        for variant, share in (("control", 0.8), ("treatment", 0.2)):
            self._gauge("experiment_units", np.floor(900 * share + reads / 300 * share), runs, experiment=EXPERIMENT, variant=variant)
            self._gauge("experiment_metric", np.full(len(reads), 0.31), runs, experiment=EXPERIMENT, variant=variant, metric="accepted")
        for bound, value in (("low", -0.03), ("estimate", 0.02), ("high", 0.07)):
            self._gauge("experiment_lift", np.full(len(reads), value), runs, experiment=EXPERIMENT, metric="accepted", bound=bound)
        self._gauge("experiment_sample_ratio_broken", self.conditions.at("mismatch", reads), runs, experiment=EXPERIMENT)

    def _vendors(self) -> None:
        reads, opened = self._at("vendors"), self.happening.open_at_end()
        for service in SERVICES:
            self._gauge("vendor_configured", np.ones(len(reads)), service=service)
            spans = np.array(opened[service]).reshape(-1, 2)
            self._gauge("breaker_open", (_live(spans[:, 0], spans[:, 1], reads) > 0).astype(float), service=service)
            work = sorted(self.happening.work[service])
            if work:
                value, when = _latest([(at, float(fallback)) for at, fallback in work], reads)
                self._gauge("fallback_active", value, (reads - when < HOUR) & np.isfinite(when), service=service)

    # Dagster

    def _dagster(self) -> None:
        reads, happening = self._at("dagster"), self.happening
        queued = {job: np.array([(run.queued, run.began) for run in happening.runs if run.job == job]).reshape(-1, 2) for job in JOBS}
        started = {job: np.array([(run.began, run.ended) for run in happening.runs if run.job == job]).reshape(-1, 2) for job in JOBS}
        waiting = np.zeros(len(reads))
        for job in JOBS:
            waits = _live(queued[job][:, 0], queued[job][:, 1], reads)
            waiting += waits
            self._gauge("job_runs_in_progress", waits, job=job, status="queued")
            self._gauge("job_runs_in_progress", _live(started[job][:, 0], started[job][:, 1], reads), job=job, status="started")
        self._gauge("job_queue_length", waiting)
        self._gauge("job_queue_oldest_age_seconds", _oldest([tuple(one) for spans in queued.values() for one in spans.tolist()], reads))
        for job in JOBS:
            for status in ("success", "failure", "retried", "canceled"):
                ends = sorted(run.ended for run in happening.runs if run.job == job and run.status == status)
                if not ends:
                    continue
                value, when = _latest([(at, at) for at in ends], reads)
                self._gauge("job_last_end_timestamp_seconds", value, np.isfinite(when), job=job, status=status)
                if status == "success":
                    self._gauge("job_last_success_timestamp_seconds", value, np.isfinite(when), job=job)
        self._schedules(reads)
        self._ticks(reads)
        beats = self._beats(reads)
        for number, daemon in enumerate(DAEMONS):
            self._gauge("daemon_heartbeat_timestamp_seconds", beats - number, daemon=daemon)

    def _beats(self, reads: Floats) -> Floats:
        """When the daemon last said that it is alive: every 30 s."""
        beats = np.arange(-HOUR, self.happening.ends, 30.0)
        alive = (self.conditions.at("daemon", beats) > 0) & (self.conditions.at("database", beats) > 0)
        listed = beats[alive]
        found: Floats = listed[np.maximum(0, np.searchsorted(listed, reads, side="right") - 1)]
        return found

    def _schedules(self, reads: Floats) -> None:
        for name, (job, _, longest) in SCHEDULES.items():
            dues = self.conditions.due(name, -8 * DAY, self.happening.ends)
            if dues:
                value, when = _latest([(at, at) for at in dues], reads)
                self._gauge("job_due_timestamp_seconds", value, np.isfinite(when), job=job)
            overdue = np.zeros(len(reads))
            for judged_at, of, done, in_time in self.happening.judged:
                if of == job and not in_time:
                    overdue[(reads >= judged_at) & (reads < done)] = 1.0
            self._gauge("job_overdue", overdue, job=job)
            if longest <= 0:
                raise ValueError(name)

    def _ticks(self, reads: Floats) -> None:
        beats = self._beats(reads)
        for name, every in SENSORS.items():
            hangs = self.conditions.turns(f"sensor_hangs:{name}")
            last = np.floor(beats / every) * every + 1.0
            for begin, end in zip(hangs[::2], [*hangs[1::2], math.inf], strict=False):
                last = np.where((last >= begin) & (last < end), begin, last)
            self._tick(name, "sensor", last, last + every + TICK_SLACK, self.conditions.at(f"sensor_failing:{name}", last))
        for name in SCHEDULES:
            dues = self.conditions.due(name, -8 * DAY, self.happening.ends + 8 * DAY)
            ticked = [(self.conditions.waits(at, "daemon", "database", f"schedule:{name}") + 2.0, at) for at in dues]
            value, when = _latest([(at, due) for at, due in ticked if np.isfinite(at)], reads)
            ahead = np.array([*dues, math.inf])
            due = ahead[np.searchsorted(ahead, np.maximum(value, -8 * DAY), side="right").clip(max=len(ahead) - 1)]
            self._tick(
                name,
                "schedule",
                np.where(np.isfinite(when), when, 0.0),
                np.where(np.isfinite(due), due, DAY * 9) + TICK_SLACK,
                np.zeros(len(reads)),
                np.isfinite(when),
            )

    def _tick(self, name: str, kind: str, last: Floats, due: Floats, failed: Floats, there: Any = True) -> None:
        self._gauge("tick_timestamp_seconds", last, there, name=name, kind=kind)
        self._gauge("tick_due_timestamp_seconds", due, there, name=name, kind=kind)
        self._gauge("tick_failed", failed, there, name=name, kind=kind)

    # The collector and serving themselves

    def _collector_itself(self) -> None:
        for source in SOURCES:
            reads = self.reads[source]
            age = self.asked - reads
            self._shown(COLLECTOR, "collector_source_up", {"source": source}, (age < 2 * EVERY_SECONDS).astype(float))
            self._shown(COLLECTOR, "collector_source_age_seconds", {"source": source}, age, np.isfinite(reads))
            took = np.random.default_rng(2).lognormal(np.log(0.02), 0.4, len(age))
            self._shown(COLLECTOR, "collector_source_duration_seconds", {"source": source}, took)
        self._shown(COLLECTOR, "build_info", {"version": "0.6.0"}, np.ones(len(self.scrapes)))

    def _begins(self) -> Floats:
        """When the process of serving began that each scrape meets."""
        down = self.conditions.turns("serving")
        starts = np.array(sorted([-LATELY, *(at + SERVING_RESTARTS for at in self.restarts), *down[1::2]]))
        found: Floats = starts[np.maximum(0, np.searchsorted(starts, self.asked, side="right") - 1)]
        return found

    def _serving(self) -> None:
        begins = self._begins()
        for metric in METRICS.values():
            if metric.exporter != "serving" or metric.kind == "gauge":
                continue
            for name, labels, values, _ in _countings(metric, self._served(metric.name), self.asked):
                self._since(begins, name, labels, values)
        self._serving_gauges(begins)

    def _served(self, name: str) -> Facts:
        """Serving's facts, with those that every process of it makes by itself."""
        facts = self.happening.served
        every = np.arange(-LATELY, self.happening.ends, 3.0)
        every = every[(self.conditions.at("serving", every) > 0) & (self.conditions.at("database", every) > 0)]
        if name == "serving_market_refresh_duration_seconds" and not any(key[0] == name for key in facts.measured):
            facts.measure(name, every, np.random.default_rng(4).lognormal(np.log(0.02), 0.4, len(every)), what="loads")
            facts.measure(name, every[::20], np.random.default_rng(5).lognormal(np.log(0.2), 0.4, len(every[::20])), what="profiles")
        if name == "serving_model_check_errors_total" and not any(key[0] == name for key in facts.moments):
            silent = np.arange(-LATELY, self.happening.ends, 10.0)
            facts.count(name, silent[self.conditions.at("registry", silent) == 0], error="MlflowException")
        return facts

    def _since(self, begins: Floats, name: str, labels: Mapping[str, str], values: Any) -> None:
        """A counter of serving since its process began; a series with labels is there from its first event on."""
        firsts = np.searchsorted(self.asked, begins, side="left").clip(max=len(self.asked) - 1)
        # What was counted up to the last scrape of the process before: what came between is lost with it.
        before = np.where(firsts > 0, np.asarray(values, float)[np.maximum(0, firsts - 1)], 0.0)
        since = np.asarray(values, float) - before
        there: Any = True
        if labels:
            there = _count_since(self, begins, name, labels) > 0
        self._shown(SERVING, name, labels, since, there)

    def _serving_gauges(self, begins: Floats) -> None:
        asked, conditions = self.asked, self.conditions
        seen = conditions.at("champion", asked - 10.0)
        follows = conditions.at("follows", asked) > 0
        index = np.maximum.accumulate(np.where(follows, np.arange(len(asked)), 0))
        served = seen[index]
        for version in np.unique(served):
            labels = {"version": f"{version:.0f}" if version else "hand-weights", "source": "registry" if version else "hand weights"}
            self._shown(SERVING, "serving_model_info", labels, np.ones(len(asked)), served == version)
        loaded = _latest([(-2 * DAY, -2 * DAY), *((at + 10.0, at + 10.0) for at in conditions.turns("champion"))], asked)[0]
        gauges = {
            "serving_model_loaded_timestamp_seconds": np.maximum(loaded, begins),
            "serving_model_last_check_timestamp_seconds": self._checked(),
            "serving_model_stale": (served != conditions.at("champion", asked - 2.0)).astype(float),
            "serving_market_lawyers": np.full(len(asked), self.happening.size.lawyers),
        }
        for name, values in gauges.items():
            self._shown(SERVING, name, {}, values)
        running = (conditions.at("champion", asked) == 7) & (asked < 20 * HOUR)
        labels = {"experiment": EXPERIMENT, "challenger": CHALLENGER, "mode": "split"}
        self._shown(SERVING, "serving_experiment_share", labels, np.full(len(asked), 0.2), running)
        young = asked - begins < 8.0
        work = sorted(self.happening.work["openai"])
        last, when = _latest([(at, float(fallback)) for at, fallback in work], asked)
        self._shown(SERVING, "serving_embedding_fallback", {}, np.nan_to_num(last), nan=when < begins)
        self._shown(SERVING, "serving_market_age_seconds", {}, self._market_age(), nan=young)
        self._shown(SERVING, "serving_equity_price", {}, np.full(len(asked), 0.52), nan=young)

    def _checked(self) -> Floats:
        grid = np.arange(-HOUR, self.happening.ends + 10, 10.0)
        good = grid[self.conditions.at("registry", grid) > 0]
        found: Floats = good[np.maximum(0, np.searchsorted(good, self.asked, side="right") - 1)]
        return found

    def _market_age(self) -> Floats:
        grid = np.arange(-HOUR, self.happening.ends + 3, 3.0)
        good = grid[self.conditions.at("database", grid) > 0]
        found: Floats = self.asked - good[np.maximum(0, np.searchsorted(good, self.asked, side="right") - 1)]
        return found

    def _health(self) -> None:
        """The health score, as the collector computes it of what it shows."""
        wanted = {
            "database_up",
            "requests_last_hour",
            "daemon_heartbeat_timestamp_seconds",
            "job_overdue",
            "job_last_end_timestamp_seconds",
        }
        wanted |= {
            "outbox_oldest_due_age_seconds",
            "vendor_configured",
            "breaker_open",
            "fallback_active",
            "champion_info",
            "model_degraded",
        }
        inputs = [line for line in self.lines if line.name in (wanted | {"fairness_kept"})]
        found: dict[Key, Floats] = {}
        for index in range(len(self.scrapes)):
            samples = [Sample(line.name, float(line.values[index]), line.labels) for line in inputs if not np.isnan(line.values[index])]
            for one in health_samples(samples, float(self.asked[index])):
                key = one.metric, tuple(one.labels.items())
                found.setdefault(key, np.full(len(self.scrapes), np.nan))[index] = one.value
        for (name, labels), values in found.items():
            self._shown(COLLECTOR, name, dict(labels), np.nan_to_num(values), ~np.isnan(values))


def source_of(name: str) -> str:
    """The collector's source that a gauge comes from."""
    return next((source for source, begins in _SOURCE_OF.items() if name.startswith(begins)), "marketplace")


def _countings(metric: Metric, facts: Facts, reads: Floats) -> Iterator[tuple[str, dict[str, str], Any, Any]]:
    """Name, labels, values and whether it has begun, of each series of a counter or histogram.

    Those of which every label is known before are there from the beginning; others begin with their first event, as they do in reality.
    """
    found: Mapping[Key, Any] = facts.measured if metric.kind == "histogram" else facts.moments
    known = {(metric.name, tuple(sorted(labels.items()))) for labels in metric.beginnings()}
    for key in sorted(known | {key for key in found if key[0] == metric.name}):
        parts = found.get(key, [])
        when = np.concatenate([_moments(one) for one in parts]) if parts else np.empty(0)
        begun = np.ones(len(reads), bool) if key in known else reads >= when.min(initial=math.inf)
        if metric.kind == "histogram":
            values = np.concatenate([one[1] for one in parts]) if parts else np.empty(0)
            for name, labels, counted in _distribution(metric, dict(key[1]), when, values, reads):
                yield name, labels, counted, begun
        else:
            yield metric.name, dict(key[1]), np.searchsorted(np.sort(when), reads, side="right"), begun


def _distribution(
    metric: Metric, labels: dict[str, str], when: Floats, values: Floats, reads: Floats
) -> Iterator[tuple[str, dict[str, str], Any]]:
    """Buckets, sum and count of a histogram's series."""
    order = np.argsort(when)
    when, values = when[order], values[order]
    index = np.searchsorted(when, reads, side="right")
    for bound in (*metric.bounds, math.inf):
        below = np.searchsorted(when[values <= bound], reads, side="right")
        yield f"{metric.name}_bucket", {**labels, "le": "+Inf" if bound == math.inf else repr(bound)}, below
    yield f"{metric.name}_sum", labels, np.concatenate([[0.0], np.cumsum(values)])[index]
    yield f"{metric.name}_count", labels, index


def _moments(part: Any) -> Floats:
    """Moments of a part of the facts: of observations the first of the pair."""
    found: Floats = part[0] if isinstance(part, tuple) else part
    return found


def _count_since(view: View, begins: Floats, name: str, labels: Mapping[str, str]) -> Floats:
    """Events of a series since serving's process began, for a part of a histogram those of the whole."""
    metric = name if name in METRICS else name.rsplit("_", 1)[0]
    key = metric, tuple(sorted((label, value) for label, value in labels.items() if label != "le"))
    facts = view.happening.served
    parts = [_moments(one) for one in (facts.measured.get(key) or facts.moments.get(key, []))]
    when = np.sort(np.concatenate(parts)) if parts else np.empty(0)
    return np.asarray(np.searchsorted(when, view.asked, side="right") - np.searchsorted(when, begins, side="right"), float)


def _live(begins: Floats, ends: Floats, at: Floats) -> Floats:
    """How many things that have begun have not ended."""
    found: Floats = (np.searchsorted(np.sort(begins), at, side="right") - np.searchsorted(np.sort(ends), at, side="right")).astype(float)
    return found


def _oldest(spans: list[Any], at: Floats) -> Floats:
    """Age of the oldest thing that has begun and not ended; 0 where there is none."""
    since = np.full(len(at), np.inf)
    for begin, end in spans:
        first, last = np.searchsorted(at, (begin, end))
        if last > first:
            np.minimum(since[first:last], begin, out=since[first:last])
    found: Floats = np.where(np.isfinite(since), at - since, 0.0)
    return found


def _latest(pairs: list[tuple[float, float]], at: Floats) -> tuple[Floats, Floats]:
    """The value of the last of (moment, value) up to each time, and its moment; -infinity where there is none."""
    listed = sorted(pairs)
    when = np.array([-math.inf, *(one[0] for one in listed)])
    values = np.array([0.0, *(one[1] for one in listed)])
    index = np.searchsorted(when, at, side="right") - 1
    return values[index], when[index]
