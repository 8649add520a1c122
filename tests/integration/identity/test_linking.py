"""First sign-ins at a provider elsewhere: who is linked to which account, and who is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from tests.integration.identity.conftest import JSON, Browser, House
from tests.support.databases import ScratchDatabase

from seawall.settings import IdentitySection, ProviderSection, Settings
from seawall_check.probes.provider import CLIENT_ID, HostileProvider, Lie

EMAIL = "karl@partner.example"


@pytest.fixture
def settings(tmp_path: Path, idp: HostileProvider) -> Settings:
    section = ProviderSection(issuer=idp.issuer, client_id=CLIENT_ID, email_domains=("Partner.example",))
    return Settings(
        root=tmp_path,
        identity=IdentitySection(providers={"idp": section, "dev": ProviderSection(kind="development")}),
    )


@pytest.fixture
async def invited(scratch: ScratchDatabase, tenant: UUID) -> UUID:
    """An account with a role and no identity yet."""
    return await scratch.person(tenant, "owner", email=EMAIL)


async def arrive(
    house: House, idp: HostileProvider, subject: str, path: str = "", **claims: Any
) -> tuple[Browser, str]:
    """Sign in at the provider with these claims; gives the browser and the refusal's reason."""
    browser = house.browser()
    _, query = await browser.begin(f"/auth/sign-in?provider=idp{path}")
    code = idp.issue(query, subject, Lie(lambda told: {**told, **claims}))
    answer = await browser.get(
        f"/auth/callback/idp?{urlencode({'code': code, 'state': query['state'], 'iss': idp.issuer})}"
    )
    assert (answer.status_code == 200) == (browser.token is not None)
    last = (await house.events("identity.sign-in"))[-1]
    return browser, last["reason"]


async def test_an_invited_person_is_linked_once_by_verified_address(
    house: House, idp: HostileProvider, invited: UUID
) -> None:
    browser, _ = await arrive(house, idp, "s-1", email=EMAIL.upper(), email_verified=True)
    assert (await browser.get("/auth/me", JSON)).json()["user_id"] == str(invited)
    # From now on the subject counts, whatever the address says.
    browser, _ = await arrive(house, idp, "s-1", email="new@elsewhere.example", email_verified=False)
    assert (await browser.get("/auth/me", JSON)).json()["user_id"] == str(invited)
    # A recycled address: another subject with it gets nothing.
    _, reason = await arrive(house, idp, "s-2", email=EMAIL, email_verified=True)
    assert reason == "account-linked-elsewhere"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, "account-unknown"),
        ({"email": EMAIL}, "account-unknown"),
        ({"email": EMAIL, "email_verified": False}, "account-unknown"),
        ({"email": EMAIL, "email_verified": "true"}, "account-unknown"),
        ({"email": [EMAIL], "email_verified": True}, "account-unknown"),
        ({"email": "karl@evil.example", "email_verified": True}, "email-domain"),
        ({"email": "karl@partner.example@evil.example", "email_verified": True}, "email-domain"),
        ({"email": "nobody@partner.example", "email_verified": True}, "account-unknown"),
        ({"email": EMAIL.replace("k", "\u212a"), "email_verified": True}, "account-unknown"),  # the Kelvin sign
    ],
)
async def test_everybody_else_is_refused(
    house: House, idp: HostileProvider, invited: UUID, claims: dict[str, Any], reason: str
) -> None:
    assert (await arrive(house, idp, "s-1", **claims))[1] == reason
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.identities") == 0


async def test_an_account_of_another_provider_is_not_taken_over(
    house: House, idp: HostileProvider, tenant: UUID
) -> None:
    await house.person(EMAIL, tenant)
    assert (await arrive(house, idp, "s-1", email=EMAIL, email_verified=True))[1] == "account-linked-elsewhere"


async def test_an_answer_on_the_path_of_another_provider(house: House, idp: HostileProvider, invited: UUID) -> None:
    browser = house.browser()
    _, query = await browser.begin("/auth/sign-in?provider=idp")
    code = idp.issue(query, "s-1", Lie(lambda told: {**told, "email": EMAIL, "email_verified": True}))
    parameters = urlencode({"code": code, "state": query["state"], "iss": idp.issuer})
    assert (await browser.get(f"/auth/callback/dev?{parameters}")).status_code == 400
    assert (await house.events("identity.sign-in"))[-1]["reason"] == "provider-mismatch"


async def test_a_fresh_sign_in_must_be_fresh(house: House, idp: HostileProvider, invited: UUID) -> None:
    import time

    who = {"email": EMAIL, "email_verified": True}
    _, reason = await arrive(house, idp, "s-1", "&fresh=1", **who)
    assert reason == "token-time-malformed"  # it must say when
    _, reason = await arrive(house, idp, "s-1", "&fresh=1", **who, auth_time=int(time.time()) - 3600)
    assert reason == "token-auth-time"
    browser, _ = await arrive(house, idp, "s-1", "&fresh=1", **who, auth_time=int(time.time()) - 10)
    assert (await browser.get("/auth/totp", JSON)).status_code == 200
    browser, _ = await arrive(house, idp, "s-1", **who, auth_time=int(time.time()) - 3600)
    assert (await browser.get("/auth/totp", JSON)).status_code == 401


async def test_an_auth_time_of_1970_is_not_now(house: House, idp: HostileProvider, invited: UUID) -> None:
    browser, _ = await arrive(house, idp, "s-1", email=EMAIL, email_verified=True, auth_time=0)
    assert (await browser.get("/auth/totp", JSON)).status_code == 401


async def test_the_offer_of_several_providers(house: House) -> None:
    browser = house.browser()
    offered = (await browser.get("/auth/sign-in?next=/orders", JSON)).json()["providers"]
    assert [one["url"] for one in offered] == [
        "/auth/sign-in?provider=idp&next=%2Forders",
        "/auth/sign-in?provider=dev&next=%2Forders",
    ]
    page = await browser.get("/auth/sign-in")
    assert "Continue with Development sign-in" in page.text


async def test_a_provider_that_is_away_is_one_generic_page(house: House, idp: HostileProvider) -> None:
    house.identity.providers["idp"]._fetcher = house.identity.providers["dev"]._fetcher  # answers 404 for its paths
    browser = house.browser()
    answer = await browser.get("/auth/sign-in?provider=idp")
    assert (answer.status_code, "We could not sign you in" in answer.text) == (400, True)
    assert (await house.events("identity.sign-in"))[-1]["reason"] == "provider-status"
