"""`litgo dagster`: what is added to Dagster's own command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from litgo_pipelines.cli.dagster import DEFINITIONS, aimed, dagster_environment
from litgo_pipelines.marketplace.database import Services
from litgo_pipelines.settings import PROJECT_FOLDER, LitgoError, load_settings
from litgo_pipelines_tests.cli.conftest import Litgo

# They load definitions too, but from where the caller says: they serve or mend somebody's code location.
LEFT_ALONE = {("api", "grpc"), ("code-server", "start"), ("run", "migrate-repository")}


def _services(dagster: str = "postgresql+psycopg2://somebody@localhost/dagster") -> Services:
    return Services("postgresql+psycopg://somebody@localhost/litgo", dagster, "sqlite:///mlflow.db", None)


def _verbs_that_load_definitions() -> Iterator[tuple[str, ...]]:
    from dagster._cli import cli

    def walk(command: object, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        commands = getattr(command, "commands", None)
        if commands is not None:
            for name, below in commands.items():
                yield from walk(below, (*path, name))
        elif any("--module-name" in parameter.opts for parameter in command.params):  # type: ignore[attr-defined]
            yield path

    yield from walk(cli, ())


def test_exactly_the_verbs_that_load_definitions_are_told_which() -> None:
    """Our list of such verbs is that of the installed Dagster."""
    from litgo_pipelines.cli import dagster

    assert set(_verbs_that_load_definitions()) - LEFT_ALONE == dagster._AIMED


@pytest.mark.parametrize("arguments", [["definitions", "validate"], ["dev", "-p", "3001"], ["asset", "materialize", "--select", "*"]])
def test_the_projects_definitions_are_the_default(arguments: list[str]) -> None:
    """Who names no definitions gets ours."""
    assert aimed(arguments) == [*arguments, "-m", DEFINITIONS]


@pytest.mark.parametrize(
    "arguments",
    [
        ["definitions", "validate", "-f", "other.py"],
        ["job", "list", "--workspace=other.yaml"],
        ["asset", "list", "--help"],
        ["instance", "info"],
        ["schedule", "debug"],
        [],
    ],
)
def test_other_arguments_are_left_as_they_are(arguments: list[str]) -> None:
    """Definitions that are named, help, and verbs that load none pass unchanged."""
    assert aimed(arguments) == arguments


def test_the_instance_file_follows_the_project(tmp_path: Path) -> None:
    """DAGSTER_HOME gets the project's dagster.yaml, again when it was changed there."""
    settings = load_settings(litgo_home=tmp_path)
    environment = dagster_environment(settings, _services())
    copy = Path(environment["DAGSTER_HOME"]) / "dagster.yaml"
    assert copy.read_bytes() == (PROJECT_FOLDER / "dagster.yaml").read_bytes()
    copy.write_text("telemetry: {enabled: true}\n")
    dagster_environment(settings, _services())
    assert copy.read_bytes() == (PROJECT_FOLDER / "dagster.yaml").read_bytes()
    assert [path.name for path in copy.parent.iterdir()] == ["dagster.yaml"]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2"])
def test_dagsters_storage_always_gets_the_driver_it_works_with(scheme: str, tmp_path: Path) -> None:
    """With psycopg 3 Dagster's event notifications fail, so any URL of PostgreSQL is rewritten to psycopg2."""
    environment = dagster_environment(load_settings(litgo_home=tmp_path), _services(f"{scheme}://somebody@localhost/dagster"))
    assert environment["DAGSTER_POSTGRES_URL"] == "postgresql+psycopg2://somebody@localhost/dagster"


def test_other_databases_are_refused_for_dagster(tmp_path: Path) -> None:
    """Dagster's storage is PostgreSQL or nothing."""
    with pytest.raises(LitgoError, match="DAGSTER_POSTGRES_URL"):
        dagster_environment(load_settings(litgo_home=tmp_path), _services("sqlite:///dagster.db"))


def test_a_home_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    """A LITGO_HOME below a file is named together with the variable to change."""
    (tmp_path / "file").touch()
    with pytest.raises(LitgoError, match="set LITGO_HOME"):
        dagster_environment(load_settings(litgo_home=tmp_path / "file"), _services())


@pytest.fixture
def given(database_url: str, dagster_url: str, mlflow_uri: str, tmp_path: Path) -> dict[str, str]:
    """Variables that name fresh services."""
    return {
        "DATABASE_URL": database_url,
        "DAGSTER_POSTGRES_URL": dagster_url,
        "MLFLOW_TRACKING_URI": mlflow_uri,
        "LITGO_HOME": str(tmp_path / "home"),
    }


def test_the_projects_definitions_are_valid_from_any_folder(litgo: Litgo, given: dict[str, str]) -> None:
    """The documented call loads the code location without any other preparation."""
    done = litgo("dagster", "definitions", "validate", **given)
    assert done.returncode == 0, done.stderr
    assert "Validation successful" in done.stdout + done.stderr


def test_dagsters_exit_code_and_the_projects_storage_are_used(litgo: Litgo, given: dict[str, str], tmp_path: Path) -> None:
    """A materialisation is recorded in the given storage, and a failed one exits as Dagster says."""
    code = tmp_path / "few.py"
    code.write_text("import dagster as dg\n@dg.asset\ndef good(): ...\n@dg.asset\ndef bad(): raise ValueError\n")
    assert litgo("dagster", "asset", "materialize", "--select", "good", "-f", str(code), **given).returncode == 0
    assert litgo("dagster", "asset", "materialize", "--select", "bad", "-f", str(code), **given).returncode == 1
    assert litgo("dagster", "run", "list", **given).stdout.count("Run: ") == 2
