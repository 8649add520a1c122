"""A real Chromium in front of the real restaurant app: scaffolded, on a scratch database, over https."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, async_playwright

from seawall.scaffold import new
from seawall.testing import RunningApp, running

ACTION_TIMEOUT_MS = 10_000
SCREENSHOTS = os.environ.get("SEAWALL_SCREENSHOTS")
"""A folder to put a picture of every page into, for people to look at."""

HERE = Path(__file__).resolve().parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
Visit = Callable[..., Awaitable[Page]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a machine without Chromium these say so and skip; CI installs one, and fails without it."""
    if CHROMIUM is None and not os.environ.get("CI"):
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="there is no Chromium"))


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    folder = new("restaurant", "shop", tmp_path_factory.mktemp("browser"))
    with running(folder) as app:
        yield app


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield browser
        await browser.close()


@pytest.fixture
async def visit(shop: RunningApp, chromium: Browser) -> AsyncIterator[Visit]:
    """`visit("harbour.manager", "/orders")`: a page of a new browser profile, signed in through the forms, or with a
    session that has proved its second factor when the role demands one.

    Whatever the browser complains about (a refused script or style, a failed request) fails the test.
    """
    complaints: list[str] = []
    contexts = []

    async def visit(persona: str | None, path: str = "/", *, javascript: bool = True, width: int = 1200) -> Page:
        context = await chromium.new_context(
            base_url=shop.base_url,
            ignore_https_errors=True,  # the development CA is not in Chromium's own store
            java_script_enabled=javascript,
            viewport={"width": width, "height": 850},
        )
        context.set_default_timeout(ACTION_TIMEOUT_MS)
        contexts.append(context)
        page = await context.new_page()
        page.on("pageerror", lambda error: complaints.append(f"{page.url}: {error}"))
        page.on("console", lambda said: _heard(complaints, page, said.type, said.text))
        if persona is None:
            await page.goto(path)
        else:
            await _sign_in(page, shop, persona, path)
        return page

    yield visit
    for context in contexts:
        await context.close()
    assert complaints == []


def _heard(complaints: list[str], page: Page, kind: str, text: str) -> None:
    # a challenge, a refusal and an expired sign-in are answers, which Chromium reports as failures to load
    if kind == "error" and "status of 40" not in text:
        complaints.append(f"{page.url}: {text}")


async def _sign_in(page: Page, shop: RunningApp, persona: str, path: str) -> None:
    known = shop.people[persona]
    if known["role"] in shop.target["sign_in"]["privileged_roles"]:
        # the tests' own authenticator has proved the second factor; what that looks like is test_passkeys' matter
        client = shop.sign_in(persona)
        token = client.cookies["__Host-sw_sid"]
        client.close()
        cookie = {"name": "__Host-sw_sid", "value": token, "url": shop.base_url, "secure": True, "sameSite": "Strict"}
        await page.context.add_cookies([cookie])  # type: ignore[list-item]
        await page.goto(path)
        return
    await page.goto(f"/auth/sign-in?provider=dev&next={path}")
    await page.fill("[name=email]:visible", known["login"])
    await page.fill("[name=password]:visible", known["password"])
    await page.press("[name=password]:visible", "Enter")
    await page.wait_for_url(lambda url: url.startswith(shop.base_url + path))


@pytest.fixture
def picture() -> Callable[[Page, str], Awaitable[None]]:
    """`picture(page, "menu")` when SEAWALL_SCREENSHOTS names a folder."""

    async def take(page: Page, name: str) -> None:
        if SCREENSHOTS:
            await page.screenshot(path=Path(SCREENSHOTS, f"{name}.png"), full_page=True)

    return take
