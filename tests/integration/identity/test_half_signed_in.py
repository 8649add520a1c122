"""Somebody of several tenants has proved who they are and has not chosen yet: what ends sessions ends that too."""

from __future__ import annotations

from uuid import UUID

import pytest
from tests.integration.identity.conftest import JSON, Browser, House
from tests.integration.identity.test_passkeys import NEW, add, approve, enter

from seawall.identity.development import ISSUER
from seawall.identity.logout import LogoutToken, end_provider_sessions
from seawall.identity.resets import reset_factors
from seawall_check.probes.authenticator import Passkey

BO = "bo@example.com"
WHY = {"reason": "Lost telephone and codes; checked by video call", "ticket": "OPS-1234"}


@pytest.fixture
async def bo(house: House, tenant: UUID) -> UUID:
    return await house.person(BO, tenant, await house.scratch.tenant())


async def half(house: House) -> Browser:
    """Signed in but for the tenant."""
    browser = house.browser()
    answer = await browser.log_in(BO)
    assert "Where do you want to work?" in (await browser.get(answer.headers["location"])).text
    return browser


async def add_another(browser: Browser, passkey: Passkey) -> Passkey:
    asked = (await browser.get(NEW, JSON)).json()["step_up"]
    assert await approve(browser, passkey, asked) == 200
    return (await add(browser))[0]


async def choose(browser: Browser, tenant: UUID) -> int:
    return (await browser.post("/auth/tenant", headers=JSON, data={"tenant_id": str(tenant)})).status_code


async def test_factors_that_were_taken_away_open_nothing(house: House, tenant: UUID, bo: UUID) -> None:
    owner = await half(house)
    assert await choose(owner, tenant) == 200
    stolen, told = await add(owner)
    kept = await add_another(owner, stolen)
    thief, status = await enter(house, stolen)
    assert (status, await thief.me()) == (200, 401)
    removal = f"/auth/passkeys/{told['passkey']}/remove"
    asked = await owner.post(removal, headers=JSON)
    assert await approve(owner, kept, asked.json()["step_up"]) == 200
    assert (await owner.post(removal, headers=JSON)).status_code == 200
    assert await choose(thief, tenant) == 400
    thief, status = await enter(house, kept)
    assert status == 200
    await reset_factors(house.scratch.owner, email=BO, tenant_id=tenant, **WHY)
    assert await choose(thief, tenant) == 400


async def test_who_signs_out_elsewhere_means_all_of_it(house: House, tenant: UUID, bo: UUID) -> None:
    for path in ("/auth/sessions/end-others", "/auth/sign-out-everywhere"):
        owner, thief = await half(house), await half(house)
        assert await choose(owner, tenant) == 200
        assert (await owner.post(path, headers=JSON)).status_code == 200
        assert await choose(thief, tenant) == 400
        assert await choose(await half(house), tenant) == 200


async def test_a_provider_ends_it(house: House, tenant: UUID, bo: UUID) -> None:
    for number, (subject, sid, left) in enumerate(
        [(str(bo), None, 400), ("somebody-else", None, 200), (None, "another-browser", 200)]
    ):
        browser = await half(house)
        async with house.scratch.database.identity() as tx:
            assert await end_provider_sessions(tx, LogoutToken(ISSUER, subject, sid, f"t{number}")) == 0
        assert await choose(browser, tenant) == left


async def test_a_provider_that_was_taken_away(house: House, tenant: UUID, bo: UUID) -> None:
    await house.scratch.owner.execute(
        "INSERT INTO seawall.identities (issuer, subject, user_id) VALUES ('https://idp.example', 'bo', $1)", bo
    )
    owner = await half(house)
    assert await choose(owner, tenant) == 200
    passkey, _ = await add(owner)
    thief = await half(house)
    wanted = {"issuer": ISSUER, "subject": str(bo)}
    asked = await owner.post("/auth/identities/unlink", headers=JSON, json=wanted)
    assert await approve(owner, passkey, asked.json()["step_up"]) == 200
    assert (await owner.post("/auth/identities/unlink", headers=JSON, json=wanted)).status_code == 200
    assert await choose(thief, tenant) == 400
