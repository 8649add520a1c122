"""Whoever runs the provider of one tenant can sign in as anybody there, and makes nothing of it that opens another."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from tests.integration.identity.conftest import JSON, Browser, House
from tests.integration.identity.test_passkeys import add, approve, enter

from seawall.identity.development import ISSUER
from seawall.identity.providers import Trust
from seawall.identity.reach import of_issuer, of_passkeys
from seawall.settings import IdentitySection, ProviderSection, Settings
from seawall_check.probes.provider import CLIENT_ID, HostileProvider

XI = "xi@example.com"
LINK, UNLINK = "/auth/identities/link", "/auth/identities/unlink"


@pytest.fixture
def settings(tmp_path: Path, idp: HostileProvider) -> Settings:
    providers = {
        "dev": ProviderSection(kind="development"),
        "idp": ProviderSection(issuer=idp.issuer, client_id=CLIENT_ID, tenants=("harbour",)),
    }
    return Settings(root=tmp_path, identity=IdentitySection(providers=providers))


@pytest.fixture
async def harbour(house: House) -> UUID:
    return await house.scratch.tenant("harbour")


@pytest.fixture
async def xi(house: House, idp: HostileProvider, tenant: UUID, harbour: UUID) -> UUID:
    """Works for two tenants, one of which has a provider of its own."""
    xi = await house.person(XI, tenant, harbour)
    await house.scratch.owner.execute(
        "INSERT INTO seawall.identities (issuer, subject, user_id) VALUES ($1, 'xi', $2)", idp.issuer, xi
    )
    return xi


async def impostor(house: House, idp: HostileProvider) -> Browser:
    browser = house.browser()
    _, query = await browser.begin("/auth/sign-in?provider=idp")
    back = urlencode({"code": idp.issue(query, "xi"), "state": query["state"], "iss": idp.issuer})
    assert (await browser.get(f"/auth/callback/idp?{back}")).status_code == 200
    return browser


async def test_a_passkey_opens_what_every_provider_of_its_person_opens(
    house: House, idp: HostileProvider, xi: UUID, harbour: UUID
) -> None:
    passkey, _ = await add(await impostor(house, idp))
    there, status = await enter(house, passkey)
    assert status == 200
    assert (await there.get("/auth/me", JSON)).json()["tenant_id"] == str(harbour)


async def test_no_way_in_is_added_or_taken_away_that_leads_further(
    house: House, idp: HostileProvider, xi: UUID
) -> None:
    browser = await impostor(house, idp)
    passkey, _ = await add(browser)
    sessions = [browser, (await enter(house, passkey))[0]]  # one that began with the passkey reaches no further
    for one in sessions:
        refused = [
            await one.get(f"{LINK}/dev", JSON),
            await one.post(UNLINK, headers=JSON, json={"issuer": ISSUER, "subject": str(xi)}),
        ]
        assert [(answer.status_code, answer.json()["code"]) for answer in refused] == [(403, "out-of-reach")] * 2
    own = await browser.get(f"{LINK}/idp", JSON)
    assert (own.status_code, own.json()["code"]) == (401, "step-up-required")


async def test_who_signed_in_further_up_adds_and_takes_away(
    house: House, idp: HostileProvider, xi: UUID, tenant: UUID
) -> None:
    browser = house.browser()
    answer = await browser.log_in(XI)
    await browser.get(answer.headers["location"])
    assert (await browser.post("/auth/tenant", headers=JSON, data={"tenant_id": str(tenant)})).status_code == 200
    passkey, _ = await add(browser)
    asked = await browser.get(f"{LINK}/idp", JSON)
    assert await approve(browser, passkey, asked.json()["step_up"]) == 200
    wanted = {"issuer": idp.issuer, "subject": "xi"}
    asked = await browser.post(UNLINK, headers=JSON, json=wanted)
    assert await approve(browser, passkey, asked.json()["step_up"]) == 200
    assert (await browser.post(UNLINK, headers=JSON, json=wanted)).status_code == 200


def test_reaches() -> None:
    def provider(issuer: str, *tenants: str) -> Any:
        return SimpleNamespace(issuer=issuer, trust=Trust(tenants=frozenset(tenants)))

    all_of_them = [provider("all"), provider("a", "a"), provider("ab", "a", "b"), provider("b", "b")]
    assert of_issuer("all", all_of_them) is None
    assert of_issuer("ab", all_of_them) == {"a", "b"}
    assert of_issuer("gone", all_of_them) == set()
    assert of_issuer("a", [*all_of_them, provider("a", "c")]) == {"a", "c"}  # two clients at one issuer
    assert of_issuer("a", [*all_of_them, provider("a")]) is None
    assert of_passkeys(["all"], all_of_them) is None
    assert of_passkeys(["all", "ab"], all_of_them) == {"a", "b"}
    assert of_passkeys(["ab", "a", "gone"], all_of_them) == {"a"}
    assert of_passkeys(["a", "b"], all_of_them) == set()
    assert of_passkeys(["gone"], all_of_them) == of_passkeys([], all_of_them) == set()
