"""Device-bound sessions in a real Chromium: it binds, goes on, and a thief of its cookies does not.

The keys are Chromium's software keys for tests: this machine has no TPM. A browser binds only over https that it
trusts, so each run has a certificate store of its own with the development CA in it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import BrowserContext, Page, async_playwright
from tests.browser.conftest import CHROMIUM, _sign_in
from tests.conftest import Found

from seawall.scaffold import new
from seawall.testing import RunningApp, running

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("certutil") is None and not os.environ.get("CI"),
        reason="there is no certutil (Debian: libnss3-tools) to make Chromium trust the development CA",
    ),
]

FEATURES = "DeviceBoundSessions,EnableBoundSessionCredentialsSoftwareKeysForManualTesting"
COOKIE = "__Host-sw_dev"
LIFETIME_S = 10
"""A cookie this short is refreshed ahead of its time at every navigation, and Chromium signs six times in some
minutes: one
for binding, one for the page after the sign-in, and the rest for what is tried here."""
WAIT_S = 15
Trusting = Callable[[RunningApp], Awaitable[BrowserContext]]


@asynccontextmanager
async def trusting(app: RunningApp, home: Path) -> AsyncIterator[BrowserContext]:
    """A context of a Chromium that trusts the app's CA and can bind sessions."""
    store = home / ".pki" / "nssdb"
    store.mkdir(parents=True)
    for command in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "dev", "-i", app.target["ca_file"]]):
        subprocess.run(["certutil", "-d", f"sql:{store}", *command], check=True, capture_output=True)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            env={**os.environ, "HOME": str(home)},
            args=["--no-sandbox", "--disable-background-networking", f"--enable-features={FEATURES}"],
        )
        try:
            yield await browser.new_context(base_url=app.base_url)
        finally:
            await browser.close()


async def bound_cookie(context: BrowserContext, other_than: str | None = None) -> str:
    """The bound cookie, as soon as the browser has it."""
    for _ in range(WAIT_S * 10):
        held = [one["value"] for one in await context.cookies() if one["name"] == COOKIE]
        if held and held[0] != other_than:
            return held[0]
        await asyncio.sleep(0.1)
    raise AssertionError("the browser did not bind its session")


async def signed_in(context: BrowserContext, app: RunningApp) -> Page:
    page = await context.new_page()
    await _sign_in(page, app, "harbour.customer", "/venues")
    return page


async def test_a_browser_binds_its_session_and_notices_nothing(shop: RunningApp, tmp_path: Path) -> None:
    async with trusting(shop, tmp_path) as context:
        page = await signed_in(context, shop)
        first = await bound_cookie(context)
        await page.goto("/auth/account")
        assert "Your account" in await page.content()
        # what a race can do at worst: the cookie is another than the server's; the same navigation heals it
        await context.add_cookies([{"name": COOKIE, "value": "A" * 43, "url": shop.base_url, "secure": True}])
        await asyncio.sleep(11)  # the grace of the first requests is over
        landed = await page.goto("/auth/account")
        assert landed is not None
        assert (landed.status, page.url) == (200, f"{shop.base_url}/auth/account")
        second = await bound_cookie(context, other_than="A" * 43)
        assert second != first
        await page.get_by_role("button", name="Sign out everywhere").click()
        await page.wait_for_url(f"{shop.base_url}/")
        await _sign_in(page, shop, "harbour.customer", "/venues")
        assert await bound_cookie(context, other_than=second)


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningApp]:
    """The app with bound cookies of seconds."""
    monkeypatch.setenv("SEAWALL_IDENTITY__DEVICES__COOKIE_LIFETIME_S", str(LIFETIME_S))
    monkeypatch.setenv("SEAWALL_IDENTITY__DEVICES__GRACE_S", "0")
    with running(new("restaurant", "shop", tmp_path)) as app:
        yield app


@pytest.mark.prove
async def test_a_stolen_jar_dies_while_the_browser_goes_on(hasty: RunningApp, tmp_path: Path, found: Found) -> None:
    """The drill; tells how long the stolen cookies were worth anything."""
    async with trusting(hasty, tmp_path / "home") as context:
        page = await signed_in(context, hasty)
        await bound_cookie(context)
        await page.goto("/auth/account")
        jar = {one["name"]: one["value"] for one in await context.cookies()}
        stolen_s = time.monotonic()
        tls = ssl.create_default_context(cafile=hasty.target["ca_file"])
        async with httpx2.AsyncClient(base_url=hasty.base_url, verify=tls) as thief:
            cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
            statuses = [(await thief.get("/auth/me", headers=cookies)).status_code]
            while statuses[-1] == 200 and time.monotonic() - stolen_s < 3 * LIFETIME_S:
                await asyncio.sleep(0.25)
                statuses.append((await thief.get("/auth/me", headers=cookies)).status_code)
            died_s = time.monotonic() - stolen_s
            assert statuses[0] == 200
            assert statuses[-1] == 401
            assert died_s < LIFETIME_S + 10
            for _ in range(2):
                landed = await page.goto("/auth/account")
                assert landed is not None
                assert (landed.status, page.url) == (200, f"{hasty.base_url}/auth/account")
                await asyncio.sleep(LIFETIME_S)
            assert (await thief.get("/auth/me", headers=cookies)).status_code == 401
        found(f"stolen cookies: dead after {died_s:.1f} s of a bound cookie's {LIFETIME_S} s; the browser goes on")
