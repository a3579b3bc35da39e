"""Resources: the project's databases and settings, opened when a step first asks. Nothing is read at import.

What is logged while a run has the resource carries the run's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import dagster as dg
from pydantic import Field, PrivateAttr

from litgo_pipelines.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from litgo_pipelines.marketplace.database import Services
    from litgo_pipelines.rollout.registry import Registry
    from litgo_pipelines.rollout.tracking import Tracking


class Project(dg.ConfigurableResource):  # type: ignore[type-arg]  # the value is the resource itself
    """The marketplace's database, MLflow, and the settings.

    Attributes:
        overrides: settings by field name that replace the environment's, for tests and variants.
    """

    overrides: dict[str, Any] = Field(default_factory=dict)

    _settings: Settings | None = PrivateAttr(default=None)
    _services: Any = PrivateAttr(default=None)

    @property
    def settings(self) -> Settings:
        """The settings, read from the environment once per process of work."""
        if self._settings is None:
            self._settings = load_settings(**self.overrides)
        return self._settings

    @property
    def services(self) -> Services:
        """URLs of the databases; starts the embedded server where none is given."""
        from litgo_pipelines.marketplace.database import services_for

        if self._services is None:
            self._services = services_for(self.settings)
        found: Services = self._services
        return found

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator[Project]:
        """The resource for one run, or one tick."""
        from litgo_pipelines.observability.logs import bound, configure_logging, is_configured

        if not is_configured():
            # A process that Dagster began; those that `litgo` did have it behind them.
            configure_logging(self.settings)
        run = context.run
        with nullcontext() if run is None else bound(run_id=run.run_id, job=run.job_name, step=_step):
            yield self

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """An engine on the marketplace's database, under the application's role."""
        from litgo_pipelines.marketplace.database import open_engine

        engine = open_engine(self.services.database)
        try:
            yield engine
        finally:
            engine.dispose()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection that reads one state of the marketplace."""
        with self.engine() as engine, engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield connection

    def tracking(self) -> Tracking:
        """MLflow's tracking."""
        from litgo_pipelines.rollout.tracking import Tracking

        return Tracking(self.services.mlflow, self.services.mlflow_artifacts)

    def registry(self) -> Registry:
        """MLflow's registry, with versions kept on disk."""
        from litgo_pipelines.rollout.registry import Registry

        return Registry(self.services.mlflow, self.settings.litgo_home / "models")


def _step() -> str | None:
    """The step that this thread works for; None between two of them."""
    try:
        return dg.OpExecutionContext.get().op.name
    except dg.DagsterInvariantViolationError:
        return None
