"""What people do: order, refund, be challenged, deliver, run a team. In Chromium, on the pages, as each role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Page, expect
from tests.browser.people import authenticator, sign_out

from seawall.testing import RunningApp

pytestmark = pytest.mark.browser

PAYMENT_WORDS = re.compile(r"card|paid by|payment|refund|••••|\$[0-9]", re.IGNORECASE)


def paid_order(shop: RunningApp, group: str = "harbour") -> str:
    """A fresh paid order of several hundred dollars at the venue of `<group>.manager`; gives its id."""
    customer = shop.client(f"{group}.customer")
    venue = shop.personas[f"{group}.manager"]["objects"]["venue_id"][0]
    dish = max(customer.get(f"/api/venues/{venue}/menu").json(), key=lambda dish: dish["price_minor"])
    where = {"recipient": "Ava Stone", "address": "1 Garden Walk", "phone": "+1 555 0100"}
    body = where | {"lines": [{"dish_id": dish["id"], "quantity": 20}]}
    order_id: str = customer.post(f"/api/venues/{venue}/orders", json=body).json()["id"]
    assert customer.post(f"/api/orders/{order_id}/pay").status_code == 200
    return order_id


async def refund(page: Page, amount: str, reason: str = "cold") -> None:
    await page.get_by_label("Amount in USD").fill(amount)
    await page.get_by_label("Reason").fill(reason)
    await page.get_by_role("button", name="Refund").click()


async def shows_no_payment(page: Page) -> None:
    """Neither to the eye nor in the source."""
    assert not PAYMENT_WORDS.search(await page.locator("main").inner_text())
    assert not re.search("4242|development provider|refund", await page.content())


async def enrol(page: Page, picture: Any) -> Iterator[str]:
    """From the challenge through setting up an authenticator and back to the challenge; gives the next codes."""
    await page.get_by_role("link", name="Set up an authenticator app").click()
    await picture(page, "totp")
    codes = await authenticator(page)
    await page.locator("[name=code]").fill(next(codes))
    await page.get_by_role("button", name="Confirm").click()
    await picture(page, "totp-done")
    await page.get_by_role("link", name="Continue").click()
    return codes


async def test_a_customer_orders_and_pays(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = await visit(None)
    await picture(page, "home")
    await page.get_by_role("link", name="Sign in to order").click()
    await picture(page, "sign-in")
    await page.get_by_role("link", name="Continue with Development sign-in").click()
    await picture(page, "development-sign-in")
    page = await visit("harbour.customer", "/venues")
    await picture(page, "venues")
    await page.get_by_role("link", name="See the menu").first.click()
    await page.get_by_role("button", name="Add to cart").first.click()
    await expect(page.locator("#cart tbody tr")).to_have_count(1)
    await page.get_by_role("button", name="Add to cart").nth(1).click()
    await expect(page.locator("#cart tbody tr")).to_have_count(2)
    quantity = page.locator("#cart input[type=number]").first
    await quantity.fill("3")
    await quantity.press("Tab")
    await expect(page.locator("#cart td.number").first).to_have_text("$40.50")
    await page.get_by_role("button", name="Add to cart").first.click()
    await expect(quantity).to_have_value("4")
    await picture(page, "menu")
    await page.get_by_label("Your name").fill("Ava Stone")
    await page.get_by_label("Address").fill("1 Garden Walk")
    await page.get_by_label("Phone").fill("+1 555 0100")
    await page.get_by_role("button", name="Place the order").click()
    await expect(page.get_by_role("heading", name=re.compile("Order #"))).to_be_visible()
    await picture(page, "placed")
    await page.get_by_role("button", name=re.compile("Pay ")).click()
    await expect(page.locator(".badge", has_text="Paid")).to_be_visible()
    await expect(page.get_by_text("•••• 4242")).to_be_visible()
    await picture(page, "paid")
    await page.get_by_role("link", name="Orders").click()
    await picture(page, "orders")
    await sign_out(page)
    await page.goto("/orders")
    await expect(page.get_by_role("heading", name="Orders")).to_have_count(0)


async def test_ordering_works_without_scripts(visit: Any) -> None:
    page = await visit("hill.customer", "/venues", javascript=False)
    await page.get_by_role("link", name="See the menu").first.click()
    await page.get_by_role("button", name="Add to cart").first.click()
    await expect(page.locator("#cart tbody tr")).to_have_count(1)
    quantity = page.locator("#cart input[type=number]")
    await quantity.fill("0")
    await quantity.press("Enter")
    await expect(page.get_by_text("Empty so far")).to_be_visible()


async def test_a_manager_refunds_fifty_and_confirms_a_hundred_and_fifty(
    visit: Any, shop: RunningApp, picture: Any
) -> None:
    page = await visit("harbour.manager", f"/orders/{paid_order(shop)}")
    await picture(page, "order-of-a-manager")
    await refund(page, "50.00")
    await expect(page.locator("dl", has_text="Refunded")).to_contain_text("$50.00")
    await picture(page, "refunded")

    await refund(page, "150.00", "the whole table waited")
    await expect(page).to_have_url(re.compile("/auth/step-up/"))
    await expect(page.get_by_text("Refund $150.00")).to_be_visible()
    await picture(page, "challenge")
    codes = await enrol(page, picture)
    await expect(page.get_by_text("Refund $150.00")).to_be_visible()
    await page.locator("[name=code]").fill("000000")
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    await picture(page, "challenge-wrong-code")
    await page.locator("[name=code]").fill(next(codes))
    await page.get_by_role("button", name="Approve").click()
    await expect(page.get_by_text("the whole table waited")).to_be_visible()
    await expect(page.locator("dl", has_text="Refunded")).to_contain_text("$200.00")

    await sign_out(page)
    await page.goto("/orders")
    await expect(page.locator("table")).to_have_count(0)


async def test_the_third_forty_dollars_are_challenged(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = await visit("hill.manager", f"/orders/{paid_order(shop, 'hill')}")
    for refunded in ("$40.00", "$80.00"):
        await refund(page, "40.00")
        await expect(page.locator("dl", has_text="Refunded")).to_contain_text(refunded)
    await refund(page, "40.00")
    await expect(page.get_by_text("Refund $40.00")).to_be_visible()
    codes = await enrol(page, picture)
    await page.locator("[name=code]").fill(next(codes))
    await page.get_by_role("button", name="Approve").click()
    await expect(page.locator("dl", has_text="Refunded")).to_contain_text("$120.00")


async def test_more_than_was_paid_is_refused_in_words(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = await visit("harbour.manager2", "/orders")
    await page.get_by_role("row", name=re.compile("Paid")).first.get_by_role("link").click()
    await refund(page, "99999.00")
    await expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
    await picture(page, "refused")


async def test_a_courier_sees_the_address_and_no_payment(visit: Any, shop: RunningApp, picture: Any) -> None:
    order_id = paid_order(shop)
    manager = await visit("harbour.manager", f"/orders/{order_id}")
    await manager.get_by_role("button", name="Start cooking").click()
    await expect(manager.locator(".badge", has_text="Cooking")).to_be_visible()
    await manager.get_by_label("Courier").select_option(shop.personas["harbour.courier"]["user_id"])
    async with manager.expect_response(lambda answer: answer.request.method == "POST"):
        await manager.get_by_role("button", name="Assign").click()
    number = re.search(r"#\d+ · \w+", await manager.get_by_role("heading", level=1).inner_text())
    assert number is not None

    courier = await visit("harbour.courier", "/deliveries")
    await picture(courier, "runs")
    run = courier.locator("article", has=courier.get_by_role("heading", name=number[0], exact=True))
    await expect(run).to_contain_text("1 Garden Walk")
    await expect(run).to_contain_text("+1 555 0100")
    await shows_no_payment(courier)
    await run.get_by_role("link", name="Details").click()
    await expect(courier.get_by_text("1 Garden Walk")).to_be_visible()
    await shows_no_payment(courier)
    await picture(courier, "run")
    await courier.get_by_role("button", name="Picked up").click()
    await run.get_by_role("button", name="Delivered").click()
    await expect(run.locator(".badge")).to_have_text("Delivered")


async def test_an_owner_runs_the_group(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = await visit("hill.owner", "/team")
    await picture(page, "team")
    await page.locator("[name=user_id]").select_option(label="Bo Field")
    await page.locator("[name=role]").select_option("courier")
    await page.get_by_role("button", name="Give the role").click()
    row = page.get_by_role("row", name=re.compile("Bo Field"))
    await expect(row.locator(".badge")).to_have_text(["Courier", "Customer"])
    await page.get_by_role("button", name="Take the role courier from Bo Field").click()
    await expect(row.locator(".badge")).to_have_text(["Customer"])

    await page.get_by_role("link", name="Venues").click()
    await page.get_by_label("Name").fill("Night Kitchen")
    await page.get_by_label("Street").fill("9 Moon Alley")
    await page.get_by_role("button", name="Open venue").click()
    await page.get_by_label("Name").fill("Midnight noodles")
    await page.get_by_label("Price in US dollars").fill("14.50")
    await page.get_by_role("button", name="Add to the menu").click()
    await expect(page.get_by_text("$14.50")).to_be_visible()
    await page.get_by_role("button", name="Mark sold out").click()
    await expect(page.locator(".badge", has_text="Sold out")).to_be_visible()
    await picture(page, "menu-of-an-owner")


@pytest.mark.parametrize("path", ["/", "/venues", "/orders", "/team"])
async def test_pages_fit_a_telephone(visit: Any, path: str, picture: Any) -> None:
    page = await visit("harbour.owner", path if path != "/" else "/venues", width=375)
    await page.goto(path)
    await picture(page, f"telephone{path.replace('/', '-')}")
    assert await page.evaluate("document.documentElement.scrollWidth") <= 375
