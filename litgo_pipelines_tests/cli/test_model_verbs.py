"""`litgo model`: what its verbs tell, what they write, what they refuse before anything moves."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from litgo_pipelines.cli import main
from litgo_pipelines.cli.common import percent
from litgo_pipelines.rollout import decisions, experiments, freezes
from litgo_pipelines.rollout.reconcile import reconcile
from litgo_pipelines.rollout.registry import MODEL
from litgo_pipelines_tests.cli.conftest import NOWHERE, Litgo, refused, said
from litgo_pipelines_tests.rollout.conftest import House, _shelf_file, house, shelf_uri  # noqa: F401 (fixtures)
from litgo_pipelines_tests.serving.conftest import register


@pytest.fixture
def model(database_url: str, shelf_uri: str, verbs: Callable[..., Litgo]) -> Litgo:  # noqa: F811 (a fixture)
    """Call `litgo model` on the test's marketplace and registry."""
    return verbs("model", DATABASE_URL=database_url, MLFLOW_TRACKING_URI=shelf_uri, COLUMNS="120")


def freeze(found: House) -> None:
    with found.engine.begin() as connection:
        freezes.freeze(connection, actor="rui", reason="audit", at=found.clock())


def test_a_person_promotes_in_spite_of_a_freeze_and_it_is_said(model: Litgo, house: House) -> None:  # noqa: F811
    """The alias moves under the user's name, what stood against it is told and recorded, and the running experiment ends."""
    house.promote("1", None)
    house.experiment("2", "1")
    freeze(house)
    told = said(model("promote", "3", "--reason", "agreed"))
    assert "Version 3 answers, after version 1" in told
    assert "frozen by rui" in told
    assert "experiment of version 2 against 1 has ended" in told
    assert house.registry.champion() == "3"
    assert house.outcomes()[-2] == ("promotion", getpass.getuser(), "1", "3", "done")
    with house.engine.connect() as connection:
        assert experiments.running(connection) is None


def test_a_version_that_cannot_answer_is_refused_before_anything_moves(model: Litgo, house: House, tmp_path: Path) -> None:  # noqa: F811
    """Unknown, champion already, made elsewhere, spoilt: one line each, and not one row is written."""
    house.promote("1", None)
    run = house.registry.versions()[0].run_id
    house.registry.client.create_model_version(MODEL, (tmp_path / "nothing").as_uri(), run)
    spoilt = register(house.registry, tmp_path / "spoilt", spoilt=True)
    before = house.everything()
    assert "litgo model list" in refused(model("promote", "99", "--reason", "x"))
    assert "champion already" in refused(model("promote", "1", "--reason", "x"))
    assert refused(model("promote", spoilt, "--reason", "x"))
    assert "a decision needs a reason" in refused(model("promote", "2", "--reason", " "))
    assert house.registry.champion() == "1"
    assert house.everything() == before


def test_a_rollback_goes_to_the_last_proven_version_and_blocks_the_other(model: Litgo, house: House) -> None:  # noqa: F811
    """The withdrawn version is not gone back to by itself, and the cool-down begins."""
    house.prove("1")
    house.promote("2", "1")
    told = said(model("rollback", "--reason", "odd offers", "--by", "ana"))
    assert "Version 1 answers, after version 2" in told
    assert "version 1 is proven" in told
    assert (house.registry.champion(), house.states()["2"].state) == ("1", "blocked")
    assert house.states()["2"].cooldown_until is not None


def test_without_a_champion_there_is_nothing_to_roll_back(model: Litgo, house: House) -> None:  # noqa: F811
    """The hand weights answer already."""
    assert "hand weights" in refused(model("rollback", "--reason", "x"))
    assert house.outcomes() == []


