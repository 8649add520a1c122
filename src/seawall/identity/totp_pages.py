"""`/auth/totp`: enrolling an authenticator app, removing it.

Who may do so: `factor_gate`.
"""

from __future__ import annotations

from typing import Annotated

import segno
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from seawall.core.decisions import self_service
from seawall.core.errors import NotFound, TooMany
from seawall.core.scope import Principal
from seawall.identity import cookies
from seawall.identity.desk import CODE_LIMIT, Desk, data, input_of, own_routes, page, query_of, wants_html
from seawall.identity.factor_gate import FactorGate, change_of_factors
from seawall.identity.factor_removal import Removal, remove_factor
from seawall.identity.factors import change_event, record
from seawall.identity.paths import own_path
from seawall.identity.stepup_pages import WrongCode
from seawall.identity.totp import otpauth_uri

REMOVE_PATH = "/auth/totp/remove"

Newcomer = Annotated[Principal, self_service("people enrol their own second factor", before_second_factor=True)]
Self = Annotated[Principal, self_service("people manage their own second factors")]


class TotpRoutes:
    """Routes of one's own authenticator app."""

    def __init__(self, desk: Desk, gate: FactorGate) -> None:
        self._desk = desk
        self._gate = gate
        self.router = own_routes(
            ("GET", "/auth/totp", self.start), ("POST", "/auth/totp", self.confirm), ("POST", REMOVE_PATH, self.remove)
        )

    async def start(self, request: Request, principal: Newcomer) -> Response:
        """Make a secret that this session may confirm, and show it, this once."""
        after = own_path(query_of(request).get("next"))
        async with self._desk.db.identity() as tx:
            replaces = await self._desk.factors.totp.enrolled(tx, principal.user_id)
        intent = (
            change_of_factors(principal, "Replace your authenticator app with a new one.", replace="totp")
            if replaces
            else change_of_factors(principal, "Add an authenticator app that can confirm your actions.", add="totp")
        )
        async with self._gate.opened(principal, intent, ("/auth/totp", {"next": after})) as tx:
            secret = await self._desk.factors.totp.start(tx, principal.user_id, principal.session_id)
        return await self._enrolment(request, principal, secret, after)

    async def confirm(self, request: Request, principal: Newcomer) -> Response:
        """Take the first code of the new factor; from then on it counts, and every other session ends."""
        fields = await input_of(request, "code", "next")
        after = own_path(fields.get("next"))
        limit = self._desk.account_limit(CODE_LIMIT, str(principal.user_id))
        try:
            await self._desk.throttle.take(limit)
        except TooMany as slow:
            return await self._again(request, principal, after, slow)
        async with self._desk.db.identity() as tx:
            method = await self._desk.factors.totp.confirm(
                tx, principal.user_id, principal.session_id, fields.get("code", "")
            )
            changed = None
            if method is None:
                refused = change_event(request, principal, "totp", "enrolled", outcome="refused")
                await record(tx, principal, refused)
            else:
                event = change_event(request, principal, "totp", "enrolled")
                changed = await self._desk.factors.settle(tx, principal, event, method=method)
        if changed is None:
            wrong = WrongCode("Use the code that your authenticator shows now for this new entry.")
            return await self._again(request, principal, after, wrong)
        await self._desk.throttle.give_back(limit)
        if wants_html(request):
            answer = page(request, "factor_done", factor="totp", recovery=changed.recovery_codes, next=after)
        else:
            answer = data({"enrolled": True, "recovery_codes": changed.recovery_codes})
        cookies.set_session(answer, changed.token)
        return answer

    async def _again(self, request: Request, principal: Principal, after: str, why: WrongCode | TooMany) -> Response:
        """The page once more, without the secret: here is no gate, so whoever has the session's cookie may ask."""
        async with self._desk.db.identity() as tx:
            secret = await self._desk.factors.totp.pending(tx, principal.user_id, principal.session_id)
        if not wants_html(request) or secret is None:
            raise why
        answer = page(request, "totp", status=why.status, secret=None, next=after, problem=why.title)
        answer.headers.update(why.headers)
        return answer

    async def _enrolment(self, request: Request, principal: Principal, secret: str, after: str) -> Response:
        async with self._desk.db.identity() as tx:
            email = await tx.fetchval("SELECT email FROM seawall.users WHERE id = $1", principal.user_id)
        uri = otpauth_uri(secret, account=email, issuer=self._desk.settings.app.name)
        if not wants_html(request):
            return data({"secret": secret, "otpauth_uri": uri})
        # An inline element with presentation attributes only: the policy forbids style attributes and data: scripts.
        svg = Markup(segno.make(uri, micro=False).svg_inline(scale=5, border=2, dark="#000", light="#fff"))  # noqa: S704
        spaced = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
        return page(request, "totp", svg=svg, secret=spaced, next=after, problem="")

    async def remove(self, request: Request, principal: Self) -> Response:
        """Take the authenticator app away."""
        async with self._desk.db.identity() as tx:
            held = await self._desk.factors.held(tx, principal.user_id)
        if not held.totp:
            raise NotFound()
        removal = Removal(
            factor="totp",
            name="totp",
            summary="Remove your authenticator app.",
            path=REMOVE_PATH,
            left=held.passkeys > 0,
            delete=lambda tx: self._desk.factors.totp.remove(tx, principal.user_id),
        )
        return await remove_factor(self._desk, self._gate, request, principal, removal)
