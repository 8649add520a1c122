"""Boot gate A: every route declares exactly one decision that fits the schema, or the app does not start.

The absence of a check is what attackers find, and a route is the only place where its absence can be seen before them.
`app.routes` is no longer flat (an included router is one entry), so the walk uses `iter_route_contexts`; frontends,
which that does not visit, are walked apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from starlette.routing import BaseRoute, Mount, Route

from seawall.access.bodies import check_bodies, route_body
from seawall.access.context import NOW
from seawall.access.engine import Engine
from seawall.access.listing import check_listable
from seawall.access.may import APPROVE, REQUIREMENT_ATTR, Requirement
from seawall.access.scoped import SCOPE_ATTR
from seawall.access.views import guarded_fields, views_in
from seawall.core.decisions import BEARER_ATTR, DECISION_ATTR
from seawall.core.errors import Refused


def check_routes(app: FastAPI, engine: Engine) -> int:
    """Check every route of an app.

    Returns how many were checked.

    Raises:
        Refused: naming the first route that is not fit to start, and the line that mends it.
    """
    checked = 0
    for context in iter_route_contexts(app.router.routes):
        if isinstance(context.original_route, APIRoute):
            _check_api_route(context, engine)
        else:
            _check_other(context.original_route, context.path)
        checked += 1
    for route in _frontends(app):
        _check_frontend(route)
        checked += 1
    return checked


def _check_api_route(context: RouteContext, engine: Engine) -> None:
    where = f"{' '.join(sorted(context.methods or ()))} {context.path}"
    dependant: Dependant = context.dependant
    decisions = _decisions(dependant)
    _exactly_one(decisions, where)
    _scope_after_decision(dependant, where)
    _bearer_before_decision(dependant, where)
    check_bodies(dependant, where)
    requirement: Requirement | None = getattr(decisions[0], REQUIREMENT_ATTR, None)
    if requirement is not None:
        _check_requirement(requirement, context, engine, where)
    _check_views(context, engine, where)


def _exactly_one(decisions: list[Any], where: str) -> None:
    if not decisions:
        raise Refused(
            f"{where}: no decision is declared",
            why="a route that nobody decided on is open to everybody",
            fix='add `order: Annotated[Order, may(Order, "read")]`, or `dependencies=[public("why")]`',
        )
    if len(decisions) > 1:
        kinds = ", ".join(f"{getattr(d, DECISION_ATTR)}()" for d in decisions)
        raise Refused(
            f"{where}: {len(decisions)} decisions are declared: {kinds}",
            why="with two it is not clear which one lets the answer out",
            fix="keep one, on the object that is acted on; load others through scope.session()",
        )


def _walk(dependant: Dependant) -> Iterator[Dependant]:
    """A route's dependencies in the order in which FastAPI solves them."""
    for inner in dependant.dependencies:
        yield from _walk(inner)
        yield inner


def _decisions(dependant: Dependant) -> list[Any]:
    found: dict[int, Any] = {}
    for inner in _walk(dependant):
        if hasattr(inner.call, DECISION_ATTR):
            found[id(inner.call)] = inner.call
    return list(found.values())


def _scope_after_decision(dependant: Dependant, where: str) -> None:
    decided = False
    for inner in _walk(dependant):
        decided = decided or hasattr(inner.call, DECISION_ATTR)
        if hasattr(inner.call, SCOPE_ATTR) and not decided:
            raise Refused(
                f"{where}: the scope is asked for before the decision",
                why="there is no scope without a decision, and FastAPI solves parameters in their order",
                fix="put the parameter with may() before `scope: Scope`",
            )


def _bearer_before_decision(dependant: Dependant, where: str) -> None:
    """`bearer()` is no decision, but the decision admits the caller: said later, it would say nothing."""
    decided = False
    for inner in _walk(dependant):
        if hasattr(inner.call, BEARER_ATTR) and decided:
            raise Refused(
                f"{where}: bearer() stands after the decision",
                why="the decision admits the caller, and refuses a token without proof before bearer() is read",
                fix="put bearer(…) first: dependencies=[bearer(…), …] of the route or of its router",
            )
        decided = decided or hasattr(inner.call, DECISION_ATTR)