def test_the_list_tells_how_each_version_stands(model: Litgo, house: House) -> None:  # noqa: F811
    """Newest first, with alias, state, share of the clients, and the decisions that nobody explained."""
    assert "The hand weights answer 100%" in said(model("list"))
    house.prove("1")
    house.experiment("2", "1")
    found = json.loads(said(model("list", "--json")))
    assert [(one["version"], one["state"], one["share"], one["aliases"]) for one in found["versions"]] == [
        ("3", "unproven", 0.0, []),
        ("2", "unproven", 0.01, []),
        ("1", "proven", 0.99, ["champion"]),
    ]
    assert (found["hand_weights_share"], found["frozen"]) == (0.0, None)
    house.move("3")
    (moved,) = reconcile(house.engine, house.registry, clock=house.clock).recorded
    freeze(house)
    told = said(model("list"))
    assert f"unexplained: {moved.id}" in told
    assert "frozen by rui" in told


def test_a_champion_deleted_in_mlflow_is_said_to_answer_on(model: Litgo, house: House) -> None:  # noqa: F811
    """Until another one is chosen, whether the deletion was recorded yet or not; a rollback says what to do instead."""
    house.promote("1", None)
    house.delete("1")
    for _ in range(2):
        told = " ".join(said(model("list")).split())
        assert "Version 1, the champion, was deleted in MLflow: what has it loaded keeps answering with version 1" in told
        assert "The hand weights answer" not in told
        found = json.loads(said(model("list", "--json")))
        assert (found["deleted_champion"], found["hand_weights_share"]) == ("1", 0.0)
        assert "version 1 was deleted in MLflow" in refused(model("rollback", "--reason", "x"))
        reconcile(house.engine, house.registry, clock=house.clock)
    house.promote("2", None)
    assert "deleted" not in said(model("list"))
    house.move(None)
    reconcile(house.engine, house.registry, clock=house.clock)
    house.delete("2")
    found = json.loads(said(model("list", "--json")))
    assert (found["deleted_champion"], found["hand_weights_share"]) == (None, 1.0)
    assert "The hand weights answer 100%" in said(model("list"))


def test_for_machines_each_verb_answers_with_one_object(
    model: Litgo,
    house: House,  # noqa: F811
    tmp_path: Path,
) -> None:
    """What was decided, as `show --json` tells it, so that it can be replayed; the freeze; the file written."""
    house.prove("1")
    promoted = json.loads(said(model("promote", "2", "--reason", "agreed", "--by", "ana", "--json")))
    assert promoted == json.loads(said(model("show", str(promoted["id"]), "--json")))
    assert (promoted["action"], promoted["result"], promoted["to_version"]) == ("promotion", "done", "2")
    withdrawn = json.loads(said(model("rollback", "--reason", "odd", "--json")))
    assert (withdrawn["action"], withdrawn["from_version"], withdrawn["to_version"]) == ("rollback", "2", "1")
    note = json.loads(said(model("annotate", str(withdrawn["id"]), "--reason", "seen", "--json")))
    assert (note["action"], note["about"], note["reason"]) == ("annotation", withdrawn["id"], "seen")
    frozen = json.loads(said(model("freeze", "--reason", "audit", "--by", "ana", "--json")))["frozen"]
    assert (frozen["actor"], frozen["reason"]) == ("ana", "audit")
    assert json.loads(said(model("unfreeze", "--reason", "over", "--json"))) == {"frozen": None, "lifted": frozen}
    assert json.loads(said(model("unfreeze", "--reason", "over", "--json"))) == {"frozen": None, "lifted": None}
    target = tmp_path / "modelo.html"
    done = model("report", "1", "--output", str(target), "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"path": str(target)})


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, "0%"), (0.005, "0.5%"), (0.01, "1%"), (0.07, "7%"), (0.1, "10%"), (0.995, "99.5%"), (1.0, "100%"), (12.3456, "1,235%")],
)
def test_a_share_is_told_with_as_many_digits_as_tell_it(share: float, told: str) -> None:
    """A half per cent is not none, and what is whole has no decimals."""
    assert percent(share) == told


