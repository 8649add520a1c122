"""Break-glass: platform staff read in one tenant, for a while, because somebody else of the staff agreed.

A grant names one staff person, one tenant, a reason and a ticket. A second staff person approves it with a fresh second
factor bound to exactly this grant; it then holds for at most four hours and ends by itself *in the database*, which
asks at every statement (`seawall.verify`). The tenant sees it and can end it at any moment.

Under a grant a request runs as another database role, which can only read, and whose row-level security writes the
audit event of every row before the row is given (`seawall.witness`); the events are committed before the first byte of
the answer leaves. Policies know staff by the role `breakglass` alone and must name what it may read: there is no
exception from the tenant's wall, so nothing else comes with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from seawall.access.approvals import IdentityDatabase
from seawall.audit import append_as
from seawall.core.clock import now
from seawall.core.errors import Conflict, Forbidden, NotFound, TooMany
from seawall.core.events import BreakGlass
from seawall.core.scope import Principal
from seawall.core.stepup import Intent, Resume

LIFETIME_MINUTES_MAX = 240
WAIT_S = 86_400
OPEN_MAX = 5
"""Grants that one staff person may have waiting or live."""
LISTED_MAX = 100
READS_SHOWN_MAX = 500
PLATFORM_SLUG = "seawall-staff"
PATH = "/access/break-glass"

State = Literal["waiting", "lapsed", "refused", "live", "over", "ended"]


@dataclass(frozen=True, slots=True)
class Grant:
    """A row of `seawall.break_glass_grants`, with the names of its people and its tenant."""

    id: UUID
    staff_id: UUID
    staff: str
    tenant_id: UUID
    tenant: str
    reason: str
    ticket: str
    lifetime_s: int
    requested_at: datetime
    wait_until: datetime
    decided_by: UUID | None
    decider: str | None
    decided_at: datetime | None
    approved: bool | None
    expires_at: datetime | None
    ended_at: datetime | None

    @property
    def state(self) -> State:
        if self.approved is False:
            return "refused"
        if self.ended_at is not None:
            return "ended"
        if self.expires_at is not None:
            return "live" if self.expires_at > now() else "over"
        return "waiting" if self.wait_until > now() else "lapsed"

    @property
    def open(self) -> bool:
        """Whether there is anything left to end."""
        return self.state in ("waiting", "live")

    def approval(self) -> Intent:
        """What a second person confirms with a fresh factor: exactly this grant, with all that it says."""
        minutes = self.lifetime_s // 60
        return Intent(
            action="approve-break-glass",
            resource=f'BreakGlass::"{self.id}"',
            params={
                "staff": self.staff,
                "tenant": self.tenant,
                "reason": self.reason,
                "ticket": self.ticket,
                "minutes": minutes,
            },
            summary=f"Let {self.staff} read in {self.tenant} for {minutes} minutes",
            resume=Resume(f"{PATH}/{self.id}/decision", {"decision": "approve"}),
        )

    def entry(self) -> Intent:
        """What staff confirm when their session has no second factor yet."""
        return Intent(
            action="enter-break-glass",
            resource=f'BreakGlass::"{self.id}"',
            params={"tenant": self.tenant, "ticket": self.ticket},
            summary=f"Read in {self.tenant} under break-glass",
            resume=Resume(f"{PATH}/{self.id}/enter", {}),
        )


_COLUMNS = ", ".join(
    {"staff": "u.name AS staff", "tenant": "t.name AS tenant", "decider": "d.name AS decider"}.get(
        field.name, f"g.{field.name}"
    )
    for field in fields(Grant)
)
_FROM = (
    "FROM seawall.break_glass_grants g JOIN seawall.users u ON u.id = g.staff_id"
    " JOIN seawall.tenants t ON t.id = g.tenant_id LEFT JOIN seawall.users d ON d.id = g.decided_by"
)


def _grant(row: Any) -> Grant:
    return Grant(**dict(row))


class Grants:
    """Break-glass grants on PostgreSQL."""

    def __init__(self, database: Callable[[], IdentityDatabase]) -> None:
        self._database = database

    async def is_staff(self, principal: Principal) -> bool:
        """Whether the caller is of the platform's staff at this moment."""
        async with self._database().identity() as tx:
            return await _is_staff(tx, principal)

    async def request(
        self, principal: Principal, *, slug: str, reason: str, ticket: str, lifetime_s: int, trace_id: str
    ) -> Grant:
        """Ask to read in a tenant.

        Raises:
            NotFound: the caller is not staff, or there is no such tenant.
            TooMany: too many of theirs are open.
        """
        async with self._database().identity() as tx:
            await tx.execute("SELECT FROM seawall.users WHERE id = $1 FOR NO KEY UPDATE", principal.user_id)
            if not await _is_staff(tx, principal):
                raise NotFound()
            tenant_id = await tx.fetchval(
                "SELECT id FROM seawall.tenants WHERE slug = $1 AND slug <> $2", slug, PLATFORM_SLUG
            )
            if tenant_id is None:
                raise NotFound("There is no tenant of this name.")
            held = await tx.fetchval(
                """SELECT count(*) FROM seawall.break_glass_grants WHERE staff_id = $1 AND ended_at IS NULL
                   AND approved IS NOT FALSE AND coalesce(expires_at, wait_until) > now()""",
                principal.user_id,
            )
            if held >= OPEN_MAX:
                raise TooMany(f"You have {OPEN_MAX} grants open. End one first.", retry_after_s=600)
            grant_id = await tx.fetchval(
                """INSERT INTO seawall.break_glass_grants (staff_id, tenant_id, reason, ticket, lifetime_s, wait_until)
                   VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6)) RETURNING id""",
                principal.user_id,
                tenant_id,
                reason,
                ticket,
                lifetime_s,
                WAIT_S,
            )
            found = await _find(tx, grant_id, "true")
            await _record(tx, principal, found, "requested", trace_id)
            return found

    async def seen_by(self, principal: Principal, *, staff: bool) -> list[Grant]:
        """The newest grants: all of them for staff, those of their own tenant for its stewards."""
        async with self._database().identity() as tx:
            rows = await tx.fetch(
                f"SELECT {_COLUMNS} {_FROM} WHERE $1 OR g.tenant_id = $2 ORDER BY g.id DESC LIMIT $3",
                staff,
                principal.tenant_id,
                LISTED_MAX,
            )
        return [_grant(row) for row in rows]

    async def find(self, principal: Principal, grant_id: UUID, *, staff: bool) -> Grant:
        """One grant that `seen_by` would list.

        Raises:
            NotFound: there is none, or it is for another tenant.
        """
        async with self._database().identity() as tx:
            return await _find(tx, grant_id, "($2 OR g.tenant_id = $3)", staff, principal.tenant_id)

    async def reads(self, grant: Grant) -> list[tuple[datetime, str, str]]:
        """When which row of which table was read under it, newest first."""
        async with self._database().identity() as tx:
            rows = await tx.fetch("SELECT * FROM seawall.break_glass_reads($1, $2)", grant.id, READS_SHOWN_MAX)
        return [(row["at"], row["relation"], row["row_id"]) for row in rows]

    async def decide(self, principal: Principal, grant: Grant, *, approve: bool, trace_id: str) -> Grant:
        """Say yes or no to a colleague's request. That a yes was confirmed with a fresh factor was seen to before.

        Raises:
            Forbidden: it is their own.
            NotFound: the caller is not staff any more.
            Conflict: it was decided or ended meanwhile, or waited too long.
        """
        not_own(principal, grant)
        async with self._database().identity() as tx:
            if not await _is_staff(tx, principal):
                raise NotFound()
            decided = await tx.fetchval(
                """UPDATE seawall.break_glass_grants SET approved = $2, decided_by = $3, decided_at = now(),
                     expires_at = CASE WHEN $2 THEN now() + make_interval(secs => lifetime_s) END
                   WHERE id = $1 AND approved IS NULL AND ended_at IS NULL AND wait_until > now() RETURNING id""",
                grant.id,
                approve,
                principal.user_id,
            )
            if decided is None:
                raise Conflict("This grant is decided, ended, or has waited too long.")
            found = await _find(tx, grant.id, "true")
            await _record(tx, principal, found, "approved" if approve else "refused", trace_id)
            return found

    async def end(self, principal: Principal, grant: Grant, *, trace_id: str) -> Grant:
        """End it now, whoever may see it: the tenant, the one who used it, or a colleague.

        Raises:
            Conflict: there is nothing left to end.
        """
        async with self._database().identity() as tx:
            ended = await tx.fetchval(
                """UPDATE seawall.break_glass_grants SET ended_at = now(), ended_by = $2
                   WHERE id = $1 AND ended_at IS NULL AND approved IS NOT FALSE
                     AND coalesce(expires_at, wait_until) > now() RETURNING id""",
                grant.id,
                principal.user_id,
            )
            if ended is None:
                raise Conflict("This grant is over already.")
            found = await _find(tx, grant.id, "true")
            await _record(tx, principal, found, "ended", trace_id)
            return found

    async def note_entry(self, principal: Principal, grant: Grant, *, trace_id: str) -> None:
        """Record that staff began to read under it."""
        async with self._database().identity() as tx:
            await _record(tx, principal, grant, "entered", trace_id)


