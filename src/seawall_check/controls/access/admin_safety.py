"""Nobody gives a role above their own, gives themselves one, or takes the last owner away.

Why
    Whoever can hand out roles can hand out everything. One policy that is too generous makes every manager an owner;
    two owners who remove each other at the same moment leave a company that nobody can run, and that only staff of the
    platform can bring back.
How it is attacked
    In a variant of the app a planted policy allows every action on the tenant to everybody, as a careless author would;
    then each role tries to give the highest role and the lowest to a colleague and to itself, and to take the owner's.
    On the app itself a person's only role is taken and given again. Last, everybody of a tenant is made an owner, and
    all of them lay their role down and take it from each other at the same moment: one must be left.
How to fix
    Change roles through `people.grant()` and `people.revoke()` only, and say in `[access] grants` which role gives
    which. Keep the trigger `keep_the_last` on `seawall.memberships`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls._requests import named, section
from seawall_check.controls.access._asking import forced
from seawall_check.document import Persona
from seawall_check.probes.http import Operation, filled
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/admin-safety",
    title="Nobody grants a role above their own or to themselves, or removes the last owner",
    refs=("ASVS 8.2.1",),
    timeout_s=300,
    exclusive=True,
)

REFUSED = {403, 404}
CARELESS = """@id("seawall-check.careless")
@title("Planted: everybody may do anything to their own tenant")
permit (principal, action, resource is Tenant);
"""
PLANTED = "policies/seawall_check_planted.cedar"
ROLES = "SELECT id, user_id, role FROM seawall.memberships WHERE tenant_id = $1::uuid"
LEFT = "SELECT count(*) FROM seawall.memberships WHERE tenant_id = $1::uuid AND role = $2 AND scope_id IS NULL"
PROMOTE = """
INSERT INTO seawall.memberships (tenant_id, user_id, role)
SELECT $1::uuid, unnest($2::uuid[]), $3 ON CONFLICT DO NOTHING
"""
RESTORE_EXTRA = "DELETE FROM seawall.memberships WHERE tenant_id = $1::uuid AND NOT id = ANY ($2::uuid[])"
RESTORE_LOST = """
INSERT INTO seawall.memberships (id, tenant_id, user_id, role)
SELECT * FROM unnest($2::uuid[], array_fill($1::uuid, ARRAY[cardinality($2::uuid[])]), $3::uuid[], $4::text[])
ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class Admin:
    """How roles are given and taken: `[check.admin]`."""

    grant: Operation
    take: Operation
    body: Mapping[str, Any]
    highest: str
    lowest: str

    @classmethod
    def of(cls, target: Target) -> Admin:
        """Raises Unproven when the app's author does not say."""
        needs = ("grant", "take", "body", "highest", "lowest")
        row = section(target, "admin", "which routes give and take roles?", needs)
        grant, take = (named(target, "admin", row[name], on_object=True) for name in ("grant", "take"))
        return cls(grant, take, row["body"], str(row["highest"]), str(row["lowest"]))

    async def give(self, client: httpx2.AsyncClient, user_id: str, role: str) -> httpx2.Response:
        return await self.grant.send(client, {"user_id": user_id}, body=filled(self.body, {"role": [role]}))

    async def revoke(self, client: httpx2.AsyncClient, user_id: str, role: str) -> httpx2.Response:
        return await self.take.send(client, {"user_id": user_id, "role": role})


async def check(target: Target, trial: Trial) -> None:
    admin = Admin.of(target)
    async with target.variant(plant={PLANTED: CARELESS}) as careless:
        await _bounds(careless, trial, Admin.of(careless))
    for tenant in target.tenants:
        owners = target.who(role=admin.highest, tenant=tenant.id)
        spare = tenant.objects.get("user_id", ())
        if owners and spare:
            async with _as_before(target, tenant.id):
                await _again(target, trial, admin, owners[0], spare[0])
                await _last(target, trial, admin, owners[0])
            return
    trial.unproven(f"no tenant has a persona {admin.highest} and a spare user_id")


