"""Passkeys in a real Chromium with a virtual authenticator: enrolled, used in all three ways, lost and recovered."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from playwright.async_api import CDPSession, Page, expect
from tests.browser.people import authenticator, sign_out
from tests.browser.test_journeys import paid_order, refund

from seawall.testing import RunningApp

pytestmark = pytest.mark.browser

OPTIONS = {
    "protocol": "ctap2",
    "ctap2Version": "ctap2_1",
    "transport": "internal",
    "hasResidentKey": True,
    "hasUserVerification": True,
    "isUserVerified": True,
    "automaticPresenceSimulation": True,
}


class Device:
    """The virtual authenticator of one page's browser."""

    def __init__(self, cdp: CDPSession, name: str) -> None:
        self.cdp = cdp
        self.name = name

    @classmethod
    async def of(cls, page: Page) -> Device:
        cdp = await page.context.new_cdp_session(page)
        await cdp.send("WebAuthn.enable", {"enableUI": False})
        made = await cdp.send("WebAuthn.addVirtualAuthenticator", {"options": OPTIONS})
        return cls(cdp, made["authenticatorId"])

    async def credentials(self) -> list[dict[str, Any]]:
        found = await self.cdp.send("WebAuthn.getCredentials", {"authenticatorId": self.name})
        return list(found["credentials"])

    async def verifies(self, *, person: bool) -> None:
        await self.cdp.send("WebAuthn.setUserVerified", {"authenticatorId": self.name, "isUserVerified": person})

    async def copy_back(self, count: int) -> None:
        """As a stolen copy of the key would: the same credential with an older counter."""
        (credential,) = await self.credentials()
        await self.forget()
        await self.cdp.send(
            "WebAuthn.addCredential", {"authenticatorId": self.name, "credential": credential | {"signCount": count}}
        )

    async def forget(self) -> None:
        await self.cdp.send("WebAuthn.clearCredentials", {"authenticatorId": self.name})


async def type_in(page: Page, shop: RunningApp, persona: str, path: str = "/") -> None:
    """Sign in at the provider's form and go on to `path`, wherever that leads."""
    await page.goto(f"/auth/sign-in?provider=dev&next={path}")
    await page.fill("[name=email]:visible", shop.personas[persona]["login"])
    await page.fill("[name=password]:visible", shop.personas[persona]["password"])
    await page.press("[name=password]:visible", "Enter")
    await page.wait_for_url(lambda url: "/auth/callback" not in url and "dev-provider" not in url)


async def enrol(page: Page, name: str) -> list[str]:
    """On the page that creates one; gives the recovery codes that are shown."""
    await page.get_by_label("Name it").fill(name)
    await page.get_by_role("button", name="Create the passkey").click()
    await expect(page.get_by_role("heading", name="Your passkey works")).to_be_visible()
    return await page.locator("main code").all_inner_texts()


@pytest.fixture
async def new_owner(shop: RunningApp) -> AsyncIterator[str]:
    """The name of an owner who has no factor yet; other tests find them so again."""

    async def forget() -> None:
        owner = await asyncpg.connect(shop.target["database"]["owner_url"])
        for table in ("passkeys", "recovery_codes"):
            await owner.execute(
                f"DELETE FROM seawall.{table} WHERE user_id = $1::uuid", shop.personas["hill.owner"]["user_id"]
            )
        await owner.close()
        shop.forget("hill.owner")

    await forget()
    yield "hill.owner"
    await forget()


