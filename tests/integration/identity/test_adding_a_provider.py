"""Adding and taking away an account at a provider: only by its owner, only with a second factor, never the last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import pyotp
import pytest
from tests.integration.identity.conftest import JSON, Browser, House

from seawall.settings import IdentitySection, ProviderSection, Settings
from seawall_check.probes.provider import CLIENT_ID, HostileProvider

LINK = "/auth/identities/link/idp"


@pytest.fixture
def settings(tmp_path: Path, idp: HostileProvider) -> Settings:
    providers = {
        "dev": ProviderSection(kind="development"),
        "idp": ProviderSection(issuer=idp.issuer, client_id=CLIENT_ID, title="Partner"),
    }
    return Settings(root=tmp_path, identity=IdentitySection(providers=providers))


@pytest.fixture
async def signed_in(house: House, ann: UUID) -> Browser:
    browser = house.browser()
    await browser.sign_in("ann@example.com")
    return browser


async def enrol(browser: Browser) -> Iterator[str]:
    """Set up an authenticator app; gives recovery codes, of which each proves once without waiting for a time step."""
    secret = (await browser.get("/auth/totp", JSON)).json()["secret"]
    answer = await browser.post("/auth/totp", JSON, json={"code": pyotp.TOTP(secret).now()})
    assert answer.status_code == 200, answer.text
    return iter(answer.json()["recovery_codes"])


async def approve(browser: Browser, codes: Iterator[str], path: str) -> None:
    asked = await browser.get(path, JSON)
    assert asked.status_code == 401, asked.text
    answer = await browser.post(asked.json()["step_up"], JSON, json={"code": next(codes)})
    assert answer.status_code == 200, answer.text


async def to_provider(browser: Browser) -> dict[str, str]:
    answer = await browser.get(LINK)
    assert answer.status_code == 303, answer.text
    return dict(parse_qsl(urlsplit(answer.headers["location"]).query))


async def back(browser: Browser, idp: HostileProvider, query: dict[str, str], subject: str) -> int:
    parameters = {"code": idp.issue(query, subject), "state": query["state"], "iss": idp.issuer}
    return (await browser.get(f"/auth/callback/idp?{urlencode(parameters)}")).status_code


async def subjects(house: House, user_id: UUID) -> set[str]:
    rows = await house.scratch.owner.fetch("SELECT subject FROM seawall.identities WHERE user_id = $1", user_id)
    return {row["subject"] for row in rows}


async def test_an_account_is_added_and_opens_the_same_person(
    house: House, idp: HostileProvider, signed_in: Browser, ann: UUID
) -> None:
    codes = await enrol(signed_in)
    await approve(signed_in, codes, LINK)
    assert await back(signed_in, idp, await to_provider(signed_in), "ann-there") == 200
    other = house.browser()
    _, query = await other.begin("/auth/sign-in?provider=idp")
    assert await back(other, idp, query, "ann-there") == 200
    assert (await other.get("/auth/me", JSON)).json()["user_id"] == str(ann)
    assert [event["change"] for event in await house.events("identity.link")] == ["linked"]
    # one approval, one account
    assert (await signed_in.get(LINK, JSON)).status_code == 401


async def test_what_is_somebodys_already_is_not_added(
    house: House, idp: HostileProvider, signed_in: Browser, ann: UUID, tenant: UUID
) -> None:
    bob = await house.scratch.person(tenant, "owner", email="bob@example.com")
    await house.scratch.owner.execute(
        "INSERT INTO seawall.identities (issuer, subject, user_id) VALUES ($1, 'bob-there', $2)", idp.issuer, bob
    )
    codes = await enrol(signed_in)
    await approve(signed_in, codes, LINK)
    assert await back(signed_in, idp, await to_provider(signed_in), "bob-there") == 400
    assert await subjects(house, bob) == {"bob-there"}


async def test_who_signed_out_meanwhile_links_nothing(
    house: House, idp: HostileProvider, signed_in: Browser, ann: UUID
) -> None:
    codes = await enrol(signed_in)
    await approve(signed_in, codes, LINK)
    query = await to_provider(signed_in)
    await house.scratch.owner.execute("UPDATE seawall.sessions SET revoked_at = now()")
    assert await back(signed_in, idp, query, "ann-there") == 400
    assert await subjects(house, ann) == {str(ann)}


async def test_a_link_begun_in_one_browser_is_not_finished_in_another(
    house: House, idp: HostileProvider, signed_in: Browser, ann: UUID
) -> None:
    """Whoever lures somebody to a prepared callback must not have their own account linked to that person."""
    codes = await enrol(signed_in)
    await approve(signed_in, codes, LINK)
    query = await to_provider(signed_in)
    assert await back(house.browser(), idp, query, "evil-there") == 400
    assert await subjects(house, ann) == {str(ann)}


async def test_without_a_second_factor_nothing_is_added(house: House, signed_in: Browser) -> None:
    for _ in range(2):
        assert (await signed_in.get(LINK, JSON)).status_code == 401
    assert (await house.browser().get(LINK, JSON)).status_code == 401
    assert (await signed_in.get("/auth/identities/link/nobody", JSON)).status_code == 404


async def test_the_last_account_stays_however_many_removals_race(
    house: House, idp: HostileProvider, signed_in: Browser, ann: UUID
) -> None:
    codes = await enrol(signed_in)
    await approve(signed_in, codes, LINK)
    assert await back(signed_in, idp, await to_provider(signed_in), "ann-there") == 200
    listed = (await signed_in.get("/auth/identities", JSON)).json()["identities"]
    assert [row["title"] for row in listed] == ["Development sign-in", "Partner"]
    wanted = [{"issuer": row["issuer"], "subject": row["subject"]} for row in listed]

    async def remove(which: dict[str, str]) -> int:
        return (await signed_in.post("/auth/identities/unlink", JSON, json=which)).status_code

    for which in wanted:
        asked = await signed_in.post("/auth/identities/unlink", JSON, json=which)
        answer = await signed_in.post(asked.json()["step_up"], JSON, json={"code": next(codes)})
        assert answer.status_code == 200, answer.text
    assert sorted(await asyncio.gather(*(remove(which) for which in wanted))) == [200, 409]
    assert len(await subjects(house, ann)) == 1
    stranger = {"issuer": idp.issuer, "subject": "not-hers"}
    assert await remove(stranger) == 404


async def test_the_page(signed_in: Browser) -> None:
    shown = await signed_in.get("/auth/identities")
    assert "Development sign-in" in shown.text
    assert "Add Partner" in shown.text
    assert "the only one" in shown.text
