"""Alembic's entry: runs migrations on the connection that `marketplace.database` hands over."""

from alembic import context

from litgo_pipelines.marketplace.tables import SCHEMA, metadata


def _ours(_object: object, name: str | None, kind: str, _reflected: bool, _compare_to: object) -> bool:
    return not (kind == "table" and name == "alembic_version")


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_object=_ours,
)
with context.begin_transaction():
    context.run_migrations()
