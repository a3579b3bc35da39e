"""`litgo demo`: the whole project at work on a simulated marketplace, told in one page."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from litgo_pipelines.settings import LitgoError, Settings, get_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.marketplace.database import Services
    from litgo_pipelines.orchestration.launch import Launched

_SERVE_WITHIN = 60.0


class DemoFailed(LitgoError):
    """A step of the demo did not succeed; the message says which, and where to look."""


@dataclass(frozen=True)
class Report:
    """What the demo did and found; `--report` writes it as JSON.

    Attributes:
        gini_before, gini_after: of utilisation: on the last night on which cases were offered by relevance alone, and on the newest.
        ndcg_hidden: NDCG@5 against the hidden truth, by ranker.
        ndcg_held_out: NDCG@5 on the held-out outcomes, by ranker.
        model_version: what answered the request.
        peak_mb: most memory at one time of this process, those it started and the embedded server, in MB (shared pages once).
    """

    lawyers: int
    cases: int
    offers: int
    contracts: int
    reviews: int
    gini_before: float | None
    gini_after: float | None
    ndcg_hidden: dict[str, float]
    ndcg_held_out: dict[str, float]
    verdict: str
    champion: str | None
    model_version: str
    answer: dict[str, Any]
    runs: dict[str, str]
    seconds: float
    peak_mb: float


def demo(
    lawyers: Annotated[int, typer.Option(min=20, max=20_000, help="Lawyers of a new marketplace.")] = 600,
    days: Annotated[float, typer.Option(min=20, max=365, help="Days a new marketplace has lived.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a new marketplace.")] = 7,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the findings as JSON.")] = None,
) -> None:
    """Simulate a marketplace, run both jobs through Dagster, serve a request, and say what came of it.

    Run again, it goes on from what is there. A database with rows that the simulator did not make is refused.

    Example: `litgo demo --report demo.json`
    """
    from rich.console import Console

    if report is not None and not report.absolute().parent.is_dir():
        raise LitgoError(f"--report {report}: there is no folder {report.absolute().parent}")
    console = Console()
    # The page tells what happened; log lines in between would only tear it apart.
    logging.getLogger("litgo_pipelines").setLevel(logging.WARNING)
    with _peak_memory(get_settings()) as peak:
        started = time.perf_counter()
        found = _perform(console, lawyers, days, seed)
        found = Report(**{**asdict(found), "seconds": round(time.perf_counter() - started, 1), "peak_mb": round(peak() / 1e6, 1)})
    if report is not None:
        report.write_text(json.dumps(asdict(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    _tell(console, found, get_settings())


def _perform(console: Console, lawyers: int, days: float, seed: int) -> Report:
    from litgo_pipelines.cli.dagster import dagster_environment
    from litgo_pipelines.cli.simulate import progress_bar, simulate_until
    from litgo_pipelines.marketplace.database import SIMULATOR_ROLE, open_engine, services_for, upgrade
    from litgo_pipelines.simulation.engine import Plan, read_origin

    settings = get_settings()
    with console.status("starting PostgreSQL, preparing the databases"):
        services = services_for(settings)
        upgrade(services.database)
        os.environ.update(dagster_environment(settings, services))
    now = datetime.now(UTC)
    with progress_bar("simulating") as show:
        simulate_until(settings, services, Plan(lawyers, days, seed), now, show)
    engine = open_engine(services.database, SIMULATOR_ROLE)
    try:
        with engine.connect() as connection:
            origin = read_origin(connection)
        assert origin is not None
        equity = _job(console, "calculate_equity_metrics", now)
        training = _job(console, "retrain_ranker", None)
        with console.status("measuring against the hidden truth"):
            champion, hidden = _against_truth(engine, settings, services, training, now)
        with console.status("serving a request over HTTP"):
            answer = _one_request(engine, settings)
        with engine.connect() as connection:
            return _report(connection, origin.rule_since, champion, hidden, equity, training, answer)
    finally:
        engine.dispose()


def _job(console: Console, name: str, as_of: datetime | None) -> Launched:
    from litgo_pipelines.orchestration.launch import run_job

    with console.status(f"running the Dagster job {name}"):
        launched = run_job(name, as_of=as_of, log_level="ERROR")
    if not launched.success:
        raise DemoFailed(f"{name} failed (run {launched.run_id}): {'; '.join(launched.errors) or 'see the run in the UI'}")
    return launched


def _against_truth(
    engine: Engine, settings: Settings, services: Services, training: Launched, now: datetime
) -> tuple[str | None, dict[str, float]]:
    """The champion's version, and NDCG@5 of hand weights, feature G alone, champion and this run's candidate; those that exist."""
    from litgo_pipelines.ranking.ranker import HandWeights, Ranker
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.simulation.evaluate import FeatureAlone, hidden_ndcg

    registry = Registry(services.mlflow, settings.litgo_home / "models")
    rankers: dict[str, Ranker] = {"hand_weights": HandWeights(), "proximity_alone": FeatureAlone("g")}
    champion = registry.champion()
    if champion is not None:
        rankers["champion"] = registry.load(champion)
    candidate = training.assets["ranker_candidate"].get("version")
    if candidate is not None:
        rankers["candidate"] = registry.load(str(candidate))
    return champion, hidden_ndcg(engine, rankers, now)


def _one_request(engine: Engine, settings: Settings) -> dict[str, Any]:
    """Start serving on a free port, ask for the newest open case, and stop it again."""
    import httpx
    from sqlalchemy import text

    with engine.connect() as connection:
        case_id = connection.execute(
            text("SELECT id FROM litgo.cases WHERE status = 'open' ORDER BY created_at DESC, id LIMIT 1")
        ).scalar_one_or_none()
    if case_id is None:
        raise DemoFailed("no simulated case is open: run the demo again in a few minutes, or in a new LITGO_HOME")
    headers = {"Authorization": f"Bearer {settings.litgo_api_keys[0].get_secret_value()}"} if settings.litgo_api_keys else {}
    with _serving() as address, httpx.Client(base_url=address, headers=headers, timeout=30) as client:
        answer = client.post("/v1/matches", json={"case_id": str(case_id), "top_n": 5})
        if answer.status_code != httpx.codes.OK:
            raise DemoFailed(f"serving answered {answer.status_code}: {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found


@contextmanager
def _serving() -> Iterator[str]:
    """`litgo serve` as a child on a free port of loopback, ready to answer; its log goes to a file that errors name."""
    import subprocess

    import httpx

    from litgo_pipelines.cli.processes import die_with_parent

    log = get_settings().litgo_home / "demo-serve.log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "litgo_pipelines.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink, preexec_fn=die_with_parent) as child:
        try:
            deadline = time.monotonic() + _SERVE_WITHIN
            while True:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise DemoFailed(f"serving did not become ready: see {log}")
                try:
                    if httpx.get(f"{address}/readyz", timeout=5).status_code == httpx.codes.OK:
                        break
                except httpx.TransportError:
                    pass
                time.sleep(0.1)
            yield address
        finally:
            child.terminate()
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()


def _report(
    connection: Connection,
    rule_since: datetime,
    champion: str | None,
    hidden: dict[str, float],
    equity: Launched,
    training: Launched,
    answer: dict[str, Any],
) -> Report:
    from sqlalchemy import text

    from litgo_pipelines.casework.equity_run import utilisation
    from litgo_pipelines.equity.inequality import gini

    counts = {
        table: connection.execute(text(f"SELECT count(*) FROM litgo.{table}")).scalar_one()
        for table in ("lawyers", "cases", "offers", "contracts", "reviews")
    }
    ginis = []
    for bound in (rule_since, datetime.now(UTC)):
        night = connection.execute(
            text("SELECT max(as_of) FROM litgo.equity_snapshots WHERE as_of <= :bound"), {"bound": bound}
        ).scalar_one_or_none()
        used = None if night is None else utilisation(connection, night)
        ginis.append(None if used is None or not len(used) else gini(used))
    evaluation = training.assets["candidate_evaluation"]
    held_out = {name: evaluation.get(f"{name}_ndcg_at_5") for name in ("hand_weights", "champion", "candidate")}
    return Report(
        **counts,
        gini_before=ginis[0],
        gini_after=ginis[1],
        ndcg_hidden=hidden,
        ndcg_held_out={name: float(value) for name, value in held_out.items() if value is not None},
        verdict=str(evaluation["verdict"]),
        champion=champion,
        model_version=str(answer["model_version"]),
        answer=answer,
        runs={"calculate_equity_metrics": equity.run_id, "retrain_ranker": training.run_id},
        seconds=0.0,
        peak_mb=0.0,
    )


def _tell(console: Console, found: Report, settings: Settings) -> None:
    from rich.table import Column, Table

    facts = Table(title="Marketplace", title_justify="left", show_header=False, box=None, padding=(0, 3, 0, 0))
    for name in ("lawyers", "cases", "offers", "contracts", "reviews"):
        facts.add_row(name, f"{getattr(found, name):,}")
    facts.add_row(
        "Gini of utilisation", f"{_number(found.gini_before)} by relevance alone, {_number(found.gini_after)} with the offer rule"
    )
    console.print(facts, "")
    quality = Table("ranker", "hidden truth", "held-out outcomes", title="NDCG@5", title_justify="left")
    for name in ("hand_weights", "proximity_alone", "champion", "candidate"):
        quality.add_row(name.replace("_", " "), _number(found.ndcg_hidden.get(name)), _number(found.ndcg_held_out.get(name)))
    console.print(quality, f"The gate said: {found.verdict}.\n")
    offers = Table(
        "",
        Column("lawyer", no_wrap=True, min_width=36),
        "score",
        "P(accepts)",
        "price of load",
        title=f"Answered by model {found.model_version}",
        title_justify="left",
    )
    for match in found.answer["matches"]:
        numbers = (f"{match['raw_score']:.3f}", f"{match['acceptance']:.3f}", f"{match['equity_price']:.3f}")
        offers.add_row(str(match["position"]), str(match["lawyer_id"]), *numbers)
    console.print(offers)
    console.print(
        f"\n{found.seconds:.0f} s, at most {found.peak_mb:,.0f} MB of memory.\n"
        f"To look around: [bold]make up[/], then Dagster at http://127.0.0.1:{settings.litgo_dagster_port}, "
        f"MLflow at http://127.0.0.1:{settings.litgo_mlflow_port}.\n"
        "How evenly cases are spread: [bold]litgo fairness report[/]; why somebody was not offered one: [bold]litgo fairness explain[/].\n"
        "Which model answers, and who decided that: [bold]litgo model list[/], [bold]litgo model history[/]."
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@contextmanager
def _peak_memory(settings: Settings) -> Iterator[Callable[[], int]]:
    """Watch memory in the background; the function tells the most so far, in bytes."""
    import threading

    import psutil

    from litgo_pipelines.marketplace import embedded

    most = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal most
        while not stop.wait(0.5):
            server = embedded.status(settings.litgo_home).pid
            roots = [psutil.Process()] + ([psutil.Process(server)] if server is not None and psutil.pid_exists(server) else [])
            most = max(most, sum(_proportional(one) for root in roots for one in [root, *root.children(recursive=True)]))

    def _proportional(process: psutil.Process) -> int:
        try:
            return int(process.memory_full_info().pss)
        except psutil.Error:
            return 0

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: most
    finally:
        stop.set()
        watcher.join()
