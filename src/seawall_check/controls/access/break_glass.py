"""Platform staff read in a tenant only under a grant: approved by another, for a while, every row recorded.

Why
    Whoever runs the platform can help a customer only by looking. If that is a superuser's password or a flag on an
    account, then every support person, and everybody who steals their session, reads every customer's rows for ever,
    and nobody can say what was read.
How it is attacked
    As two staff persons of the scratch database. Without a grant nothing is readable. Grants are asked for by people
    who are no staff, for longer than four hours, without a proper reason and ticket, for a tenant that does not exist;
    they are approved by whoever asked, by the tenant, and without a second factor, and used before they are approved,
    by somebody else, and from a session without a second factor. Under a live grant another tenant's rows, closed
    routes and a change are tried. After a read its audit event must be there, for each row of a list too, and when the
    event cannot be written, the row must not be shown. The grant's database context is used with the app's own role.
    Last, the grant runs out, is ended by the tenant and by its user, and its user is dismissed: the next read must
    fail.
How to fix
    Let policies name what the role `breakglass` may read, and nothing else. Never give staff a membership in a tenant,
    and never a database role that bypasses row-level security.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls._factor import JSON, Authenticator, enrol, forget_factor
from seawall_check.controls._requests import named, section
from seawall_check.controls.access._asking import forced, told
from seawall_check.document import Persona, Tenant
from seawall_check.errors import Unproven
from seawall_check.probes.database import attempt
from seawall_check.probes.http import Operation
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/break-glass",
    title="Platform staff read in a tenant only under a grant of another's approval, and every row is recorded",
    refs=("ASVS 8.4.2",),
    timeout_s=300,
    exclusive=True,
)

PATH = "/access/break-glass"
READ_KIND = "access.break-glass-read"
CLOSED = {401, 403, 404}
GRANTS = "seawall.break_glass_grants"
REVIVE = f"""
UPDATE {GRANTS} SET expires_at = now() + interval '30 minutes', decided_at = now(), ended_at = NULL, ended_by = NULL
WHERE id = $1::uuid
"""
OVER = f"UPDATE {GRANTS} SET expires_at = now() - interval '1 second' WHERE id = $1::uuid"
DISMISS = "UPDATE seawall.staff SET removed_at = now() WHERE user_id = $1::uuid"
REINSTATE = "UPDATE seawall.staff SET removed_at = NULL WHERE user_id = $1::uuid"
# the audit log takes everything but this: as if its disk were full for exactly one kind of event
JAM = f"ALTER TABLE seawall.audit_events ADD CONSTRAINT jam CHECK (kind <> '{READ_KIND}') NOT VALID"
UNJAM = "ALTER TABLE seawall.audit_events DROP CONSTRAINT jam"
ENTER = "SELECT context FROM seawall.enter_break_glass($1, $2::uuid)"


@dataclass
class Scene:
    """One grant on its way: who uses it, who approves it, and what is read with it."""

    target: Target
    read: Operation
    listing: Operation | None
    closed: list[Operation]
    change: Operation | None
    here: Tenant
    slug: str
    elsewhere: Tenant
    user: Persona
    client: httpx2.AsyncClient
    colleague: Persona
    approver: httpx2.AsyncClient
    grant: str = ""
    steward: httpx2.AsyncClient | None = field(default=None)

    @property
    def body(self) -> dict[str, Any]:
        return {
            "tenant": self.slug,
            "reason": "a customer cannot see an order",
            "ticket": "OPS-17",
            "minutes": 30,
        }

    def path(self, tenant: Tenant, operation: Operation | None = None) -> dict[str, str]:
        names = (operation or self.read).path_names
        return {name: tenant.objects[name][0] for name in names if tenant.objects.get(name)}

    async def reads(self, tenant: Tenant | None = None) -> httpx2.Response:
        return await self.read.send(self.client, self.path(tenant or self.here))

    async def post(
        self, client: httpx2.AsyncClient, action: str, body: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        return await client.post(f"{PATH}/{self.grant}/{action}", json=dict(body or {}), headers=JSON)

    async def enters(self) -> httpx2.Response:
        return await self.post(self.client, "enter")


async def check(target: Target, trial: Trial) -> None:
    scene = await _scene(target)
    await _without(scene, trial)
    await _asking(scene, trial)
    await _approving(scene, trial)
    await _entering(scene, trial)
    await _reading(scene, trial)
    await _recorded(scene, trial)
    await _database(scene, trial)
    await _ending(scene, trial)


async def _scene(target: Target) -> Scene:
    row = section(target, "break_glass", "which route may staff read under a grant?", ["read"])
    routes = {name: named(target, "break_glass", row[name]) for name in ("list", "change") if name in row}
    read = named(target, "break_glass", row["read"], on_object=True)
    closed = [named(target, "break_glass", name) for name in row.get("closed", ())]
    staff = target.document.staff
    if len(staff) < 2:
        raise Unproven("target.json names fewer than two staff")
    here, elsewhere = target.two_tenants()
    async with target.db_owner() as db:
        slug = await db.fetchval("SELECT slug FROM seawall.tenants WHERE id = $1::uuid", here.id)
    for person in staff[:2]:
        await forget_factor(target, person)
    return Scene(
        target,
        read,
        routes.get("list"),
        closed,
        routes.get("change"),
        here,
        slug,
        elsewhere,
        staff[0],
        await target.fresh(staff[0]),
        staff[1],
        await target.fresh(staff[1]),
    )


async def _without(scene: Scene, trial: Trial) -> None:
    someone = scene.target.who(tenant=scene.here.id)[0]
    own = await scene.read.send(await scene.target.client(someone), scene.path(scene.here))
    trial.allow(f"{someone.name} reads", own, of="none")
    trial.refuse("staff read without a grant", await scene.reads(), statuses=CLOSED, of="none")


async def _asking(scene: Scene, trial: Trial) -> None:
    good = scene.body
    unfit = {
        "for 241 minutes": {**good, "minutes": 241},
        "for no time": {**good, "minutes": 0},
        "with no real reason": {**good, "reason": "help"},
        "with control characters in the reason": {**good, "reason": "a customer \x1b[2J cannot"},
        "with a reason of 20,000 characters": {**good, "reason": "x" * 20_000},
        "without a ticket": {**good, "ticket": " "},
        "for a tenant that does not exist": {**good, "tenant": "no-such-tenant"},
        "with a field nobody knows": {**good, "writes": True},
    }
    refused = {what: await scene.client.post(PATH, json=body, headers=JSON) for what, body in unfit.items()}
    others = {
        persona.name: await (await scene.target.client(persona)).post(PATH, json=good, headers=JSON)
        for persona in scene.target.who(tenant=scene.here.id)
    }
    asked = await scene.client.post(PATH, json=good, headers=JSON)
    trial.allow("staff ask for a grant", asked, of="asked")
    scene.grant = str(told(asked).get("id", ""))
    for what, response in refused.items():
        trial.refuse(f"ask {what}", response, statuses={400, 404, 413, 422}, of="asked")
    for who, response in others.items():
        trial.refuse(f"asked for by {who}", response, statuses=CLOSED, of="asked")
    early = await scene.enters()
    trial.refuse("used before it is approved", early, statuses=CLOSED | {409}, of="asked")


async def _approving(scene: Scene, trial: Trial) -> None:
    yes = {"decision": "approve"}
    tried = {f"{scene.user.name}, who asked": await scene.post(scene.client, "decision", yes)}
    for persona in scene.target.who(tenant=scene.here.id):
        tried[persona.name] = await scene.post(await scene.target.client(persona), "decision", yes)
    tried["nobody"] = await scene.post(scene.target.anonymous(), "decision", yes)
    without = await scene.post(scene.approver, "decision", yes)
    authenticator = await enrol(scene.target, scene.approver)
    challenge = await scene.post(scene.approver, "decision", yes)
    if challenge.status_code == 401:
        await _confirm(scene.approver, challenge, authenticator)
        challenge = await scene.post(scene.approver, "decision", yes)
    trial.allow("a colleague approves with a fresh second factor", challenge, of="approved")
    for who, response in tried.items():
        trial.refuse(f"approved by {who}", response, statuses=CLOSED, of="approved")
    trial.refuse("approved without a second factor", without, statuses={401, 403}, of="approved")
    again = await scene.post(scene.approver, "decision", yes)
    trial.refuse("approved once more", again, statuses={409}, of="approved")


async def _confirm(client: httpx2.AsyncClient, challenge: httpx2.Response, authenticator: Authenticator) -> None:
    address = told(challenge).get("step_up")
    if not isinstance(address, str):
        raise Unproven("the step-up says not where")
    await client.post(address, json={"code": await authenticator.code()}, headers=JSON)


async def _entering(scene: Scene, trial: Trial) -> None:
    theirs = await scene.post(scene.approver, "enter")
    without = await scene.enters()
    entered = without
    if without.status_code == 401:
        own = await enrol(scene.target, scene.client)
        if not (entered := await scene.enters()).is_success:
            await _confirm(scene.client, entered, own)
            entered = await scene.enters()
    trial.allow("used from a session with a second factor", entered, of="entered")
    trial.refuse("used by the colleague who approved", theirs, statuses=CLOSED, of="entered")
    trial.refuse("used from a session without a second factor", without, statuses={401, 403}, of="entered")


async def _reading(scene: Scene, trial: Trial) -> None:
    trial.allow("staff read under the grant", await scene.reads(), of="read")
    foreign = await scene.reads(scene.elsewhere)
    trial.refuse("staff read another tenant's", foreign, statuses=CLOSED, of="read")
    if scene.listing is not None:
        listed = await scene.listing.send(scene.client)
        trial.allow("staff list under the grant", listed, of="read")
        theirs = {one for ids in scene.elsewhere.objects.values() for one in ids}
        theirs -= {one for ids in scene.here.objects.values() for one in ids}  # names of roles and the like
        others = sum(listed.text.count(one) for one in theirs)
        observed = f"{others} ids of theirs"
        trial.refuse("the list holds another tenant's", observed, ok=others == 0, expected="0", of="read")
        shown = [one for one in scene.here.objects.get(scene.read.path_names[-1], ()) if one in listed.text]
        missing = [one for one in shown if not await _events(scene, one)]
        trial.expect(
            f"each of {len(shown)} listed rows has its audit event",
            expected="every one, and one at least",
            observed=f"{len(missing)} have none",
            ok=not missing and bool(shown),
        )
    for operation in scene.closed:
        answer = await operation.send(scene.client, scene.path(scene.here, operation))
        trial.refuse(f"staff call {operation.name}", answer, statuses=CLOSED, of="read")
    if scene.change is not None:
        answer = await scene.change.send(scene.client, scene.path(scene.here, scene.change))
        trial.refuse(f"staff change something: {scene.change.name}", answer, statuses=CLOSED, of="read")


async def _recorded(scene: Scene, trial: Trial) -> None:
    row = scene.path(scene.here)[scene.read.path_names[-1]]
    shown = await scene.reads()
    found = await _events(scene, row)
    trial.expect(
        "its audit event is there when the row is",
        expected=f"an event {READ_KIND} that names the row and the grant",
        observed=f"{found} events",
        ok=not shown.is_success or found > 0,
    )
    async with scene.target.db_owner() as db:
        await db.execute(JAM)
        try:
            jammed = await scene.reads()
        finally:
            await db.execute(UNJAM)
    trial.allow("read while events can be written", await scene.reads(), of="recorded")
    hidden = not jammed.is_success and row not in jammed.text
    told_jammed = f"{jammed.status_code}{'' if hidden else ', with the row'}"
    trial.refuse("read while the event cannot be written", told_jammed, ok=hidden, expected="not shown", of="recorded")
    await _seen_by_tenant(scene, trial, row)


async def _events(scene: Scene, row: str) -> int:
    async with scene.target.db_owner() as db:
        rows = await db.fetch(scene.target.database.audit_query)
    return sum(one["kind"] == READ_KIND and row in str(dict(one)) and scene.grant in str(dict(one)) for one in rows)


async def _seen_by_tenant(scene: Scene, trial: Trial, row: str) -> None:
    target = scene.target
    seen: dict[str, httpx2.Response] = {}
    for persona in [*target.who(tenant=scene.here.id), *target.who(tenant=scene.elsewhere.id)]:
        client = await target.fresh(persona)
        seen[persona.name] = await client.get(f"{PATH}/{scene.grant}", headers=JSON)
        if seen[persona.name].is_success and persona.tenant == scene.here.id:
            scene.steward = client
    names = [name for name, response in seen.items() if response.is_success]
    whose = {one.tenant for one in target.personas if one.name in names}
    trial.allow(
        "somebody of the tenant sees the grant", ", ".join(names) or "nobody", ok=scene.here.id in whose, of="seen"
    )
    trial.refuse(
        "another tenant sees it", ", ".join(names), ok=scene.elsewhere.id not in whose, expected="no", of="seen"
    )
    told_reads = row in next((one.text for one in seen.values() if one.is_success), "")
    trial.expect(
        "they see what was read", expected="the row's id", observed="there" if told_reads else "not", ok=told_reads
    )


async def _database(scene: Scene, trial: Trial) -> None:
    """The grant's own context, as an injected statement would use it: with the app's role nobody witnesses reads."""
    access = scene.target.database
    table = f"{access.app_schemas[0]}.{scene.read.path_names[-1].removesuffix('_id')}s"
    async with scene.target.db_app() as app:
        token = hashlib.sha256(scene.target.session_token(scene.client).encode()).digest()
        admitted = await app.fetchrow(access.admit, token)
        context = None if admitted is None else await app.fetchval(ENTER, admitted["context"], scene.grant)
        if context is None:
            trial.unproven("the database gives no context for the grant")
            return
        scene.target.redactor.learn(context)
        for what, used, mine in (("staff's own context", admitted["context"], True), ("the grant's", context, False)):
            async with app.transaction():
                await app.execute(f"SET LOCAL {access.context_setting} = '{used}'")
                state, _ = await attempt(app, f"SELECT count(*) FROM {table}")
            observed = f"refused with {state}" if state else "answered"
            if mine:
                trial.allow(f"{what}, with the app's role", observed, ok=not state, of="role")
            else:
                trial.refuse(f"{what}, with the app's role", observed, ok=bool(state), expected="an error", of="role")


@asynccontextmanager
async def _live(scene: Scene, trial: Trial, of: str) -> AsyncIterator[None]:
    """The grant holds again, as if time had not passed, and is used; then it ends in one way or another."""
    await forced(scene.target, REVIVE, scene.grant)
    await scene.enters()
    trial.allow("while it holds", await scene.reads(), of=of)
    yield
    trial.refuse(f"read after {of}", await scene.reads(), statuses=CLOSED, of=of)
    # the browser was told to forget the grant; here it is named again
    again = await scene.read.send(scene.client, scene.path(scene.here), cookies={"__Host-sw_bg": scene.grant})
    trial.refuse(f"read after {of}, naming the grant again", again, statuses=CLOSED, of=of)


async def _ending(scene: Scene, trial: Trial) -> None:
    async with _live(scene, trial, "its time is over"):
        await forced(scene.target, OVER, scene.grant)
    async with _live(scene, trial, "the tenant ended it"):
        if scene.steward is None:
            trial.unproven("nobody of the tenant can end it")
        else:
            trial.allow("the tenant ends it", await scene.post(scene.steward, "end"), of="the tenant ended it")
    async with _live(scene, trial, "staff ended it"):
        trial.allow("staff end it", await scene.post(scene.client, "end"), of="staff ended it")
    async with _live(scene, trial, "its user was dismissed"):
        await forced(scene.target, DISMISS, scene.user.user_id)
    await forced(scene.target, REINSTATE, scene.user.user_id)
    await scene.post(scene.approver, "end")
