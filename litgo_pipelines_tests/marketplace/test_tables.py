"""The tables as declared and as migrations make them, and what the database itself refuses."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import IntegrityError

from litgo_pipelines.marketplace import tables
from litgo_pipelines.marketplace.database import open_engine


# SQLAlchemy's reflection does not know the types of extensions.
@pytest.mark.filterwarnings("ignore:Did not recognize type 'litgo.halfvec'")
def test_migrations_make_the_tables_that_are_declared(database_url: str) -> None:
    """Alembic finds nothing to add, drop or change: columns, types, defaults, indexes, keys."""
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    engine = open_engine(database_url, role=None)
    options = {
        "compare_type": True,
        "compare_server_default": True,
        "include_schemas": True,
        "version_table_schema": tables.SCHEMA,
        "include_name": lambda name, kind, _parents: kind != "schema" or name == tables.SCHEMA,
    }
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata)
    engine.dispose()
    assert differences == []


def test_every_declared_check_and_comment_is_in_the_database(engine: Engine) -> None:
    """What Alembic does not compare: check constraints with their rules, and what tables and columns say about themselves."""
    from sqlalchemy import CheckConstraint

    declared_tables = tables.metadata.tables.values()
    declared = {(table.name, str(one.name)) for table in declared_tables for one in table.constraints if isinstance(one, CheckConstraint)}
    comments = {(table.name, column.name): column.comment for table in declared_tables for column in table.columns}
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT conrelid::regclass::text, conname FROM pg_constraint WHERE connamespace = 'litgo'::regnamespace AND contype = 'c'")
        ).all()
        told = connection.execute(
            text(
                "SELECT c.relname, a.attname, d.description FROM pg_description d JOIN pg_class c ON c.oid = d.objoid "
                "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid WHERE c.relnamespace = 'litgo'::regnamespace"
            )
        ).all()
    assert {(table.removeprefix("litgo."), name) for table, name in found} == declared
    assert len(declared) > 50
    assert not [column for table in declared_tables for column in table.columns if column.constraints]
    assert {(table, column): comment for table, column, comment in told} == {place: one for place, one in comments.items() if one}


def test_everything_of_ours_lives_in_our_schema(database_url: str) -> None:
    """No table, type, function or extension is left in `public`."""
    engine = open_engine(database_url, role=None)
    with engine.connect() as connection:
        strays = connection.execute(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
                "UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace "
                "UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
                "UNION ALL SELECT extname FROM pg_extension WHERE extnamespace = 'public'::regnamespace"
            )
        ).scalars()
        assert list(strays) == []
        names = set(connection.execute(text("SELECT tablename FROM pg_tables WHERE schemaname = 'litgo'")).scalars())
    engine.dispose()
    assert names == {table.name for table in tables.metadata.tables.values()} | {"alembic_version"}


def test_contracts_requested_before_there_was_a_queue_are_due(empty_database_url: str) -> None:
    """An upgrade puts them in; those that were signed or ended stay as they are."""
    from alembic import command

    from litgo_pipelines.marketplace import database

    config = database._alembic_config()
    engine = open_engine(empty_database_url, role=None)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA litgo"))
        database._install_vector(connection)
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        connection.execute(text(_OLD_CONTRACTS))
    database.upgrade(empty_database_url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT status, due_at IS NOT NULL FROM litgo.contracts ORDER BY 1")).all()
    engine.dispose()
    assert [tuple(row) for row in found] == [("active", False), ("canceled", False), ("pending-signature", False), ("requested", True)]


_OLD_CONTRACTS = """
WITH people AS (INSERT INTO litgo.clients (id) VALUES (gen_random_uuid()) RETURNING id),
     lawyer AS (INSERT INTO litgo.lawyers (id, name, primary_area) VALUES (gen_random_uuid(), 'L', 'civil') RETURNING id),
     made AS (INSERT INTO litgo.cases (id, client_id, area, urgency_h, summary)
              SELECT gen_random_uuid(), people.id, 'civil', 24, status FROM people, unnest(ARRAY['requested', 'pending-signature', 'active',
              'canceled']) status RETURNING id, client_id, summary)
