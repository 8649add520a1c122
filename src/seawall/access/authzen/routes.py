"""The endpoints of the Authorization API, and who may ask.

Everybody may ask about themself. Asking about others is an action on the tenant, `evaluate_access`, which the policies
allow or do not; an app whose schema does not name it allows it to nobody. Whoever is asked about belongs to
the caller's tenant, because row-level security and the directory know nobody else.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from seawall.access.authzen.directory import Members, TenantDirectory
from seawall.access.authzen.point import Answer, DecisionPoint
from seawall.access.authzen.questions import Page, Question, batch, page, question
from seawall.access.engine import Allow, Engine
from seawall.access.entities import PRINCIPAL
from seawall.access.record import decision_event, resource_name, route_of
from seawall.core.decisions import passage_of, public, self_service
from seawall.core.errors import BadRequest, Forbidden, WrongContentType
from seawall.core.scope import Principal, Tenant
from seawall.settings import Settings

ABOUT_OTHERS = "evaluate_access"
"""The action on the tenant that lets somebody ask what others may do."""
PREFIX = "/access/v1"
METADATA = "/.well-known/authzen-configuration"
REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

Self = Annotated[Principal, self_service("everybody may ask what they themselves may do")]
Search = Callable[[DecisionPoint, Question, Page], Awaitable[Answer]]


class AuthZen:
    """The decision point of an app, as routes."""

    def __init__(self, engine: Engine, members: Callable[[], Members], settings: Settings) -> None:
        self._engine, self._members, self._settings = engine, members, settings
        self.router = APIRouter(include_in_schema=False)
        add = self.router.add_api_route
        add(f"{PREFIX}/evaluation", self.evaluation, methods=["POST"], response_model=None)
        add(f"{PREFIX}/evaluations", self.evaluations, methods=["POST"], response_model=None)
        add(f"{PREFIX}/search/subject", self.search_subject, methods=["POST"], response_model=None)
        add(f"{PREFIX}/search/resource", self.search_resource, methods=["POST"], response_model=None)
        add(f"{PREFIX}/search/action", self.search_action, methods=["POST"], response_model=None)
        add(
            METADATA,
            self.metadata,
            methods=["GET"],
            response_model=None,
            dependencies=[public("says where the decision point is, and nothing about anybody")],
        )

    async def evaluation(self, request: Request, principal: Self) -> Response:
        asked = question(await _document(request))
        await self._may_ask(request, principal, [asked])
        return _answer(request, await self._point(request, principal).evaluation(asked))

    async def evaluations(self, request: Request, principal: Self) -> Response:
        document = await _document(request)
        asked = batch(document)
        if asked is None:
            return await self.evaluation(request, principal)
        await self._may_ask(request, principal, [one for one in asked.questions if isinstance(one, Question)])
        return _answer(request, await self._point(request, principal).evaluations(asked))

    async def search_subject(self, request: Request, principal: Self) -> Response:
        return await self._search(request, principal, "subject", DecisionPoint.subjects)

    async def search_resource(self, request: Request, principal: Self) -> Response:
        return await self._search(request, principal, "resource", DecisionPoint.resources)

    async def search_action(self, request: Request, principal: Self) -> Response:
        return await self._search(request, principal, "action", DecisionPoint.actions)

    async def _search(self, request: Request, principal: Principal, seeks: str, search: Search) -> Response:
        document = await _document(request)
        asked, part = question(document, seeks=seeks), page(document)
        await self._may_ask(request, principal, [asked])
        return _answer(request, await search(self._point(request, principal), asked, part))

    def _point(self, request: Request, principal: Principal) -> DecisionPoint:
        directory = TenantDirectory(passage_of(request), principal, self._engine, self._members())
        return DecisionPoint(self._engine, directory)

    async def _may_ask(self, request: Request, principal: Principal, asked: list[Question]) -> None:
        """Let those through who ask about themselves, or may ask about others; the latter is recorded.

        Raises:
            Forbidden: about somebody else, without the action that allows it.
        """
        own = str(principal.user_id)
        if all(one.subject.id == own and one.subject.type.lower() == PRINCIPAL.lower() for one in asked):
            return
        passage, verdict = passage_of(request), None
        if self._engine.applies(Tenant, ABOUT_OTHERS):
            ruling = self._engine.ruling(Tenant, ABOUT_OTHERS)
            verdict = self._engine.decide(principal, ruling, Tenant(principal.tenant_id))
        allowed = isinstance(verdict, Allow)
        passage.events.append(
            decision_event(
                passage,
                route_of(request),
                action=ABOUT_OTHERS,
                resource=resource_name(self._engine.schema.qualified("Tenant"), principal.tenant_id),
                effect="allow" if allowed else "deny",
                policies=verdict.policies if verdict is not None else (),
                reason="" if allowed else "about-others",
            )
        )
        if not allowed:
            passage.decision = None  # self-service covers questions about oneself only
            raise Forbidden("You may ask what you yourself may do.")

    async def metadata(self, request: Request) -> Response:
        origin = self._settings.web.public_origin or f"{request.url.scheme}://{request.url.netloc}"
        document = {
            "policy_decision_point": origin,
            "access_evaluation_endpoint": f"{origin}{PREFIX}/evaluation",
            "access_evaluations_endpoint": f"{origin}{PREFIX}/evaluations",
            "search_subject_endpoint": f"{origin}{PREFIX}/search/subject",
            "search_resource_endpoint": f"{origin}{PREFIX}/search/resource",
            "search_action_endpoint": f"{origin}{PREFIX}/search/action",
            # ours: which policies run, so that anybody can compare them with the tree that was reviewed
            "seawall_policies_sha256": self._engine.book.digest,
        }
        return JSONResponse(document)


async def _document(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise WrongContentType("Questions are JSON.")
    try:
        return orjson.loads(await request.body())
    except ValueError:
        raise BadRequest("The body is not JSON.") from None


def _answer(request: Request, answer: Answer) -> Response:
    """The answer, with the caller's own request id, when it is one that can stand in a header."""
    given = request.headers.get(REQUEST_ID, "")
    headers = {REQUEST_ID: given} if _REQUEST_ID.fullmatch(given) else {}
    return JSONResponse(answer, headers=headers)
