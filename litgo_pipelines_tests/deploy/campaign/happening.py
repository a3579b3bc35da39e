"""What happens in the modelled marketplace: requests, offers, contracts, messages, calls of vendors, runs. How it is shown is in `figures`.

Facts are moments. What people and machines do is drawn from one generator, so a seed and the conditions say all of it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from litgo_pipelines_tests.deploy.campaign.conditions import (
    DAY,
    HOUR,
    JOBS,
    MINUTE,
    PAST,
    SCHEDULES,
    SENSORS,
    SERVICES,
    Conditions,
    Floats,
    Size,
    shape,
)

Key = tuple[str, tuple[tuple[str, str], ...]]

LATELY: Final = 3 * HOUR
"""Before the first scrape: from then on messages, requests to vendors and runs are followed one by one."""
OFFER_SECONDS: Final = DAY
OFFERS: Final = 3
TRIAGED: Final = 0.7
"""Share of clients who tell their case in their own words first."""
ANSWER_MEDIAN, ANSWER_SPREAD = 3 * HOUR, 1.1
CONTRACTED: Final = 0.5
CONTRACT_MEDIAN, CONTRACT_SPREAD = 10 * HOUR, 0.8
SIGNED_MEDIAN, SIGNED_SPREAD = 20 * HOUR, 0.9
LONGEST_UNSIGNED: Final = 12 * DAY
DEVICE: Final = 0.85
"""Share of lawyers whom a push can reach, as far as is known."""
UNSUBSCRIBED: Final = 0.01
"""Share of them whom it does not reach any more."""
MATCHING_MEDIAN, MATCHING_SPREAD = 0.045, 0.55
TRIAGE_MEDIAN, TRIAGE_SPREAD = 0.16, 0.5
EMBEDDING_SECONDS: Final = 4.0
"""That serving waits for OpenAI at most."""
ATTEMPTS, BREAKER_FAILURES, BREAKER_SECONDS = 3, 5, 60.0
BURSTS_A_DAY, BURST_SECONDS = 2.0, 6.0
"""How often a vendor fails for some seconds, and for how long."""
VENDOR_ERRORS: Final = 0.002
VENDORS: Final = {"openai": (0.22, 30.0), "docusign": (0.9, 45.0), "onesignal": (0.25, 15.0), "sendgrid": (0.3, 15.0)}
"""Median seconds of an answer, and the timeout."""
RETRIED: Final = 0.002
"""Share of runs that fail and succeed when they are tried again."""
SETTLED_AFTER: Final = (0.5 * HOUR, 2 * HOUR)
"""Until a person says what became of a message that may or may not have arrived."""
RUN_SECONDS: Final = {
    **{"calculate_equity_metrics": 45.0, "deliver_notifications": 3.0, "embed_texts": 8.0, "expire_records": 20.0, "move_offers": 3.0},
    **{"process_contracts": 4.0, "read_experiment": 6.0, "refit_equity_price": 180.0, "retrain_ranker": 150.0, "watch_champion": 5.0},
}
"""Median seconds of a run."""
_WORKS: Final = ("daemon", "database", "queue_moves")


@dataclass
class Facts:
    """Moments of countable events, by series, and what was measured at them."""

    moments: dict[Key, list[Floats]] = field(default_factory=dict)
    measured: dict[Key, list[tuple[Floats, Floats]]] = field(default_factory=dict)

    def count(self, metric: str, when: Any, /, **labels: str) -> None:
        """One event at each moment."""
        self.moments.setdefault((metric, tuple(sorted(labels.items()))), []).append(np.atleast_1d(np.asarray(when, float)))

    def measure(self, metric: str, when: Any, values: Any, /, **labels: str) -> None:
        """One observation at each moment."""
        pair = np.atleast_1d(np.asarray(when, float)), np.atleast_1d(np.asarray(values, float))
        self.measured.setdefault((metric, tuple(sorted(labels.items()))), []).append(pair)

    def split(self, metric: str, label: str, when: Floats, values: Any, /, **labels: str) -> None:
        """One event at each moment, with a label that differs."""
        listed = np.asarray(values)
        for value in dict.fromkeys(listed.tolist()):
            self.count(metric, when[listed == value], **{label: value}, **labels)


@dataclass(frozen=True)
class Run:
    """One run of a job."""

    job: str
    queued: float
    began: float
    ended: float
    status: str


@dataclass
class _Vendor:
    failures: int = 0
    shut_until: float = -math.inf
    opened: float | None = None


@dataclass
class Happening:
    """All that happens from the past to the last scrape.

    Attributes:
        facts: of the database; `served`: of serving's process, which forgets them when it ends.
        offers: begin and end of each; `cases` likewise, `contracts` with the moment at which they went out between.
        queued: each message, from its making to its end.
        unknown: from when to when it was not known whether a message arrived.
        open: by vendor, from when to when it was left alone.
        work: by vendor, when work was done and whether without it.
        stuck: moments since when runs wait that do not begin.
    """

    size: Size
    conditions: Conditions
    rng: np.random.Generator
    facts: Facts = field(default_factory=Facts)
    served: Facts = field(default_factory=Facts)
    offers: tuple[Floats, Floats] = (np.empty(0), np.empty(0))
    cases: tuple[Floats, Floats] = (np.empty(0), np.empty(0))
    contracts: tuple[Floats, Floats, Floats] = (np.empty(0), np.empty(0), np.empty(0))
    queued: list[tuple[float, float]] = field(default_factory=list)
    unknown: list[tuple[float, float]] = field(default_factory=list)
    open: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {service: [] for service in SERVICES})
    work: dict[str, list[tuple[float, bool]]] = field(default_factory=lambda: {service: [] for service in SERVICES})
    requests: dict[tuple[str, str], Floats] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    judged: list[tuple[float, str, float, bool]] = field(default_factory=list)
    _vendors: dict[str, _Vendor] = field(default_factory=lambda: {service: _Vendor() for service in SERVICES})
    _bursts: dict[str, Floats] = field(default_factory=dict)
    _found: dict[tuple[str, float], float] = field(default_factory=dict)
    _silent: float = 0.0

    @property
    def ends(self) -> float:
        """Seconds from the first scrape to the last."""
        return self.conditions.ends

    # Requests

    def _arrivals(self) -> Floats:
        minutes = np.arange(-PAST, self.ends, MINUTE)
        rate = self.size.requests * shape(self.size, self.conditions.hour_at(minutes)) * self.conditions.at("load", minutes)
        found = np.repeat(minutes, self.rng.poisson(rate))
        found = np.sort(found + self.rng.uniform(0, MINUTE, len(found)))
        kept: Floats = found[self.conditions.at("serving", found) > 0]
        return kept

    def _embedded(self, when: Floats, needed: Any) -> Floats:
        """How long each request waits for OpenAI; 0 for those that find what they need stored."""
        waited = np.zeros(len(when))
        for index in np.flatnonzero(needed & (self.conditions.at("database", when) > 0) & (when > -LATELY)):
            ok, ended = self.call("openai", float(when[index]), EMBEDDING_SECONDS)
            waited[index] = ended - when[index]
            self._worked("openai", ended, fallback=not ok)
            if not ok:
                self.served.count("serving_embedding_fallbacks_total", ended)
        return waited

    def _asked(self, kind: str, when: Floats, waited: Floats, median: float, spread: float) -> Floats:
        """Requests of a kind; when those came that were answered."""
        rng, conditions = self.rng, self.conditions
        away = conditions.at("database", when) == 0
        failed = rng.random(len(when)) < conditions.at(f"{kind}_errors", when)
        seconds = (rng.lognormal(np.log(median), spread, len(when)) + waited) * conditions.at("latency", when)
        status = np.where(failed, "error", "ok")
        route = "/v1/triage" if kind == "triage" else "/v1/matches"
        for one, code in (("ok", "200"), ("error", "500")):
            chosen = ~away & (status == one)
            self.facts.count(f"{kind}_requests_total", (when + seconds)[chosen], status=one)
            self.requests[kind, one] = when[chosen]
            recent = chosen & (when > -LATELY)
            self.served.measure(f"{kind}_duration_seconds", (when + seconds)[recent], seconds[recent], status=one)
            if (kind, one) == ("matching", "ok"):
                self.served.measure("model_matching_duration_seconds", (when + seconds)[recent], seconds[recent], version="7")
            self.served.measure(
                "serving_request_duration_seconds",
                *((when + seconds)[recent], seconds[recent] + 0.004),
                method="POST",
                route=route,
                status=code,
            )
        gone = away & (when > -LATELY)
        self.served.measure(
            "serving_request_duration_seconds", when[gone] + 2.0, np.full(gone.sum(), 2.0), method="POST", route=route, status="503"
        )
        answered: Floats = when[~away & ~failed]
        return answered

    def run(self) -> Happening:
        """Let all of it happen."""
        arrivals = self._arrivals()
        self._bursts = {
            service: np.sort(self.rng.uniform(-LATELY, self.ends, self.rng.poisson(BURSTS_A_DAY * (self.ends + LATELY) / DAY)))
            for service in SERVICES
        }
        told = self.rng.random(len(arrivals)) < TRIAGED
        asked = arrivals + np.where(told, self.rng.uniform(5, 60, len(arrivals)), 0.0)
        reached = self.conditions.at("serving", asked) > 0
        asked = asked[reached]
        both = np.concatenate([arrivals[told], asked])
        order = np.argsort(both)
        waited = np.empty(len(both))
        needed = np.concatenate([np.ones(told.sum(), bool), ~told[reached]])
        waited[order] = self._embedded(both[order], needed[order])
        self._asked("triage", arrivals[told], waited[: told.sum()], TRIAGE_MEDIAN, TRIAGE_SPREAD)
        matched = np.sort(self._asked("matching", asked, waited[told.sum() :], MATCHING_MEDIAN, MATCHING_SPREAD))
        self._other_requests()
        self._casework(matched)
        self._routines()
        return self

    def _other_requests(self) -> None:
        """Answers of lawyers, looks at cases, bad requests, probes."""
        minutes = np.arange(-LATELY, self.ends, MINUTE)
        up = self.conditions.at("serving", minutes) > 0
        away = self.conditions.at("database", minutes) == 0
        usual = self.size.requests * shape(self.size, self.conditions.hour_at(minutes))
        listed = (
            ("POST", "/v1/offers/{offer_id}/response", 1.5),
            ("GET", "/v1/offers/{offer_id}", 2.0),
            ("GET", "/v1/contracts/{contract_id}", 0.6),
        )
        for method, route, share in listed:
            for status, of in (("200", 0.985), ("404", 0.01), ("422", 0.005)):
                self._answered(minutes, usual * share * of * (up & ~away), method, route, status)
            self._answered(minutes, usual * share * (up & away), method, route, "503")
            self._answered(minutes, usual * share * 0.00015 * (up & ~away), method, route, "500")
        for route in ("/healthz", "/readyz", "/metrics"):
            bad = away if route == "/readyz" else np.zeros(len(minutes), bool)
            self._answered(minutes, 4.0 * (up & ~bad), "GET", route, "200")
            self._answered(minutes, 4.0 * (up & bad), "GET", route, "503")

    def _answered(self, minutes: Floats, rate: Floats, method: str, route: str, status: str) -> None:
        when = np.repeat(minutes, self.rng.poisson(rate))
        when = when + self.rng.uniform(0, MINUTE, len(when))
        if len(when):
            seconds = self.rng.lognormal(np.log(0.012), 0.6, len(when))
            self.served.measure("serving_request_duration_seconds", when, seconds, method=method, route=route, status=status)

    # Cases

    def _casework(self, matched: Floats) -> None:
        rng, conditions, facts = self.rng, self.conditions, self.facts
        facts.count("cases_created_total", matched)
        facts.count("matches_found_total", np.repeat(matched, OFFERS))
        made = np.repeat(matched, OFFERS)
        facts.count("offers_created_total", made)
        answered = made + np.maximum(60.0, rng.lognormal(np.log(ANSWER_MEDIAN), ANSWER_SPREAD, len(made)))
        heard = (answered < made + OFFER_SECONDS) & (rng.random(len(made)) < conditions.at("answered", answered))
        heard &= (conditions.at("serving", answered) > 0) & (conditions.at("database", answered) > 0)
        willing = rng.random(len(made)) < conditions.at("interested", answered)
        status = np.where(heard, np.where(willing, "interested", "declined"), "expired")
        ended = np.where(heard, answered, self._expired(made + OFFER_SECONDS))
        contracted = self._contracts(matched, ended.reshape(-1, OFFERS), (status == "interested").reshape(-1, OFFERS))
        closing = np.repeat(contracted, OFFERS)
        status = np.where(closing < ended, "closed", status)
        ended = np.minimum(closing, ended)
        facts.split("offers_ended_total", "status", ended, status)
        for one in ("interested", "declined"):
            of = status == one
            facts.measure("offer_response_seconds", ended[of], (ended - made)[of], status=one)
        self.offers = made, ended
        self.cases = matched, np.minimum(contracted, matched + 14 * DAY)
        self._messages(made[made > -LATELY], matched[matched > -LATELY], contracted[(contracted > -LATELY) & (contracted < self.ends)])
        moved = np.unique((ended[(status == "expired") & (ended > -LATELY) & (ended < self.ends)] // 300) * 300)
        self._launch("move_offers", "offers_due", moved)

    def _expired(self, when: Floats) -> Floats:
        """When offers expire whose time is over: within five minutes, if anybody looks."""
        found = when + self.rng.uniform(5, 300, len(when))
        for at, end in self._absences():
            held = (found >= at) & (found < end)
            found[held] = end + self.rng.uniform(5, 300, held.sum())
        return found

    def _absences(self) -> Iterable[tuple[float, float]]:
        """From when to when offers are looked after by nobody."""
        for name in (*_WORKS, "sensor_hangs:offers_due", "job_failing:move_offers"):
            turns = self.conditions.turns(name)
            yield from zip(turns[::2], [*turns[1::2], self.ends + DAY], strict=False)

    def _contracts(self, matched: Floats, ended: Floats, willing: Any) -> Floats:
        """When each case has its contract; infinity for those that get none."""
        rng, facts = self.rng, self.facts
        first = np.where(willing, ended, np.inf).min(axis=1, initial=np.inf)
        drawn = rng.lognormal(np.log(CONTRACT_MEDIAN), CONTRACT_SPREAD, len(matched))
        asked = np.where(rng.random(len(matched)) < CONTRACTED, first + drawn, np.inf)
        asked[(asked < self.ends) & (self.conditions.at("database", np.where(np.isfinite(asked), asked, 0.0)) == 0)] = np.inf
        found = np.flatnonzero(asked < self.ends)
        found = found[np.argsort(asked[found])]
        made, begin = asked[found], matched[found]
        facts.count("contracts_created_total", made)
        sent, methods = made + rng.uniform(5, 60, len(made)), np.full(len(made), "docusign")
        recent = made > -LATELY
        begun = self._launch("process_contracts", "contracts_due", made[recent])
        for index, at in zip(np.flatnonzero(recent), begun, strict=True):
            ok, done = self.call("docusign", float(at), 25.0) if np.isfinite(at) else (True, np.inf)
            sent[index], methods[index] = done, "docusign" if ok else "manual"
            if np.isfinite(done):
                self._worked("docusign", done, fallback=not ok)
        facts.split("contract_creation_method_total", "method", sent[np.isfinite(sent)], methods[np.isfinite(sent)])
        lasted = np.minimum(rng.lognormal(np.log(SIGNED_MEDIAN), SIGNED_SPREAD, len(made)), LONGEST_UNSIGNED)
        over, lost = sent + lasted, rng.random(len(made)) < 0.05
        facts.split("contracts_signed_total", "method", over[~lost & (over < self.ends)], methods[~lost & (over < self.ends)])
        facts.count("contracts_canceled_total", over[lost])
        facts.measure("time_to_contract_seconds", over[~lost], (over - begin)[~lost])
        reviewed = over[~lost & (rng.random(len(made)) < 0.4)] + rng.uniform(1, 3, 1)[0] * HOUR
        facts.split(
            "reviews_total", "outcome", reviewed, rng.choice(["won", "lost", "settled", "ongoing"], len(reviewed), p=[0.4, 0.2, 0.25, 0.15])
        )
        self.contracts = made, sent, over
        return asked

    # Messages

    def _messages(self, offers: Floats, cases: Floats, contracts: Floats) -> None:
        rng = self.rng
        made = [(at, "push" if rng.random() < DEVICE else "email", "lawyer") for at in offers.tolist()]
        made += [(at, "email", "client") for at in cases.tolist()]
        made += [(at, "email", audience) for at in contracts.tolist() for audience in ("lawyer", "client")]
        made += [(at, "email", "ops") for at in rng.uniform(-LATELY, self.ends, rng.poisson((self.ends + LATELY) / (6 * HOUR)))]
        made = [one for one in made if self.conditions.at("database", one[0])]
        for at, channel, audience in made:
            self.facts.count("notifications_created_total", at, audience=audience, type=channel)
        # due, made, what it goes by, how often that was tried
        waiting = [(at, at, channel, 0) for at, channel, _ in made]
        heapq.heapify(waiting)
        started: set[float] = set()
        while waiting:
            due, at, channel, tries = heapq.heappop(waiting)
            tick = self._tick("deliver_notifications", "notifications_due", due)
            picked = tick + 3.0 + self.rng.uniform(0, 2)
            if not picked < self.ends:
                self.queued.append((at, self.ends + DAY))
                continue
            started.add(tick)
            self._deliver(waiting, at, channel, tries, picked)
        self._launch("deliver_notifications", "notifications_due", np.array(sorted(at for at, _, _ in made)))

    def _deliver(self, waiting: list[tuple[float, float, str, int]], at: float, channel: str, tries: int, picked: float) -> None:
        service = "onesignal" if channel == "push" else "sendgrid"
        if channel == "push" and self.rng.random() < UNSUBSCRIBED:
            ok, ended = False, picked + 0.3
        else:
            ok, ended = self.call(service, picked, 25.0)
        if channel == "push":
            self._worked("onesignal", ended, fallback=not ok)
            if not ok:
                heapq.heappush(waiting, (ended, at, "email", 0))
                return
        refused = channel == "email" and self.rng.random() < self.conditions.at("refused", picked)
        ok = ok and not refused
        uncertain = not ok and not refused and self.rng.random() < self._silent
        if ok or uncertain or refused or ended - at > DAY:
            status = "sent" if ok else "unknown" if uncertain else "failed"
            self.facts.count("notifications_sent_total", ended, type=channel, status=status)
            self.queued.append((at, ended))
            if ok:
                self.facts.measure("notification_duration_seconds", ended, ended - at, type=channel)
            if uncertain:
                self.unknown.append((ended, ended + self.rng.uniform(*SETTLED_AFTER)))
            return
        heapq.heappush(waiting, (ended + min(900.0, 30.0 * 2**tries), at, channel, tries + 1))

    def _worked(self, service: str, when: float, *, fallback: bool) -> None:
        self.work[service].append((when, fallback))
        self.facts.count("service_operations_total", when, service=service, mode="fallback" if fallback else "primary")

    # Vendors

    def call(self, service: str, when: float, deadline: float) -> tuple[bool, float]:
        """One call: whether it succeeded, and when it was over. `_silent` is 1 after one that may have arrived all the same."""
        vendor, began = self._vendors[service], when
        self._silent = 0.0
        if when < vendor.shut_until:
            self.facts.count("external_calls_total", when, service=service, outcome="breaker_open")
            return False, when
        for attempt in range(1 if vendor.opened is not None else ATTEMPTS):
            outcome, seconds = self._request(service, when, began + deadline - when)
            when += seconds
            self.facts.count("external_calls_total", when, service=service, outcome=outcome)
            self.facts.measure("external_call_duration_seconds", when, seconds, service=service)
            if attempt:
                self.facts.count("api_retries_total", when, service=service)
            if outcome == "ok":
                if vendor.opened is not None:
                    self.open[service].append((vendor.opened, when))
                vendor.failures, vendor.opened = 0, None
                return True, when
            vendor.failures += 1
            if outcome == "timeout":
                self.facts.count("api_timeouts_total", when, service=service)
                self._silent = 1.0
            if vendor.failures >= BREAKER_FAILURES:
                vendor.opened = when if vendor.opened is None else vendor.opened
                vendor.shut_until = when + BREAKER_SECONDS
                break
            when += 0.5 * 2**attempt * self.rng.uniform(0.8, 1.2)
            if (outcome == "timeout" and service != "openai") or when - began >= deadline:
                break
        return False, when

    def _request(self, service: str, when: float, left: float) -> tuple[str, float]:
        median, timeout = VENDORS[service]
        bursts = self._bursts.get(service, np.empty(0))
        index = int(np.searchsorted(bursts, when)) - 1
        if index >= 0 and when - bursts[index] < BURST_SECONDS:
            return "http_5xx", 0.3
        drawn = self.rng.random()
        if drawn < self.conditions.at(f"vendor_failing:{service}", when):
            return ("timeout", min(timeout, left)) if self.conditions.at(f"vendor_hangs:{service}", when) else ("connect", 0.05)
        drawn = self.rng.random()
        slow = self.conditions.at(f"vendor_timeouts:{service}", when)
        if drawn < slow:
            return "timeout", min(timeout, left)
        if drawn < slow + VENDOR_ERRORS:
            return "http_5xx", 0.3
        return "ok", float(self.rng.lognormal(np.log(median), 0.45))

    def open_at_end(self) -> dict[str, list[tuple[float, float]]]:
        """By vendor, from when to when it was left alone, to the end where it still is."""
        found = {service: list(spans) for service, spans in self.open.items()}
        for service, vendor in self._vendors.items():
            if vendor.opened is not None:
                found[service].append((vendor.opened, self.ends + DAY))
        return found

    # Runs

    def _tick(self, job: str, sensor: str, when: float) -> float:
        """The next tick at which a sensor starts a run that does its work."""
        every = SENSORS[sensor]
        passed: list[tuple[str, float]] = []
        while True:
            at = math.ceil((when + 1.0) / every) * every + 2.0
            if (sensor, at) in self._found:
                at = self._found[sensor, at]
                break
            passed.append((sensor, at))
            free = self.conditions.waits(at, *_WORKS)
            if free == math.inf:
                at = free
                break
            if free == at and not self._blocked(job, sensor, at):
                break
            when = free
        self._found.update(dict.fromkeys(passed, at))
        return at

    def _blocked(self, job: str, sensor: str, at: float) -> bool:
        names = (f"sensor_hangs:{sensor}", f"sensor_failing:{sensor}", f"job_failing:{job}")
        return at < self.ends + DAY and any(self.conditions.at(name, at) for name in names)

    def _launch(self, job: str, sensor: str, causes: Floats) -> Floats:
        """Runs of a job that a sensor starts; when the work of each cause begins."""
        ticks = np.array([self._tick(job, sensor, float(at)) for at in causes])
        for tick in np.unique(ticks[np.isfinite(ticks)]):
            if tick < self.ends:
                self._ran(job, float(tick), "retried" if self.rng.random() < RETRIED else "success")
        failing = self.conditions.turns(f"job_failing:{job}")
        for begin, end in zip(failing[::2], failing[1::2], strict=False):
            stuck = causes[(causes >= begin - 30) & (causes < end)]
            if len(stuck):
                for tick in np.arange(np.ceil(stuck[0] / SENSORS[sensor]) * SENSORS[sensor], end, SENSORS[sensor]):
                    self._ran(job, float(tick), "failure")
        return ticks + 3.0

    def _ran(self, job: str, queued: float, status: str, began: float | None = None) -> None:
        begin = queued + self.rng.uniform(1.5, 5.0) if began is None else began
        ended = begin + float(self.rng.lognormal(np.log(RUN_SECONDS[job]), 0.35))
        self.runs.append(Run(job, queued, begin, ended, status))
        if status == "retried":
            self.runs.append(Run(job, ended, ended + 30.0, ended + 30.0 + RUN_SECONDS[job], "success"))

    def _routines(self) -> None:
        """What runs by the clock, and what is due now and then."""
        for name in SCHEDULES:
            for due in self.conditions.due(name, -PAST, self.ends):
                self._scheduled(name, due)
        for hour in np.arange(-LATELY, self.ends, HOUR):
            self._launch("read_experiment", "experiment_due", np.array([hour + 600.0]))
        self._launch("watch_champion", "champion_watch", np.arange(-LATELY, self.ends, 6 * HOUR) + 120.0)
        self._launch("retrain_ranker", "new_reviews", np.array([4 * HOUR]) if self.ends > 4 * HOUR else np.empty(0))
        self._launch("embed_texts", "texts_to_embed", np.arange(-LATELY, self.ends, 20 * MINUTE))
        lost = self.conditions.turns("queue_moves")
        for begin, end in zip(lost[::2], [*lost[1::2], self.ends + DAY], strict=False):
            self.runs.append(Run("deliver_notifications", begin + 20.0, end, end + 5.0, "success"))
        self._recorded()

    def _recorded(self) -> None:
        """What is counted of runs, ticks, decisions and the experiment."""
        for run in self.runs:
            self.facts.count("job_runs_total", run.ended, job=run.job, status=run.status)
            self.facts.measure("job_duration_seconds", run.ended, run.ended - run.began, job=run.job)
        for judged_at, job, _, in_time in self.judged:
            self.facts.count("jobs_due_total", judged_at, job=job)
            self.facts.count("jobs_executed_total", judged_at if in_time else np.empty(0), job=job)
        for sensor, every in SENSORS.items():
            ticks = np.arange(-LATELY, self.ends, every) + 1.0
            ticks = ticks[(self.conditions.at("daemon", ticks) > 0) & (self.conditions.at("database", ticks) > 0)]
            ticks = ticks[self.conditions.at(f"sensor_hangs:{sensor}", ticks) == 0]
            failing = self.conditions.at(f"sensor_failing:{sensor}", ticks) > 0
            self.facts.count("ticks_total", ticks[failing], name=sensor, kind="sensor", status="failure")
            self.facts.count("ticks_total", ticks[~failing], name=sensor, kind="sensor", status="skipped")
        self.facts.count("model_decisions_total", [-2 * DAY], action="promotion", by="system", result="done")
        for turn in self.conditions.turns("champion"):
            back = self.conditions.at("rolled_back", turn + 1.0)
            action, by = ("rollback", "system") if back else ("alias moved", "person")
            self.facts.count("model_decisions_total", turn + 5.0, action=action, by=by, result="done")
        self._experimented()

    def _experimented(self) -> None:
        when = self.requests["matching", "ok"]
        treated = self.rng.random(len(when)) < 0.2
        for variant, of in (("control", ~treated), ("treatment", treated)):
            about = {"experiment": "12", "variant": variant}
            self.facts.count("ab_requests_total", when[of], **about, status="ok")
            self.facts.measure("ab_request_duration_seconds", when[of], self.rng.lognormal(np.log(MATCHING_MEDIAN), 0.5, of.sum()), **about)
            self.facts.measure("ab_test_metrics", when[of], self.rng.beta(3, 5, of.sum()), **about, metric="score")
        self.facts.split("embedding_source_total", "source", when, np.where(self.rng.random(len(when)) < 0.005, "local", "openai"))

    def _scheduled(self, name: str, due: float) -> None:
        job, _, longest = SCHEDULES[name]
        grace, conditions = longest + 600.0, self.conditions
        done = np.inf
        # A schedule that was held up starts what it missed, as soon as it can.
        begin = conditions.waits(due + self.rng.uniform(1, 10), *_WORKS, f"schedule:{name}")
        failing = conditions.turns(f"job_failing:{job}") if conditions.at(f"job_failing:{job}", min(begin, self.ends)) else []
        if failing:
            self._ran(job, begin, "failure")
            # A person starts it again, some minutes after what stood in its way is gone.
            begin = max(failing) + 300.0
        if begin < self.ends:
            self._ran(job, begin, "success")
            done = self.runs[-1].ended
        self.judged.append((due + grace, job, done, done <= due + grace))


def happening(size: Size, conditions: Conditions, seed: int) -> Happening:
    """What happens in a marketplace of a size under conditions."""
    return Happening(size, conditions, np.random.default_rng(seed)).run()


assert set(RUN_SECONDS) == set(JOBS)
