"""The weekly digest as an asset: shown in Dagster, queued once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg
from sqlalchemy import text

from litgo_pipelines.orchestration.launch import run_job
from litgo_pipelines_tests.orchestration.conftest import AS_OF

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from litgo_pipelines_tests.orchestration.conftest import Location


def test_the_job_queues_the_digest_and_shows_it(location: Location, engine: Engine, database_url: str) -> None:
    """As Markdown at the asset, and as a mail to the operators that leads to Dagster; a second run shows it and queues nothing."""
    location.database = database_url
    for queued in (True, False):
        launched = run_job("send_weekly_digest", as_of=AS_OF, resources=location.resources(litgo_dagster_url="https://dagster.example"))
        assert (launched.success, launched.errors) == (True, [])
        assert launched.assets["weekly_digest"] == {"key": "digest:2026-W11", "as_of": "2026-03-10T15:00:00+00:00", "queued": queued}
    shown = location.instance.get_latest_materialization_event(dg.AssetKey("weekly_digest"))
    assert shown is not None
    assert shown.asset_materialization is not None
    page = shown.asset_materialization.metadata["digest"]
    assert isinstance(page, dg.MarkdownMetadataValue)
    assert page.value is not None
    assert page.value.startswith("## Resumo da semana de 03/03/2026 a 10/03/2026")
    with engine.connect() as connection:
        (mail,) = connection.execute(text("SELECT key, audience, channel, subject, body FROM litgo.notifications")).all()
    assert mail[:4] == ("digest:2026-W11", "ops", "email", "Resumo da semana de 03/03/2026 a 10/03/2026")
    assert mail.body.endswith("Dagster: https://dagster.example\n")
    assert "EQUIDADE\n- sem dados" in mail.body
