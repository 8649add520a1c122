"""Erasing a tenant: its keys first, then every row, then its people, then itself. It can be interrupted and goes on.

Keys go first because that is done at once and reaches what we cannot: backups and the write-ahead log. Rows are deleted
in batches under the tenant's own context, as the worker's role, so that a mistake here still cannot touch another
tenant. Requests that began before the suspension may still be writing, so the last pass comes when the longest of their
statements must have ended, and every transaction with them that had written by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from seawall.audit import append_as
from seawall.core.events import Grant
from seawall.store.jobs import Jobs
from seawall.store.lease import Lease
from seawall.tenancy.lifecycle import Tenant, order_job, record
from seawall.tenancy.tables import Table, tenant_tables

BATCH_ROWS = 5_000
_ONLY_THEIRS = """
SELECT p.user_id FROM seawall.tenant_people p WHERE p.tenant_id = $1
  AND NOT EXISTS (SELECT FROM seawall.tenant_people o WHERE o.user_id = p.user_id AND o.tenant_id <> $1)
  AND NOT EXISTS (SELECT FROM seawall.staff s WHERE s.user_id = p.user_id)
"""
_WRITING = """
SELECT DISTINCT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = ANY ($1::text[]::regclass[]::oid[])
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
PASS_EVERY_S = 0.5
CLAIM_S = 60

Destroy = Callable[[Any], Awaitable[None]]
"""Destroys what else a tenant has, by its id: keys in the vault, files. Must be harmless when done again."""
Say = Callable[[str], None]


@dataclass
class Erasure:
    """One erasure on its way.

    Args:
        owner: as `store.operator.as_operator` gives it.
        jobs: with a worker's own connections, where each claimed job gets its transaction.
        grace_s: how long a statement that began before the suspension may still run: the app's statement timeout.
        destroy: see `Destroy`.
        say: gets one line for each step.
    """

    owner: asyncpg.Connection
    jobs: Jobs
    tenant: Tenant
    grace_s: float
    destroy: tuple[Destroy, ...] = ()
    say: Say = field(default=lambda line: None)

    async def run(self) -> int:
        """Erase; gives how many rows went."""
        suspended = await self._begin()
        for destroy in self.destroy:
            await destroy(self.tenant.id)
        self.say("keys destroyed: what backups hold of sealed data can no longer be read")
        tables = await tenant_tables(self.owner)
        erased, awaited = 0, None
        while True:
            if time.monotonic() >= suspended + self.grace_s:
                # Nothing more can be written now. What was is committed by whoever wrote it when they are ready: after
                # a call to somebody outside, for example.
                writing = await self._writing(tables)
                awaited = writing if awaited is None else awaited & writing
            last = awaited is not None and not awaited
            gone = await self._pass(tables)
            erased += gone
            if last and not gone:
                break
            if not gone:
                await asyncio.sleep(PASS_EVERY_S)
        people = await self._end(erased)
        self.say(f"{erased} rows and {people} people erased; the tenant is gone")
        return erased

    async def _begin(self) -> float:
        async with self.owner.transaction():
            began = await self.owner.fetchval(
                """UPDATE seawall.tenants SET suspended_at = coalesce(suspended_at, now()), erasing_at = now()
                   WHERE id = $1 AND erasing_at IS NULL RETURNING id""",
                self.tenant.id,
            )
            if began is not None:
                await record(self.owner, self.tenant.id, "erasing")
        self.say(f"{self.tenant.slug} is shut out; from here on there is no way back")
        return time.monotonic()

    async def _writing(self, tables: list[Table]) -> set[str]:
        """The transactions that have written to one of these tables and are not over, whosever rows these are."""
        rows = await self.owner.fetch(_WRITING, [table.sql for table in tables])
        return {row["virtualtransaction"] for row in rows}

    async def _pass(self, tables: list[Table]) -> int:
        """Delete what is there now, batch by batch; gives how many rows."""
        erased = 0
        while True:
            gone = await self._batch(tables)
            erased += gone
            if gone < BATCH_ROWS:
                return erased
            self.say(f"{erased} rows so far")

    async def _batch(self, tables: list[Table]) -> int:
        kind = await order_job(self.owner, self.tenant.id, "erase")
        async with self.jobs.claimed([kind], claim_s=CLAIM_S) as claimed:
            return 0 if claimed is None else await _delete(claimed[1], tables)

    async def _end(self, erased: int) -> int:
        """Take the people who belonged nowhere else, then the tenant. Foreign keys take sessions and the rest."""
        async with self.owner.transaction():
            roles = await self.owner.fetch(
                "SELECT user_id, role, scope_type, scope_id FROM seawall.memberships WHERE tenant_id = $1",
                self.tenant.id,
            )
            events = [
                Grant(
                    user_id=str(row["user_id"]),
                    role=row["role"],
                    scope_type=row["scope_type"] or "",
                    scope_id=str(row["scope_id"] or ""),
                    change="revoked",
                )
                for row in roles
            ]
            await append_as(self.owner, events, tenant_id=self.tenant.id)
            await record(self.owner, self.tenant.id, "erased", rows=erased)
            people = await self.owner.fetch(_ONLY_THEIRS, self.tenant.id)
            await self.owner.execute("DELETE FROM seawall.tenants WHERE id = $1", self.tenant.id)
            await self.owner.execute(
                "DELETE FROM seawall.users WHERE id = ANY ($1)", [row["user_id"] for row in people]
            )
        return len(people)


async def _delete(lease: Lease, tables: list[Table]) -> int:
    """One batch, children before parents. Row-level security leaves only this tenant's rows in reach."""
    erased = 0
    for table in tables:
        if erased >= BATCH_ROWS:
            break
        gone = await lease.fetch(
            f"DELETE FROM {table.sql} WHERE ctid = ANY (ARRAY("  # noqa: S608 - a quoted name of the catalogue
            f"SELECT ctid FROM {table.sql} LIMIT $1)) RETURNING 1",
            BATCH_ROWS - erased,
        )
        erased += len(gone)
    if erased:
        await lease.fetchrow(
            "SELECT seawall.audit_append($1)",
            ['{"kind": "tenancy.lifecycle", "outcome": "success", "change": "erasing", "rows": %d}' % erased],  # noqa: UP031
        )
    return erased
