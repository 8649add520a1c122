"""Roles of a tenant's people: who may give and take which, on a real database."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from tests.integration.identity.conftest import Browser, House

from seawall.core.errors import Conflict, Forbidden, NotFound, Unprocessable
from seawall.core.scope import Decided, Membership, Passage, Scope


@pytest.fixture
async def ann(house: House, tenant: UUID) -> UUID:
    """An owner: others may give no roles."""
    return await house.person("ann@example.com", tenant, role="owner")


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("ann@example.com")
    return made


async def scope_of(house: House, browser: Browser) -> Scope:
    from seawall.core.ids import token_hash

    principal = await house.scratch.database.admit(token_hash(browser.token or ""))
    assert principal is not None
    passage = Passage(house, "t" * 32, "n", "POST", "/", wants_html=False, decision=Decided("policy", "test"))  # type: ignore[arg-type]
    return Scope(passage, principal)


async def test_roles_change_in_the_callers_tenant_and_end_sessions(
    house: House, tenant: UUID, browser: Browser
) -> None:
    bob = await house.person("bob@example.com", tenant)
    bobs = house.browser()
    await bobs.sign_in("bob@example.com")
    scope, people, venue = await scope_of(house, browser), house.identity.people, uuid4()
    role = Membership("manager", "Venue", venue)
    await people.grant(scope, bob, role)
    assert await bobs.me() == 401
    assert await browser.me() == 200
    found = {member.user_id: member for member in await people.members(scope)}
    assert role in found[bob].memberships
    with pytest.raises(Conflict):
        await people.grant(scope, bob, role)
    await bobs.sign_in("bob@example.com")
    await people.revoke(scope, bob, role)
    assert await bobs.me() == 401
    with pytest.raises(Conflict):
        await people.revoke(scope, bob, role)
    told = [
        (e["role"], e["change"], e["scope_id"], e["trace_id"])
        for e in await house.events("access.grant")
        if "role" in e
    ]
    assert told == [("manager", "granted", str(venue), "t" * 32), ("manager", "revoked", str(venue), "t" * 32)]


async def test_nobody_of_another_tenant_is_touched(house: House, browser: Browser) -> None:
    elsewhere = await house.scratch.tenant()
    eve = await house.person("eve@example.com", elsewhere)
    scope, people = await scope_of(house, browser), house.identity.people
    assert eve not in {member.user_id for member in await people.members(scope)}
    for change in (people.grant, people.revoke):
        with pytest.raises(NotFound):
            await change(scope, eve, Membership("owner"))
        with pytest.raises(NotFound):
            await change(scope, uuid4(), Membership("owner"))
    bob = await house.person("bob@example.com", scope.principal.tenant_id)
    for role in (Membership("Not A Role"), Membership("owner", "Venue", None), Membership("breakglass")):
        with pytest.raises(Unprocessable):
            await people.grant(scope, bob, role)


async def test_a_last_role_taken_can_be_given_again(house: House, tenant: UUID, browser: Browser) -> None:
    bob = await house.person("bob@example.com", tenant, role="owner")
    scope, people = await scope_of(house, browser), house.identity.people
    await people.revoke(scope, bob, Membership("owner"))
    assert bob not in {member.user_id for member in await people.members(scope)}
    assert [(member.user_id, member.memberships) for member in await people.former(scope)] == [(bob, ())]
    await people.grant(scope, bob, Membership("courier"))
    assert not await people.former(scope)


async def test_nobody_gives_themselves_a_role_or_one_above_their_own(
    house: House, tenant: UUID, browser: Browser
) -> None:
    bob = await house.person("bob@example.com", tenant, role="owner")
    scope, people, venue = await scope_of(house, browser), house.identity.people, uuid4()
    with pytest.raises(Forbidden, match="themselves"):
        await people.grant(scope, scope.principal.user_id, Membership("courier"))
    await people.grant(scope, bob, Membership("manager", "Venue", venue))
    await people.revoke(scope, bob, Membership("owner"))
    bobs = house.browser()
    await bobs.sign_in("bob@example.com")
    as_bob = await scope_of(house, bobs)
    ann = scope.principal.user_id
    for role in (Membership("owner"), Membership("courier"), Membership("courier", "Venue", venue)):
        for change in (people.grant, people.revoke):
            with pytest.raises(Forbidden, match="not yours"):
                await change(as_bob, ann, role)
    bounded = type(people)(people._db, {"manager": ("courier",)})
    await bounded.grant(as_bob, ann, Membership("courier", "Venue", venue))
    for role in (Membership("courier"), Membership("courier", "Venue", uuid4()), Membership("manager", "Venue", venue)):
        with pytest.raises(Forbidden, match="not yours"):
            await bounded.grant(as_bob, ann, role)


async def test_the_last_owner_stays_also_when_all_go_at_once(house: House, tenant: UUID, browser: Browser) -> None:
    scope, people = await scope_of(house, browser), house.identity.people
    ann = scope.principal.user_id
    with pytest.raises(Conflict, match="last owner"):
        await people.revoke(scope, ann, Membership("owner"))
    others = [await house.person(f"owner{n}@example.com", tenant, role="owner") for n in range(7)]
    scopes = {ann: scope}
    for number, other in enumerate(others):
        theirs = house.browser()
        await theirs.sign_in(f"owner{number}@example.com")
        scopes[other] = await scope_of(house, theirs)
    everybody = [ann, *others]
    pairs = [(one, one) for one in everybody] + list(zip(everybody, [*everybody[1:], ann], strict=True))
    await asyncio.gather(
        *(people.revoke(scopes[who], whose, Membership("owner")) for who, whose in pairs), return_exceptions=True
    )
    left = await house.scratch.owner.fetchval(
        "SELECT count(*) FROM seawall.memberships WHERE tenant_id = $1 AND role = 'owner'", tenant
    )
    assert left == 1
