"""Fields that a role may not see are absent, and fields that nobody may set are refused.

Why
    An answer with a field too many is a leak that no screen shows: the courier's app hides the card number that the API
    sent. And a body with a field too many is an update that no form offers (mass assignment).

How it is attacked
    For every row of `[check.fields]` the object is read as that role: the named fields must be there, and those to be
    absent must not appear anywhere in the answer, not even as null; nor in any other answer that this role is given and
    that shows such an object, as lists and searches do. Then fields are added, one by one, to the body of every stated
    change and to each object within it: an unknown one, and those that only answers have (`status`, `total`, …). Each
    must be refused with 422, and the object read before and after be the same.

How to fix
    Mark fields `Annotated[…, seen_with("action")]`, answer with `reveal(View, object, scope)` on a route with
    `response_model_exclude_unset=True`, and derive bodies from `seawall.Body`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls._requests import first_allowed as first_answered
from seawall_check.controls.access._calls import (
    Call,
    decided,
    first_allowed,
    first_decided,
    send,
    stated,
    taken,
    told,
)
from seawall_check.document import Persona
from seawall_check.probes.http import Operation, resolve, sample
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/field-level",
    title="Fields that a role may not see are absent, and fields that nobody may set are refused",
    refs=("ASVS 8.2.3", "ASVS 15.3.3"),
    timeout_s=240,
)

UNKNOWN = "seawall_check_unknown"


async def check(target: Target, trial: Trial) -> None:
    rows = target.expectations.get("fields", {})
    if not rows:
        trial.unproven("[check.fields] says nothing about who may see which fields")
    operations = {operation.name: operation for operation in target.operations}
    for name, roles in rows.items():
        operation = operations.get(name)
        if operation is None:
            trial.unproven(f"[check.fields] names {name}, which the OpenAPI document does not list")
            continue
        elsewhere = {field for said in roles.values() for field in said.get("present", ())}
        for role, said in roles.items():
            hidden = set(said.get("absent", ())) - elsewhere - set(_answered(operation))
            if hidden:
                trial.unproven(f"{name}: nothing shows that {', '.join(sorted(hidden))} exist")
            if not target.who(role=role):
                trial.unproven(f"there is no persona with the role {role}")
            for persona in target.who(role=role):
                await _seen(target, trial, operation, persona, said)
                await _seen_elsewhere(target, trial, operation, persona, set(said.get("absent", ())))
    for operation, said in stated(target):
        if operation.body is not None:
            await _set(target, trial, operation, said)


async def _seen(target: Target, trial: Trial, operation: Operation, persona: Persona, said: Mapping[str, Any]) -> None:
    found = await first_decided(target, operation, persona)
    if found is None or found[1].status_code >= 400:
        trial.unproven(f"{operation.name} answered {persona.name} on no object")
        return
    call, answer = found
    present, absent = set(said.get("present", ())), set(said.get("absent", ()))
    names = set(_names(answer.json()))
    lacking, shown = sorted(present - names), sorted(absent & names)
    trial.allow(
        f"{call.name} shows {', '.join(sorted(present)) or 'an object'}",
        f"lacks {', '.join(lacking)}" if lacking else "all are there",
        ok=not lacking,
        expected="all are there",
        artifact=answer,
        of=call.name,
    )
    if absent:
        trial.refuse(
            f"{call.name} shows {', '.join(sorted(absent))}",
            f"shows {', '.join(shown)}" if shown else "none is there",
            ok=not shown,
            expected="none is there",
            artifact=answer,
            of=call.name,
        )


async def _seen_elsewhere(target: Target, trial: Trial, reader: Operation, persona: Persona, absent: set[str]) -> None:
    """The same objects in every other answer: the route that reads one is where their author thought of it."""
    name = reader.path_names[-1] if reader.path_names else ""
    ids = {one for tenant in target.tenants for one in tenant.objects.get(name, ())}
    for operation, said in stated(target):
        searches = operation.method == "POST" and "200" in operation.responses
        if operation.name == reader.name or not absent or not (operation.safe or searches):
            continue
        found = await first_answered(target, operation, [persona]) if persona.role in said.get("allow", ()) else None
        shown = list(_shown(found[1], ids)) if found is not None else []
        if found is None or not shown:
            continue
        call, answer = found
        of = f"elsewhere {call.name}"
        trial.allow(f"{call.name} shows such objects", f"{len(shown)} of them", ok=True, of=of)
        wrong = sorted(absent & {member for one in shown for member in _names(one)})
        trial.refuse(
            f"{call.name} shows {', '.join(sorted(absent))}",
            f"shows {', '.join(wrong)}" if wrong else "none is there",
            ok=not wrong,
            expected="none is there",
            artifact=answer,
            of=of,
        )


def _shown(answer: httpx2.Response, ids: set[str]) -> Iterator[Mapping[str, Any]]:
    """The objects of these ids that an answer holds, however deep."""

    def within(value: Any) -> Iterator[Mapping[str, Any]]:
        if isinstance(value, Mapping):
            if value.get("id") in ids:
                yield value
            value = list(value.values())
        for one in value if isinstance(value, list) else ():
            yield from within(one)

    if "json" in answer.headers.get("content-type", ""):
        yield from within(answer.json())


def _answered(operation: Operation) -> Mapping[str, Any]:
    """Every field that the route's answer may have, by its own document, with its schema."""
    found: dict[str, Any] = {}
    for answer in operation.responses.values():
        schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
        found |= resolve(schema, operation.document).get("properties", {})
    return found


def _names(value: Any) -> Iterator[str]:
    """Every member name in a JSON value, however deep."""
    if isinstance(value, Mapping):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from _names(one)


async def _set(target: Target, trial: Trial, operation: Operation, said: Mapping[str, Any]) -> None:
    """Add fields that the body does not have: an unknown one, and those that only answers have."""
    found = await first_allowed(target, operation, said)
    if found is None or not isinstance(found[0].body, Mapping):
        return
    call, plain = found
    of = f"set {operation.name}"
    trial.allow(f"{call.name}, plainly", plain, ok=decided(plain), expected="reaches the handler", of=of)
    known = resolve(operation.body or {}, operation.document).get("properties", {})
    extra = {UNKNOWN: 1} | {n: sample(part, operation.document) for n, part in _answered(operation).items()}
    extra = {name: value for name, value in extra.items() if name not in known}
    before = await _read(target, call)
    found_taken = await taken(target, call, extra)
    trial.refuse(
        f"{call.name}, with {len(extra)} fields that the body does not have",
        told(found_taken, "each was refused with 422"),
        ok=not found_taken,
        expected="422 for each",
        artifact=found_taken[0][1] if found_taken else None,
        of=of,
    )
    after = await _read(target, call)
    changed = sorted(name for name in extra if name in before and before[name] != after.get(name))
    if found_taken and changed:
        trial.refuse(
            f"{call.name}: change read-only fields of the object",
            f"changed {', '.join(changed)}",
            ok=False,
            expected="as before",
            of=of,
        )


async def _read(target: Target, call: Call) -> Mapping[str, Any]:
    """The object that a change is on, read by the route above it; empty when there is none."""
    for operation in target.operations:
        if operation.method == "GET" and operation.path_names and call.operation.path.startswith(operation.path):
            answer = await send(target, Call(operation, call.persona, call.values, None))
            value = answer.json() if answer.status_code == 200 else None
            if isinstance(value, dict):
                return value
    return {}
