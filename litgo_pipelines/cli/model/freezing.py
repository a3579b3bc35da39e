"""`litgo model freeze` and `unfreeze`: whether anything may move the champion by itself."""

from __future__ import annotations

from datetime import UTC, datetime

from litgo_pipelines.cli.common import By, Json, Reason, answer, held_told, moment, name_of, transaction


def freeze(reason: Reason, by: By = None, json: Json = False) -> None:
    """Let nothing be promoted, rolled back, started or ramped by itself; a person still may.

    What stands goes on: the champion answers, a running experiment keeps its share. Watching goes on too, and harm is told.

    Example: `litgo model freeze --reason "audit until Friday"`
    """
    from litgo_pipelines.rollout import freezes

    with transaction() as connection:
        found = freezes.freeze(connection, actor=name_of(by), reason=reason, at=datetime.now(UTC))
    answer(json, {"frozen": found}, held_told(found))


def unfreeze(reason: Reason, by: By = None, json: Json = False) -> None:
    """Let the system move models again.

    Example: `litgo model unfreeze --reason "audit is over"`
    """
    from litgo_pipelines.rollout import freezes

    with transaction() as connection:
        lifted = freezes.unfreeze(connection, actor=name_of(by), reason=reason, at=datetime.now(UTC))
    before = "Models were not frozen." if lifted is None else f"Lifted: frozen by {lifted.actor} since {moment(lifted.changed_at)}."
    answer(json, {"frozen": None, "lifted": lifted}, before, held_told(None))
