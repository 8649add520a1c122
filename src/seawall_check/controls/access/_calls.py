"""What the access controls share: the author's expectations as calls, and who got through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx2

from seawall_check.controls._requests import Call, calls, row, send
from seawall_check.document import Persona
from seawall_check.probes.http import Operation, filled
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
