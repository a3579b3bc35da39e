"""As of when a run reads the facts: the configuration that several assets share."""

from datetime import UTC, datetime

import dagster as dg


class Moment(dg.Config):
    """As of when the facts are read.

    Attributes:
        as_of: ISO 8601 with a zone; None: now.
    """

    as_of: str | None = None

    def value(self) -> datetime:
        """The moment as an aware datetime.

        Raises:
            ValueError: it has no zone, or is no time.
        """
        if self.as_of is None:
            return datetime.now(UTC)
        found = datetime.fromisoformat(self.as_of)
        if found.tzinfo is None:
            raise ValueError(f"as_of {self.as_of!r} needs a zone, such as 2026-01-31T02:00:00-03:00")
        return found.astimezone(UTC)
