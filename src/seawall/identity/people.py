"""The people of the caller's tenant and their roles.

Whether the caller may do this is decided by the app's policies before; here it is made sure that it happens in the
caller's own tenant, with its audit event, and that the person's sessions end, so that a taken role is gone at once. And
what no policy can allow by mistake: nobody gives themselves a role, nobody gives or takes one that is above their own
(`[access] grants`), and a tenant's last owner stays, for which the database stands in (`seawall.keep_the_last`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from asyncpg import CheckViolationError

from seawall.audit import append_as
from seawall.core.errors import Conflict, Forbidden, NotFound, Unprocessable
from seawall.core.events import Grant
from seawall.core.scope import Membership, Principal, Scope
from seawall.identity.desk import IdentityDatabase
from seawall.identity.sessions import raise_epoch

EVERY_ROLE = "*"
KEEP_THE_LAST = "keep_the_last"


@dataclass(frozen=True, slots=True)
class Member:
    """A person of the tenant with their live roles; without any, someone whose last role was taken."""

    user_id: UUID
    name: str
    email: str
    memberships: tuple[Membership, ...]


class People:
    """People and roles of one tenant at a time: the one of the scope.

    Args:
        grants: role → the roles that its holders may give and take; `*` is every role.
    """

    def __init__(self, db: IdentityDatabase, grants: Mapping[str, Sequence[str]]) -> None:
        self._db = db
        self._grants = grants

    async def former(self, scope: Scope) -> list[Member]:
        """Everyone who once had a role in the caller's tenant and has none now, by name: they may be given one again.

        Raises:
            Forbidden: under break-glass, which reads what is witnessed only.
        """
        _nobody_under_break_glass(scope)
        async with self._db.identity() as tx:
            rows = await tx.fetch(
                """SELECT u.id, u.name, u.email FROM seawall.tenant_people p JOIN seawall.users u ON u.id = p.user_id
                   WHERE p.tenant_id = $1 AND u.disabled_at IS NULL AND NOT EXISTS (
                     SELECT FROM seawall.memberships m WHERE m.tenant_id = p.tenant_id AND m.user_id = p.user_id
                       AND (m.expires_at IS NULL OR m.expires_at > now()))
                   ORDER BY u.name, u.id""",
                scope.principal.tenant_id,
            )
        return [Member(row["id"], row["name"], row["email"], ()) for row in rows]

    async def members(self, scope: Scope) -> list[Member]:
        """Everyone with a role in the caller's tenant, by name.

        Raises:
            Forbidden: under break-glass, which reads what is witnessed only.
        """
        _nobody_under_break_glass(scope)
        async with self._db.identity() as tx:
            rows = await tx.fetch(
                """SELECT u.id, u.name, u.email, m.role, m.scope_type, m.scope_id
                   FROM seawall.memberships m JOIN seawall.users u ON u.id = m.user_id
                   WHERE m.tenant_id = $1 AND u.disabled_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())
                   ORDER BY u.name, u.id, m.role, m.scope_id""",
                scope.principal.tenant_id,
            )
        found: dict[UUID, Member] = {}
        for row in rows:
            before = found[row["id"]].memberships if row["id"] in found else ()
            role = Membership(row["role"], row["scope_type"], row["scope_id"])
            found[row["id"]] = Member(row["id"], row["name"], row["email"], (*before, role))
        return list(found.values())

    async def grant(self, scope: Scope, user_id: UUID, membership: Membership) -> None:
        """Give a role to someone who belongs to the caller's tenant, or did; their sessions end.

        Raises:
            Forbidden: to oneself, or a role that the caller may not give.
            NotFound: the person never belonged to this tenant.
            Conflict: they hold the role already.
            Unprocessable: the role's or scope's name is not one.
        """
        await self._change(
            scope,
            user_id,
            membership,
            "granted",
            """INSERT INTO seawall.memberships (tenant_id, user_id, role, scope_type, scope_id)
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING id""",
        )

    async def revoke(self, scope: Scope, user_id: UUID, membership: Membership) -> None:
        """Take a role away, or lay down one's own; the person's sessions end on their next request.

        Raises:
            Forbidden: a role that the caller could not give.
            NotFound: the person never belonged to this tenant.
            Conflict: they do not hold the role, or are the last who does and somebody must.
        """
        await self._change(
            scope,
            user_id,
            membership,
            "revoked",
            """DELETE FROM seawall.memberships WHERE tenant_id = $1 AND user_id = $2 AND role = $3
               AND scope_type IS NOT DISTINCT FROM $4 AND scope_id IS NOT DISTINCT FROM $5 RETURNING id""",
        )

    async def _change(self, scope: Scope, user_id: UUID, membership: Membership, change: str, sql: str) -> None:
        if (membership.scope_type is None) != (membership.scope_id is None):
            raise Unprocessable("A scope is a type and an id.")
        _nobody_under_break_glass(scope)
        caller = scope.principal
        if change == "granted" and user_id == caller.user_id:
            raise Forbidden("Nobody gives themselves a role.", code="own-roles")
        role = (membership.role, membership.scope_type, membership.scope_id)
        async with self._db.identity() as tx:
            # Both people's rows, always in one order: two who change each other's roles do so one after the other, and
            # the second finds out what became of theirs. `raise_epoch` would take the same locks, but too late.
            await tx.execute(
                "SELECT FROM seawall.users WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE", [caller.user_id, user_id]
            )
            belongs = await tx.fetchval(
                "SELECT EXISTS (SELECT FROM seawall.tenant_people WHERE tenant_id = $1 AND user_id = $2)",
                caller.tenant_id,
                user_id,
            )
            if not belongs:
                raise NotFound()
            if user_id != caller.user_id:
                await self._within_bounds(tx, caller, membership)
            try:
                changed = await tx.fetchval(sql, caller.tenant_id, user_id, *role)
            except CheckViolationError as error:
                if error.constraint_name == KEEP_THE_LAST:
                    raise Conflict(f"The last {membership.role} stays: give somebody else the role first.") from None
                raise Unprocessable("That is not the name of a role.") from None
            if changed is None:
                raise Conflict("The person's roles are as asked for already.")
            await raise_epoch(tx, user_id)
            event = Grant(
                user_id=str(user_id),
                role=membership.role,
                scope_type=membership.scope_type or "",
                scope_id=str(membership.scope_id or ""),
                change="granted" if change == "granted" else "revoked",
                trace_id=scope.trace_id,
            )
            await append_as(
                tx, [event], tenant_id=caller.tenant_id, user_id=caller.user_id, session_id=caller.session_id
            )

    async def _within_bounds(self, tx: Any, caller: Principal, membership: Membership) -> None:
        """Nobody gives or takes what is above them. Asked of the roles held now, not of those at the request's start.

        Raises:
            Forbidden: none of the caller's roles says that they may.
        """
        held = await tx.fetch(
            """SELECT role, scope_type, scope_id FROM seawall.memberships
               WHERE tenant_id = $1 AND user_id = $2 AND (expires_at IS NULL OR expires_at > now())""",
            caller.tenant_id,
            caller.user_id,
        )
        for row in held:
            # a role for one object reaches as far as that object
            reaches = row["scope_id"] is None or (row["scope_type"], row["scope_id"]) == (
                membership.scope_type,
                membership.scope_id,
            )
            given = self._grants.get(row["role"], ())
            if reaches and (EVERY_ROLE in given or membership.role in given):
                return
        raise Forbidden("This role is not yours to give or take.", code="role-above-yours")


def _nobody_under_break_glass(scope: Scope) -> None:
    if scope.principal.break_glass is not None:
        raise Forbidden("Break-glass does not reach people and their roles.")
