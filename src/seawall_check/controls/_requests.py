"""What an app's author says in `[check]`: which requests are allowed, with bodies and ids, and about which actions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.http import Operation, filled
from seawall_check.target import Target

TRIES_MAX = 6


@dataclass(frozen=True)
class Call:
    """One request that a persona is meant to be allowed."""

    operation: Operation
    persona: Persona
    values: Mapping[str, str]
    body: Any

    @property
    def name(self) -> str:
        return f"{self.persona.name}: {self.operation.name}"


def row(target: Target, operation: Operation) -> Mapping[str, Any]:
    """What the author states about a route; empty when nothing."""
    stated: Mapping[str, Any] = target.expectations.get("routes", {}).get(operation.name, {})
    return stated


def section(target: Target, name: str, question: str, needs: Sequence[str] = ()) -> Mapping[str, Any]:
    """`[check.NAME]` of seawall.toml.

    Raises:
        Unproven: there is none, with the question that it would answer, or it leaves one of `needs` out.
    """
    found = target.expectations.get(name)
    if not isinstance(found, Mapping):
        raise Unproven(f"seawall.toml has no [check.{name}]: {question}")
    for member in needs:
        if member not in found:
            raise Unproven(f"[check.{name}] does not say `{member}`")
    return found


def named(target: Target, section_name: str, name: object, *, on_object: bool = False) -> Operation:
    """The operation that a section of `[check]` names.

    Raises:
        Unproven: the OpenAPI document does not list it, or its path names no object although one is acted on.
    """
    found = next((one for one in target.operations if one.name == name), None)
    if found is None:
        raise Unproven(f"[check.{section_name}] names {name!r}, which is not in the OpenAPI document")
    if on_object and not found.path_names:
        raise Unproven(f"[check.{section_name}] names {name!r}, whose path names no object to act on")
    return found


def objects_of(operation: Operation, persona: Persona) -> list[dict[str, str]]:
    """Path parameters, one set for each object that the persona may act on."""
    name = operation.path_names[0]
    return [{name: one} for one in persona.objects.get(name, ())]


def step_up_route(target: Target) -> str:
    """The route whose limits other controls count on."""
    return str(target.expectations.get("step_up", {}).get("route", ""))


def calls(target: Target, operation: Operation, personas: Sequence[Persona]) -> Iterator[Call]:
    """Requests that the author allows these personas, a few for each, with different objects."""
    stated = row(target, operation)
    for persona in personas:
        allowed = stated.get("allow")
        if allowed is not None and persona.role not in allowed:
            continue
        lists = [persona.objects.get(name, ())[:TRIES_MAX] for name in operation.path_names]
        for chosen in itertools.islice(itertools.zip_longest(*lists), TRIES_MAX) if lists else [()]:
            values = {
                name: value if value is not None else (persona.objects.get(name) or ("",))[0]
                for name, value in zip(operation.path_names, chosen, strict=True)
            }
            if all(values.values()):
                body = filled(stated["body"], persona.objects) if "body" in stated else operation.sample_body()
                yield Call(operation, persona, values, body)


async def first_allowed(
    target: Target, operation: Operation, personas: Sequence[Persona]
) -> tuple[Call, httpx2.Response] | None:
    """The first of these requests that the app answers below 400, and its answer."""
    for call in calls(target, operation, personas):
        response = await send(target, call)
        if response.status_code < 400:
            return call, response
    return None


async def send(target: Target, call: Call, **options: Any) -> httpx2.Response:
    """Send it as its persona; `body` and `headers` may be replaced."""
    client = await target.client(call.persona)
    return await call.operation.send(client, call.values, **{"body": call.body, **options})