async def _bounds(target: Target, trial: Trial, admin: Admin) -> None:
    """Every policy says yes to everybody here. Only what does not depend on policies is left."""
    for owner in target.who(role=admin.highest)[:1]:
        spare = target.tenant(owner.tenant).objects.get("user_id", ("",))[-1]
        client = await target.fresh(owner)
        below = [one for one in target.who(tenant=owner.tenant) if one.role != admin.highest]
        tried: dict[str, httpx2.Response] = {}
        for persona in below:
            theirs = await target.fresh(persona)
            tried[f"{persona.name} makes a colleague {admin.highest}"] = await admin.give(theirs, spare, admin.highest)
            tried[f"{persona.name} makes themselves {admin.highest}"] = await admin.give(
                theirs, persona.user_id, admin.highest
            )
            tried[f"{persona.name} takes the role {admin.highest} from {owner.name}"] = await admin.revoke(
                theirs, owner.user_id, admin.highest
            )
            tried[
                f"{persona.name} takes {persona.role} from a colleague, to give it {admin.lowest}"
            ] = await admin.revoke(theirs, spare, admin.lowest)
        own = await admin.give(client, owner.user_id, admin.lowest)
        trial.allow(
            f"{owner.name} makes a colleague {admin.highest}", await admin.give(client, spare, admin.highest), of="up"
        )
        for what, response in tried.items():
            trial.refuse(what, response, statuses=REFUSED, of="up")
        trial.refuse(f"{owner.name} gives themselves another role", own, statuses=REFUSED, of="up")


async def _again(target: Target, trial: Trial, admin: Admin, owner: Persona, person: str) -> None:
    client = await target.fresh(owner)
    await admin.give(client, person, admin.lowest)  # they have it, unless another control took it
    taken = await admin.revoke(client, person, admin.lowest)
    trial.allow(f"{owner.name} takes a person's only role", taken, of="again")
    once_more = await admin.revoke(client, person, admin.lowest)
    trial.refuse("take it once more", once_more, statuses={404, 409}, of="again")
    given = await admin.give(client, person, admin.lowest)
    trial.expect("give it again", expected="works", observed=given.status_code, ok=given.is_success, artifact=given)
    foreign = [one for one in target.personas if one.tenant != owner.tenant]
    for persona in foreign[:1]:
        theirs = await admin.give(client, persona.user_id, admin.lowest)
        trial.refuse("give a role to somebody of another tenant", theirs, statuses={404}, of="again")


async def _last(target: Target, trial: Trial, admin: Admin, owner: Persona) -> None:
    alone = await admin.revoke(await target.fresh(owner), owner.user_id, admin.highest)
    everybody = [one for one in target.who(tenant=owner.tenant) if one.user_id]
    await forced(target, PROMOTE, owner.tenant, [one.user_id for one in everybody], admin.highest)
    clients = {one.user_id: await target.fresh(one) for one in everybody}
    ids = list(clients)
    pairs = [(one, one) for one in ids] + list(zip(ids, ids[1:] + ids[:1], strict=True))
    answers = await asyncio.gather(*(admin.revoke(clients[who], whose, admin.highest) for who, whose in pairs))
    async with target.db_owner() as db:
        left = await db.fetchval(LEFT, owner.tenant, admin.highest)
    done = sum(one.is_success for one in answers)
    trial.allow(f"one of {len(ids)} lays the role {admin.highest} down", f"{done} removed", ok=done > 0, of="last")
    trial.refuse(f"the only {admin.highest} lays it down", alone, statuses={403, 409}, of="last")
    trial.refuse(
        f"{len(pairs)} removals of {len(ids)} people at the same moment",
        f"{left} left",
        ok=left >= 1,
        expected="one left",
        artifact="\n".join(str(one.status_code) for one in answers),
        of="last",
    )


@asynccontextmanager
async def _as_before(target: Target, tenant_id: str) -> AsyncIterator[None]:
    """Everybody's roles afterwards as they were, and nobody's session of a role they no longer have."""
    async with target.db_owner() as db:
        before = await db.fetch(ROLES + " AND scope_id IS NULL", tenant_id)
        everything = [row["id"] for row in await db.fetch(ROLES, tenant_id)]
    try:
        yield
    finally:
        await forced(target, RESTORE_EXTRA, tenant_id, everything)
        columns = [[row[name] for row in before] for name in ("id", "user_id", "role")]
        await forced(target, RESTORE_LOST, tenant_id, *columns)
        await forced(target, "UPDATE seawall.users SET epoch = epoch + 1 WHERE id = ANY ($1)", columns[1])
