"""A second factor as the judge's own authenticator app, and the step-up action that `[check.step_up]` names."""

from __future__ import annotations

import asyncio
import base64
import hmac
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from seawall_check.controls._requests import named, objects_of, section
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.http import Operation, is_free_string, resolve
from seawall_check.target import Target

STEP_S = 30
JSON = {"Accept": "application/json"}


def totp(secret: str, step: int) -> str:
    """The code of a time step (RFC 6238 with SHA-1 and six digits; RFC 4226 §5.3)."""
    key = base64.b32decode(secret + "=" * (-len(secret) % 8))
    digest = hmac.digest(key, struct.pack(">Q", step), "sha1")
    offset = digest[-1] & 15
    return f"{(int.from_bytes(digest[offset : offset + 4], 'big') & 0x7FFFFFFF) % 1_000_000:06d}"


@dataclass
class Authenticator:
    """Shows codes, each once, from the three steps that a sound server takes at a time."""

    secret: str
    last: int = 0

    async def step(self) -> int:
        """The next unused step; waits when all three are used or the oldest is about to run out."""
        for _ in range(3 * STEP_S):
            current = int(time.time()) // STEP_S
            # The step before the current one is still taken, but must not run out on its way.
            oldest = current - 1 if time.time() % STEP_S < STEP_S - 6 else current
            candidate = max(oldest, self.last + 1)
            if candidate <= current + 1:
                self.last = candidate
                return candidate
            await asyncio.sleep(1)
        raise Unproven("no time step came free")

    async def code(self) -> str:
        return totp(self.secret, await self.step())


async def forget_factor(target: Target, persona: Persona) -> None:
    """Take away what an earlier run left on the scratch database: the persona's factors, and counted guesses."""
    async with target.db_owner() as db:
        for table in ("totp_factors", "passkeys", "recovery_codes"):
            await db.execute(f"DELETE FROM seawall.{table} WHERE user_id = $1::uuid", persona.user_id)
        await db.execute("DELETE FROM seawall.throttles")


async def begin_enrolment(target: Target, client: httpx2.AsyncClient) -> Authenticator:
    """Ask for a secret. Raises Unproven when the app gives none."""
    if not target.sign_in.totp:
        raise Unproven("target.json names no address for enrolling TOTP")
    response = await client.get(target.sign_in.totp, headers=JSON)
    secret = response.json().get("secret") if response.status_code == 200 else None
    if not isinstance(secret, str):
        raise Unproven(f"{target.sign_in.totp} gives no secret: {response.status_code}")
    target.redactor.learn(secret)
    return Authenticator(secret)


async def enrol(target: Target, client: httpx2.AsyncClient) -> Authenticator:
    """Enrol and confirm. Raises Unproven when that does not work."""
    authenticator = await begin_enrolment(target, client)
    response = await client.post(target.sign_in.totp, json={"code": await authenticator.code()}, headers=JSON)
    if response.status_code >= 300:
        raise Unproven(f"a right code does not confirm the factor: {response.status_code}")
    return authenticator


@dataclass
class Action:
    """The action that needs a step-up: `[check.step_up]` of seawall.toml."""

    operation: Operation
    role: str
    below: dict[str, Any]
    above: dict[str, Any]

    @classmethod
    def of(cls, target: Target) -> Action:
        """Raises Unproven when the app's author names none."""
        needs = ("route", "role", "below", "above")
        row = section(target, "step_up", "which action needs a second factor?", needs)
        operation = named(target, "step_up", row["route"], on_object=True)
        return cls(operation, str(row["role"]), dict(row["below"]), dict(row["above"]))

    def personas(self, target: Target) -> tuple[Persona, ...]:
        return target.who(role=self.role)

    def objects(self, persona: Persona) -> list[dict[str, str]]:
        """Path parameters, one set for each object that the persona may act on."""
        return objects_of(self.operation, persona)

    async def send(
        self, client: httpx2.AsyncClient, path: Mapping[str, str], body: Mapping[str, Any]
    ) -> httpx2.Response:
        return await self.operation.send(client, path, body=dict(body))

    async def open_object(self, client: httpx2.AsyncClient, persona: Persona) -> dict[str, str]:
        """Path parameters of an object on which the action is still possible: other controls use some of them up.

        Raises:
            Unproven: there is none.
        """
        for path in self.objects(persona):
            if (await self.send(client, path, self.above)).status_code == 401:
                return path
        raise Unproven(f"no object of {persona.name} is left on which {self.operation.name} asks for a step-up")

    async def challenge(self, client: httpx2.AsyncClient, path: Mapping[str, str], body: Mapping[str, Any]) -> str:
        """Try without a factor; the address where it can be approved. Raises Unproven when there is none."""
        response = await self.send(client, path, body)
        return approval_address(response)


def approval_address(response: httpx2.Response) -> str:
    """Where the 401 of a step-up says that the action can be approved. Raises Unproven when it is none."""
    told = response.json() if "json" in response.headers.get("content-type", "") else {}
    if response.status_code != 401 or not isinstance(told.get("step_up"), str):
        raise Unproven(f"no step-up challenge was given: {response.status_code}")
    return str(told["step_up"])


def dearer(body: Mapping[str, Any], section: str = "check.step_up") -> dict[str, Any]:
    """The same body with its first number raised by one: nearly what was approved.

    Raises:
        Unproven: the body, which this section of seawall.toml gives, holds no number.
    """
    for name, value in body.items():
        if isinstance(value, int) and not isinstance(value, bool):
            return {**body, name: value + 1}
    raise Unproven(f"the body of [{section}] holds no number to raise")


def altered(operation: Operation, body: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Bodies that differ from this one in one member, by its name: numbers are raised by one, free texts are others.

    Members of a closed form are left alone: another currency is refused for its own reason, whatever was approved.
    """
    members = resolve(operation.body or {}, operation.document).get("properties", {})
    found: dict[str, dict[str, Any]] = {}
    for name, value in body.items():
        if isinstance(value, int) and not isinstance(value, bool):
            found[name] = {**body, name: value + 1}
        elif isinstance(value, str) and is_free_string(members.get(name, {}), operation.document):
            found[name] = {**body, name: f"{value}, or something else"}
    return found
