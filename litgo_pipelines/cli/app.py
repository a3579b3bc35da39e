"""Which verbs `litgo` has. What each does is in the module beside this one that bears its name."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
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
    "serve": "serve:serve",
    "dagster": "dagster:dagster",
}

_FAIRNESS: dict[str, str] = {
    "report": "report:report",
    "explain": "explain:explain",
    "replay": "replay:replay",
    "simulate": "simulate:simulate",
    "what-if": "replay:what_if",
}

_PRICE = {
    "show": "price:show",
    "set": "price:set_price",
    "freeze": "price:freeze",
    "unfreeze": "price:unfreeze",
    "history": "price:history",
}

_MODEL: dict[str, str] = {
    "list": "versions:list_versions",
    "promote": "moving:promote",
    "rollback": "moving:rollback",
    "freeze": "freezing:freeze",
    "unfreeze": "freezing:unfreeze",
    "history": "history:history",
    "show": "history:show",
    "annotate": "history:annotate",
    "replay": "replay:replay",
    "report": "report:report",
    "calibrate-watch": "calibrate_watch:calibrate_watch",
}

_EXPERIMENT: dict[str, str] = {
    "start": "conducting:start",
    "status": "status:status",
    "stop": "conducting:stop",
    "approve": "conducting:approve",
    "calibrate": "calibrate:calibrate",
    "compare-modes": "compare:compare_modes",
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
    from litgo_pipelines.cli import db, settings

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
    databases = typer.Typer(help="The marketplace's database: its schema and its URL.", no_args_is_help=True)
    databases.command("upgrade")(_logged(db.upgrade))
    databases.command("status")(_logged(db.status))
    databases.command("url")(_logged(db.url))
    databases.command("stop")(_logged(db.stop))
    app.add_typer(databases, name="db")
    fairness = typer.Typer(help="How evenly work is spread over the lawyers, and what is done about it.", no_args_is_help=True)
    price = typer.Typer(help="What load costs in the offer rule: the price in force, its history, its freeze.", no_args_is_help=True)
    for group, verbs in ((fairness, _FAIRNESS), (price, _PRICE)):
        for name, place in verbs.items():
            group.command(name)(_logged(_find(f"fairness.{place}")))
    fairness.add_typer(price, name="price")
    app.add_typer(fairness, name="fairness")
    model = typer.Typer(
        help="Which model answers, who decided that and on what evidence; moving, freezing and explaining it.", no_args_is_help=True
    )
    experiment = typer.Typer(help="A candidate against the champion on a share of the clients.", no_args_is_help=True)
    for name, place in _MODEL.items():
        model.command(name)(_logged(_find(f"model.{place}")))
    for name, place in _EXPERIMENT.items():
        experiment.command(name)(_logged(_find(f"experiment.{place}")))
    app.add_typer(model, name="model")
    app.add_typer(experiment, name="experiment")
    app.command("settings")(settings.settings)
    return app
