"""A person gets a copy of everything about them, and can be forgotten; the audit log stays as it was.

Why
    Personal data spreads into every table that an app grows. Whoever looks for it only when somebody asks finds some
    of it, and promises the rest. And an erasure that rewrites the log takes away the proof of everything else.
How it is attacked
    In a scratch app, somebody writes marked words through every route that takes their text, then asks for their copy:
    it must hold the marks and their address, and nothing of anybody else. A stranger, and they themself without a
    second factor, try to have them erased. Then they are erased for good: their session and sign-in must be dead, their
    address in no column of the database, the marks in no answer to those who could read them before, and the events of
    before the same, row by row. Their neighbour's copy must not have changed.
How to fix
    Seal personal columns and say in `__subject__` whose they are; `/privacy/me` does the rest. Hold no second copy of
    personal data in columns that say nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import approval_address, enrol, forget_factor
from seawall_check.controls._requests import Call, calls, first_allowed, row, send, step_up_route
from seawall_check.controls._sweep import places_of
from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.probes.http import with_canary
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="privacy/erasure",
    title="A person gets a copy of everything, and can be forgotten; the audit log stays as it was",
    refs=("ASVS 14.2.4",),
    timeout_s=240,
)

JSON = {"Accept": "application/json"}


@dataclass
class Scene:
    """A scratch app, somebody who will leave, and somebody of the same role who stays."""

    app: Target
    trial: Trial
    leaving: Persona
    staying: Persona
    mark: str = field(default_factory=lambda: f"Quillfeather{secrets.token_hex(5)}")

    async def copy_of(self, who: Persona) -> httpx2.Response:
        return await (await self.app.client(who)).get(self.app.document.own_data.copy_of, headers=JSON)


async def check(target: Target, trial: Trial) -> None:
    if not target.document.own_data.copy_of or not target.document.own_data.erase:
        raise Unproven("target.json does not say where people ask for their data (`own_data`)")
    async with target.variant() as app:
        for leaving, staying in _pairs(app):
            scene = Scene(app, trial, leaving, staying)
            if await _plant(scene) and scene.mark in (await scene.copy_of(leaving)).text:
                await _tried(scene)
                return
    raise Unproven("nobody who writes text of their own finds it in their copy")


async def _tried(scene: Scene) -> None:
    app, trial = scene.app, scene.trial
    before = await _copies(scene)
    if before is None:
        return
    readers = await _readers(scene)
    log = await _log(app)
    if not await _erase(scene):
        return
    await _gone(scene, readers)
    after = (await scene.copy_of(scene.staying)).json().get("data")
    trial.expect(
        f"the copy of {scene.staying.name} is what it was",
        expected="the same data",
        observed="the same data" if after == before else "other data",
        ok=after == before,
    )
    now = await _log(app)
    kept = now[: len(log)] == log
    trial.expect(
        "the events of before are the same, row by row",
        expected=f"{len(log)} events, unchanged",
        observed=f"{len(log)} events, {'unchanged' if kept else 'changed'}",
        ok=kept and bool(log),
    )


def _pairs(app: Target) -> Iterator[tuple[Persona, Persona]]:
    """Somebody who may write text, and somebody else of the same role; each role once."""
    tried = set()
    for who in reversed(app.personas):
        others = [one for one in app.who(role=who.role) if one != who]
        if others and who.role not in tried:
            tried.add(who.role)
            yield who, others[0]


async def _plant(scene: Scene) -> list[str]:
    """Write marked words wherever this person may; gives the names of the routes that took them, if any did."""
    app, taken = scene.app, []
    for operation in app.operations:
        if operation.body is None or operation.name == step_up_route(app) or not row(app, operation):
            continue
        for call in calls(app, operation, [scene.leaving]):
            body, any_text = with_canary(operation, call.body, scene.mark)
            if any_text and (await send(app, Call(operation, call.persona, call.values, body))).is_success:
                taken.append(operation.name)
                break
    if taken:
        scene.trial.allow(f"{scene.leaving.name} writes marked words", ", ".join(taken), ok=True, of="copy")
    return taken


async def _copies(scene: Scene) -> Any:
    """Both copies, looked at; the neighbour's `data`, or None when there is no copy."""
    trial, who = scene.trial, scene.leaving
    mine, theirs = await scene.copy_of(who), await scene.copy_of(scene.staying)
    holds = {"the marked words": scene.mark in mine.text, "their address": who.login in mine.text}
    missing = [name for name, found in holds.items() if not found]
    told = f"{mine.status_code}, {'without ' + ' and '.join(missing) if missing else 'with both'}"
    good = trial.allow("the copy holds the marked words and their address", told, ok=mine.is_success and not missing,
                       artifact=mine, of="copy")  # fmt: skip
    for other in scene.app.personas:
        if other.login != who.login and other.user_id and other.login in mine.text:
            trial.refuse(f"the address of {other.name} in it", "found", ok=False, expected="not found", of="copy")
    own = scene.mark in theirs.text or who.login in theirs.text
    told = "found" if own else "not found"
    trial.refuse(f"anything of theirs in the copy of {scene.staying.name}", told, ok=not own, expected="not found",
                 of="copy")  # fmt: skip
    stranger = await scene.app.anonymous().get(scene.app.document.own_data.copy_of, headers=JSON)
    trial.refuse("a copy for somebody who is not signed in", stranger, statuses={401, 403, 404}, of="copy")
    return theirs.json().get("data") if good and theirs.is_success else None


