"""`/auth/identities`: the accounts at providers by which a person signs in.

Adding one gives whoever holds it the person's whole account, so it needs a second factor approved for exactly that; so
does taking one away. The last one stays, or nobody could come back. And no session adds or takes away a way into more
than it could enter itself (`reach`).
"""

from __future__ import annotations

from typing import Annotated, Any

from starlette.requests import Request
from starlette.responses import Response

from seawall.audit import append_as
from seawall.core.decisions import passage_of, self_service
from seawall.core.errors import Conflict, NotFound
from seawall.core.events import Link
from seawall.core.scope import Principal
from seawall.core.stepup import Intent, Resume
from seawall.identity import reach
from seawall.identity.desk import Desk, data, input_of, onward, own_routes, page, wants_html
from seawall.identity.providers import Provider
from seawall.identity.sign_in import SignInRoutes
from seawall.identity.stepup import DatabaseStepUps
from seawall.identity.transactions import SignInTransaction, forget_begun

HERE = "/auth/identities"

Self = Annotated[Principal, self_service("people choose by which accounts they sign in")]


class IdentityRoutes:
    """Routes of one's own accounts at providers."""

    def __init__(
        self, desk: Desk, step_ups: DatabaseStepUps, sign_in: SignInRoutes, providers: dict[str, Provider]
    ) -> None:
        self._desk = desk
        self._step_ups = step_ups
        self._sign_in = sign_in
        self._providers = providers
        self.router = own_routes(
            ("GET", HERE, self.show),
            ("GET", HERE + "/link/{provider}", self.link),
            ("POST", HERE + "/unlink", self.unlink),
        )

    async def show(self, request: Request, principal: Self) -> Response:
        async with self._desk.db.identity() as tx:
            rows = await self._rows(tx, principal)
        linked = {row["issuer"] for row in rows}
        offers = [
            {"name": p.name, "title": p.title, "url": f"{HERE}/link/{p.name}"}
            for p in self._providers.values()
            if p.issuer not in linked
        ]
        if wants_html(request):
            return page(request, "identities", identities=rows, offers=offers)
        return data({"identities": rows, "offers": offers})

    async def _rows(self, tx: Any, principal: Principal) -> list[dict[str, str]]:
        titles = {p.issuer: p.title for p in self._providers.values()}
        found = await tx.fetch(
            "SELECT issuer, subject, linked_at FROM seawall.identities WHERE user_id = $1 ORDER BY linked_at, issuer",
            principal.user_id,
        )
        return [
            {
                "issuer": row["issuer"],
                "subject": row["subject"],
                "title": titles.get(row["issuer"], row["issuer"]),
                "linked_at": row["linked_at"].isoformat(timespec="seconds"),
            }
            for row in found
        ]

    async def link(self, request: Request, provider: str, principal: Self) -> Response:
        """Go to the provider, once a second factor has approved it, and come back with one more way in."""
        known = self._providers.get(provider)
        if known is None:
            raise NotFound()
        intent = Intent(
            action="link_provider",
            resource=f'User::"{principal.user_id}"',
            params={"provider": known.title, "issuer": known.issuer},
            summary=f"Let your account at {known.title} sign in as you.",
        )
        async with self._desk.db.identity() as tx:
            await self._check_reach(tx, principal, known.issuer)
            approved = await self._step_ups.consume_own(tx, principal, intent)
        if not approved:
            raise await self._step_ups.challenge_page(principal, intent, f"{HERE}/link/{provider}", {})
        transaction = SignInTransaction(
            purpose="link",
            provider=provider,
            redirect_uri=self._sign_in.redirect_uri(request, provider),
            next=HERE,
            replaces=passage_of(request).token_hash,
            user_id=principal.user_id,
        )
        return await self._sign_in.send_to(known, request, transaction)

    async def _check_reach(self, tx: Any, principal: Principal, issuer: str) -> None:
        providers = self._providers.values()
        await reach.check_within(tx, principal, reach.of_issuer(issuer, providers), providers)

    async def unlink(self, request: Request, principal: Self) -> Response:
        """Take one away, once a second factor has approved it."""
        fields = await input_of(request, "issuer", "subject")
        wanted = {"issuer": fields.get("issuer", ""), "subject": fields.get("subject", "")}
        intent = Intent(
            action="unlink_provider",
            resource=f'User::"{principal.user_id}"',
            params=wanted,
            summary="Take away one of the accounts by which you sign in.",
            resume=Resume(f"{HERE}/unlink", wanted) if wants_html(request) else None,
        )
        async with self._desk.db.identity() as tx:
            # Locked, so that of two removals at once the second sees what the first has left.
            await tx.fetchval("SELECT 1 FROM seawall.users WHERE id = $1 FOR UPDATE", principal.user_id)
            rows = await self._rows(tx, principal)
            mine = [row for row in rows if {name: row[name] for name in wanted} == wanted]
            if not mine:
                raise NotFound()
            await self._check_reach(tx, principal, wanted["issuer"])
            if len(rows) == 1:
                raise Conflict("This is the last account by which you sign in.", code="last-identity")
            approved = await self._step_ups.consume_own(tx, principal, intent)
            if approved:
                await tx.execute(
                    "DELETE FROM seawall.identities WHERE issuer = $1 AND subject = $2 AND user_id = $3",
                    wanted["issuer"],
                    wanted["subject"],
                    principal.user_id,
                )
                await self._end_sessions(tx, principal, wanted)
                await self._record(tx, request, principal, wanted["issuer"])
        if not approved:
            raise await self._step_ups.challenge(principal, intent, acr="aal2", max_age_s=300)
        return onward(HERE) if wants_html(request) else data({"unlinked": wanted})

    async def _end_sessions(self, tx: Any, principal: Principal, wanted: dict[str, str]) -> None:
        """Sessions that began there end, except the one that asks; and what is about to begin."""
        await forget_begun(tx, principal.user_id)
        await tx.execute(
            """UPDATE seawall.sessions s SET revoked_at = now(), revoke_reason = 'unlinked'
               FROM seawall.provider_sessions p WHERE p.session_id = s.id AND p.issuer = $1 AND p.subject = $2
                 AND s.user_id = $3 AND s.id <> $4 AND s.revoked_at IS NULL""",
            wanted["issuer"],
            wanted["subject"],
            principal.user_id,
            principal.session_id,
        )

    async def _record(self, tx: Any, request: Request, principal: Principal, issuer: str) -> None:
        name = next((p.name for p in self._providers.values() if p.issuer == issuer), "")
        event = Link(
            user_id=str(principal.user_id), provider=name, change="unlinked", trace_id=passage_of(request).trace_id
        )
        await append_as(
            tx, [event], tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id
        )
