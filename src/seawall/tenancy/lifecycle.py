"""A tenant's life as its operator sees it: listed, suspended, resumed. Export and erasure are beside this file.

All of it runs as the owner of Seawall's schema (`store.operator`); the app's own roles cannot reach it. Every step
leaves an event in the tenant's log, in the transaction that takes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg

from seawall.audit import append_as
from seawall.core.errors import Refused
from seawall.core.events import TenantChange

Change = Literal["suspended", "resumed", "exported", "erasing", "erased"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A row of `seawall.tenants`."""

    id: UUID
    slug: str
    name: str
    suspended_at: datetime | None
    erasing_at: datetime | None

    @property
    def state(self) -> str:
        """`live`, `suspended` or `erasing`."""
        return "erasing" if self.erasing_at else "suspended" if self.suspended_at else "live"


_COLUMNS = "id, slug, name, suspended_at, erasing_at"


async def tenants(owner: asyncpg.Connection) -> list[Tenant]:
    """All tenants, by slug."""
    rows = await owner.fetch(f"SELECT {_COLUMNS} FROM seawall.tenants ORDER BY slug")  # noqa: S608 - our own constant
    return [Tenant(*row) for row in rows]


async def find(owner: asyncpg.Connection, name: str) -> Tenant:
    """The tenant of this slug or id.

    Raises:
        Refused: there is none.
    """
    row = await owner.fetchrow(
        f"SELECT {_COLUMNS} FROM seawall.tenants WHERE slug = $1 OR id::text = $1",  # noqa: S608 - our own constant
        name,
    )
    if row is None:
        raise Refused(
            f"there is no tenant {name!r}",
            why="nothing was changed",
            fix="`seawall tenant list` shows them",
        )
    return Tenant(*row)


async def suspend(owner: asyncpg.Connection, tenant: Tenant) -> None:
    """Shut a tenant out at once: sessions are not admitted, and contexts that are out already open no row.

    Suspending twice changes nothing.
    """
    async with owner.transaction():
        changed = await owner.fetchval(
            "UPDATE seawall.tenants SET suspended_at = now() WHERE id = $1 AND suspended_at IS NULL RETURNING id",
            tenant.id,
        )
        if changed is not None:
            await record(owner, tenant.id, "suspended")


async def resume(owner: asyncpg.Connection, tenant: Tenant) -> None:
    """Let a suspended tenant back in.

    Raises:
        Refused: it is being erased.
    """
    async with owner.transaction():
        row = await owner.fetchrow("SELECT erasing_at FROM seawall.tenants WHERE id = $1 FOR UPDATE", tenant.id)
        if row is None or row["erasing_at"] is not None:
            raise Refused(
                f"{tenant.slug} is being erased",
                why="its keys are destroyed; what is left of it cannot be read any more",
                fix=f"`seawall tenant erase {tenant.slug}` goes on to the end",
            )
        await owner.execute("UPDATE seawall.tenants SET suspended_at = NULL WHERE id = $1", tenant.id)
        await record(owner, tenant.id, "resumed")


async def record(owner: Any, tenant_id: UUID, change: Change, *, rows: int = 0) -> None:
    """Put a step into the tenant's log."""
    await append_as(owner, [TenantChange(tenant_id=str(tenant_id), change=change, rows=rows)], tenant_id=tenant_id)


async def order_job(owner: Any, tenant_id: UUID, work: Literal["export", "erase"]) -> str:
    """Order work on a tenant; gives the kind of job under which it is claimed, with the tenant's context.

    The kind names the tenant, so that nobody who works on another tenant can take this one's job for their own.
    """
    kind = f"seawall.tenant-{work}.{tenant_id}"
    await owner.execute("INSERT INTO seawall.jobs (tenant_id, kind, payload) VALUES ($1, $2, '{}')", tenant_id, kind)
    return kind
