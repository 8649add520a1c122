"""`/access/requests`, what I asked for, and `/access/approvals`, what is asked of me: pages for people, JSON for APIs.

Both are about the signed-in person, so the routes are self-service; what the person may answer is decided here, by the
roles that the policy named when it was asked, and by the policies of the action `approve` where the schema has one.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from seawall.access.approvals import Approvals, may_answer
from seawall.access.asked import Request as Asked
from seawall.access.engine import Allow, Engine
from seawall.access.inputs import Line, data, identity_in, in_person, onward, page, read_input, wants_html
from seawall.access.may import APPROVE
from seawall.core.body import Body
from seawall.core.decisions import passage_of, self_service
from seawall.core.errors import Conflict, Forbidden, NotFound
from seawall.core.scope import Principal, Tenant

REQUESTS = "/access/requests"
APPROVALS = "/access/approvals"

Mine = Annotated[Principal, self_service("people see and withdraw what they asked for")]
AskedOfMe = Annotated[Principal, self_service("people answer what is asked of a role that they hold")]


class AskIn(Body):
    binding_token: UUID
    """As the denial gave it: names the draft that the server keeps of exactly what was denied."""
    reason: Line


class AnswerIn(Body):
    decision: Literal["approve", "refuse"]
    reason: Line


class ApprovalRoutes:
    """Routes of asking and answering."""

    def __init__(self, approvals: Approvals, engine: Engine) -> None:
        self._approvals = approvals
        self._engine = engine
        self.router = APIRouter(include_in_schema=False)
        for path, endpoint, method in (
            (REQUESTS, self.mine, "GET"),
            (REQUESTS, self.ask, "POST"),
            (f"{REQUESTS}/{{request_id}}", self.show_mine, "GET"),
            (f"{REQUESTS}/{{request_id}}/withdraw", self.withdraw, "POST"),
            (APPROVALS, self.inbox, "GET"),
            (f"{APPROVALS}/{{request_id}}", self.show, "GET"),
            (f"{APPROVALS}/{{request_id}}", self.answer, "POST"),
        ):
            self.router.add_api_route(path, endpoint, methods=[method], response_model=None)

    # Asking -----------------------------------------------------------------------------------------------------

    async def mine(self, request: Request, principal: Mine) -> Response:
        found = await self._approvals.mine(principal)
        if wants_html(request):
            return page(request, "requests", requests=found)
        return data([_told(one) for one in found])

    async def ask(self, request: Request, principal: Mine) -> Response:
        body = await read_input(request, AskIn)
        trace_id = passage_of(request).trace_id
        made = await self._approvals.ask(principal, body.binding_token, body.reason, trace_id=trace_id)
        return onward(f"{REQUESTS}/{made.id}") if wants_html(request) else data(_told(made), status=201)

    async def show_mine(self, request: Request, request_id: str, principal: Mine) -> Response:
        found = await self._approvals.find(principal, identity_in(request_id), own=True)
        if wants_html(request):
            return page(request, "request", asked=found, rows=rows(found.params))
        return data(_told(found))

    async def withdraw(self, request: Request, request_id: str, principal: Mine) -> Response:
        trace_id = passage_of(request).trace_id
        found = await self._approvals.withdraw(principal, identity_in(request_id), trace_id=trace_id)
        return onward(f"{REQUESTS}/{found.id}") if wants_html(request) else data(_told(found))

    # Answering --------------------------------------------------------------------------------------------------

    async def inbox(self, request: Request, principal: AskedOfMe) -> Response:
        asked = await self._approvals.asked_of(principal)
        found = [one for one in asked if one.decision is not None or await self._may(request, principal, one)]
        if wants_html(request):
            return page(request, "approvals", requests=found)
        return data([_told(one) for one in found])

    async def show(self, request: Request, request_id: str, principal: AskedOfMe) -> Response:
        found = await self._answerable(request, principal, request_id)
        if wants_html(request):
            return page(request, "approval", asked=found, rows=rows(found.params))
        return data(_told(found))

    async def answer(self, request: Request, request_id: str, principal: AskedOfMe) -> Response:
        in_person(request)
        body = await read_input(request, AnswerIn)
        found = await self._answerable(request, principal, request_id)
        if not found.open:
            raise Conflict(f"This request is {found.state}.")
        decision: Literal["approved", "refused"] = "approved" if body.decision == "approve" else "refused"
        trace_id = passage_of(request).trace_id
        decided = await self._approvals.decide(principal, found.id, decision, body.reason, trace_id=trace_id)
        return onward(f"{APPROVALS}/{decided.id}") if wants_html(request) else data(_told(decided))

    async def _answerable(self, request: Request, principal: Principal, request_id: str) -> Asked:
        """The request, if this person may answer it. Whoever may not is told no more than that it is not there,
        except the one who asked, who knows.
        """
        wanted = identity_in(request_id)
        try:
            found = await self._approvals.find(principal, wanted, own=False)
        except NotFound:
            own = await self._approvals.find(principal, wanted, own=True)
            may_answer(principal, own, anywhere=True)
            raise
        if not await self._may(request, principal, found):
            raise NotFound("There is no such request.")
        return found

    async def _may(self, request: Request, principal: Principal, asked: Asked) -> bool:
        model = self._engine.model(asked.resource.partition('::"')[0])
        judged = model is not None and self._engine.applies(model, APPROVE)
        try:
            may_answer(principal, asked, anywhere=judged)
        except Forbidden:
            return False
        return not judged or await self._policies_agree(request, principal, model, asked)

    async def _policies_agree(self, request: Request, principal: Principal, model: Any, asked: Asked) -> bool:
        instance = await self._instance(request, principal, model, asked)
        if instance is None:
            return False
        return isinstance(self._engine.decide(principal, self._engine.ruling(model, APPROVE), instance), Allow)

    async def _instance(self, request: Request, principal: Principal, model: Any, asked: Asked) -> Any:
        if model is Tenant:
            return Tenant(principal.tenant_id)
        loader = self._engine.loader(model)
        try:
            identity = loader.identity_type(asked.resource.partition('::"')[2].removesuffix('"'))
        except ValueError:
            return None
        return await loader.load(await passage_of(request).begin(), principal.tenant_id, identity, lock=False)


def rows(params: dict[str, Any] | None) -> list[tuple[str, str]]:
    """Every parameter as a person reads it; nothing of what the digest covers is left out, while it is kept."""
    return [
        (name.replace("_", " "), value if isinstance(value, str) else orjson.dumps(value).decode())
        for name, value in sorted((params or {}).items())
    ]


def _told(asked: Asked) -> dict[str, Any]:
    """For API clients: the same as the pages show."""
    times = ("created_at", "asked_at", "expires_at", "decided_at", "consumed_at")
    moments = {name: getattr(asked, name) for name in times}
    return {
        "id": str(asked.id),
        "state": asked.state,
        "action": asked.action,
        "resource": asked.resource,
        "params": asked.params,
        "summary": asked.summary,
        "roles": list(asked.roles),
        "requester_id": str(asked.requester_id),
        "reason": asked.reason,
        "decided_by": str(asked.decided_by) if asked.decided_by else None,
        "decision_reason": asked.decision_reason,
        "links": {
            "self": f"{REQUESTS}/{asked.id}",
            "withdraw": f"{REQUESTS}/{asked.id}/withdraw",
            "answer": f"{APPROVALS}/{asked.id}",
        },
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
    }
