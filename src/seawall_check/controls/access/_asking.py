"""The action that needs somebody else's approval, `[check.approval]`, and how one asks for it and answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from seawall_check.controls._requests import named, objects_of, section
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.http import Operation
from seawall_check.target import Target
from seawall_check.trial import problem_code

JSON = {"Accept": "application/json"}
CODE = "approval-required"
PARTS = ("endpoint", "template", "expires_at", "binding_token")
"""What a denial says about how to ask (AuthZEN's access-request profile)."""


@dataclass(frozen=True)
class Needing:
    """The action, who does it and who approves it."""

    operation: Operation
    role: str
    approver: str
    body: dict[str, Any]
    meanwhile: dict[str, Any] | None
    """A body of the same route that needs no approval, and changes the object of which an approver read."""
    repeatable: Operation | None
    """Another action that needs an approval each time, and can be done any number of times."""

    @classmethod
    def of(cls, target: Target) -> Needing:
        """Raises Unproven when the app's author names none."""
        needs = ("route", "role", "approver", "body")
        row = section(target, "approval", "which action needs somebody else's approval?", needs)
        operation = named(target, "approval", row["route"], on_object=True)
        again = named(target, "approval", row["repeatable"], on_object=True) if "repeatable" in row else None
        who = (str(row["role"]), str(row["approver"]))
        return cls(operation, *who, dict(row["body"]), row.get("meanwhile"), again)

    def paths(self, persona: Persona) -> list[dict[str, str]]:
        """Path parameters, one set for each object that the persona may act on."""
        return objects_of(self.operation, persona)

    async def send(
        self, client: httpx2.AsyncClient, path: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        return await self.operation.send(client, path, body=dict(self.body if body is None else body))


async def race(
    operation: Operation, client: httpx2.AsyncClient, path: Mapping[str, str], racers: int
) -> list[httpx2.Response]:
    """The same request several times at the same moment."""
    return list(await asyncio.gather(*(operation.send(client, path) for _ in range(racers))))


def wants_approval(response: httpx2.Response) -> bool:
    return response.status_code == 403 and problem_code(response) == CODE


def past_it(response: httpx2.Response) -> bool:
    """Whether the approval was taken: the action is done, or now waits only for the person's own second factor."""
    return response.is_success or (response.status_code == 401 and isinstance(told(response).get("step_up"), str))


def told(response: httpx2.Response) -> dict[str, Any]:
    body = response.json() if "json" in response.headers.get("content-type", "") else {}
    return body if isinstance(body, dict) else {}


def how_to_ask(response: httpx2.Response) -> dict[str, Any]:
    """The `access_request` of a denial; empty when it has none."""
    found = told(response).get("access_request")
    return found if isinstance(found, dict) else {}


async def ask(client: httpx2.AsyncClient, denial: httpx2.Response, reason: str = "they were unwell") -> httpx2.Response:
    """Ask for what a denial says can be asked for. Raises Unproven when it does not say."""
    how = how_to_ask(denial)
    if not isinstance(how.get("endpoint"), str) or "binding_token" not in how:
        raise Unproven(f"the denial does not say how to ask: {denial.status_code}")
    body = {"binding_token": how["binding_token"], "reason": reason}
    return await client.post(how["endpoint"], json=body, headers=JSON)


async def answer(
    client: httpx2.AsyncClient, asked: httpx2.Response, decision: str, reason: str = "as agreed"
) -> httpx2.Response:
    """Answer a request. Raises Unproven when it does not say where."""
    return await client.post(link(asked, "answer"), json={"decision": decision, "reason": reason}, headers=JSON)


def link(asked: httpx2.Response, name: str) -> str:
    address = (told(asked).get("links") or {}).get(name)
    if not isinstance(address, str):
        raise Unproven(f"the request gives no link to {name}: {asked.status_code}")
    return address


async def forced(target: Target, sql: str, *values: Any) -> None:
    """Change the scratch database past its own triggers, as time or another day would have."""
    async with target.db_owner() as db, db.transaction():
        await db.execute("SET LOCAL session_replication_role = replica")
        await db.execute(sql, *values)
