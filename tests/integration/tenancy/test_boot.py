"""What the start refuses: a role that is too strong, a table without its wall, a server that is not the one we rely
on.
"""

from __future__ import annotations

import time
from typing import Any

import asyncpg
import pytest
from tests.support.databases import ScratchDatabase

from seawall.core.errors import Refused
from seawall.store.database import Database
from seawall.store.migrate import migrate
from seawall.store.roles import APP, IDENTITY
from seawall.tenancy.boot import ROLE_SQL, inspect

WALLED = """
CREATE TABLE app.things (tenant_id uuid NOT NULL DEFAULT seawall.tenant_id(), id uuid NOT NULL, PRIMARY KEY (tenant_id,
id)); ALTER TABLE app.things ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.things FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON app.things TO seawall_app
    USING (tenant_id = (SELECT seawall.tenant_id())) WITH CHECK (tenant_id = (SELECT seawall.tenant_id()));
"""


async def _inspected(scratch: ScratchDatabase) -> None:
    async with scratch.database.as_app() as connection:
        await inspect(connection)


async def test_a_walled_table_passes(scratch: ScratchDatabase) -> None:
    await scratch.owner.execute(WALLED)
    await _inspected(scratch)


@pytest.mark.parametrize(
    ("breaking", "said"),
    [
        ("ALTER TABLE app.things DISABLE ROW LEVEL SECURITY", "has no row-level security"),
        ("ALTER TABLE app.things NO FORCE ROW LEVEL SECURITY", "does not FORCE"),
        ("DROP POLICY tenant_wall ON app.things", "has no policy"),
        ("CREATE POLICY also ON app.things USING (true)", "not the canonical one"),
        ("ALTER POLICY tenant_wall ON app.things USING (true)", "not the canonical one"),
        ("ALTER POLICY tenant_wall ON app.things WITH CHECK (true)", "not the canonical one"),
        ("ALTER TABLE app.things DROP CONSTRAINT things_pkey, ADD PRIMARY KEY (id)", "without tenant_id"),
        ("ALTER TABLE app.things DROP CONSTRAINT things_pkey, ALTER tenant_id DROP NOT NULL", "may be NULL"),
        ("CREATE TABLE app.loose (id uuid PRIMARY KEY)", "has no tenant_id"),
        ("CREATE VIEW app.all_things AS SELECT * FROM app.things", "owner's rights"),
        ("CREATE MATERIALIZED VIEW app.kept AS SELECT 1 AS one", "cannot guard"),
        (
            "CREATE TABLE app.parts (LIKE app.things INCLUDING DEFAULTS, thing_id uuid, PRIMARY KEY (tenant_id, id));"
            "ALTER TABLE app.parts ENABLE ROW LEVEL SECURITY; ALTER TABLE app.parts FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant_wall ON app.parts USING (tenant_id = (SELECT seawall.tenant_id()));"
            "ALTER TABLE app.things ADD UNIQUE (id);"
            "ALTER TABLE app.parts ADD FOREIGN KEY (thing_id) REFERENCES app.things (id)",
            "has the foreign key",
        ),
        ("ALTER TABLE app.things OWNER TO seawall_app", "owns app.things"),
        ("GRANT CREATE ON SCHEMA app TO seawall_app", "may create objects in app"),
        ("CREATE SCHEMA extra; GRANT CREATE ON SCHEMA extra TO PUBLIC", "may create objects in extra"),
        ("GRANT CREATE ON DATABASE {database} TO seawall_app", "may create schemas"),
        ("GRANT TEMP ON DATABASE {database} TO PUBLIC", "may create temporary objects"),
    ],
)
async def test_a_broken_wall_is_refused(scratch: ScratchDatabase, breaking: str, said: str) -> None:
    await scratch.owner.execute(WALLED)
    await scratch.owner.execute(breaking.format(database=scratch.development.name))
    with pytest.raises(Refused, match=said) as refused:
        await _inspected(scratch)
    assert refused.value.fix


async def test_a_table_marked_global_needs_no_tenant(scratch: ScratchDatabase) -> None:
    await scratch.owner.execute("CREATE TABLE app.currencies (code text PRIMARY KEY)")
    await scratch.owner.execute("COMMENT ON TABLE app.currencies IS '@seawall:global ISO 4217'")
    await _inspected(scratch)


async def test_a_superuser_is_no_app_role(scratch: ScratchDatabase) -> None:
    with pytest.raises(Refused, match="is a superuser"):
        await inspect(scratch.owner)


@pytest.mark.parametrize("power", ["rolbypassrls", "rolcreaterole", "rolcreatedb", "rolreplication"])
async def test_every_power_of_a_role_is_refused(scratch: ScratchDatabase, power: str) -> None:
    with pytest.raises(Refused, match="signs in to the database as"):
        await inspect(_Altered(scratch, **{power: True}))


async def test_statements_that_can_be_overheard_are_refused(scratch: ScratchDatabase) -> None:
    with pytest.raises(Refused, match="pg_stat_activity"):
        await inspect(_Altered(scratch, overheard=True))


async def test_an_old_server_and_a_wrong_clock_are_refused(scratch: ScratchDatabase) -> None:
    with pytest.raises(Refused, match="PostgreSQL 17 is too old"):
        await inspect(_Altered(scratch, version=170_004))
    for skew_s in (-90, 90):
        with pytest.raises(Refused, match="clock"):
            await inspect(_Altered(scratch, database_time=time.time() + skew_s))
    await inspect(_Altered(scratch, database_time=time.time() + 30))


async def test_a_database_without_the_schema_is_refused(scratch: ScratchDatabase) -> None:
    with pytest.raises(Refused, match="no Seawall schema"):
        await inspect(_Altered(scratch, migrated=False))


async def test_no_server_is_refused_with_the_fix() -> None:
    with pytest.raises(Refused, match="does not answer") as refused:
        await Database.open("postgresql://seawall_app@127.0.0.1:9/x", "postgresql://seawall_identity@127.0.0.1:9/x")
    assert "seawall migrate" in refused.value.fix
    with pytest.raises(Refused, match="does not answer"):
        await migrate("postgresql://seawall_migrator@127.0.0.1:9/x")


async def test_an_unknown_role_is_refused(scratch: ScratchDatabase) -> None:
    with pytest.raises(Refused, match="does not answer"):
        await Database.open(scratch.url("nobody_here"), scratch.url(IDENTITY))


@pytest.mark.parametrize("url", ["", "mysql://x@y/z", "not a url", "sqlite:///x"])
async def test_an_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="not a PostgreSQL URL"):
        await Database.open(url, url)


class _Altered:
    """The app's connection, with facts about the server changed that one cluster cannot have all at once."""

    def __init__(self, scratch: ScratchDatabase, **facts: Any) -> None:
        self._scratch = scratch
        self._facts = facts

    async def fetchrow(self, sql: str) -> dict[str, Any]:
        assert sql == ROLE_SQL
        connection = await self._scratch.connect(APP)
        try:
            return dict(await connection.fetchrow(sql)) | self._facts
        finally:
            await connection.close()

    async def fetch(self, sql: str) -> list[asyncpg.Record]:
        return await self._scratch.owner.fetch(sql)
