"""What the people of the journeys do alike. Each step waits for the page that it leads to."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import pyotp
from playwright.async_api import Page, expect


async def sign_out(page: Page) -> None:
    """Sign out, and be out: a page that is opened at once could overtake it."""
    await page.get_by_role("button", name="Sign out", exact=True).first.click()
    await expect(page.get_by_role("button", name="Sign out", exact=True)).to_have_count(0)


async def authenticator(page: Page) -> Iterator[str]:
    """On the page that sets one up: take its secret in.

    Gives its codes, each later than the one before: a code works once.
    """
    secret = re.sub(r"\s", "", await page.get_by_text("No camera?").locator("code").inner_text())
    while time.time() % 30 > 20:
        await asyncio.sleep(0.5)  # the first code is of the step before, which must not run out on its way
    started = time.time()
    return iter([pyotp.TOTP(secret).at(started + beside_s) for beside_s in (-30, 0, 30)])
