"""Databases for a world of the closed loop, on the server that all tests of a process share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from litgo_pipelines_tests.closed_loop.harness import World, a_world

if TYPE_CHECKING:
    from litgo_pipelines_tests.conftest import Databases


@pytest.fixture
def world(database_url: str, dagster_url: str, mlflow_postgres_uri: str, databases: Databases, tmp_path: Path) -> Iterator[World]:
    """A world whose marketplace has a history, and whose daemon and service have begun to work."""
    from litgo_pipelines.marketplace.database import Services

    services = Services(database_url, dagster_url, mlflow_postgres_uri, (tmp_path / "artifacts").as_uri())
    with a_world(services, tmp_path / "home") as found:
        yield found
