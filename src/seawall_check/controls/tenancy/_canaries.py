"""Planting canaries: strings that occur nowhere else, in the rows of one tenant, through the API and beside it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from seawall_check.controls._database import Relation, tables
from seawall_check.controls._requests import Call, first_allowed, row, send, step_up_route
from seawall_check.document import Tenant
from seawall_check.probes.database import identifier, literal
from seawall_check.probes.http import with_canary
from seawall_check.target import Target

CLONES = 2
"""Rows of each table that are copied with canaries in their text."""

COLUMNS = """
SELECT a.attname::text AS name, a.atttypid IN ('text'::regtype, 'varchar'::regtype) AS text,
       a.atttypid = 'uuid'::regtype AND EXISTS (
           SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey::int2[])
       ) AS key,
       a.atttypid IN ('integer'::regtype, 'bigint'::regtype) AND EXISTS (
           SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND a.attnum = ANY (i.indkey::int2[])
       ) AS number
FROM pg_attribute a
WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
ORDER BY a.attnum
"""
NUMBERS_FROM, NUMBERS_BELOW = 1_000_000, 1_000_000_000
"""What is added to numbers that must be unique, in copies; another each time, so that a second check can plant too."""


@dataclass
class Planted:
    """Where a tenant's canaries are: how many went through the API and into tables, and which rows hold one."""

    canary: str
    answers: int = 0
    rows: int = 0
    columns: int = 0
    ids: dict[str, list[str]] = field(default_factory=dict)
    """Path parameter → ids."""


async def plant(target: Target, tenant: Tenant, canary: str) -> Planted:
    """Plant a canary wherever this tenant has text."""
    planted = Planted(canary)
    await _through_the_api(target, tenant, planted)
    sealed = target.document.sealed.columns if target.document.sealed is not None else ()
    async with target.db_owner() as db:
        for table in await tables(target, db):
            if any(name.startswith(f"{table}.") for name in sealed):
                continue  # its values open in their own rows only: a copy would be a broken one
            await _beside_the_api(target, db, table, tenant, planted)
    return planted


async def _through_the_api(target: Target, tenant: Tenant, planted: Planted) -> None:
    """What people of the tenant can write. The step-up route is left to the controls that count on its limits."""
    for operation in target.operations:
        if operation.body is None or operation.name == step_up_route(target) or not row(target, operation):
            continue
        found = await first_allowed(target, operation, target.who(tenant=tenant.id))
        if found is None:
            continue
        call, _ = found
        body, any_text = with_canary(operation, call.body, planted.canary)
        if any_text:
            response = await send(target, Call(operation, call.persona, call.values, body))
            planted.answers += response.status_code < 400


async def _beside_the_api(
    target: Target, db: asyncpg.Connection, table: Relation, tenant: Tenant, planted: Planted
) -> None:
    """Copies of the tenant's rows, with the canary in every text column whose constraints let it in.

    Copies, not changes: other controls run meanwhile and count on what is there.
    """
    columns = await db.fetch(COLUMNS, table.sql)
    copier = Copier(db, table, tenant, target.database.tenant_column, columns)
    texts = [one["name"] for one in columns if one["text"]]
    if not copier.keys or not texts:
        return
    if await copier.copy(texts, planted.canary, keep=False) is None:  # a constraint refuses some: which can take it?
        texts = [name for name in texts if await copier.copy([name], planted.canary, keep=False)]
    ids = (await copier.copy(texts, planted.canary, keep=True) or []) if texts else []
    planted.rows += len(ids)
    planted.columns += len(texts) if ids else 0
    for parameter in await _parameters(db, table, tenant, copier.keys[0]):
        planted.ids.setdefault(parameter, []).extend(ids)


@dataclass
class Copier:
    """Copies rows of one table and tenant under new keys."""

    db: asyncpg.Connection
    table: Relation
    tenant: Tenant
    tenant_column: str
    columns: Sequence[Mapping[str, Any]]

    @property
    def keys(self) -> list[str]:
        return [one["name"] for one in self.columns if one["key"] and one["name"] != self.tenant_column]

    async def copy(self, texts: Sequence[str], canary: str, *, keep: bool) -> list[str] | None:
        """The keys of the copies, or None when a constraint refused them."""
        beyond = NUMBERS_FROM + secrets.randbelow(NUMBERS_BELOW)
        values = {
            **{one["name"]: identifier(one["name"]) for one in self.columns},
            **{one["name"]: f"{identifier(one['name'])} + {beyond}" for one in self.columns if one["number"]},
            **dict.fromkeys(self.keys, "gen_random_uuid()"),
            **dict.fromkeys(texts, literal(canary)),
        }
        name = self.table.sql
        sql = (
            f"INSERT INTO {name} ({', '.join(map(identifier, values))}) SELECT {', '.join(values.values())} FROM {name}"
            f" WHERE {identifier(self.tenant_column)}::text = $1 LIMIT {CLONES}"
            f" RETURNING {identifier(self.keys[0])}::text"
        )
        transaction = self.db.transaction()
        await transaction.start()
        try:
            # Triggers would want an audit event for a change that no person made.
            await self.db.execute("SET LOCAL session_replication_role = replica")
            made = [found[0] for found in await self.db.fetch(sql, self.tenant.id)]
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError):
            await transaction.rollback()
            return None
        await (transaction.commit() if keep else transaction.rollback())
        return made


async def _parameters(db: asyncpg.Connection, table: Relation, tenant: Tenant, key: str) -> list[str]:
    """The path parameters whose ids are of this table."""
    found = []
    for parameter, ids in tenant.objects.items():
        sql = f"SELECT count(*) FROM {table.sql} WHERE {identifier(key)}::text = ANY ($1)"
        if ids and await db.fetchval(sql, list(ids)) == len(ids):
            found.append(parameter)
    return found