async def test_an_owner_sets_one_up_and_uses_it_everywhere(
    visit: Any, shop: RunningApp, new_owner: str, picture: Any
) -> None:
    page = await visit(None)
    device = await Device.of(page)
    await type_in(page, shop, new_owner, "/team")
    await expect(page.get_by_role("heading", name="Your role needs a second factor")).to_be_visible()
    await picture(page, "second-factor-none")
    await page.goto("/orders")
    await expect(page).to_have_url(re.compile("/auth/second-factor"))
    await page.goto("/team")
    await page.get_by_role("link", name="Set up a passkey").click()
    await picture(page, "passkey-new")
    codes = await enrol(page, "Kitchen tablet")
    assert len(codes) == 8
    await picture(page, "passkey-done")
    await page.get_by_role("link", name="Continue").click()
    await expect(page.get_by_role("heading", name="Team")).to_be_visible()

    await sign_out(page)
    await page.goto("/orders")
    await picture(page, "sign-in-with-passkey")
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.locator("table")).to_be_visible()
    await expect(page).to_have_url(re.compile("/orders$"))

    await page.goto(f"/orders/{paid_order(shop, 'hill')}")
    await refund(page, "150.00", "the whole table waited")
    await expect(page.get_by_text("Refund $150.00")).to_be_visible()
    await picture(page, "step-up-with-passkey")
    await page.get_by_role("button", name="Approve with your passkey").click()
    await expect(page.get_by_text("the whole table waited")).to_be_visible()
    await expect(page.locator("dl", has_text="Refunded")).to_contain_text("$150.00")

    await sign_out(page)
    await type_in(page, shop, new_owner, "/team")
    await expect(page.get_by_role("heading", name="Your role needs your second factor")).to_be_visible()
    await picture(page, "second-factor-prove")
    await page.get_by_role("button", name="Use your passkey").click()
    await expect(page.get_by_role("heading", name="Team")).to_be_visible()
    assert len(await device.credentials()) == 1


async def test_lost_and_recovered(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = await visit(None)
    device = await Device.of(page)
    await type_in(page, shop, "hill.manager2", "/auth/account")
    await page.get_by_role("link", name="Add a passkey").click()
    codes = await enrol(page, "Lost telephone")
    await page.get_by_role("link", name="Continue").click()
    await expect(page.get_by_role("heading", name="Lost telephone")).to_be_visible()
    await page.get_by_label("New name of Lost telephone").fill("Old telephone")
    await page.get_by_role("button", name="Rename").click()
    await expect(page.get_by_role("heading", name="Old telephone")).to_be_visible()
    bar = page.get_by_role("navigation", name="Main")  # the app's, on the library's page
    assert await bar.get_by_role("link").all_inner_texts() == ["Venues", "Orders", "Requests", "Account"]
    await expect(bar.locator("[aria-current=page]")).to_have_text("Account")
    await picture(page, "account")

    await device.forget()
    await sign_out(page)
    await page.goto("/auth/sign-in?next=/auth/account")
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await expect(page.get_by_role("alert")).to_contain_text("No passkey was used")
    await picture(page, "sign-in-no-passkey")
    await type_in(page, shop, "hill.manager2", "/auth/account")
    await page.get_by_role("link", name="Lost something? Use one.").click()
    await picture(page, "recovery")
    await page.locator("[name=code]").fill("AAAA-BBBB-CCCC-DDDD")
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_role("alert").first).to_contain_text("not valid")
    await page.locator("[name=code]").fill(codes[0].lower())
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_text("You used a recovery code")).to_be_visible()
    await expect(page.get_by_text("7 recovery codes left")).to_be_visible()
    await picture(page, "account-recovering")
    await page.get_by_role("button", name="Remove the passkey Old telephone").click()
    await expect(page.get_by_text("You have none yet")).to_be_visible()
    await page.get_by_role("link", name="Add a passkey").click()
    assert len(await enrol(page, "New telephone")) == 8
    await page.get_by_role("link", name="Continue").click()

    # beyond the recovery, a second one is confirmed with the first
    await sign_out(page)
    await page.goto("/auth/sign-in?next=/auth/account")
    await page.get_by_role("button", name="Sign in with a passkey").click()
    await page.get_by_role("link", name="Set up an authenticator app").click()
    await expect(page.get_by_text("Add an authenticator app")).to_be_visible()
    await page.get_by_role("button", name="Approve with your passkey").click()
    await page.locator("[name=code]").fill(next(await authenticator(page)))
    await page.get_by_role("button", name="Confirm").click()
    await expect(page.get_by_text("The recovery codes that you have stay good")).to_be_visible()


