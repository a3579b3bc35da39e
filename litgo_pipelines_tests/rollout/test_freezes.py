"""The freeze of the models: who may say so, what is recorded, and that lifting nothing changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from litgo_pipelines.casework import prices
from litgo_pipelines.rollout import decisions, freezes
from litgo_pipelines.rollout.decisions import NotSaid

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def told(engine: Engine) -> list[tuple[str, str, str, str | None]]:
    with engine.connect() as connection:
        return [(one.action, one.actor, one.reason, one.result) for one in reversed(decisions.history(connection, 10))]


def test_nobody_has_frozen_anything_to_begin_with(engine: Engine) -> None:
    """Lifting what is not there is no error, and is not recorded."""
    with engine.begin() as connection:
        assert freezes.frozen(connection) is None
        assert freezes.unfreeze(connection, actor="ana", reason="over", at=NOON) is None
    assert told(engine) == []


def test_a_freeze_holds_until_it_is_lifted(engine: Engine) -> None:
    """Who, why and since when, as said last; lifted, it tells what was lifted. Each change is one decision."""
    with engine.begin() as connection:
        freezes.freeze(connection, actor=" ana ", reason="audit ", at=NOON)
        freezes.freeze(connection, actor="rui", reason="still", at=NOON + timedelta(hours=1))
    with engine.begin() as connection:
        held = freezes.frozen(connection)
        assert held == freezes.Freeze("rui", "still", NOON + timedelta(hours=1))
        assert freezes.unfreeze(connection, actor="ana", reason="over", at=NOON + timedelta(hours=2)) == held
        assert freezes.frozen(connection) is None
    assert told(engine) == [
        ("freeze", "ana", "audit", "frozen"),
        ("freeze", "rui", "still", "frozen"),
        ("unfreeze", "ana", "over", "lifted"),
    ]


@pytest.mark.parametrize(("actor", "reason"), [("", "audit"), (" ", "audit"), ("ana", " ")])
def test_nobody_freezes_or_unfreezes_without_name_and_reason(engine: Engine, actor: str, reason: str) -> None:
    """Nothing is changed, even where the transaction goes on."""
    with engine.begin() as connection, pytest.raises(NotSaid, match="--by NAME and --reason TEXT"):
        freezes.freeze(connection, actor=actor, reason=reason, at=NOON)
    with engine.begin() as connection:
        assert freezes.frozen(connection) is None
        freezes.freeze(connection, actor="ana", reason="audit", at=NOON)
    with engine.begin() as connection:
        with pytest.raises(NotSaid):
            freezes.unfreeze(connection, actor=actor, reason=reason, at=NOON)
        assert freezes.frozen(connection) is not None


def test_models_and_price_are_frozen_apart(engine: Engine) -> None:
    """Who freezes the one holds nothing of the other."""
    with engine.begin() as connection:
        freezes.freeze(connection, actor="ana", reason="audit", at=NOON)
        assert prices.frozen(connection) is None
        prices.freeze(connection, "rui", "experiment", NOON)
        freezes.unfreeze(connection, actor="ana", reason="over", at=NOON)
        assert prices.frozen(connection) is not None
