"""`/auth/totp`: enrolling an authenticator app.

The first factor needs a sign-in of the last five minutes; replacing one needs a step-up approved with the old one. So a
session left open is not enough to plant a factor (ASVS 7.5.1).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

import segno
from fastapi import APIRouter
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from seawall.audit import append_as
from seawall.core.clock import now
from seawall.core.decisions import passage_of, self_service
from seawall.core.errors import NotSignedIn, TooMany
from seawall.core.events import FactorChange
from seawall.core.scope import Principal
from seawall.core.stepup import Intent
from seawall.identity import cookies
from seawall.identity.desk import Desk, data, input_of, onward, page, query_of, wants_html
from seawall.identity.paths import own_path
from seawall.identity.sessions import raise_epoch, renew_token
from seawall.identity.sign_in import RECENT_SIGN_IN_S
from seawall.identity.stepup import DatabaseStepUps
from seawall.identity.stepup_pages import CODE_LIMIT, WrongCode
from seawall.identity.totp import otpauth_uri

Self = Annotated[Principal, self_service("people enrol their own second factor")]


class RecentSignInRequired(NotSignedIn):
    """Signed in, but too long ago for this."""

    code = "recent-sign-in-required"
    title = "Sign in again first"


class TotpRoutes:
    """Routes of enrolling."""

    def __init__(self, desk: Desk, step_ups: DatabaseStepUps) -> None:
        self._desk = desk
        self._step_ups = step_ups
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/auth/totp", self.start, methods=["GET"], response_model=None)
        self.router.add_api_route("/auth/totp", self.confirm, methods=["POST"], response_model=None)

    async def start(self, request: Request, principal: Self) -> Response:
        """Make a secret that this session may confirm, and show it, this once."""
        after = own_path(query_of(request).get("next"))
        async with self._desk.db.identity() as tx:
            enrolled = await self._desk.factors.enrolled(tx, principal.user_id)
            intent = _replacement(principal)
            allowed = (
                await self._step_ups.consume_own(tx, principal, intent)
                if enrolled
                else now() - principal.assurance.authenticated_at <= timedelta(seconds=RECENT_SIGN_IN_S)
            )
            secret = await self._desk.factors.start(tx, principal.user_id, principal.session_id) if allowed else ""
        if enrolled and not allowed:
            raise await self._step_ups.challenge_page(principal, intent, "/auth/totp", {"next": after})
        if not allowed:
            if wants_html(request):
                here = f"/auth/totp?{urlencode({'next': after})}"
                return onward(f"/auth/sign-in?{urlencode({'fresh': '1', 'next': here})}")
            raise RecentSignInRequired("Enrolling a factor needs a sign-in of the last five minutes.")
        return await self._enrolment(request, principal, secret, after)

    async def confirm(self, request: Request, principal: Self) -> Response:
        """Take the first code of the new factor; from then on it counts, and every other session ends."""
        fields = await input_of(request, "code", "next")
        after = own_path(fields.get("next"))
        limit = self._desk.account_limit(CODE_LIMIT, str(principal.user_id))
        try:
            await self._desk.throttle.take(limit)
        except TooMany as slow:
            return await self._again(request, principal, after, slow)
        async with self._desk.db.identity() as tx:
            recovery = await self._desk.factors.confirm(
                tx, principal.user_id, principal.session_id, fields.get("code", "")
            )
            token = None
            if recovery is not None:
                await raise_epoch(tx, principal.user_id, keep=principal.session_id)
                token = await renew_token(tx, principal.session_id, method="otp")
            await self._record(tx, request, principal, success=token is not None)
        if recovery is None or token is None:
            wrong = WrongCode("Use the code that your authenticator shows now for this new entry.")
            return await self._again(request, principal, after, wrong)
        await self._desk.throttle.give_back(limit)
        if wants_html(request):
            answer = page(request, "totp_done", recovery=recovery, next=after)
        else:
            answer = data({"enrolled": True, "recovery_codes": recovery})
        cookies.set_session(answer, token)
        return answer

    async def _again(self, request: Request, principal: Principal, after: str, why: WrongCode | TooMany) -> Response:
        async with self._desk.db.identity() as tx:
            secret = await self._desk.factors.pending(tx, principal.user_id, principal.session_id)
        if not wants_html(request) or secret is None:
            raise why
        answer = await self._enrolment(request, principal, secret, after, problem=why.title, status=why.status)
        answer.headers.update(why.headers)
        return answer

    async def _enrolment(
        self,
        request: Request,
        principal: Principal,
        secret: str,
        after: str,
        *,
        problem: str = "",
        status: int = 200,
    ) -> Response:
        async with self._desk.db.identity() as tx:
            email = await tx.fetchval("SELECT email FROM seawall.users WHERE id = $1", principal.user_id)
        uri = otpauth_uri(secret, account=email, issuer=self._desk.settings.app.name)
        if not wants_html(request):
            return data({"secret": secret, "otpauth_uri": uri})
        # An inline element with presentation attributes only: the policy forbids style attributes and data: scripts.
        svg = Markup(segno.make(uri, micro=False).svg_inline(scale=5, border=2, dark="#000", light="#fff"))  # noqa: S704
        spaced = " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
        return page(request, "totp", status=status, svg=svg, secret=spaced, uri=uri, next=after, problem=problem)

    async def _record(self, tx: Any, request: Request, principal: Principal, *, success: bool) -> None:
        event = FactorChange(
            outcome="success" if success else "refused",
            user_id=str(principal.user_id),
            factor="totp",
            change="enrolled",
            trace_id=passage_of(request).trace_id,
        )
        await append_as(
            tx, [event], tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id
        )


def _replacement(principal: Principal) -> Intent:
    return Intent(
        action="replace_second_factor",
        resource=f'User::"{principal.user_id}"',
        summary="Replace the authenticator app that confirms your actions with a new one.",
    )
