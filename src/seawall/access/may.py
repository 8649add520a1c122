"""`may()`: the authorised object *is* the parameter, so there is no unauthorised one to misuse.

    OrderToRefund = Annotated[Order, may(Order, "refund", context=RefundIn)]

    @app.post("/orders/{order_id}/refunds")
    async def refund(order: OrderToRefund, body: RefundIn, scope: Scope) -> RefundOut: ...

Order of things: the caller is admitted, the object is loaded under row-level security (and locked, when the request may
change something), facts are computed, Cedar decides, and only then does the handler run. Whoever may not even `read` an
object is told that it does not exist (404); whoever may see it and not do this is told so (403).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from fastapi import Depends, Path, Request
from pydantic import BaseModel

from seawall.access.engine import Allow, Deny, Engine, NeedsApproval, Ruling, StepUp, Verdict
from seawall.access.record import allowed, decision_event, noticed, resource_name, route_of
from seawall.access.scoped import FactScope
from seawall.access.values import Unconvertible
from seawall.core.decisions import DECISION_ATTR, passage_of
from seawall.core.errors import Forbidden, NotFound, Problem
from seawall.core.scope import Passage, Principal, Scope, Tenant
from seawall.core.stepup import Intent, Resume
from seawall.store.loader import identity_of

REQUIREMENT_ATTR = "__seawall_requirement__"
"""The `Requirement` of a decision dependency, for the boot gate."""
READ = "read"
"""The action whose permission tells a 403 from a 404."""
APPROVE = "approve"
"""If the schema has this action for an object, its policies say who of the asked roles may approve on which."""

Facts = Callable[[Any, Any, Scope], Awaitable[Mapping[str, Any]]]
Describe = Callable[[Any, Any], str | None]


@dataclass(frozen=True, slots=True)
class Requirement:
    """What a route declared with `may()` or `may_list()`.

    Args:
        model: the class of the object.
        action: the Cedar action.
        param: the path parameter that names the object; None for the caller's own tenant and for lists.
        body: the model of the body whose fields are claims.
        facts: computes what the server knows, after the row is locked.
        describe: says in a sentence what is to be approved.
        listing: whether it is a list, which names no object.
    """

    model: type[Any]
    action: str
    param: str | None = None
    body: type[BaseModel] | None = None
    facts: Facts | None = None
    describe: Describe | None = None
    listing: bool = False


def engine_of(passage: Passage) -> Engine:
    """The engine that `app.py` wired."""
    engine: Engine = passage.runtime.engine  # type: ignore[attr-defined]  # core cannot name a heading's class
    return engine


def approvals_of(passage: Passage) -> Any:
    """The `approvals.Approvals` that `app.py` wired."""
    return passage.runtime.approvals  # type: ignore[attr-defined]  # core cannot name a heading's class


async def caller(request: Request) -> Principal:
    """The caller. Solved before a body is validated, so that strangers learn nothing of its shape."""
    return await passage_of(request).require_actor()


def may(
    model: type[Any],
    action: str,
    *,
    context: Any = None,
    facts: Facts | None = None,
    describe: Describe | None = None,
    param: str | None = None,
) -> Any:
    """Declare that a route acts on one object, which the parameter then is.

    Args:
        model: a `Tenanted` model, or `Tenant` for the caller's own tenant, which needs no path parameter.
        action: an action of the Cedar schema.
        context: the body's model, or `Annotated[Model, Form()]`; its fields that the action's context declares are
            passed to the policies as claims. The handler's own parameter must be called `body` as well.
        facts: `async (object, body, scope) -> mapping`, what only the server knows, such as what was refunded today.
        describe: `(object, body) -> str`, one sentence for the step-up page.
        param: the path parameter; default is the model's name in snake case and `_id`.

    Raises:
        Refused: when the model has no single id.
        NotSignedIn, SecondFactorRequired, NotFound, Forbidden, StepUpRequired: at the request.
    """
    own_tenant = model is Tenant
    name = None if own_tenant else param or f"{_snake(model.__name__)}_id"
    requirement = Requirement(model, action, name, _model_of(context), facts, describe)

    async def decide(request: Request, **given: Any) -> Any:
        identity = given[name] if name is not None else None
        return await _Decision(request, requirement, given.get("body"), identity).made()

    parameters = [_parameter("request", Request)]
    if name is not None:
        identity_type = identity_of(model)[1]
        parameters.append(_parameter(name, Annotated[identity_type, Path()]))
    if context is not None:
        parameters.append(_parameter("caller", Annotated[Principal, Depends(caller)]))
        parameters.append(_parameter("body", context))
    decide.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    setattr(decide, DECISION_ATTR, "may")
    setattr(decide, REQUIREMENT_ATTR, requirement)
    return Depends(decide)


class _Decision:
    """One decision on one object, on its way."""

    def __init__(self, request: Request, requirement: Requirement, body: BaseModel | None, identity: Any) -> None:
        self.request = request
        self.requirement = requirement
        self.body = body
        self.identity = identity
        self.passage = passage_of(request)
        self.engine = engine_of(self.passage)
        self.route = route_of(request)

    async def made(self) -> Any:
        """The object, or a `Problem`."""
        requirement, passage = self.requirement, self.passage
        principal = await passage.require_actor()
        if principal.break_glass is not None and passage.changes:
            raise Forbidden("Break-glass reads; it changes nothing.", code="read-only")
        ruling = self.engine.ruling(requirement.model, requirement.action)
        instance = await self._loaded(principal, ruling)
        verdict: Verdict
        try:
            extra = await self._extra(principal, ruling, instance)
        except Unconvertible:
            self.engine.alert(ruling, "Unconvertible")
            verdict, extra = Deny((), "evaluation-error"), {}
        except Problem:
            # facts are computed before it is known whether the caller may know anything of the object
            if requirement.model is Tenant or self._visible(principal, instance):
                raise
            raise self._refusal(principal, ruling, instance, Deny((), "no-permit")) from None
        else:
            verdict = self.engine.decide(principal, ruling, instance, extra)
        if principal.break_glass is None:
            approved = isinstance(verdict, NeedsApproval)
            if isinstance(verdict, NeedsApproval):
                verdict = await self._approved(principal, ruling, instance, extra, verdict)
            if isinstance(verdict, StepUp):
                verdict = await self._stepped_up(principal, ruling, instance, extra, verdict, approved=approved)
        if not isinstance(verdict, Allow):
            raise self._refusal(principal, ruling, instance, verdict)
        event = self._event(ruling, "allow", verdict.policies)
        allowed(passage, principal, event, f"{requirement.action} {ruling.resource.type_name}")
        noticed(passage, event, self.engine.notices(verdict.policies))
        return instance

    async def _loaded(self, principal: Principal, ruling: Ruling) -> Any:
        if self.requirement.model is Tenant:
            self.identity = principal.tenant_id
            return Tenant(principal.tenant_id)
        loader = self.engine.loader(self.requirement.model)
        transaction = await self.passage.begin()
        instance = await loader.load(transaction, principal.tenant_id, self.identity, lock=self.passage.changes)
        if instance is None:
            self.passage.events.append(self._event(ruling, "deny", reason="absent"))
            raise NotFound()
        transaction.adopt(instance)
        return instance

    async def _extra(self, principal: Principal, ruling: Ruling, instance: Any) -> dict[str, Any]:
        extra = ruling.context.claims(self.body)
        if self.requirement.facts is not None:
            known = await self.requirement.facts(instance, self.body, FactScope(self.passage, principal))
            extra.update(ruling.context.facts(known, self.body))
        return extra

    async def _approved(
        self, principal: Principal, ruling: Ruling, instance: Any, extra: dict[str, Any], wanted: NeedsApproval
    ) -> Verdict:
        """Go on with a live approval of exactly this by somebody who may still give it; else say how to ask for one."""
        intent = await self._intent(ruling, instance)
        approvals = approvals_of(self.passage)
        judged = self.engine.applies(self.requirement.model, APPROVE)
        used = await approvals.consume(await self.passage.begin(), intent, wanted.obligation, anywhere=judged)
        if used is None:
            self.passage.events.append(self._event(ruling, "approval", wanted.policies, "approval"))
            raise await approvals.draft(principal, intent, wanted.obligation)
        if judged:
            theirs = self.engine.ruling(self.requirement.model, APPROVE)
            if not isinstance(self.engine.decide(used.approver(principal), theirs, instance), Allow):
                return Deny(wanted.policies, "approver")
        return self.engine.decide(principal, ruling, instance, extra, approved=True)

    async def _stepped_up(
        self,
        principal: Principal,
        ruling: Ruling,
        instance: Any,
        extra: dict[str, Any],
        wanted: StepUp,
        *,
        approved: bool,
    ) -> Verdict:
        """Go on with a live confirmation of exactly this; else ask for one."""
        intent = await self._intent(ruling, instance)
        step_ups = self.passage.runtime.step_ups
        approval = await step_ups.consume(await self.passage.begin(), intent)
        if approval is not None:
            return self.engine.decide(principal, ruling, instance, extra, step_up=True, approved=approved)
        obligation = wanted.obligation
        self.passage.events.append(self._event(ruling, "step-up", wanted.policies, "step-up"))
        raise await step_ups.challenge(principal, intent, acr=obligation.acr, max_age_s=obligation.max_age_s)

    async def _intent(self, ruling: Ruling, instance: Any) -> Intent:
        requirement = self.requirement
        params: dict[str, Any] = {} if self.body is None else self.body.model_dump(mode="json")
        # The caller chose these too: whom a role goes to stands in the path. A name with a blank is no body field.
        path = {name: str(value) for name, value in self.request.path_params.items() if name != requirement.param}
        if path:
            params["the path"] = path
        if self.request.query_params:
            params["the query"] = sorted(map(list, self.request.query_params.multi_items()))
        summary = requirement.describe(instance, self.body) if requirement.describe else None
        resource = f'{ruling.resource.type_name}::"{self.identity}"'
        return Intent(
            action=requirement.action,
            resource=resource,
            params=params,
            summary=summary or f"{requirement.action} {resource}",
            resume=await self._resume(),
        )

    async def _resume(self) -> Resume | None:
        """A person's form or page, to be sent again once it is approved. An API client repeats its request itself."""
        query = self.request.url.query
        if self.passage.method == "GET" and self.passage.wants_html:
            asked = self.request.query_params.multi_items()
            return _faithful(self.request.url.path, asked, "get")
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.passage.method != "POST" or kind not in ("application/x-www-form-urlencoded", "multipart/form-data"):
            return None
        form = await self.request.form()
        return _faithful(self.request.url.path + (f"?{query}" if query else ""), form.multi_items(), "post")

    def _refusal(
        self, principal: Principal, ruling: Ruling, instance: Any, verdict: Deny | StepUp | NeedsApproval
    ) -> Forbidden | NotFound:
        reason = verdict.reason if isinstance(verdict, Deny) else "unmet-obligation"
        self.passage.events.append(self._event(ruling, "deny", verdict.policies, reason))
        # passage.decision stays unset: should the app swallow this error, gate C still holds the answer back
        if self.requirement.model is Tenant or self._visible(principal, instance):
            return Forbidden()
        return NotFound()

    def _visible(self, principal: Principal, instance: Any) -> bool:
        """Whether the caller may know that the object exists. Without a `read` action nobody may."""
        model = self.requirement.model
        if self.requirement.action == READ or not self.engine.applies(model, READ):
            return False
        ruling = self.engine.ruling(model, READ)
        return ruling.context.complete and isinstance(self.engine.decide(principal, ruling, instance), Allow)

    def _event(self, ruling: Ruling, effect: Any, policies: tuple[str, ...] = (), reason: str = "") -> Any:
        return decision_event(
            self.passage,
            self.route,
            action=ruling.action,
            resource=resource_name(ruling.resource.type_name, self.identity),
            effect=effect,
            policies=policies,
            reason=reason,
        )


def _faithful(path: str, items: list[tuple[str, Any]], method: str) -> Resume | None:
    """None for a repeated field or a file, which a form cannot repeat faithfully."""
    fields = {name: value for name, value in items if isinstance(value, str)}
    return Resume(path, fields, method) if len(fields) == len(items) else None


def _parameter(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _model_of(context: Any) -> type[BaseModel] | None:
    model = get_args(context)[0] if get_origin(context) is Annotated else context
    return model if isinstance(model, type) and issubclass(model, BaseModel) else None
