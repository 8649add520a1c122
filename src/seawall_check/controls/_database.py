"""The tenant tables, live contexts, and transactions under them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from seawall_check.document import Persona, Tenant
from seawall_check.errors import Unproven
from seawall_check.probes.database import identifier
from seawall_check.target import Target
from seawall_check.trial import Trial

RELATIONS = """
SELECT n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       EXISTS (SELECT FROM pg_attribute a
               WHERE a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped) AS tenanted
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ($1) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class Relation:
    schema: str
    name: str
    kind: str
    tenanted: bool

    @property
    def sql(self) -> str:
        """Its quoted, qualified name."""
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


async def relations(target: Target, db: asyncpg.Connection) -> list[Relation]:
    """Every table and view of the app's schemas. Raises Unproven when there is no tenant table."""
    access = target.database
    found = [Relation(*row) for row in await db.fetch(RELATIONS, list(access.app_schemas), access.tenant_column)]
    if not any(one.tenanted and one.kind in "rp" for one in found):
        raise Unproven(f"no table of {', '.join(access.app_schemas)} has a column {access.tenant_column}")
    return found


async def tables(target: Target, db: asyncpg.Connection) -> list[Relation]:
    """The tenant tables."""
    return [one for one in await relations(target, db) if one.tenanted and one.kind in "rp"]


async def fullest(target: Target, owner: asyncpg.Connection, *tenants: Tenant) -> Relation:
    """The tenant table with the most rows of each of these tenants. Raises Unproven when none has rows of all."""
    best, most = None, 0
    for table in await tables(target, owner):
        least = min([await rows_of(target, owner, table, tenant.id) for tenant in tenants])
        if least > most:
            best, most = table, least
    if best is None:
        raise Unproven(f"no table has rows of {' and of '.join(tenant.name for tenant in tenants)}")
    return best


async def rows_of(target: Target, db: asyncpg.Connection, table: Relation, tenant_id: str) -> int:
    """How many rows of a tenant this connection sees."""
    column = identifier(target.database.tenant_column)
    count: int = await db.fetchval(f"SELECT count(*) FROM {table.sql} WHERE {column}::text = $1", tenant_id)
    return count


async def live_context(target: Target, persona: Persona) -> str:
    """A real tenant context, as the app itself gets one: minted by the database from a live session.

    Raises:
        Unproven: when the app's role is not admitted with the session of a persona who has just signed in.
    """
    token = target.session_token(await target.client(persona))
    async with target.db_app() as db:
        row = await db.fetchrow(target.database.admit, hashlib.sha256(token.encode()).digest())
    if row is None or "context" not in row.keys():  # noqa: SIM118 - a Record's `in` looks at values
        raise Unproven(f"the session of {persona.name} is not admitted by `{target.database.admit}`")
    context: str = row["context"]
    target.redactor.learn(context)
    return context


@contextlib.asynccontextmanager
async def under(target: Target, db: asyncpg.Connection, context: str | None) -> AsyncIterator[asyncpg.Connection]:
    """A transaction with this context (None: without any), rolled back at its end."""
    transaction = db.transaction()
    await transaction.start()
    try:
        if context is not None:
            await db.execute("SELECT set_config($1, $2, true)", target.database.context_setting, context)
        yield db
    finally:
        await transaction.rollback()


async def look_for(
    target: Target,
    trial: Trial,
    owner: asyncpg.Connection,
    faults: Mapping[str, str],
    canonical: Sequence[str] = (),
) -> None:
    """Run catalogue queries (`_catalogue.py`); each that finds something is a failure that names it."""
    access = target.database
    parameters = {
        "$1": list(access.app_schemas),
        "$2": access.tenant_column,
        "$3": access.global_mark,
        "$4": access.app_role,
        "$5": list(canonical),
        "$6": access.context_setting,
    }
    for fault, query in faults.items():
        used = [name for name in parameters if name in query]
        numbered = query
        for number, name in enumerate(used, 1):  # PostgreSQL refuses parameters that are not used
            numbered = numbered.replace(name, f"${number}")
        found = sorted(row[0] for row in await owner.fetch(numbered, *(parameters[name] for name in used)))
        observed = ", ".join(found) or "none"
        trial.expect(f"look for {fault}", expected="none", observed=observed, ok=not found)