async def test_sessions_are_listed_and_ended(visit: Any, shop: RunningApp, picture: Any) -> None:
    here = await visit("hill.courier", "/auth/account")
    there = await visit("hill.courier", "/venues")
    third = shop.sign_in("hill.courier")
    await here.reload()
    rows = here.locator("section", has=here.get_by_role("heading", name="Where you are signed in")).locator("tbody tr")
    await expect(rows).to_have_count(3)
    await expect(rows.first).to_contain_text("Chrome on Linux This one")
    await expect(rows.filter(has_text="An unknown browser")).to_have_count(1)
    await picture(here, "account-sessions")
    await rows.filter(has_text="An unknown browser").get_by_role("button", name="End").click()
    await expect(rows).to_have_count(2)
    assert third.get("/auth/me").status_code == 401
    await here.get_by_role("button", name="End all others").click()
    await expect(rows).to_have_count(1)
    await there.goto("/orders")
    await expect(there).to_have_url(re.compile("/auth/sign-in"))
    # by keyboard: the last button of the page
    await here.get_by_role("button", name="Sign out everywhere").focus()
    await here.keyboard.press("Enter")
    await expect(here.get_by_role("link", name="Sign in", exact=True)).to_be_visible()


async def test_what_is_refused(visit: Any, shop: RunningApp) -> None:
    page = await visit(None)
    device = await Device.of(page)
    await type_in(page, shop, "harbour.courier", "/auth/account")
    await page.get_by_role("link", name="Add a passkey").click()
    await enrol(page, "Telephone")
    await page.goto("/auth/sign-in")
    sent: list[str] = []
    page.on("request", lambda r: sent.append(r.post_data or "") if r.url.endswith("/sign-in/passkey") else None)

    async def sign_in() -> None:
        await page.goto("/auth/sign-in?next=/deliveries")
        await page.get_by_role("button", name="Sign in with a passkey").click()

    await sign_in()
    await expect(page).to_have_url(f"{shop.base_url}/deliveries")
    replay = await page.evaluate(
        """async body => (await fetch('/auth/sign-in/passkey', {method: 'POST', body, headers:
           {'Content-Type': 'application/x-www-form-urlencoded', 'Accept': 'application/json'}})).status""",
        sent[-1],
    )
    assert replay == 400

    await device.copy_back(0)
    await sign_in()
    await expect(page.get_by_role("heading", name="We could not sign you in")).to_be_visible()
    await page.goto("/auth/account")
    await expect(page.get_by_text("A copy of this passkey may exist")).to_be_visible()
    await device.copy_back(100)
    await sign_in()
    await expect(page).to_have_url(f"{shop.base_url}/deliveries")

    await device.verifies(person=False)
    await sign_in()
    await expect(page.get_by_role("alert")).to_be_visible()
    await device.verifies(person=True)

    # another origin of this machine: the browser itself refuses to sign for the host that it is not on
    elsewhere = await page.evaluate(
        """async () => { try { await navigator.credentials.get({publicKey: {challenge: new Uint8Array(32),
           rpId: 'other.example'}}); return 'signed' } catch (error) { return error.name } }"""
    )
    assert elsewhere == "SecurityError"


async def test_without_scripts_there_is_a_sentence_and_another_way(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = await visit(None, "/auth/sign-in", javascript=False)
    await expect(page.get_by_text("Passkeys need scripts")).to_be_visible()
    await expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_hidden()
    await picture(page, "sign-in-without-scripts")
    page = await visit("harbour.customer", "/auth/account", javascript=False)
    await page.get_by_role("link", name="Add a passkey").click()
    await expect(page.get_by_role("button", name="Create the passkey")).to_be_hidden()
    await page.get_by_role("link", name="Use an authenticator app instead").click()
    await expect(page.get_by_role("heading", name="Set up an authenticator app")).to_be_visible()


async def test_a_browser_without_passkeys_is_told(visit: Any) -> None:
    page = await visit(None)
    await page.add_init_script("delete window.PublicKeyCredential")
    await page.goto("/auth/sign-in")
    await expect(page.get_by_text("Passkeys need scripts")).to_be_visible()
    assert json.loads(await page.evaluate("JSON.stringify('credentials' in navigator)"))
