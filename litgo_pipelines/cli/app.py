"""Which verbs `litgo` has. What each does is in the module beside this one that bears its name."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer

from litgo_pipelines.settings import get_settings

_PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

_VERBS = {
    "demo": "demo:demo",
    "up": "up:up",
    "doctor": "doctor:doctor",
    "simulate": "simulate:simulate",
    "import-history": "history:import_history",
    "run": "run:run",
    "digest": "digest:digest",
    "serve": "serve:serve",
    "dagster": "dagster:dagster",
}


@dataclass(frozen=True)
class _Group:
    """Verbs below one word, as `verb: module:function` in the package of that name; `wraps` pass on what they do not know."""

    help: str
    verbs: dict[str, str]
    wraps: frozenset[str] = frozenset()


_GROUPS = {
    "db": _Group(
        "The marketplace's database: its schema and its URL.",
        {"upgrade": "db:upgrade", "status": "db:status", "url": "db:url", "stop": "db:stop"},
    ),
    "fairness": _Group(
        "How evenly work is spread over the lawyers, and what is done about it.",
        {
            "report": "fairness.report:report",
            "explain": "fairness.explain:explain",
            "replay": "fairness.replay:replay",
            "simulate": "fairness.simulate:simulate",
            "what-if": "fairness.replay:what_if",
        },
    ),
    "fairness price": _Group(
        "What load costs in the offer rule: the price in force, its history, its freeze.",
        {
            "show": "fairness.price:show",
            "set": "fairness.price:set_price",
            "freeze": "fairness.price:freeze",
            "unfreeze": "fairness.price:unfreeze",
            "history": "fairness.price:history",
        },
    ),
    "model": _Group(
        "Which model answers, who decided that and on what evidence; moving, freezing and explaining it.",
        {
            "list": "model.versions:list_versions",
            "promote": "model.moving:promote",
            "rollback": "model.moving:rollback",
            "freeze": "model.freezing:freeze",
            "unfreeze": "model.freezing:unfreeze",
            "history": "model.history:history",
            "show": "model.history:show",
            "annotate": "model.history:annotate",
            "replay": "model.replay:replay",
            "report": "model.report:report",
            "calibrate-watch": "model.calibrate_watch:calibrate_watch",
        },
    ),
    "experiment": _Group(
        "A candidate against the champion on a share of the clients.",
        {
            "start": "experiment.conducting:start",
            "status": "experiment.status:status",
            "stop": "experiment.conducting:stop",
            "approve": "experiment.conducting:approve",
            "calibrate": "experiment.calibrate:calibrate",
            "compare-modes": "experiment.compare:compare_modes",
        },
    ),
    "embeddings": _Group(
        "Texts as vectors: how well they find what they should, and how many are there.",
        {
            "evaluate": "embeddings.evaluate:evaluate",
            "search": "embeddings.search:search",
            "status": "embeddings.status:status",
            "backfill": "embeddings.backfill:backfill",
        },
    ),
    "triage": _Group(
        "What clients' tellings are about, how often that is right, and what a person decides.",
        {
            "ask": "triage.ask:ask",
            "evaluate": "triage.evaluate:evaluate",
            "list": "triage.deciding:list_triages",
            "decide": "triage.deciding:decide",
        },
    ),
    "case": _Group("Clients' cases as a whole.", {"withdraw": "case:withdraw"}),
    "contract": _Group(
        "Contracts between clients and lawyers: who signs where, signatures by hand, and what waits.",
        {
            "list": "contract.listing:list_contracts",
            "show": "contract.listing:show",
            "document": "contract.listing:document",
            "check": "contract.steps:check",
            "sign": "contract.steps:sign",
            "retake": "contract.steps:retake",
            "cancel": "contract.steps:cancel",
            "close": "contract.steps:close",
        },
    ),
    "notification": _Group(
        "Messages to lawyers, clients and operators, and those that did not arrive.",
        {
            "list": "notification.messages:list_messages",
            "show": "notification.messages:show",
            "send": "notification.handling:send",
            "resend": "notification.handling:resend",
            "settle": "notification.handling:settle",
        },
    ),
    "metrics": _Group(
        "What is measured, and the collector that shows it to Prometheus.",
        {"serve": "metrics.serve:serve", "list": "metrics.listing:list_metrics", "lint": "metrics.linting:lint"},
    ),
    "dashboards": _Group("Grafana's dashboards as code.", {"build": "dashboards:build"}),
    "chaos": _Group(
        "Vendors that fail as told, for trying the product by hand.",
        {"vendors": "chaos.vendors:vendors", "fault": "chaos.vendors:fault"},
        wraps=frozenset({"vendors"}),
    ),
}


def _find(place: str) -> Callable[..., None]:
    """The function at `module:function`, below this package."""
    module, _, function = place.partition(":")
    found: Callable[..., None] = getattr(importlib.import_module(f"litgo_pipelines.cli.{module}"), function)
    return found


def _logged(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with logging set up before it runs, so that `--help` needs no settings."""

    @functools.wraps(verb)
    def run(*args: Any, **kwargs: Any) -> None:
        from litgo_pipelines.observability.logs import configure_logging

        configure_logging(get_settings())
        verb(*args, **kwargs)

    return run


def build_app() -> typer.Typer:
    """The command with all its verbs."""
    from litgo_pipelines.cli import settings

    app = typer.Typer(
        name="litgo",
        help="A fair, self-improving matching marketplace.\n\nBegin with `litgo demo`; see what is wrong with `litgo doctor`.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name, place in _VERBS.items():
        verb = _find(place)
        app.command(name, context_settings=_PASS_THROUGH if name == "dagster" else None)(verb if name == "doctor" else _logged(verb))
    groups = {"": app}
    for words, group in _GROUPS.items():
        parent, _, name = words.rpartition(" ")
        groups[words] = typer.Typer(help=group.help, no_args_is_help=True)
        for below, place in group.verbs.items():
            passed_on = {"allow_extra_args": True} if below in group.wraps else None
            groups[words].command(below, context_settings=passed_on)(_logged(_find(place)))
        groups[parent].add_typer(groups[words], name=name)
    app.command("settings")(settings.settings)
    return app
