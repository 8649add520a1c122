"""`/auth/second-factor`: proving the second factor of a session; recovery codes.

The page where people land whose role demands a factor, and who lost theirs: a recovery code is taken here too.
"""

from __future__ import annotations

from typing import Annotated, Any

from starlette.requests import Request
from starlette.responses import Response

from seawall.core.decisions import passage_of, self_service
from seawall.core.errors import Conflict, NotSignedIn, Problem
from seawall.core.events import FactorProof
from seawall.core.scope import Principal
from seawall.core.stepup import Resume
from seawall.identity import cookies, recovery
from seawall.identity.desk import Desk, credential_input, data, onward, own_routes, page, query_of, wants_html
from seawall.identity.factor_gate import FactorGate, change_of_factors
from seawall.identity.factors import change_event, record
from seawall.identity.passkeys import Passkeys
from seawall.identity.paths import ACCOUNT_PATH, own_path
from seawall.identity.sessions import renew_token
from seawall.identity.stepup_pages import WrongCode

PROVE_PATH = "/auth/second-factor"
CODES_PATH = "/auth/recovery-codes"

Newcomer = Annotated[Principal, self_service("people prove their own second factor", before_second_factor=True)]
Self = Annotated[Principal, self_service("people manage their own second factors")]


class NoFactor(Conflict):
    code = "no-second-factor"
    title = "There is no second factor yet"


class FactorRoutes:
    """Routes of proving a factor and of what surrounds it."""

    def __init__(self, desk: Desk, passkeys: Passkeys, gate: FactorGate) -> None:
        self._desk = desk
        self._passkeys = passkeys
        self._gate = gate
        self.router = own_routes(
            ("GET", PROVE_PATH, self.show), ("POST", PROVE_PATH, self.prove), ("POST", CODES_PATH, self.renew_codes)
        )

    async def show(self, request: Request, principal: Newcomer) -> Response:
        """What is owed and how it can be proved: a page, or JSON with options for a passkey."""
        after = own_path(query_of(request).get("next"))
        if wants_html(request) and principal.assurance.aal > 1:
            return onward(after)
        return await self._page(request, principal, after)

    async def _page(self, request: Request, principal: Principal, after: str, why: Problem | None = None) -> Response:
        async with self._desk.db.identity() as tx:
            held = await self._desk.factors.held(tx, principal.user_id)
        options = await self._passkeys.options(request, principal)
        owed = principal.owes_second_factor
        if not wants_html(request):
            return data({"owed": owed, "enrolled": held.dump(), "options": options})
        answer = page(
            request,
            "second_factor",
            status=200 if why is None else why.status,
            owed=owed,
            held=held,
            options=options,
            next=after,
            problem="" if why is None else why.title,
        )
        answer.headers.update({} if why is None else why.headers)
        return answer

    async def prove(self, request: Request, principal: Newcomer) -> Response:
        """Take a code or a passkey's assertion: the session is AAL 2 from then on, and gets a new token."""
        fields, credential = await credential_input(request, "code", "next")
        after = own_path(fields.get("next"))
        try:
            if credential is not None:
                method = await self._passkeys.prove(request, principal, credential)
            else:
                method = await self._code(request, principal, fields.get("code", ""))
        except Problem as why:
            if not wants_html(request):
                raise
            return await self._page(request, principal, after, why)
        async with self._desk.db.identity() as tx:
            token = await renew_token(tx, principal.session_id, method=method)
            if token is None:
                raise NotSignedIn("The session has ended.")
            factor = method if method in {"otp", "recovery"} else "passkey"
            await record(tx, principal, self._proof(request, principal, factor))
        # who used a recovery code has lost something: the account page says what to do about it
        location = ACCOUNT_PATH if method == "recovery" else after
        answer = onward(location) if wants_html(request) else data({"proved": method})
        cookies.set_session(answer, token)
        return answer

    async def _code(self, request: Request, principal: Principal, code: str) -> str:
        limits = self._desk.code_limits(principal.user_id, code)
        await self._desk.throttle.take(*limits)
        async with self._desk.db.identity() as tx:
            method = await self._desk.factors.prove(tx, principal.user_id, code)
            if method is None:
                await record(tx, principal, self._proof(request, principal, "code", reason="wrong-code"))
        if method is None:
            raise WrongCode("Use a code that your authenticator shows now and that was not used before.")
        await self._desk.throttle.give_back(*limits)
        return method

    def _proof(self, request: Request, principal: Principal, factor: Any, reason: str = "") -> FactorProof:
        return FactorProof(
            outcome="refused" if reason else "success",
            user_id=str(principal.user_id),
            factor=factor,
            reason=reason,
            trace_id=passage_of(request).trace_id,
        )

    async def renew_codes(self, request: Request, principal: Self) -> Response:
        """New recovery codes, confirmed with a factor; the old ones are void."""
        async with self._desk.db.identity() as tx:
            if not (await self._desk.factors.held(tx, principal.user_id)).any:
                raise NoFactor("Recovery codes stand for a factor: set up a passkey or an authenticator app first.")
        again = Resume(CODES_PATH, {})
        intent = change_of_factors(principal, "Make new recovery codes. The old ones end.", again, renew="codes")
        async with self._gate.opened(principal, intent) as tx:
            codes = await recovery.new_codes(tx, principal.user_id)
            await record(tx, principal, change_event(request, principal, "recovery-codes", "renewed"))
        if wants_html(request):
            return page(request, "factor_done", factor="codes", recovery=codes, next=ACCOUNT_PATH)
        return data({"recovery_codes": codes})
