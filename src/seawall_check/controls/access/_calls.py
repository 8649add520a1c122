"""What the access controls share: the author's expectations as calls, and who got through."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from seawall_check.controls._requests import Call, calls, row, send
from seawall_check.document import Persona
from seawall_check.probes.http import Operation, filled, resolve
from seawall_check.target import Target

__all__ = ["Call", "calls", "decided", "first_allowed", "first_decided", "row", "send", "stated", "values_of"]

HANDLED = frozenset({409})
"""A conflict is the handler's own answer: the caller got past the decision, but the object is in another state."""


def decided(response: httpx2.Response) -> bool:
    """Whether the caller was let through to the handler."""
    return response.status_code < 400 or response.status_code in HANDLED


def stated(target: Target) -> Iterator[tuple[Operation, Mapping[str, Any]]]:
    """The operations of which the author says who may call them, with what was said."""
    for operation in target.operations:
        said = row(target, operation)
        if said:
            yield operation, said


def values_of(operation: Operation, objects: Mapping[str, Any]) -> dict[str, str] | None:
    """The last object for every path parameter (other controls begin with the first); None when one is unknown."""
    values = {name: objects[name][-1] for name in operation.path_names if objects.get(name)}
    return values if len(values) == len(operation.path_names) else None


def body_of(operation: Operation, said: Mapping[str, Any], objects: Mapping[str, Any]) -> Any:
    """The stated body with the given objects, or one that fits the schema."""
    return filled(said["body"], objects) if "body" in said else operation.sample_body()


async def first_decided(target: Target, operation: Operation, persona: Persona) -> tuple[Call, httpx2.Response] | None:
    """The first stated call of this persona that reaches the handler, else the last that was tried."""
    last: tuple[Call, httpx2.Response] | None = None
    for call in calls(target, operation, [persona]):
        last = call, await send(target, call)
        if decided(last[1]):
            break
    return last


async def first_allowed(
    target: Target, operation: Operation, said: Mapping[str, Any]
) -> tuple[Call, httpx2.Response] | None:
    """The first call of a persona whom the author allows that reaches the handler; None when there is none."""
    for persona in target.personas:
        if persona.role in said.get("allow", ()):
            found = await first_decided(target, operation, persona)
            if found is not None and decided(found[1]):
                return found
    return None


def widened(operation: Operation, body: Any, name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Copies of a body with one member more: in the body itself, and in each object within it that has a closed form.

    Gives where it was added, such as `lines.0.price`, and the copy; not where there is a member of that name already.
    """
    for path, members in _objects(operation, operation.body or {}, body):
        if name in members:
            continue
        changed = copy.deepcopy(body)
        inner = changed
        for step in path:
            inner = inner[step]
        inner[name] = value
        yield ".".join(map(str, (*path, name))), changed


def _objects(
    operation: Operation, schema: Any, value: Any, path: tuple[Any, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """Every object of a value whose schema names its members, with where it is and those members."""
    schema = resolve(schema, operation.document)
    options = [resolve(one, operation.document) for one in schema.get("anyOf", ())]
    schema = next((one for one in options if "properties" in one or "items" in one), schema)
    if isinstance(value, Mapping) and ("properties" in schema or not path):
        members = schema.get("properties", {})
        yield path, members
        for name, one in value.items():
            yield from _objects(operation, members.get(name, {}), one, (*path, name))
    elif isinstance(value, list):
        for place, one in enumerate(value):
            yield from _objects(operation, schema.get("items", {}), one, (*path, place))


async def taken(target: Target, call: Call, claims: Mapping[str, Any]) -> list[tuple[str, httpx2.Response]]:
    """The members that no body has and that were not refused with 422. Each alone: one refusal must not hide others."""
    found: list[tuple[str, httpx2.Response]] = []
    for name, value in claims.items():
        for where, body in widened(call.operation, call.body, name, value):
            answer = await send(target, call, body=body)
            if answer.status_code != 422:
                found.append((where, answer))
    return found


def told(found: list[tuple[str, httpx2.Response]], otherwise: str) -> str:
    """The first few of those in words."""
    return "; ".join(f"{where}: {answer.status_code}" for where, answer in found[:5]) or otherwise