def not_own(principal: Principal, grant: Grant) -> None:
    """
    Raises:
        Forbidden: the caller asked for this grant.
    """
    if grant.staff_id == principal.user_id:
        raise Forbidden("Nobody approves their own break-glass.", code="own-request")


async def _is_staff(tx: Any, principal: Principal) -> bool:
    found = await tx.fetchval(
        "SELECT EXISTS (SELECT FROM seawall.staff WHERE user_id = $1 AND removed_at IS NULL)", principal.user_id
    )
    return bool(found)


async def _find(tx: Any, grant_id: UUID, whose: str, *values: Any) -> Grant:
    row = await tx.fetchrow(f"SELECT {_COLUMNS} {_FROM} WHERE g.id = $1 AND {whose}", grant_id, *values)
    if row is None:
        raise NotFound("There is no such grant.")
    return _grant(row)


async def _record(
    tx: Any, principal: Principal, grant: Grant, step: Literal["requested", "approved", "refused", "entered", "ended"],
    trace_id: str,
) -> None:  # fmt: skip
    """Into the tenant's own log: whose rows they are, is told."""
    event = BreakGlass(
        outcome="refused" if step == "refused" else "success",
        trace_id=trace_id,
        grant_id=str(grant.id),
        staff_id=str(grant.staff_id),
        step=step,
    )
    await append_as(tx, [event], tenant_id=grant.tenant_id, user_id=principal.user_id, session_id=principal.session_id)
