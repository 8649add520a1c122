"""What a policy demands of the factor, `@step_up("aal=…,max_age_s=…")`, holds for the approval too."""

from __future__ import annotations

from uuid import UUID

import pytest
from tests.integration.identity.conftest import JSON, ORIGIN, Browser, House
from tests.integration.identity.test_passkeys import add, approve, options
from tests.integration.identity.test_sessions_and_factors import enrol

from seawall.core.ids import token_hash
from seawall.core.stepup import Intent

WIRE = Intent("wire", 'Bill::"9"', {"amount": 1}, "Wire 1")


async def asked(house: House, browser: Browser, *, acr: str = "aal2", max_age_s: int = 300) -> str:
    principal = await house.admit(token_hash(str(browser.token)))
    assert principal is not None
    return (await house.step_ups.challenge(principal, WIRE, acr=acr, max_age_s=max_age_s)).location


async def left_s(house: House) -> float:
    """How long the newest approval is good."""
    return float(
        await house.scratch.owner.fetchval(
            "SELECT extract(epoch FROM expires_at - now()) FROM seawall.step_up_approvals ORDER BY id DESC LIMIT 1"
        )
    )


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("ann@example.com")
    return made


async def test_an_approval_is_good_no_longer_than_its_factor_is_fresh(house: House, browser: Browser) -> None:
    _, codes = await enrol(browser)
    for code, max_age_s, most in zip(codes, (20, 3_600), (20, 300), strict=False):
        address = await asked(house, browser, max_age_s=max_age_s)
        assert (await browser.post(address, headers=JSON, json={"code": code})).status_code == 200
        assert most - 15 < await left_s(house) <= most


async def test_only_a_key_in_hardware_reaches_the_third_level(house: House, browser: Browser) -> None:
    hardware, _ = await add(browser)
    codes = (await browser.post("/auth/recovery-codes", headers=JSON)).json()
    assert await approve(browser, hardware, codes["step_up"]) == 200
    codes = (await browser.post("/auth/recovery-codes", headers=JSON)).json()["recovery_codes"]
    before = browser.token
    address = await asked(house, browser, acr="aal3")
    refused = await browser.post(address, headers=JSON, json={"code": codes[0]})
    assert (refused.status_code, refused.json()["code"]) == (403, "factor-too-weak")
    page = await browser.post(address, data={"code": codes[1]})
    assert (page.status_code, 'name="code"' in page.text) == (403, False)
    assert "kept in hardware" in page.text
    assert (browser.token, (await browser.get(address, JSON)).json()["approved"]) == (before, False)
    assert await approve(browser, hardware, address) == 200


async def test_a_synchronised_passkey_does_not(house: House, browser: Browser) -> None:
    passkey, _ = await add(browser)
    await house.scratch.owner.execute("UPDATE seawall.passkeys SET synced = true")
    for acr, status in (("aal3", 403), ("aal2", 200)):
        address = await asked(house, browser, acr=acr)
        signed = passkey.assertion(await options(browser, address), ORIGIN, backed_up=True)
        assert (await browser.post(address, headers=JSON, json={"credential": signed})).status_code == status
