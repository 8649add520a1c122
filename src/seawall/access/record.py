"""What every decision leaves behind: the `Decided` that lets the answer out, and one audit event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from uuid import UUID

from fastapi import Request

from seawall.core.events import Decision, Notice
from seawall.core.scope import Decided, Passage, Principal

ANY = "*"


def resource_name(type_name: str, identity: object) -> str:
    """`Order::"0198…"`. An id that is text came from the caller, and what callers write is not for the audit log."""
    return f'{type_name}::"{identity if isinstance(identity, (UUID, int)) else "?"}"'


def route_of(request: Request) -> str:
    """`POST /orders/{order_id}/refunds`: the declared path, so that no parameter lands in the log."""
    scope: Mapping[str, Any] = request.scope
    included = (scope.get("fastapi") or {}).get("effective_route_context")
    path = getattr(included, "path_format", "") or getattr(scope.get("route"), "path_format", "")
    return f"{request.method} {path}"


def decision_event(
    passage: Passage,
    route: str,
    *,
    action: str,
    resource: str,
    effect: Literal["allow", "deny", "step-up", "approval"],
    policies: tuple[str, ...] = (),
    reason: str = "",
) -> Decision:
    """One audit event. Built without validation: every value is Seawall's own, and this is on every request's way."""
    return Decision.model_construct(
        outcome="success" if effect == "allow" else "refused",
        trace_id=passage.trace_id,
        action=action,
        resource=resource,
        effect=effect,
        policies=policies,
        reason=reason,
        route=route,
    )


def allowed(passage: Passage, principal: Principal, event: Decision, why: str) -> None:
    """Let the answer out. A change, or a read under break-glass, is recorded with it; a plain read goes into the
    bounded batch.
    """
    passage.decision = Decided("policy", why, event.action, event.policies)
    if passage.changes or principal.break_glass is not None:
        passage.events.append(event)
    else:
        passage.runtime.note_read(principal, event)


def noticed(passage: Passage, event: Decision, notices: list[tuple[str, str]]) -> None:
    """Leave what `@notify` of a determining policy asks for: written with the change, or before a read is answered."""
    passage.events += [
        Notice(notice=notice, policy=policy, action=event.action, resource=event.resource, trace_id=passage.trace_id)
        for policy, notice in notices
    ]
