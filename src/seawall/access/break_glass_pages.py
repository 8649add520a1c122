"""`/access/break-glass`: staff ask, agree, read and end; a tenant's stewards see all of it, and end it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from seawall.access.break_glass import LIFETIME_MINUTES_MAX, PATH, Grant, Grants, not_own
from seawall.access.break_glass_cookie import clear_grant, set_grant
from seawall.access.inputs import Line, data, identity_in, in_person, onward, page, read_input, wants_html
from seawall.core.body import Body
from seawall.core.decisions import passage_of, self_service
from seawall.core.errors import Conflict, NotFound
from seawall.core.ids import TICKET
from seawall.core.scope import Principal
from seawall.core.stepup import Intent

MAX_AGE_S = 300
AAL_MIN = 2

Self = Annotated[Principal, self_service("staff and stewards see the break-glass grants that concern them")]


class RequestIn(Body):
    tenant: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,62}$")]
    """The tenant's short name."""
    reason: Annotated[Line, StringConstraints(min_length=10)]
    ticket: Annotated[str, StringConstraints(pattern=TICKET.pattern)]
    minutes: Annotated[int, Field(ge=1, le=LIFETIME_MINUTES_MAX)] = 60


class DecisionIn(Body):
    decision: Literal["approve", "refuse"]


class BreakGlassRoutes:
    """Routes of break-glass. Who is neither staff nor a steward is told that there is nothing here."""

    def __init__(self, grants: Grants, stewards: Sequence[str]) -> None:
        self._grants = grants
        self._stewards = frozenset(stewards)
        self.router = APIRouter(include_in_schema=False)
        for path, endpoint, method in (
            (PATH, self.index, "GET"),
            (PATH, self.request, "POST"),
            (f"{PATH}/{{grant_id}}", self.show, "GET"),
            (f"{PATH}/{{grant_id}}/decision", self.decide, "POST"),
            (f"{PATH}/{{grant_id}}/enter", self.enter, "POST"),
            (f"{PATH}/{{grant_id}}/end", self.end, "POST"),
        ):
            self.router.add_api_route(path, endpoint, methods=[method], response_model=None)

    async def index(self, request: Request, principal: Self) -> Response:
        staff = await self._side(principal)
        found = await self._grants.seen_by(principal, staff=staff)
        if wants_html(request):
            return page(request, "break_glass", grants=found, staff=staff, minutes_max=LIFETIME_MINUTES_MAX)
        return data([_told(one) for one in found])

    async def request(self, request: Request, principal: Self) -> Response:
        in_person(request)
        if not await self._grants.is_staff(principal):
            raise NotFound()
        body = await read_input(request, RequestIn)
        made = await self._grants.request(
            principal,
            slug=body.tenant,
            reason=body.reason,
            ticket=body.ticket,
            lifetime_s=body.minutes * 60,
            trace_id=passage_of(request).trace_id,
        )
        return onward(f"{PATH}/{made.id}") if wants_html(request) else data(_told(made), status=201)

    async def show(self, request: Request, grant_id: str, principal: Self) -> Response:
        staff = await self._side(principal)
        grant = await self._grants.find(principal, identity_in(grant_id), staff=staff)
        reads = await self._grants.reads(grant)
        if wants_html(request):
            own = grant.staff_id == principal.user_id
            return page(request, "grant", grant=grant, staff=staff, own=own, reads=reads)
        seen = [{"at": at.isoformat(), "table": table, "row": row} for at, table, row in reads]
        return data({**_told(grant), "reads": seen})

    async def decide(self, request: Request, grant_id: str, principal: Self) -> Response:
        grant = await self._of_staff(request, principal, grant_id)
        body = await read_input(request, DecisionIn)
        approve = body.decision == "approve"
        not_own(principal, grant)
        if grant.state != "waiting":
            raise Conflict(f"This grant is {grant.state}.")
        if approve:
            await self._confirmed(request, principal, grant.approval())
        trace_id = passage_of(request).trace_id
        decided = await self._grants.decide(principal, grant, approve=approve, trace_id=trace_id)
        return onward(f"{PATH}/{decided.id}") if wants_html(request) else data(_told(decided))

    async def enter(self, request: Request, grant_id: str, principal: Self) -> Response:
        grant = await self._of_staff(request, principal, grant_id)
        if grant.staff_id != principal.user_id:
            raise NotFound("There is no such grant.")
        if grant.state != "live":
            raise Conflict(f"This grant is {grant.state}.")
        if principal.assurance.aal < AAL_MIN:
            await self._confirmed(request, principal, grant.entry())
        await self._grants.note_entry(principal, grant, trace_id=passage_of(request).trace_id)
        answer = onward("/") if wants_html(request) else data(_told(grant))
        answer.headers.append("set-cookie", set_grant(grant.id))
        return answer

    async def end(self, request: Request, grant_id: str, principal: Self) -> Response:
        staff = await self._side(principal)
        grant = await self._grants.find(principal, identity_in(grant_id), staff=staff)
        ended = await self._grants.end(principal, grant, trace_id=passage_of(request).trace_id)
        answer = onward(f"{PATH}/{ended.id}") if wants_html(request) else data(_told(ended))
        if ended.staff_id == principal.user_id:
            answer.headers.append("set-cookie", clear_grant())
        return answer

    async def _confirmed(self, request: Request, principal: Principal, intent: Intent) -> None:
        """Go on with a fresh factor bound to exactly this, used up; else ask for it.

        Raises:
            StepUpRequired: there is none yet.
        """
        passage = passage_of(request)
        step_ups = passage.runtime.step_ups
        if await step_ups.consume(await passage.begin(), intent) is None:
            raise await step_ups.challenge(principal, intent, acr=f"aal{AAL_MIN}", max_age_s=MAX_AGE_S)

    async def _side(self, principal: Principal) -> bool:
        """True for staff, False for a steward of a tenant.

        Raises:
            NotFound: neither.
        """
        if await self._grants.is_staff(principal):
            return True
        if not any(m.scope_id is None and m.role in self._stewards for m in principal.memberships):
            raise NotFound()
        return False

    async def _of_staff(self, request: Request, principal: Principal, grant_id: str) -> Grant:
        in_person(request)
        if not await self._grants.is_staff(principal):
            raise NotFound()
        return await self._grants.find(principal, identity_in(grant_id), staff=True)


def _told(grant: Grant) -> dict[str, Any]:
    """For API clients: the same as the pages show."""
    times = ("requested_at", "decided_at", "expires_at", "ended_at")
    moments = {name: getattr(grant, name) for name in times}
    return {
        "id": str(grant.id),
        "state": grant.state,
        "staff_id": str(grant.staff_id),
        "staff": grant.staff,
        "tenant_id": str(grant.tenant_id),
        "tenant": grant.tenant,
        "reason": grant.reason,
        "ticket": grant.ticket,
        "minutes": grant.lifetime_s // 60,
        "decided_by": str(grant.decided_by) if grant.decided_by else None,
        "reads_only": True,
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
    }