def test_a_change_made_in_mlflow_is_marked_until_somebody_explains_it(model: Litgo, house: House) -> None:  # noqa: F811
    """History marks it, annotate takes the mark away, show tells the note; what was merely intended is not listed beside its outcome."""
    assert "Nothing was decided" in said(model("history"))
    house.promote("1", None, reason="[bold]it[/bold] passed")
    house.move("2")
    (moved,) = reconcile(house.engine, house.registry, clock=house.clock).recorded
    told = said(model("history"))
    assert "mlflow-ui  unexplained" in told
    assert "[bold]it[/bold] passed" in told
    assert "intended" not in told
    noted = said(model("annotate", str(moved.id), "--reason", "hotfix", "--by", "ana"))
    assert f"about decision {moved.id}" in noted
    assert "unexplained" not in said(model("history", "--version", "2"))
    assert "hotfix (ana" in said(model("show", str(moved.id)))
    listed = json.loads(said(model("history", "--json", "--limit", "2")))["decisions"]
    assert [(one["action"], one["unexplained"]) for one in listed] == [("annotation", False), ("alias moved", False)]
    assert "litgo model history" in refused(model("annotate", "999", "--reason", "x"))


def test_a_shown_decision_is_replayed_from_its_file_alone(model: Litgo, litgo: Litgo, house: House, tmp_path: Path) -> None:  # noqa: F811
    """Exported, it is replayed in a process without any store; altered, it ends with 1 and says what differs; a number needs no file."""
    house.promote("1", None, by_itself=False, actor="ana")
    number = str(house.rows("SELECT max(id) AS id FROM litgo.decisions")[0].id)
    file = tmp_path / "decision.json"
    file.write_text(said(model("show", number, "--json")))
    elsewhere = litgo("model", "replay", str(file), **NOWHERE, LITGO_HOME=str(tmp_path / "empty"))
    assert (elsewhere.returncode, elsewhere.stderr) == (0, "")
    assert "The same comes out." in elsewhere.stdout
    assert json.loads(said(model("replay", number, "--json")))["same"] is True
    altered = json.loads(file.read_text())
    altered["evidence"]["evidence"]["unusable"] = "it does not load"
    file.write_text(json.dumps(altered))
    done = model("replay", str(file))
    assert (done.returncode, done.stderr) == (1, "")
    assert "refused" in done.stdout
    assert "litgo model show" in refused(model("replay", str(Path(__file__).resolve())))
    assert "neither the number of a decision nor a file" in refused(model("replay", "gone.json"))


def test_a_freeze_is_set_and_lifted(model: Litgo, house: House) -> None:  # noqa: F811
    """Who, why and since when; lifting what is not frozen changes nothing and says so."""
    assert "frozen by ana" in said(model("freeze", "--reason", "audit", "--by", "ana"))
    assert "Lifted: frozen by ana" in said(model("unfreeze", "--reason", "done"))
    assert "were not frozen" in said(model("unfreeze", "--reason", "done"))
    with house.engine.connect() as connection:
        assert freezes.frozen(connection) is None
        assert [one.action for one in decisions.history(connection, 9)] == ["unfreeze", "freeze"]


def test_the_report_is_written_once_and_overwritten_only_when_told(model: Litgo, house: House, tmp_path: Path) -> None:  # noqa: F811
    """One HTML file where it was asked for; another file is never lost by accident; an unknown version leaves none."""
    house.promote("1", None)
    target = tmp_path / "modelo.html"
    assert str(target) in said(model("report", "1", "--output", str(target)))
    assert target.read_text().startswith("<!DOCTYPE html>")
    assert "--force" in refused(model("report", "1", "--output", str(target)))
    said(model("report", "1", "--output", str(target), "--force"))
    assert "litgo model list" in refused(model("report", "99", "--output", str(tmp_path / "other.html")))
    assert not (tmp_path / "other.html").exists()


@pytest.mark.parametrize("verb", ["list", "promote", "rollback", "freeze", "unfreeze", "history", "annotate", "show", "replay", "report"])
def test_help_teaches_by_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every verb says in its help how it is called."""
    with pytest.raises(SystemExit):
        main(["model", verb, "--help"])
    assert f"litgo model {verb}" in capsys.readouterr().out