def _check_requirement(requirement: Requirement, context: RouteContext, engine: Engine, where: str) -> None:
    try:
        ruling = engine.ruling(requirement.model, requirement.action)
    except Refused as refused:
        raise Refused(f"{where}: {refused.what}", why=refused.why, fix=refused.fix) from None
    if requirement.listing:
        check_listable(engine, requirement.model, requirement.action, where)
        return
    engine.requirements.setdefault((requirement.model, requirement.action), requirement)
    if requirement.param is not None and requirement.param not in _path_names(context):
        raise Refused(
            f"{where}: the path has no parameter {requirement.param!r}",
            why=f"the {requirement.model.__name__} to be authorised is named by the path",
            fix=f"put {{{requirement.param}}} into the path, or say may(…, param=…)",
        )
    body = route_body(context.dependant)
    if requirement.body is not None and body is not requirement.body:
        raise Refused(
            f"{where}: may() is told of the body {requirement.body.__name__}, the handler takes "
            f"{getattr(body, '__name__', 'another parameter')}",
            why="what is decided on must be what is done",
            fix=f"call the handler's parameter `body: {requirement.body.__name__}`",
        )
    if (ruling.slice.step_up or ruling.slice.approval) and body is not None and requirement.body is None:
        raise Refused(
            f"{where}: action {requirement.action!r} can demand a confirmation, but may() is not told of the body",
            why="the approval would not be bound to what is done: one for $101 could buy $900",
            fix=f"say may({requirement.model.__name__}, {requirement.action!r}, context={body.__name__})",
        )
    ruling.context.check_claims(requirement.body, requirement.facts, where)
    if ruling.slice.approval and engine.applies(requirement.model, APPROVE):
        _check_approve(requirement, engine, where)


def _check_approve(requirement: Requirement, engine: Engine, where: str) -> None:
    context = engine.ruling(requirement.model, APPROVE).context
    if not context.complete or context.reads - {NOW}:
        raise Refused(
            f'{where}: policies of the action "{APPROVE}" ask for more than who approves what, and when',
            why="they are asked when somebody approves, and again when that is used, without a session of theirs",
            fix=f'decide "{APPROVE}" by roles and the object; the context may hold now, and nothing else is read',
        )


def _path_names(context: RouteContext) -> set[str]:
    return set(re.findall(r"{([^}:]+)", context.path or ""))


def _check_views(context: RouteContext, engine: Engine, where: str) -> None:
    """A guarded field that is null rather than absent tells that it exists; a misspelt action hides it from all."""
    field = getattr(context, "response_field", None)
    if field is None:
        return
    for view in views_in(field.field_info.annotation):
        for action in guarded_fields(view):
            if action not in engine.schema.actions:
                raise Refused(
                    f'{where}: {view.__name__} shows fields with the action "{action}", which the schema does not know',
                    why="nobody would ever see them",
                    fix=f'declare `action "{action}"`, or correct seen_with(…)',
                )
        if not context.response_model_exclude_unset:
            raise Refused(
                f"{where}: answers {view.__name__}, which has guarded fields, with unset fields included",
                why="a hidden field must be absent, not null or its default",
                fix="add response_model_exclude_unset=True to the route",
            )


def _check_other(route: BaseRoute, path: str | None) -> None:
    """Mounts, websockets and plain Starlette routes: no dependency runs there, so nothing decides."""
    target = getattr(route, "app", None) if isinstance(route, Mount) else getattr(route, "endpoint", None)
    if isinstance(route, Mount | Route) and hasattr(target, DECISION_ATTR):
        return
    kind = type(route).__name__
    raise Refused(
        f"{kind} {path or '?'}: no decision is declared",
        why="dependencies do not run there, so may() and public() could not decide",
        fix="use a route of FastAPI (include_router for a group of them), and Pages' static files for assets",
    )


def _frontends(app: FastAPI) -> Iterator[Any]:
    # FastAPI gives no public way to list what app.frontend() adds; a rename would be seen by the unit test
    yield from app.router._iter_low_priority_routes()


def _check_frontend(route: Any) -> None:
    dependant = getattr(route, "dependant", None)
    where = f"frontend {getattr(route, 'path', '') or '/'}"
    _exactly_one(_decisions(dependant) if dependant is not None else [], where)
