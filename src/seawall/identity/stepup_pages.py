"""`/auth/step-up/{challenge_id}`: says exactly what is approved, takes the code, sends the original request again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from seawall.core.decisions import self_service
from seawall.core.errors import Conflict, Forbidden, NotFound, TooMany
from seawall.core.scope import Principal
from seawall.identity import cookies
from seawall.identity.desk import Desk, data, input_of, page, wants_html
from seawall.identity.stepup import Challenge, DatabaseStepUps

CODE_LIMIT = "totp"

Self = Annotated[Principal, self_service("people approve their own actions with their own factor")]


class WrongCode(Forbidden):
    """Wrong, old, or used before: one answer for all three."""

    code = "wrong-code"
    title = "That code is not valid"


class StepUpRoutes:
    """Routes of approving one action."""

    def __init__(self, desk: Desk, step_ups: DatabaseStepUps, *, client_title: Callable[[str], str] = str) -> None:
        self._desk = desk
        self._step_ups = step_ups
        self._client_title = client_title
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/auth/step-up/{challenge_id}", self.show, methods=["GET"], response_model=None)
        self.router.add_api_route("/auth/step-up/{challenge_id}", self.approve, methods=["POST"], response_model=None)

    async def show(self, request: Request, challenge_id: str, principal: Self) -> Response:
        challenge = await self._challenge(principal, challenge_id)
        async with self._desk.db.identity() as tx:
            enrolled = await self._desk.factors.enrolled(tx, principal.user_id)
        if wants_html(request):
            return self._page(request, challenge, enrolled=enrolled)
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
                "enrolled": enrolled,
                "client": self._client(challenge),
            }
        )

    async def approve(self, request: Request, challenge_id: str, principal: Self) -> Response:
        fields = await input_of(request, "code")
        challenge = await self._challenge(principal, challenge_id)
        limit = self._desk.account_limit(CODE_LIMIT, str(principal.user_id))
        try:
            await self._desk.throttle.take(limit)
        except TooMany as slow:
            if not wants_html(request):
                raise
            answer = self._page(request, challenge, problem="Too many attempts. Wait a little.", status=slow.status)
            answer.headers.update(slow.headers)
            return answer
        async with self._desk.db.identity() as tx:
            method = await self._desk.factors.prove(tx, principal.user_id, fields.get("code", ""))
            if method is None:
                await self._step_ups.note_failure(tx, principal, challenge)
        if method is None:
            if not wants_html(request):
                raise WrongCode("Use a code that your authenticator shows now and that was not used before.")
            return self._page(request, challenge, problem=WrongCode.title, status=WrongCode.status)
        await self._desk.throttle.give_back(limit)
        async with self._desk.db.identity() as tx:
            token = await self._step_ups.approve(tx, principal, challenge, method)
        if token is None:
            raise Conflict("This was approved already, or is over.")
        answer = self._approved(request, challenge)
        cookies.set_session(answer, token)
        return answer

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

    def _page(
        self, request: Request, challenge: Challenge, *, enrolled: bool = True, problem: str = "", status: int = 200
    ) -> Response:
        return page(
            request,
            "step_up",
            status=status,
            challenge=challenge,
            rows=_rows(challenge.params),
            client=self._client(challenge),
            enrolled=enrolled,
            problem=problem,
        )

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
