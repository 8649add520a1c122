"""Every tenant table stands behind forced row-level security.

Why
    One forgotten WHERE, one report query, one ORM relation loaded the wrong way round, and a customer reads another
    customer's rows. When the database itself filters every statement by tenant, the mistake returns nothing.

How it is attacked
    The catalogue is read as the owner: every table of the app must carry a tenant column that cannot be NULL, have
    row-level security enabled and FORCEd (so that not even its owner is exempt) with exactly the canonical policy, and
    carry the tenant in every unique key (else a duplicate tells that another tenant's row exists) and in both sides of
    every foreign key. No table beside the app's schemas may be open to its role. Views must run with their caller's
    rights; materialised views, foreign tables, publications and leak-proof functions must not open a side door. Then
    every relation is read, updated, deleted from and inserted into as the app's own role: without a tenant no row may
    be seen, within one tenant none of another. Last, EXPLAIN must show that each of these statements asks once who the
    tenant is, and not for every row: a wall that makes a scan five times slower is a wall that somebody takes down.

How to fix
    Derive the model from `Tenanted`, link models with `refers_to(…)`, create views `WITH (security_invoker = true)`,
    and run `seawall migrate`, which raises the walls around every table. A table that really belongs to no tenant says
    so in its comment: `COMMENT ON TABLE app.countries IS '@seawall:global'`. A policy written by hand says
    `tenant_id = (SELECT seawall.tenant_id())`, with the SELECT.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from seawall_check.control import Control
from seawall_check.controls._database import (
    Relation,
    fullest,
    live_context,
    look_for,
    relations,
    rows_of,
    tables,
    under,
)
from seawall_check.controls.tenancy._catalogue import FAULTS
from seawall_check.controls.tenancy._plans import explained
from seawall_check.document import Tenant
from seawall_check.probes.database import attempt, identifier, literal
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="tenancy/rls-forced",
    title="Every tenant table stands behind forced row-level security",
    refs=("ASVS 8.4.1", "ASVS 8.2.2"),
)


async def check(target: Target, trial: Trial) -> None:
    async with target.db_owner() as owner, target.db_app() as app:
        walled = await tables(target, owner)
        canonical = await _canonical(target, owner, walled[0])
        await look_for(target, trial, owner, FAULTS, canonical)
        one, other = target.two_tenants()
        await _unscoped(target, trial, owner, app)
        for mine, theirs in ((one, other), (other, one)):
            context = await live_context(target, target.who(tenant=mine.id)[0])
            await _scoped(target, trial, app, mine, context)
            across = Across(target, trial, app, mine, theirs, context)
            for table in walled:
                if await rows_of(target, owner, table, mine.id) and await rows_of(target, owner, table, theirs.id):
                    await across.attack(table)
        await _once(target, trial, app, walled)


async def _canonical(target: Target, owner: asyncpg.Connection, table: Relation) -> list[str]:
    """How this PostgreSQL prints the wall, with the function evaluated once a query or once a row."""
    access = target.database
    column = identifier(access.tenant_column)
    printed = []
    transaction = owner.transaction()
    await transaction.start()
    try:
        await owner.execute(f"CREATE TEMP TABLE canon ON COMMIT DROP AS SELECT {column} FROM {table.sql} WITH NO DATA")
        for name, call in (("once", f"(SELECT {access.tenant_function})"), ("each", access.tenant_function)):
            await owner.execute(f"CREATE POLICY {name} ON canon USING ({column} = {call})")
        rows = await owner.fetch(
            "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polrelid = 'canon'::regclass"
        )
        printed = [row[0] for row in rows]
    finally:
        await transaction.rollback()
    return printed


async def _unscoped(target: Target, trial: Trial, owner: asyncpg.Connection, app: asyncpg.Connection) -> None:
    one, other = target.two_tenants()
    table = await fullest(target, owner, one, other)
    total = await owner.fetchval(f"SELECT count(*) FROM {table.sql}")
    trial.allow(f"the owner counts {table}", f"{total} rows", ok=total > 0, expected="rows of both tenants")
    seen = []
    for relation in await relations(target, owner):
        if not relation.tenanted:
            continue
        async with under(target, app, None):
            state, rows = await attempt(app, f"SELECT count(*) FROM {relation.sql}")
        if not state and rows[0][0]:
            seen.append(f"{relation}: {rows[0][0]}")
    trial.refuse(
        "the app's role reads every relation without a tenant",
        ", ".join(seen) or "no row anywhere",
        ok=not seen,
        expected="no row, or an error",
    )


async def _scoped(target: Target, trial: Trial, app: asyncpg.Connection, mine: Tenant, context: str) -> None:
    column = identifier(target.database.tenant_column)
    own, foreign = 0, []
    for relation in [one for one in await relations(target, app) if one.tenanted]:
        async with under(target, app, context):
            query = f"SELECT count(*) FILTER (WHERE {column}::text = $1), count(*) FROM {relation.sql}"
            state, rows = await attempt(app, query, mine.id)
        if not state:
            own += rows[0][0]
            if rows[0][0] != rows[0][1]:
                foreign.append(f"{relation}: {rows[0][1] - rows[0][0]}")
    of = f"within {mine.name}"
    trial.allow(f"the app's role reads as {mine.name}", f"{own} own rows", ok=own > 0, expected="own rows", of=of)
    trial.refuse(
        f"the app's role looks for foreign rows as {mine.name}",
        ", ".join(foreign) or "none in any relation",
        ok=not foreign,
        expected="no row of another tenant",
        of=of,
    )


async def _once(target: Target, trial: Trial, app: asyncpg.Connection, walled: Sequence[Relation]) -> None:
    """Who the tenant is, is asked once a statement: an InitPlan, and no call of the function beside it."""
    column = identifier(target.database.tenant_column)
    context = await live_context(target, target.who(tenant=target.two_tenants()[0].id)[0])
    slow, seen = [], 0
    for table in walled:
        for statement in (
            f"SELECT * FROM {table.sql}",
            f"UPDATE {table.sql} SET {column} = {column}",
            f"DELETE FROM {table.sql}",
        ):
            async with under(target, app, context):
                plan = await explained(app, statement, target.database.tenant_function)
            if plan is not None:
                seen += 1
                if fault := plan.fault():
                    slow.append(f"{statement.partition(' ')[0]} of {table}: {fault}")
    trial.expect(
        "EXPLAIN how the app's role reads, updates and deletes in every tenant table",
        expected="the tenant is looked up once a statement",
        observed=", ".join(slow) or f"once in each of {seen} statements",
        ok=not slow and seen >= len(walled),
    )


@dataclass(frozen=True)
class Across:
    """Updates, deletes and inserts across the wall, from one tenant into another."""

    target: Target
    trial: Trial
    app: asyncpg.Connection
    mine: Tenant
    theirs: Tenant
    context: str

    async def attack(self, table: Relation) -> None:
        column = identifier(self.target.database.tenant_column)
        of = f"{table} as {self.mine.name}"
        own, foreign = (f"{column}::text = {literal(tenant.id)}" for tenant in (self.mine, self.theirs))
        kept = f"UPDATE {table.sql} SET {column} = {column} WHERE "
        state, count = await self._count(kept + own)
        self.trial.allow(
            f"update own rows of {of}", state or f"{count} rows", ok=count > 0, expected="own rows changed", of=of
        )
        for verb, statement in (("update", kept + foreign), ("delete", f"DELETE FROM {table.sql} WHERE {foreign}")):
            state, count = await self._count(statement)
            attempted = f"{verb} rows of {self.theirs.name} in {of}"
            self.trial.refuse(attempted, state or f"{count} rows", ok=count == 0, expected="no row touched", of=of)
        await self._give_away(table, of)

    async def _count(self, statement: str) -> tuple[str, int]:
        """SQLSTATE, and how many rows the statement touched; taken back."""
        async with under(self.target, self.app, self.context):
            sql = f"WITH done AS ({statement} RETURNING 1) SELECT count(*) FROM done"
            state, rows = await attempt(self.app, sql)
        return state, rows[0][0] if rows else 0

    async def _give_away(self, table: Relation, of: str) -> None:
        """Write own rows under the other tenant's id: the policy's WITH CHECK must refuse with 42501."""
        column = identifier(self.target.database.tenant_column)
        async with under(self.target, self.app, self.context):
            kind = await self.app.fetchval(f"SELECT pg_typeof({column})::text FROM {table.sql} LIMIT 1")
            statement = f"UPDATE {table.sql} SET {column} = {literal(self.theirs.id)}::{kind}"
            state, _ = await attempt(self.app, statement)
        self.trial.refuse(
            f"write rows under the id of {self.theirs.name} in {of}",
            state or "accepted",
            ok=state == "42501",
            expected="42501 insufficient_privilege",
            of=of,
        )
