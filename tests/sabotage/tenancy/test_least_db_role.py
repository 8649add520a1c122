"""tenancy/least-db-role notices every right too much."""

from __future__ import annotations

import pytest
from tests.support.sabotages import first_few

ID = "tenancy/least-db-role"

RIGHTS = {
    "truncate": ("GRANT TRUNCATE ON app.orders TO seawall_app", "REVOKE TRUNCATE ON app.orders FROM seawall_app"),
    "triggers": ("GRANT TRIGGER ON app.orders TO seawall_app", "REVOKE TRIGGER ON app.orders FROM seawall_app"),
    "create in a schema": ("GRANT CREATE ON SCHEMA app TO seawall_app", "REVOKE CREATE ON SCHEMA app FROM seawall_app"),
    "read sessions": (
        "GRANT SELECT ON seawall.sessions TO seawall_app",
        "REVOKE SELECT ON seawall.sessions FROM seawall_app",
    ),
    "read the signing keys": (
        "GRANT SELECT ON seawall.context_keys TO seawall_app",
        "REVOKE SELECT ON seawall.context_keys FROM seawall_app",
    ),
    "default privileges for everybody": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO PUBLIC",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE SELECT ON TABLES FROM PUBLIC",
    ),
    "an open function with its owner's rights": (
        "CREATE FUNCTION app.hole() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM app.orders';"
        " GRANT EXECUTE ON FUNCTION app.hole() TO seawall_app",
        "DROP FUNCTION app.hole()",
    ),
}


@pytest.mark.parametrize("right", first_few(RIGHTS, 1))
async def test_a_right_too_much(sabotage, right: str) -> None:
    sql, undo = RIGHTS[right]
    await sabotage(ID, sql=sql, undo_sql=undo, trips={ID})


@pytest.mark.prove
async def test_a_context_pinned_on_the_role(sabotage) -> None:
    pinned = "DO $$ BEGIN EXECUTE format('ALTER ROLE seawall_app IN DATABASE %I {}', current_database()); END $$"
    await sabotage(
        ID,
        sql=pinned.format("SET row_security = off"),
        undo_sql=pinned.format("RESET row_security"),
        trips={ID},
    )


@pytest.mark.prove
async def test_an_app_that_connects_as_the_owner_of_its_tables(sabotage) -> None:
    # Roles belong to the whole server; here only the table changes hands, which is the same mistake.
    await sabotage(
        ID,
        sql="ALTER TABLE app.order_lines OWNER TO seawall_app",
        undo_sql="ALTER TABLE app.order_lines OWNER TO seawall_owner;"
        " GRANT SELECT, INSERT, UPDATE, DELETE ON app.order_lines TO seawall_app",
        trips={ID},
    )


@pytest.mark.prove
async def test_an_app_that_is_connected_as_the_superuser_too(sabotage) -> None:
    """ "Only for the reports": whatever target.json says of the app's role, the process holds another connection."""
    python = """
import asyncio, threading
import asyncpg
import seawall.store.pool as module

real, held = module.Pool.__init__, []

async def report(url):
    held.append(await asyncpg.connect(url.replace("seawall_app@", "postgres@")))
    await asyncio.sleep(3_600)

def init(self, url, **more):
    if "seawall_app@/" in url:
        threading.Thread(target=asyncio.run, args=(report(url),), daemon=True).start()
    real(self, url, **more)

module.Pool.__init__ = init
"""
    await sabotage(ID, python=python, trips={ID})
