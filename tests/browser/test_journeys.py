"""What people do: order, refund, be challenged, deliver, run a team. In Chromium, on the pages, as each role."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Page, expect

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


def refund(page: Page, amount: str, reason: str = "cold") -> None:
    page.get_by_label("Amount in USD").fill(amount)
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Refund").click()


def shows_no_payment(page: Page) -> None:
    """Neither to the eye nor in the source."""
    assert not PAYMENT_WORDS.search(page.locator("main").inner_text())
    assert not re.search("4242|development provider|refund", page.content())


def codes_of(secret: str) -> Iterator[str]:
    """Codes of an authenticator, each later than the one before: a code works once."""
    started = time.time()
    for beside_s in (-30, 0, 30):
        yield pyotp.TOTP(secret).at(started + beside_s)


def enrol(page: Page, picture: Any) -> Iterator[str]:
    """From the challenge through setting up an authenticator and back to the challenge; gives the next codes."""
    page.get_by_role("link", name="Set up an authenticator app").click()
    picture(page, "totp")
    codes = codes_of(re.sub(r"\s", "", page.locator("code").first.inner_text()))
    page.locator("[name=code]").fill(next(codes))
    page.get_by_role("button", name="Confirm").click()
    picture(page, "totp-done")
    page.get_by_role("link", name="Continue").click()
    return codes


def test_a_customer_orders_and_pays(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = visit(None)
    picture(page, "home")
    page.get_by_role("link", name="Sign in to order").click()
    picture(page, "sign-in")
    page = visit("harbour.customer", "/venues")
    picture(page, "venues")
    page.get_by_role("link", name="See the menu").first.click()
    page.get_by_role("button", name="Add to cart").first.click()
    expect(page.locator("#cart tbody tr")).to_have_count(1)
    page.get_by_role("button", name="Add to cart").nth(1).click()
    expect(page.locator("#cart tbody tr")).to_have_count(2)
    quantity = page.locator("#cart input[type=number]").first
    quantity.fill("3")
    quantity.press("Tab")
    expect(page.locator("#cart input[type=number]").first).to_have_value("3")
    picture(page, "menu")
    page.get_by_label("Your name").fill("Ava Stone")
    page.get_by_label("Address").fill("1 Garden Walk")
    page.get_by_label("Phone").fill("+1 555 0100")
    page.get_by_role("button", name="Place the order").click()
    expect(page.get_by_role("heading", name=re.compile("Order #"))).to_be_visible()
    picture(page, "placed")
    page.get_by_role("button", name=re.compile("Pay ")).click()
    expect(page.locator(".badge", has_text="Paid")).to_be_visible()
    expect(page.get_by_text("•••• 4242")).to_be_visible()
    picture(page, "paid")
    page.get_by_role("link", name="Orders").click()
    picture(page, "orders")
    page.get_by_role("button", name="Sign out").click()
    page.goto("/orders")
    expect(page.get_by_role("heading", name="Orders")).to_have_count(0)


def test_ordering_works_without_scripts(visit: Any) -> None:
    page = visit("hill.customer", "/venues", javascript=False)
    page.get_by_role("link", name="See the menu").first.click()
    page.get_by_role("button", name="Add to cart").first.click()
    expect(page.locator("#cart tbody tr")).to_have_count(1)
    quantity = page.locator("#cart input[type=number]")
    quantity.fill("0")
    quantity.press("Enter")
    expect(page.get_by_text("Empty so far")).to_be_visible()


def test_a_manager_refunds_fifty_and_confirms_a_hundred_and_fifty(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = visit("harbour.manager", f"/orders/{paid_order(shop)}")
    picture(page, "order-of-a-manager")
    refund(page, "50.00")
    expect(page.locator("dl", has_text="Refunded")).to_contain_text("$50.00")
    picture(page, "refunded")

    refund(page, "150.00", "the whole table waited")
    expect(page).to_have_url(re.compile("/auth/step-up/"))
    expect(page.get_by_text("Refund $150.00")).to_be_visible()
    picture(page, "challenge")
    codes = enrol(page, picture)
    expect(page.get_by_text("Refund $150.00")).to_be_visible()
    page.locator("[name=code]").fill("000000")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("alert")).to_be_visible()
    picture(page, "challenge-wrong-code")
    page.locator("[name=code]").fill(next(codes))
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("the whole table waited")).to_be_visible()
    expect(page.locator("dl", has_text="Refunded")).to_contain_text("$200.00")

    page.get_by_role("button", name="Sign out").click()
    page.goto("/orders")
    expect(page.locator("table")).to_have_count(0)


def test_the_third_forty_dollars_are_challenged(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = visit("hill.manager", f"/orders/{paid_order(shop, 'hill')}")
    for refunded in ("$40.00", "$80.00"):
        refund(page, "40.00")
        expect(page.locator("dl", has_text="Refunded")).to_contain_text(refunded)
    refund(page, "40.00")
    expect(page.get_by_text("Refund $40.00")).to_be_visible()
    codes = enrol(page, picture)
    page.locator("[name=code]").fill(next(codes))
    page.get_by_role("button", name="Approve").click()
    expect(page.locator("dl", has_text="Refunded")).to_contain_text("$120.00")


def test_more_than_was_paid_is_refused_in_words(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = visit("harbour.manager2", "/orders")
    page.get_by_role("row", name=re.compile("Paid")).first.get_by_role("link").click()
    refund(page, "99999.00")
    expect(page.get_by_role("heading", name="You may not do this")).to_be_visible()
    picture(page, "refused")


def test_a_courier_sees_the_address_and_no_payment(visit: Any, shop: RunningApp, picture: Any) -> None:
    order_id = paid_order(shop)
    manager = visit("harbour.manager", f"/orders/{order_id}")
    manager.get_by_role("button", name="Start cooking").click()
    expect(manager.locator(".badge", has_text="Cooking")).to_be_visible()
    manager.get_by_label("Courier").select_option(shop.personas["harbour.courier"]["user_id"])
    manager.get_by_role("button", name="Assign").click()
    number = re.search(r"#\d+ · \w+", manager.get_by_role("heading", level=1).inner_text())
    assert number is not None

    courier = visit("harbour.courier", "/deliveries")
    picture(courier, "runs")
    run = courier.locator("article", has=courier.get_by_role("heading", name=number[0], exact=True))
    expect(run).to_contain_text("1 Garden Walk")
    expect(run).to_contain_text("+1 555 0100")
    shows_no_payment(courier)
    run.get_by_role("link", name="Details").click()
    expect(courier.get_by_text("1 Garden Walk")).to_be_visible()
    shows_no_payment(courier)
    picture(courier, "run")
    courier.get_by_role("button", name="Picked up").click()
    run.get_by_role("button", name="Delivered").click()
    expect(run.locator(".badge")).to_have_text("Delivered")


def test_an_owner_runs_the_group(visit: Any, shop: RunningApp, picture: Any) -> None:
    page = visit("hill.owner", "/team")
    picture(page, "team")
    page.locator("[name=user_id]").select_option(label="Bo Field")
    page.locator("[name=role]").select_option("courier")
    page.get_by_role("button", name="Give the role").click()
    row = page.get_by_role("row", name=re.compile("Bo Field"))
    expect(row.locator(".badge")).to_have_text(["Courier", "Customer"])
    page.get_by_role("button", name="Take the role courier from Bo Field").click()
    expect(row.locator(".badge")).to_have_text(["Customer"])

    page.get_by_role("link", name="Venues").click()
    page.get_by_label("Name").fill("Night Kitchen")
    page.get_by_label("Street").fill("9 Moon Alley")
    page.get_by_role("button", name="Open venue").click()
    page.get_by_label("Name").fill("Midnight noodles")
    page.get_by_label("Price in US dollars").fill("14.50")
    page.get_by_role("button", name="Add to the menu").click()
    expect(page.get_by_text("$14.50")).to_be_visible()
    page.get_by_role("button", name="Mark sold out").click()
    expect(page.locator(".badge", has_text="Sold out")).to_be_visible()
    picture(page, "menu-of-an-owner")


@pytest.mark.parametrize("path", ["/", "/venues", "/orders", "/team"])
def test_pages_fit_a_telephone(visit: Any, path: str, picture: Any) -> None:
    page = visit("harbour.owner", path if path != "/" else "/venues", width=375)
    page.goto(path)
    picture(page, f"telephone{path.replace('/', '-')}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
