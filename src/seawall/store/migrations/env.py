"""Alembic's environment for both trees: Seawall's schema and the app's. `seawall.store.migrate` hands over the
connection.
"""

from alembic import context

configuration = context.config
context.configure(
    connection=configuration.attributes["connection"],
    target_metadata=configuration.attributes.get("metadata"),
    version_table=configuration.attributes["version_table"],
    version_table_schema="seawall_meta",
    include_schemas=False,
)
with context.begin_transaction():
    context.run_migrations()
