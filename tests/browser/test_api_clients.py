"""A program on the same computer gets in through a real Chromium: consent page, loopback redirect, step-up."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from playwright.async_api import Page
from tests.browser.conftest import Visit

from seawall.testing import RunningApp
from seawall_check.probes.oauth import Api, Asking, Key

pytestmark = pytest.mark.browser


class Listener:
    """What a command-line program opens on a free port of 127.0.0.1 (RFC 8252 §7.3)."""

    def __init__(self) -> None:
        self.arrived: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self.server: asyncio.Server | None = None

    async def open(self) -> str:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}/callback"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readline()).decode()
        path = line.split(" ")[1] if " " in line else ""
        if path.startswith("/callback") and not self.arrived.done():
            self.arrived.set_result(dict(parse_qsl(urlsplit(path).query)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nSigned in.")
        await writer.drain()
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    yield made
    if made.server is not None:
        made.server.close()


async def test_a_program_gets_in(visit: Visit, shop: RunningApp, listener: Listener, picture: object) -> None:
    uri = await listener.open()
    http = httpx2.AsyncClient(base_url=shop.base_url, verify=False, timeout=20)
    metadata = (await http.get("/.well-known/oauth-authorization-server")).json()
    api = Api(http, metadata, "cli", uri, Key.fresh())
    asking = Asking(api)
    # Who is not signed in comes to the consent page by way of the sign-in, with all that the program asked.
    page: Page = await visit(None, f"/oauth/authorize?{urlencode(asking.query())}")
    known = shop.personas["harbour.manager"]
    await page.fill("[name=email]:visible", known["login"])
    await page.fill("[name=password]:visible", known["password"])
    await page.press("[name=password]:visible", "Enter")
    await page.wait_for_selector("button[value=allow]")
    assert "Command line" in await page.inner_text("h1")
    await picture(page, "consent")  # type: ignore[operator]
    await page.click("button[value=allow]")
    answer = await asyncio.wait_for(listener.arrived, 15)
    assert (answer["state"], answer["iss"]) == (asking.state, metadata["issuer"])
    http.event_hooks = {"request": [_no_browser]}
    tokens = await api.redeem(answer["code"], asking.verifier)
    assert tokens.status_code == 200, tokens.text
    orders = await api.get("/api/orders")
    assert orders.status_code == 200, orders.text
    assert (await api.get("/api/orders", scheme="Bearer")).status_code == 401
    await http.aclose()


async def test_saying_no_is_told_too(visit: Visit, shop: RunningApp, listener: Listener) -> None:
    uri = await listener.open()
    query = {
        "response_type": "code",
        "client_id": "cli",
        "redirect_uri": uri,
        "state": secrets.token_urlsafe(8),
        "code_challenge": "A" * 43,
        "code_challenge_method": "S256",
    }
    page: Page = await visit("harbour.manager")
    await page.goto(f"/oauth/authorize?{urlencode(query)}")
    await page.click("button[value=deny]")
    answer = await asyncio.wait_for(listener.arrived, 15)
    assert (answer["error"], answer["state"]) == ("access_denied", query["state"])


async def _no_browser(request: httpx2.Request) -> None:
    for name in ("origin", "sec-fetch-site"):
        if request.headers.get(name) == "":
            del request.headers[name]
