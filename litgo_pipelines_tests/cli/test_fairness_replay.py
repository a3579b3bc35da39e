"""`litgo fairness replay` and `litgo fairness what-if` as processes: what they tell, draw and refuse; they put nothing in force."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer

from litgo_pipelines.casework.prices import price_history
from litgo_pipelines.cli import main
from litgo_pipelines.cli.fairness.replay import _keep, _place, numbers
from litgo_pipelines.equity.pricing import PRICES
from litgo_pipelines.marketplace.database import open_engine
from litgo_pipelines.settings import LitgoError
from litgo_pipelines_tests.cli.conftest import Litgo, refused
from litgo_pipelines_tests.simulation.conftest import AS_OF, live

if TYPE_CHECKING:
    from litgo_pipelines_tests.conftest import Databases

PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def marketplace(databases: Databases, _migrated: str) -> Iterator[str]:
    """The URL of a small simulated marketplace that lived until AS_OF; nothing here writes to it."""
    with databases.fresh(_migrated) as name:
        url = databases.server.url(name)
        live(url, lawyers=40, days=35.0, seed=4)
        yield url


@pytest.fixture
def fairness(litgo: Litgo, marketplace: str, mlflow_uri: str, tmp_path: Path) -> Iterator[Litgo]:
    """Call `litgo fairness` on that marketplace; what was called put nothing in force."""
    services = {
        "DATABASE_URL": marketplace,
        "DAGSTER_POSTGRES_URL": "postgresql+psycopg2://nobody@127.0.0.1:1/unused",
        "MLFLOW_TRACKING_URI": mlflow_uri,
        "LITGO_HOME": str(tmp_path / "home"),
    }

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return litgo("fairness", *arguments, **(services | environment))

    yield call
    engine = open_engine(marketplace)
    with engine.connect() as connection:
        assert price_history(connection, 1) == []
    engine.dispose()


def test_prices_are_replayed_beside_the_one_in_force(fairness: Litgo, tmp_path: Path) -> None:
    """For machines one object and nothing else, figures of each price in ascending order; the curve is drawn where it was asked for."""
    done = fairness("replay", "--prices", "1, 0.2,1", "--as-of", AS_OF.isoformat(), "--picture", "deep/curve.png", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (told["as_of"], told["price_in_force"], told["share"], told["offers_a_case"]) == (AS_OF.isoformat(), 0.5, 1.0, 8)
    assert told["cases"] > 100
    assert 0 < told["observed"]["gini_utilisation"] < 1
    assert [one["price"] for one in told["replayed"]] == [0.2, 0.5, 1.0]
    for one in told["replayed"]:
        assert one["lawyers"] > 30
        assert all(0 <= one[name] <= 1 for name in ("gini_utilisation", "gini_offers", "share_offered", "mean_relevance", "fill_rate"))
    assert told["picture"] == str(tmp_path / "deep" / "curve.png")
    assert Path(told["picture"]).read_bytes().startswith(PNG)


def test_people_are_shown_the_curve_of_the_refit_as_a_table(fairness: Litgo, tmp_path: Path) -> None:
    """Without prices named: those of the weekly refit; the one in force is marked, and what was observed is told."""
    done = fairness("replay", "--as-of", AS_OF.isoformat(), COLUMNS="140")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    prices = [row for row in rows if len(row) > 5 and row[0].replace(".", "", 1).isdigit() and row[1].startswith("0.")]
    assert [float(row[0]) for row in prices if row[-1] != "observed"] == list(PRICES)
    assert [row[0] for row in prices if row[-2:] == ["in", "force"]] == ["0.5"]
    assert any(row[-1:] == ["observed"] and row[0].startswith("0.") for row in rows)
    assert (tmp_path / "home" / "pictures" / "replay.png").read_bytes().startswith(PNG)


def test_another_price_is_compared_with_the_one_in_force(fairness: Litgo, tmp_path: Path) -> None:
    """Both as JSON, and side by side in a picture."""
    told = json.loads(fairness("what-if", "--price", "0.8", "--as-of", AS_OF.isoformat(), "--json").stdout)
    assert (told["asked_price"], told["price_in_force"]) == (0.8, 0.5)
    assert [one["price"] for one in told["replayed"]] == [0.5, 0.8]
    assert told["picture"] == str(tmp_path / "home" / "pictures" / "what-if-0.8.png")
    assert Path(told["picture"]).read_bytes().startswith(PNG)


def test_a_marketplace_without_a_month_behind_it_is_one_line(fairness: Litgo, database_url: str) -> None:
    """It says what is missing."""
    told = refused(fairness("replay", DATABASE_URL=database_url))
    assert "too little is recorded to replay: 0 settled offers and 0 contracts" in told


def test_a_picture_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    """With the option that names another place, before anything is replayed where it can be known; folders on the way are made."""
    kept = _place(tmp_path / "a" / "b.png", "unused")
    _keep(PNG, kept)
    assert kept.read_bytes() == PNG
    for wrong in (tmp_path, kept / "c.png"):
        with pytest.raises(LitgoError, match="--picture"):
            _place(wrong, "unused")


def test_what_makes_no_sense_to_ask_is_one_line(fairness: Litgo) -> None:
    """A moment to come, the price in force itself, more prices than anybody reads."""
    assert "lies in the future" in refused(fairness("replay", "--as-of", "2100-01-01"))
    assert "0.5 is the price in force" in refused(fairness("what-if", "--price", "0.5", "--as-of", AS_OF.isoformat()))
    with pytest.raises(typer.BadParameter, match="at most 20 prices"):
        numbers(",".join(map(str, range(21))))


def test_a_list_of_prices_is_numbers_between_the_least_and_the_greatest() -> None:
    """Each once, ascending; anything else is a mistake on the command line."""
    assert numbers("1,0.2, 0.50,0.5,0") == (0.0, 0.2, 0.5, 1.0)
    for wrong in ("", "a", "0.5;1", "0.5,"):
        with pytest.raises(typer.BadParameter, match="is no list of prices"):
            numbers(wrong)
    for beyond in ("-0.1", "10.1", "nan", "0.5,inf"):
        with pytest.raises(typer.BadParameter, match="between 0 and 10"):
            numbers(beyond)


@pytest.mark.parametrize(
    "arguments", [("what-if", "--price", "nan"), ("what-if", "--price", "-1"), ("what-if",), ("replay", "--prices", "x")]
)
def test_what_is_no_price_is_refused_before_anything_is_opened(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """With the option's name."""
    with pytest.raises(SystemExit) as stopped:
        main(["fairness", *arguments])
    assert stopped.value.code == 2
    assert "--price" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["replay", "what-if"])
def test_every_verb_teaches_by_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A verb's help holds a line that can be copied."""
    with pytest.raises(SystemExit) as stopped:
        main(["fairness", verb, "--help"])
    assert stopped.value.code == 0
    assert f"litgo fairness {verb}" in capsys.readouterr().out.partition("Example:")[2]
