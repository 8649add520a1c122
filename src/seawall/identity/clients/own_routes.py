"""`/auth/clients`: a person sees which apps act for them, and ends one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from seawall.core.decisions import passage_of, self_service
from seawall.core.errors import NotFound
from seawall.core.scope import Principal
from seawall.identity.clients.grants import lock_grant, revoke_grant
from seawall.identity.desk import data, onward, own_routes, page, wants_html

if TYPE_CHECKING:
    from seawall.identity.clients import Clients

PATH = "/auth/clients"

Self = Annotated[Principal, self_service("people see and end what acts for them")]


class OwnRoutes:
    """Routes of one's own grants, in the tenant that one is signed in to."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.router = own_routes(("GET", PATH, self.show), ("POST", PATH + "/{grant_id}/end", self.end))

    async def show(self, request: Request, principal: Self) -> Response:
        found = await self._live(principal)
        return page(request, "clients", grants=found) if wants_html(request) else data({"clients": found})

    async def end(self, request: Request, grant_id: str, principal: Self) -> Response:
        try:
            wanted = UUID(grant_id)
        except ValueError:
            raise NotFound() from None
        async with self._clients.desk.db.identity() as tx:
            grant = await lock_grant(tx, wanted, trace_id=passage_of(request).trace_id)
            # Whose it is decides the database's row, not the address: another person's grant is not there for you.
            if grant is None or (grant.user_id, grant.tenant_id) != (principal.user_id, principal.tenant_id):
                raise NotFound()
            await revoke_grant(tx, grant, "person")
        return onward(PATH) if wants_html(request) else data({"ended": str(wanted)})

    async def _live(self, principal: Principal) -> list[dict[str, Any]]:
        async with self._clients.desk.db.identity() as tx:
            rows = await tx.fetch(
                """SELECT s.id, s.client_id, s.created_at, s.last_seen_at, g.jkt IS NOT NULL AS bound
                   FROM seawall.sessions s JOIN seawall.client_grants g ON g.id = s.id
                   WHERE s.user_id = $1 AND s.tenant_id = $2 AND s.revoked_at IS NULL AND seawall.grant_is_live(s.id)
                   ORDER BY s.id DESC""",
                principal.user_id,
                principal.tenant_id,
            )
        return [
            {
                "id": str(row["id"]),
                "client_id": row["client_id"],
                "title": self._clients.registry.title_of(row["client_id"]),
                "since": row["created_at"].date().isoformat(),
                "last_seen": row["last_seen_at"].date().isoformat(),
                "bound_to_a_key": row["bound"],
            }
            for row in rows
        ]