INSERT INTO litgo.contracts (id, case_id, lawyer_id, client_id, status)
SELECT gen_random_uuid(), made.id, lawyer.id, client_id, summary FROM made, lawyer
"""


def test_the_features_have_one_order() -> None:
    """Columns are named after the features, in their order."""
    assert tables.FEATURES == ("a", "s", "t", "g", "q", "u", "r", "c")
    assert tuple(f"feature_{one}" for one in tables.FEATURES) == tables.FEATURE_COLUMNS


class Rows:
    """Adds rows that are right but for what a test changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.client = self.add("clients")
        self.lawyer = self.add("lawyers", name="L", primary_area="civil")
        self.case = self.add("cases", client_id=self.client, area="civil", urgency_h=24, summary="s")

    def add(self, table: str, **values: Any) -> uuid.UUID:
        made = uuid.uuid4()
        self._connection.execute(tables.metadata.tables[f"litgo.{table}"].insert().values(**({"id": made} | values)))
        return made

    def contract(self, **values: Any) -> uuid.UUID:
        return self.add("contracts", **({"case_id": self.case, "lawyer_id": self.lawyer, "client_id": self.client} | values))

    def offer(self, **values: Any) -> uuid.UUID:
        moments = {"sent_at": text("now()"), "expires_at": text("now() + interval '1 day'")}
        return self.add("offers", **({"case_id": self.case, "lawyer_id": self.lawyer} | moments | values))

    def review(self, contract: uuid.UUID, **values: Any) -> uuid.UUID:
        given = {"contract_id": contract, "lawyer_id": self.lawyer, "client_id": self.client, "rating": 4, "outcome": "won"}
        return self.add("reviews", **(given | values))


IMPOSSIBLE: dict[str, tuple[Callable[[Rows], object], str]] = {
    "a second open contract of a case": (lambda r: (r.contract(), r.contract()), "uq_contracts_open_case"),
    "a second offer to a lawyer for a case": (lambda r: (r.offer(), r.offer(status="closed")), "uq_offers_case_id"),
    "an offer that expires before it is sent": (lambda r: r.offer(expires_at=text("now() - interval '1 s'")), "expires_after_sent"),
    "a reason to decline without declining": (lambda r: r.offer(decline_reason="fee"), "reason_of_a_decline"),
    "an answer at no time": (lambda r: r.offer(status="interested"), "answered"),
    "an unknown reason to decline": (
        lambda r: r.offer(status="declined", decline_reason="tired", responded_at=text("now()")),
        "ck_offers_decline_reason",
    ),
    "a rating of six": (lambda r: r.review(r.contract(), rating=6), "ck_reviews_rating"),
    "a second review of a contract": (lambda r: [r.review(one) for one in [r.contract()] * 2], "uq_reviews_contract_id"),
    "a capacity of 31": (lambda r: r.add("lawyers", name="L", primary_area="civil", capacidade_mensal=31), "capacidade_mensal"),
    "a negative load": (lambda r: r.add("lawyers", name="L", primary_area="civil", cases_30d=-1), "cases_30d"),
    "a declared capacity of none": (lambda r: r.add("lawyers", name="L", primary_area="civil", max_concurrent_cases=0), "max_concurrent"),
    "a success rate above one": (lambda r: r.add("lawyers", name="L", primary_area="civil", success_rate=1.5), "success_rate"),
    "a case without a client": (lambda r: r.add("cases", client_id=uuid.uuid4(), area="a", urgency_h=1, summary="s"), "fk_cases_client_id"),
    "a case of no urgency": (lambda r: r.add("cases", client_id=r.client, area="a", urgency_h=0, summary="s"), "urgency_h"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_the_database_refuses_what_is_impossible(what: str, engine: Engine) -> None:
    """Whoever writes, the constraint is named in the error."""
    attempt, constraint = IMPOSSIBLE[what]
    with engine.begin() as connection:
        rows = Rows(connection)
        with pytest.raises(IntegrityError, match=constraint):
            attempt(rows)


def test_a_cancelled_contract_makes_room_for_another(engine: Engine) -> None:
    """Only one contract of a case is open at a time; cancelled ones do not count."""
    with engine.begin() as connection:
        rows = Rows(connection)
        rows.contract(status="canceled")
        rows.contract(status="canceled")
        rows.contract(status="active")
