"""Nobody reaches a function above their role: every route with every persona.

Why
    Buttons that are hidden are not functions that are closed. Whoever reads the page's source, or the OpenAPI document,
    calls the route that only owners should (BFLA).

How it is attacked
    Every JSON route of the OpenAPI document is called by every persona of both tenants and by nobody at all. Who may
    call it is what the app's author states in `[check.routes]`; whoever is stated must reach the handler, all others
    must be refused, with their own object as well as with one that an allowed colleague acts on; where something is
    changed, they try first, since what a colleague took away is not there for anybody. A route that is no page and that
    the author says nothing about is unproven.

How to fix
    Write a `permit` for the roles that need the function and none for the rest, and state it in `[check.routes]`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls.access._calls import (
    Call,
    body_of,
    calls,
    decided,
    first_decided,
    row,
    send,
    values_of,
)
from seawall_check.document import Persona
from seawall_check.probes.http import Operation
from seawall_check.target import Target
from seawall_check.trial import Trial

# Alone and last, because it does everything that anybody may do, such as take away roles.
control = Control(
    id="access/function-level",
    title="Nobody reaches a function above their role",
    refs=("ASVS 8.2.1",),
    timeout_s=300,
    exclusive=True,
)

FORBIDDEN = frozenset({401, 403, 404})


async def check(target: Target, trial: Trial) -> None:
    if not target.personas:
        trial.unproven("target.json names no personas")
    # what takes away comes last, so that it does not take away what the others need
    for operation in sorted(target.operations, key=lambda one: one.method == "DELETE"):
        said = row(target, operation)
        if said:
            await _matrix(target, trial, operation, said)
        elif not _is_page(operation) and not _of_sign_in(target, operation):
            trial.unproven(f"{operation.name} has no row in [check.routes], so nobody knows who may call it")
    await _give_back(target)


async def _matrix(target: Target, trial: Trial, operation: Operation, said: Mapping[str, Any]) -> None:
    allowed = [persona for persona in target.personas if persona.role in said.get("allow", ())]
    others = [persona for persona in target.personas if persona not in allowed]
    reached: dict[str, Call] = {}
    of = operation.name
    tried: list[tuple[Call, httpx2.Response]] = []
    for persona in () if operation.safe else others:
        colleagues = [one for one in allowed if one.tenant == persona.tenant]
        for call in _tries(target, operation, said, persona, next(calls(target, operation, colleagues), None)):
            tried.append((call, await send(target, call)))
    for persona in allowed:
        found = await first_decided(target, operation, persona)
        if found is None:
            if _alone(target, persona):
                trial.unproven(f"{persona.name} has no object to call {operation.name} with")
            continue
        call, answer = found
        trial.allow(call.name, answer, ok=decided(answer), expected="reaches the handler", of=of)
        if decided(answer):
            reached.setdefault(persona.tenant, call)
    done = [call for call, _ in tried]
    for persona in others:
        for call in _tries(target, operation, said, persona, reached.get(persona.tenant)):
            if call not in done:
                tried.append((call, await send(target, call)))
    for call, answer in tried:
        trial.refuse(call.name, answer, statuses=FORBIDDEN, of=of)
    await _nobody(target, trial, operation, next(iter(reached.values()), None))


def _tries(
    target: Target, operation: Operation, said: Mapping[str, Any], persona: Persona, model: Call | None
) -> Iterator[Call]:
    """By a persona above whose role this is: with the object that a colleague was allowed, and with its own."""
    if model is not None:
        yield Call(operation, persona, model.values, model.body)
    own = values_of(operation, persona.objects)
    if own is not None and (model is None or own != dict(model.values)):
        objects = {**target.tenant(persona.tenant).objects, **persona.objects}
        yield Call(operation, persona, own, body_of(operation, said, objects))


async def _give_back(target: Target) -> None:
    """What a DELETE took away, such as a role, is given again by the route above it, for whoever comes after."""
    for operation in target.operations:
        for taken in target.operations:
            above = taken.path.startswith(f"{operation.path}/")
            if taken.method == "DELETE" and operation.method in ("POST", "PUT") and above:
                for persona in target.personas:
                    if persona.role in row(target, operation).get("allow", ()):
                        await first_decided(target, operation, persona)


async def _nobody(target: Target, trial: Trial, operation: Operation, model: Call | None) -> None:
    if model is None:
        return
    answer = await operation.send(await target.client(None), model.values, body=model.body)
    trial.refuse(f"nobody: {operation.name}", answer, statuses={401}, of=operation.name)


def _alone(target: Target, persona: Persona) -> bool:
    """Whether nobody else of this role is in the tenant, who could show that the role may."""
    return len(target.who(role=persona.role, tenant=persona.tenant)) == 1


def _is_page(operation: Operation) -> bool:
    """Whether it answers people and not programs. A route that answers nothing, as a deletion may, is no page."""
    return any(
        "text/html" in answer.get("content", {})
        for status, answer in operation.responses.items()
        if status.startswith("2")
    )


def _of_sign_in(target: Target, operation: Operation) -> bool:
    """Identity's own routes: other controls judge them."""
    return operation.path.startswith(target.sign_in.me.rpartition("/")[0] + "/")
