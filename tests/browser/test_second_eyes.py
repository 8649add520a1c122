"""What needs two people: a large refund, and platform staff who look. In Chromium, each in a browser of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import expect
from tests.browser.test_journeys import enrol, refund

from seawall.testing import RunningApp

pytestmark = pytest.mark.browser


def feast(shop: RunningApp) -> str:
    """A fresh paid order of more than a thousand dollars; gives its id."""
    customer, venue = shop.client("harbour.customer"), shop.personas["harbour.manager2"]["objects"]["venue_id"][0]
    dish = max(customer.get(f"/api/venues/{venue}/menu").json(), key=lambda dish: dish["price_minor"])
    where = {"recipient": "Ava Stone", "address": "1 Garden Walk", "phone": "+1 555 0100"}
    placed = customer.post(
        f"/api/venues/{venue}/orders", json=where | {"lines": [{"dish_id": dish["id"], "quantity": 50}]}
    )
    assert customer.post(f"/api/orders/{placed.json()['id']}/pay").status_code == 200
    order_id: str = placed.json()["id"]
    return order_id


async def approve_with(codes: Iterator[str], page: Any) -> None:
    await page.locator("[name=code]").fill(next(codes))
    await page.get_by_role("button", name="Approve").click()


async def test_an_owner_approves_a_large_refund(visit: Any, shop: RunningApp, picture: Any) -> None:
    order_id = feast(shop)
    manager = await visit("harbour.manager2", f"/orders/{order_id}")
    await refund(manager, "1001.00")
    await expect(manager.get_by_role("heading", name="This needs an approval")).to_be_visible()
    await picture(manager, "approval-asked")
    await manager.get_by_label("Why").fill("the whole party was unwell")
    await manager.get_by_role("button", name="Ask for approval").click()
    await expect(manager.get_by_text("Waiting", exact=True)).to_be_visible()
    await picture(manager, "approval-waiting")

    owner = await visit("harbour.owner", "/access/approvals")
    await picture(owner, "approvals")
    await owner.get_by_role("link", name="Refund $1,001.00").click()
    await expect(owner.locator("main")).to_contain_text("the whole party was unwell")
    await expect(owner.locator("main")).to_contain_text("100100")
    await picture(owner, "approval")
    await owner.get_by_label("Your reason").fill("I was there")
    await owner.get_by_role("button", name="Approve").click()
    await expect(owner.get_by_text("Approved", exact=True)).to_be_visible()
    await picture(owner, "approval-given")

    await expect(manager.get_by_text("Approved", exact=True)).to_be_visible(timeout=20_000)  # it looks again by itself
    await picture(manager, "approval-approved")
    await manager.get_by_role("button", name="Do it now").click()
    await expect(manager.get_by_role("heading", name="Confirm this")).to_be_visible()
    codes = await enrol(manager, picture)
    await approve_with(codes, manager)
    await manager.wait_for_url(f"**/orders/{order_id}")
    await expect(manager.locator("main")).to_contain_text("$1,001.00")
    await manager.goto("/access/requests")
    await expect(manager.get_by_text("Used", exact=True)).to_be_visible()
    await picture(manager, "requests")


async def test_staff_read_while_the_tenant_lets_them(visit: Any, shop: RunningApp, picture: Any) -> None:
    ada = await visit("Sasha Quinn", "/access/break-glass")
    await ada.get_by_label("Tenant's short name").fill("harbour")
    await ada.get_by_label("Reason").fill("a customer cannot see their order")
    await ada.get_by_label("Ticket").fill("OPS-17")
    await picture(ada, "break-glass-ask")
    await ada.get_by_role("button", name="Ask").click()
    await expect(ada.locator("main")).to_contain_text("Nobody approves their own.")
    grant = ada.url

    ben = await visit("Toni Vale", "/access/break-glass")
    await ben.goto(grant)
    await ben.get_by_role("button", name="Approve with your second factor").click()
    codes = await enrol(ben, picture)
    await picture(ben, "break-glass-confirm")
    await approve_with(codes, ben)
    await expect(ben.get_by_text("Live", exact=True)).to_be_visible()

    await ada.reload()
    await ada.get_by_role("button", name="Read now").click()
    await approve_with(await enrol(ada, picture), ada)
    await ada.wait_for_url("**/venues")
    await expect(ada.locator(".ribbon").last).to_contain_text("under break-glass")
    await ada.goto("/orders")
    await expect(ada.locator("main tbody tr").first).to_be_visible()
    await picture(ada, "break-glass-reading")
    await ada.get_by_role("link", name="#").first.click()
    await expect(ada.get_by_role("heading", level=1)).to_contain_text("#")
    assert "Garden Walk" not in await ada.content()

    owner = await visit("harbour.owner", "/access/break-glass")
    await picture(owner, "break-glass-tenant")
    await owner.get_by_role("link", name="a customer cannot see their order").click()
    await expect(owner.locator("main")).to_contain_text("app.orders")
    await picture(owner, "break-glass-seen")
    await owner.get_by_role("button", name="End it now").click()
    await expect(owner.get_by_text("Ended", exact=True).first).to_be_visible()
    await ada.goto("/orders")
    await expect(ada.locator("main")).to_contain_text("over, or not yours")
    await picture(ada, "break-glass-over")