async def _readers(scene: Scene) -> list[Call]:
    """Requests of others whose answers hold the marks now: after the erasure they must not."""
    app, found = scene.app, []
    for operation in app.operations:
        if not operation.safe:
            continue
        for reader in app.who(tenant=scene.leaving.tenant):
            if reader == scene.leaving:
                continue
            got = await first_allowed(app, operation, [reader])
            if got is not None and scene.mark in got[1].text:
                found.append(got[0])
    scene.trial.allow("others read the marked words before", f"{len(found)} requests", ok=bool(found), of="erased")
    return found


async def _erase(scene: Scene) -> bool:
    app, trial, path = scene.app, scene.trial, scene.app.document.own_data.erase
    client = await app.client(scene.leaving)
    stranger = await app.anonymous().post(path, headers=JSON)
    await forget_factor(app, scene.leaving)
    authenticator = await enrol(app, client)
    asked = await client.post(path, headers=JSON)
    if asked.is_success:  # it is done already, so nothing is left to be allowed; that alone is the failure
        trial.refuse("without a second factor", asked, ok=False, expected="401, and the person is still there",
                     of="erase")  # fmt: skip
        return False
    address = approval_address(asked)
    code = await client.post(address, json={"code": await authenticator.code()}, headers=JSON)
    trial.allow("a second factor approves it", code, of="erase")
    alive = await client.get(app.sign_in.me, headers=JSON)
    done = await client.post(path, headers=JSON)
    erased = trial.allow(f"{scene.leaving.name} is erased", done, of="erase")
    trial.refuse("somebody who is not signed in asks for it", stranger, statuses={401, 403, 404}, of="erase")
    told = f"{asked.status_code}, then {alive.status_code} at {app.sign_in.me}"
    trial.refuse("without a second factor", told, ok=asked.status_code == 401 and alive.is_success,
                 expected="401, and the person is still there", of="erase")  # fmt: skip
    trial.refuse("the session after it", await client.get(app.sign_in.me, headers=JSON), statuses={401}, of="erase")
    return erased


async def _gone(scene: Scene, readers: list[Call]) -> None:
    app, trial, who = scene.app, scene.trial, scene.leaving
    try:
        await app.fresh(who)
        told = "signed in"
    except Unproven as reason:
        told = str(reason)
    trial.refuse("a new sign-in", told, ok=told != "signed in", expected="not signed in", of="erased")
    for call in readers:
        response = await send(app, call)
        there = scene.mark in response.text
        told = f"{response.status_code}, {'found' if there else 'not found'}"
        trial.refuse(f"the marked words for {call.name}", told, ok=not there, expected="not found", of="erased")
    async with app.db_owner() as owner:
        for name, needle in (("their address", who.login), ("the marked words", scene.mark)):
            places = await places_of(owner, needle.encode())
            told = ", ".join(places) or "nowhere"
            trial.refuse(f"{name} in the database", told, ok=not places, expected="nowhere", of="erased")


async def _log(app: Target) -> list[str]:
    """Every event, as text, oldest first."""
    if not app.database.audit_query:
        raise Unproven("target.json names no audit_query")
    async with app.db_owner() as owner:
        return [_text(event) for event in await owner.fetch(app.database.audit_query)]


def _text(event: asyncpg.Record) -> str:
    return json.dumps(dict(event), default=str, sort_keys=True)
