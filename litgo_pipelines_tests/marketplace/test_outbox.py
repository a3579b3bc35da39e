"""The outbox: one message a key, in the transaction of what makes it worth telling."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from litgo_pipelines.marketplace.outbox import tell

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
SOMEBODY = UUID(int=7)


def send(connection: Connection, key: str = "k", **changes: Any) -> bool:
    given: dict[str, Any] = {"subject": "Something happened", "body": "Look.", "at": NOON}
    return tell(connection, key=key, **(given | changes))


def queued(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(
            connection.execute(
                text("SELECT key, audience, subject, body, details, status, created_at FROM litgo.notifications ORDER BY id")
            )
        )


def test_a_message_waits_to_be_sent_as_it_was_told(engine: Engine) -> None:
    """To the people who run the marketplace where nothing else is said; details come back as they were."""
    with engine.begin() as connection:
        assert send(connection, "a")
        assert send(connection, "b", audience="lawyer", recipient=SOMEBODY, details={"version": "2", "features": ["A"], "name": "João"})
    assert [tuple(row) for row in queued(engine)] == [
        ("a", "ops", "Something happened", "Look.", {}, "queued", NOON),
        ("b", "lawyer", "Something happened", "Look.", {"version": "2", "features": ["A"], "name": "João"}, "queued", NOON),
    ]


def test_the_same_thing_is_told_once(engine: Engine) -> None:
    """A second message of a key is left out, whatever it says, in the same transaction or in a later one."""
    with engine.begin() as connection:
        assert [send(connection), send(connection, subject="again")] == [True, False]
    with engine.begin() as connection:
        assert not send(connection, subject="and again")
    assert [row.subject for row in queued(engine)] == ["Something happened"]


def test_what_did_not_happen_is_not_told(engine: Engine) -> None:
    """A transaction that is given up takes its message with it, and the key is free again."""
    with engine.connect() as connection:
        assert send(connection)
        connection.rollback()
    assert queued(engine) == []
    with engine.begin() as connection:
        assert send(connection)


def test_a_message_to_nobody_we_know_is_refused(engine: Engine) -> None:
    """By the database, so that it is no message that nobody ever sends."""
    with pytest.raises(IntegrityError), engine.begin() as connection:
        send(connection, audience="everybody")


def test_details_that_json_cannot_hold_are_refused(engine: Engine) -> None:
    """A NaN would be unreadable to whoever delivers it."""
    with pytest.raises(ValueError, match="JSON"), engine.begin() as connection:
        send(connection, details={"score": float("nan")})
    assert queued(engine) == []
