"""Back-channel logout: a provider ends the sessions that it vouched for, and no others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

import pytest
from tests.integration.identity.conftest import JSON, Browser, House

from seawall.settings import IdentitySection, ProviderSection, Settings
from seawall_check.probes.provider import CLIENT_ID, HostileProvider, Lie

EMAIL = "guest@partner.example"


@pytest.fixture
def settings(tmp_path: Path, idp: HostileProvider) -> Settings:
    section = ProviderSection(issuer=idp.issuer, client_id=CLIENT_ID, email_domains=("partner.example",))
    return Settings(
        root=tmp_path,
        identity=IdentitySection(
            providers={"idp": section, "dev": ProviderSection(kind="development")},
            attempts_per_network=30,
            sign_ins_per_network=40,
        ),
    )


async def arrive(house: House, idp: HostileProvider, sid: str | None = None) -> Browser:
    browser = house.browser()
    _, query = await browser.begin("/auth/sign-in?provider=idp")
    claims = {"email": EMAIL, "email_verified": True, "sid": sid}
    code = idp.issue(query, "s-1", Lie(lambda told: {**told, **claims}))
    back = urlencode({"code": code, "state": query["state"], "iss": idp.issuer})
    assert (await browser.get(f"/auth/callback/idp?{back}")).status_code == 200
    return browser


async def tell(house: House, token: str, provider: str = "idp") -> int:
    http = house.browser().http
    answer = await http.post(f"/auth/back-channel-logout/{provider}", data={"logout_token": token})
    return answer.status_code


@pytest.fixture
async def guest(house: House, tenant: UUID) -> UUID:
    return await house.scratch.person(tenant, "owner", email=EMAIL)


async def test_everything_of_a_person_or_one_session(house: House, idp: HostileProvider, guest: UUID) -> None:
    one, two, three = await arrive(house, idp, "a"), await arrive(house, idp, "b"), await arrive(house, idp)
    only_a = idp.logout_token("s-1", Lie(lambda c: {**c, "sub": None, "sid": "a"}))
    assert await tell(house, only_a) == 200
    assert [await browser.me() for browser in (one, two, three)] == [401, 200, 200]
    assert await tell(house, idp.logout_token("s-1")) == 200
    assert [await browser.me() for browser in (two, three)] == [401, 401]
    ended = [event["sessions_ended"] for event in await house.events("identity.provider-logout")]
    assert ended == [1, 2]


async def test_nothing_of_another_provider(house: House, idp: HostileProvider, guest: UUID, tenant: UUID) -> None:
    await house.person("ann@example.com", tenant)
    ann = house.browser()
    await ann.sign_in("ann@example.com")
    subject = str(await house.scratch.owner.fetchval("SELECT id FROM seawall.users WHERE email = 'ann@example.com'"))
    assert await tell(house, idp.logout_token(subject)) == 200
    assert await tell(house, idp.logout_token(subject), "dev") == 400  # not signed by that provider
    assert await ann.me() == 200
    assert await tell(house, idp.logout_token("s-1"), "nobody") == 404


async def test_a_token_works_once_however_many_bring_it(house: House, idp: HostileProvider, guest: UUID) -> None:
    await arrive(house, idp)
    token = idp.logout_token("s-1")
    assert sorted(await asyncio.gather(*(tell(house, token) for _ in range(8)))) == [200] + [400] * 7
    again = await arrive(house, idp)
    assert await tell(house, token) == 400
    assert await again.me() == 200


@pytest.mark.parametrize("body", [{}, {"logout_token": ""}, {"logout_token": "a.b.c"}, {"logout_token": "x" * 40_000}])
async def test_what_is_no_token(house: House, body: dict[str, str]) -> None:
    http = house.browser().http
    answer = await http.post("/auth/back-channel-logout/idp", data=body)
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid_request"})


async def test_refusals_are_bounded_by_network(house: House) -> None:
    answers = [await tell(house, "a.b.c") for _ in range(32)]
    assert (answers[0], answers[-1]) == (400, 429)
    assert len(await house.events("identity.provider-logout")) == 30


async def test_where_people_enter_through_a_customers_own_provider(
    house: House, idp: HostileProvider, guest: UUID, tenant: UUID
) -> None:
    from dataclasses import replace

    provider = house.identity.providers["idp"]
    slug = await house.scratch.owner.fetchval("SELECT slug FROM seawall.tenants WHERE id = $1", tenant)
    provider.trust = replace(provider.trust, tenants=frozenset({"somebody-elses"}))
    browser = house.browser()
    _, query = await browser.begin("/auth/sign-in?provider=idp")
    code = idp.issue(query, "s-1", Lie(lambda told: {**told, "email": EMAIL, "email_verified": True}))
    back = urlencode({"code": code, "state": query["state"], "iss": idp.issuer})
    assert (await browser.get(f"/auth/callback/idp?{back}")).status_code == 400
    assert (await house.events("identity.sign-in"))[-1]["reason"] == "no-membership"
    provider.trust = replace(provider.trust, tenants=frozenset({slug}))
    assert await (await arrive(house, idp)).me() == 200


async def test_a_provider_that_is_away_ends_nobodys_session_and_says_so(
    house: House, idp: HostileProvider, guest: UUID
) -> None:
    browser = await arrive(house, idp)
    house.identity.providers["idp"]._metadata._value = None
    idp.away = True
    answer = await house.browser().get("/auth/sign-in?provider=idp")
    assert (answer.status_code, "does not answer" in answer.text) == (503, True)
    assert (await house.browser().get("/auth/sign-in?provider=idp", JSON)).json()["code"] == "provider-unavailable"
    assert await browser.me() == 200
    assert (await house.events("identity.sign-in"))[-1]["reason"] == "provider-unavailable"


async def test_beginnings_of_sign_ins_are_bounded_by_network(house: House) -> None:
    browser = house.browser()
    answers = [(await browser.get("/auth/sign-in?provider=dev")).status_code for _ in range(60)]
    begun = answers.count(303)
    assert 40 <= begun <= 45  # one more every 7.5 s
    assert answers.count(429) == 60 - begun
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.sign_in_transactions") == begun
