"""Reading the app's audit log, and making its database refuse a change at the last moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from seawall_check.errors import Unproven
from seawall_check.probes.database import identifier, literal
from seawall_check.target import Target

POLL_S = 0.1
ALTER_TRIES = 20
ALTER_WAIT_MS = 500
TENANT_TABLES = """
SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ($1) AND c.relkind = 'r'
  AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped)
"""


@dataclass(frozen=True)
class Recorded:
    """One row of the audit query."""

    kind: str
    outcome: str
    text: str
    said: str = ""
    """What it tells, without its id and time; all of it when the row has no `body`."""

    def __str__(self) -> str:
        return f"{self.kind} {self.outcome}"


async def recorded(target: Target, db: asyncpg.Connection, needle: str = "", *, wait_s: float = 0) -> list[Recorded]:
    """The events whose row holds `needle`, oldest first; waits up to `wait_s` for the first.

    Raises:
        Unproven: when the app gives no audit query, or one without `kind` and `outcome`.
    """
    query = target.database.audit_query.strip().rstrip(";")
    if not query:
        raise Unproven("target.json gives no audit_query")
    deadline = asyncio.get_running_loop().time() + wait_s
    while True:
        try:
            rows = await db.fetch(f"SELECT * FROM ({query}) AS q WHERE strpos(q::text, $1) > 0", needle)
        except asyncpg.PostgresError as error:
            raise Unproven(f"audit_query of target.json does not work: {error}") from None
        if rows and not {"kind", "outcome"} <= set(rows[0].keys()):
            raise Unproven("audit_query of target.json gives no `kind` and `outcome`")
        if rows or asyncio.get_running_loop().time() >= deadline:
            return [Recorded(row["kind"], row["outcome"], _text(dict(row)), _said(dict(row))) for row in rows]
        await asyncio.sleep(POLL_S)


def _said(row: dict[str, Any]) -> str:
    return _text({"kind": row["kind"], "body": row["body"]} if "body" in row else row)


def _text(row: dict[str, Any]) -> str:
    return json.dumps(row, default=str, ensure_ascii=False)


async def holding(target: Target, db: asyncpg.Connection, marker: str) -> list[str]:
    """The tenant tables, quoted, that hold a row with this text."""
    access = target.database
    found = []
    for schema, name in await db.fetch(TENANT_TABLES, list(access.app_schemas), access.tenant_column):
        table = f"{identifier(schema)}.{identifier(name)}"
        if await db.fetchval(f"SELECT EXISTS (SELECT FROM {table} t WHERE strpos(t::text, $1) > 0)", marker):
            found.append(table)
    return found


@contextlib.asynccontextmanager
async def refusing_at_commit(
    target: Target, db: asyncpg.Connection, tables: Sequence[str], marker: str
) -> AsyncIterator[None]:
    """Meanwhile every transaction that writes a row with `marker` fails when it commits, after all its statements.

    Deferred constraint triggers do it, so that the app has by then written everything that it would write.
    """
    function = f"{identifier(target.database.app_schemas[0])}.{identifier(marker)}"
    await db.execute(
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" IF strpos(NEW::text, {literal(marker)}) > 0 THEN RAISE EXCEPTION 'refused by the check'; END IF;"
        " RETURN NULL; END $$"
    )
    try:
        for table in tables:
            await _altered(
                db,
                f"CREATE CONSTRAINT TRIGGER {identifier(marker)} AFTER INSERT OR UPDATE ON {table}"
                f" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {function}()",
            )
        yield
    finally:
        # Table by table: one statement that locks several could deadlock with the app's own transactions.
        for table in tables:
            await _altered(db, f"DROP TRIGGER IF EXISTS {identifier(marker)} ON {table}")
        await db.execute(f"DROP FUNCTION {function}()")


async def _altered(db: asyncpg.Connection, statement: str) -> None:
    """Run DDL on a table that others use: it waits a little and tries again, rather than holding them up."""
    for turn in range(ALTER_TRIES):
        try:
            async with db.transaction():
                await db.execute(f"SET LOCAL lock_timeout = '{ALTER_WAIT_MS}ms'")
                await db.execute(statement)
            return
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if turn == ALTER_TRIES - 1:
                raise
            await asyncio.sleep(POLL_S)
