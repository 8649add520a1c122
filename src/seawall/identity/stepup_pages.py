"""`/auth/step-up/{challenge_id}`: says exactly what is approved, takes the code, sends the original request again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import orjson
from starlette.requests import Request
from starlette.responses import Response

from seawall.core.decisions import self_service
from seawall.core.errors import Conflict, Forbidden, NotFound, Problem
from seawall.core.scope import Principal
from seawall.identity import cookies
from seawall.identity.desk import Desk, credential_input, data, own_routes, page, wants_html
from seawall.identity.passkeys import Passkeys
from seawall.identity.stepup import Challenge, DatabaseStepUps

TOO_MANY = "Too many attempts. Wait a little."

Self = Annotated[
    Principal, self_service("people approve their own actions with their own factor", before_second_factor=True)
]


class WrongCode(Forbidden):
    """Wrong, old, or used before: one answer for all three."""

    code = "wrong-code"
    title = "That code is not valid"


class StepUpRoutes:
    """Routes of approving one action."""

    def __init__(
        self,
        desk: Desk,
        step_ups: DatabaseStepUps,
        passkeys: Passkeys,
        *,
        client_title: Callable[[str], str] = str,
    ) -> None:
        self._desk = desk
        self._step_ups = step_ups
        self._passkeys = passkeys
        self._client_title = client_title
        path = "/auth/step-up/{challenge_id}"
        self.router = own_routes(("GET", path, self.show), ("POST", path, self.approve))

    async def show(self, request: Request, challenge_id: str, principal: Self) -> Response:
        challenge = await self._challenge(principal, challenge_id)
        if wants_html(request):
            return await self._page(request, principal, challenge)
        async with self._desk.db.identity() as tx:
            held = await self._desk.factors.held(tx, principal.user_id)
        return data(
            {
                "challenge": str(challenge.id),
                "action": challenge.action,
                "resource": challenge.resource,
                "params": challenge.params,
                "summary": challenge.summary,
                "acr": challenge.acr,
                "expires_at": challenge.expires_at.isoformat(),
                "approved": challenge.approved_at is not None,
                "enrolled": held.any,
                "options": await self._passkeys.options(request, principal, challenge),
                "client": self._client(challenge),
            }
        )

    async def approve(self, request: Request, challenge_id: str, principal: Self) -> Response:
        """Take a code, or an assertion whose challenge commits to exactly this action."""
        fields, credential = await credential_input(request, "code")
        challenge = await self._challenge(principal, challenge_id)
        try:
            if credential is not None:
                method = await self._with_passkey(request, principal, challenge, credential)
            else:
                method = await self._with_code(principal, challenge, fields.get("code", ""))
            async with self._desk.db.identity() as tx:
                token = await self._step_ups.approve(tx, principal, challenge, method)
        except Problem as why:
            if not wants_html(request):
                raise
            return await self._page(request, principal, challenge, why)
        if token is None:
            raise Conflict("This was approved already, or is over.")
        answer = self._approved(request, challenge)
        cookies.set_session(answer, token)
        return answer

    async def _with_passkey(self, request: Request, principal: Principal, challenge: Challenge, credential: Any) -> str:
        try:
            return await self._passkeys.prove(request, principal, credential, challenge)
        except Forbidden:
            await self._note_failure(principal, challenge)
            raise

    async def _with_code(self, principal: Principal, challenge: Challenge, code: str) -> str:
        limits = self._desk.code_limits(principal.user_id, code)
        await self._desk.throttle.take(*limits)
        async with self._desk.db.identity() as tx:
            method = await self._desk.factors.prove(tx, principal.user_id, code)
        if method is None:
            await self._note_failure(principal, challenge)
            raise WrongCode("Use a code that your authenticator shows now and that was not used before.")
        await self._desk.throttle.give_back(*limits)
        return method

    async def _note_failure(self, principal: Principal, challenge: Challenge) -> None:
        async with self._desk.db.identity() as tx:
            await self._step_ups.note_failure(tx, principal, challenge)

    async def _challenge(self, principal: Principal, challenge_id: str) -> Challenge:
        try:
            wanted = UUID(challenge_id)
        except ValueError:
            raise NotFound() from None
        async with self._desk.db.identity() as tx:
            challenge = await self._step_ups.find(tx, principal, wanted)
        if challenge is None:
            raise NotFound("This request for approval is over, or is not yours.")
        return challenge

    def _client(self, challenge: Challenge) -> str | None:
        """What the client is called that asked; None when it was this browser."""
        return None if challenge.client_id is None else self._client_title(challenge.client_id)

    async def _page(
        self, request: Request, principal: Principal, challenge: Challenge, why: Problem | None = None
    ) -> Response:
        async with self._desk.db.identity() as tx:
            held = await self._desk.factors.held(tx, principal.user_id)
        answer = page(
            request,
            "step_up",
            status=200 if why is None else why.status,
            challenge=challenge,
            rows=_rows(challenge.params),
            client=self._client(challenge),
            held=held,
            options=await self._passkeys.options(request, principal, challenge),
            problem="" if why is None else TOO_MANY if why.status == 429 else why.title,
        )
        answer.headers.update({} if why is None else why.headers)
        return answer

    def _approved(self, request: Request, challenge: Challenge) -> Response:
        if wants_html(request):
            return page(request, "approved", challenge=challenge, resume=challenge.resume)
        return data({"approved": str(challenge.id), "action": challenge.action, "resource": challenge.resource})


def _rows(params: dict[str, Any]) -> list[tuple[str, str]]:
    """Every parameter as a person reads it; nothing of what the digest covers is left out."""
    return [
        (name.replace("_", " "), value if isinstance(value, str) else orjson.dumps(value).decode())
        for name, value in sorted(params.items())
    ]
