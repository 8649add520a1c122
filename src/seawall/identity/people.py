"""The people of the caller's tenant and their roles.

Whether the caller may do this is decided by the app's policies before; here it is only made sure that it happens in the
caller's own tenant, with its audit event, and that the person's sessions end, so that a taken role is gone at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from asyncpg import CheckViolationError

from seawall.audit import append_as
from seawall.core.errors import Conflict, NotFound, Unprocessable
from seawall.core.events import Grant
from seawall.core.scope import Membership, Scope
from seawall.identity.desk import IdentityDatabase
from seawall.identity.sessions import raise_epoch


@dataclass(frozen=True, slots=True)
class Member:
    """A person with at least one live role in the tenant."""

    user_id: UUID
    name: str
    email: str
    memberships: tuple[Membership, ...]


class People:
    """People and roles of one tenant at a time: the one of the scope."""

    def __init__(self, db: IdentityDatabase) -> None:
        self._db = db

    async def members(self, scope: Scope) -> list[Member]:
        """Everyone with a role in the caller's tenant, by name."""
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
        """Give a role to someone who already belongs to the caller's tenant; their sessions end.

        Raises:
            NotFound: the person does not belong to this tenant.
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
        """Take a role away; the person's sessions end on their next request.

        Raises:
            NotFound: the person does not belong to this tenant.
            Conflict: they do not hold the role.
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
        caller = scope.principal
        role = (membership.role, membership.scope_type, membership.scope_id)
        async with self._db.identity() as tx:
            belongs = await tx.fetchval(
                "SELECT EXISTS (SELECT FROM seawall.memberships WHERE tenant_id = $1 AND user_id = $2)",
                caller.tenant_id,
                user_id,
            )
            if not belongs:
                raise NotFound()
            try:
                changed = await tx.fetchval(sql, caller.tenant_id, user_id, *role)
            except CheckViolationError:
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
