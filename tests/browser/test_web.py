"""What a real Chromium makes of our headers: what it sends, what it blocks, and that our own pages need none of it."""

from __future__ import annotations

import asyncio
import datetime
import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response
from playwright.async_api import async_playwright
from tests.support.web import make_app

from seawall.core.decisions import public

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.browser


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed pair for any host; the browser is told to accept it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    key_file, cert_file = folder / "key.pem", folder / "cert.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return key_file, cert_file


@dataclass
class Site:
    port: int = 0
    seen: list[dict[str, str]] = field(default_factory=list)
    """Headers of each POST that reached the wall."""


async def serve(app: Any, tls: tuple[Path, Path]) -> AsyncIterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="error", ssl_keyfile=str(tls[0]), ssl_certfile=str(tls[1]), server_header=False, lifespan="off"
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve([listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    yield listener.getsockname()[1]
    server.should_exit = True
    await running


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    found = Site()
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "form.html").write_text(
        '{% extends "web/base.html" %}{% block body %}<h1>Form</h1>'
        '<form method="post" action="/posted"><button>Send</button></form>'
        '<p id="htmx" hx-post="/posted" hx-trigger="click" hx-swap="innerHTML">click me</p>{% endblock %}'
    )
    wall, runtime = make_app(tmp_path)
    app: Any = wall._app.app

    @app.get("/form", dependencies=[public("a page of the tests")])
    async def form(request: Request) -> Response:
        response: Response = runtime.render(request, "form.html", {})
        response.set_cookie("strict", "1", secure=True, httponly=True, samesite="none")
        return response

    @app.get("/injected", dependencies=[public("a page of the tests")])
    async def injected() -> HTMLResponse:
        return HTMLResponse(
            "<p id=p>before</p><script>document.body.id='ran-inline'</script>"
            "<img src=x onerror=\"document.body.id='ran-handler'\"><script src='https://localhost:1/x.js'></script>"
            "<base href='https://evil.example/'><p style='color:red'>styled</p>"
        )

    @app.post("/posted", dependencies=[public("a target of the tests")])
    async def posted(request: Request) -> PlainTextResponse:
        return PlainTextResponse("posted")

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            found.seen.append({name.decode(): value.decode() for name, value in scope["headers"]})
        await wall(scope, receive, send)

    tls = certificate(tmp_path)
    async for port in serve(noted, tls):
        found.port = port
        yield found


@pytest.fixture
async def evil(tmp_path: Path, site: Site) -> AsyncIterator[int]:
    """A page of another site that posts to ours on load, as a form and by fetch, and frames us."""
    app = FastAPI()
    ours = f"https://localhost:{site.port}"

    @app.get("/")
    async def attack() -> HTMLResponse:
        return HTMLResponse(
            f"<form id=f method=post action='{ours}/posted' enctype='text/plain'><input name=a value=b></form>"
            f"<iframe src='{ours}/form'></iframe>"
            f"<script>fetch('{ours}/posted',{{method:'POST',mode:'no-cors',credentials:'include'}})"
            ".finally(() => f.submit())</script>"
        )

    folder = tmp_path / "evil"
    folder.mkdir()
    async for port in serve(app, certificate(folder)):
        yield port


@pytest.fixture
async def page() -> AsyncIterator[Any]:
    async with async_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-background-networking"]
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        context = await browser.new_context(ignore_https_errors=True)
        yield await context.new_page()
        await browser.close()


def told_by(page: Any) -> list[str]:
    told: list[str] = []
    page.on("console", lambda message: told.append(message.text))
    return told


async def test_our_own_pages_work_without_a_complaint(site: Site, page: Any) -> None:
    told = told_by(page)
    await page.goto(f"https://localhost:{site.port}/form")
    assert await page.evaluate("typeof htmx") == "object"
    assert await page.evaluate("getComputedStyle(document.querySelector('.topbar')).display") == "flex"
    await page.click("#htmx")
    await page.wait_for_function("document.querySelector('#htmx').textContent === 'posted'")
    await page.click("text=Send")
    await page.wait_for_url("**/posted")
    by_htmx, by_form = site.seen
    # The reason for Referrer-Policy same-origin: with no-referrer the form's Origin would be null.
    assert by_form["origin"] == by_htmx["origin"] == f"https://localhost:{site.port}"
    assert by_form["sec-fetch-site"] == by_htmx["sec-fetch-site"] == "same-origin"
    assert "cookie" in by_form
    assert told == []


async def test_another_site_is_refused_and_cannot_frame_us(site: Site, evil: int, page: Any) -> None:
    told = told_by(page)
    await page.goto(f"https://localhost:{site.port}/form")  # a live cookie, SameSite=None: the worst case
    await page.goto(f"https://127.0.0.1:{evil}/")
    await page.wait_for_url(f"https://localhost:{site.port}/posted")
    assert "did not come from one of this app" in await page.content()
    assert len(site.seen) == 2
    by_fetch, by_form = site.seen
    assert by_fetch["sec-fetch-site"] == by_form["sec-fetch-site"] == "cross-site"
    assert "cookie" in by_form  # (a fetch of another site has third-party cookies only in older browsers)
    for _ in range(50):  # what the browser complains of comes when it comes
        if any("frame-ancestors" in line or "X-Frame-Options" in line for line in told):
            break
        await page.wait_for_timeout(100)
    assert any("frame-ancestors" in line or "X-Frame-Options" in line for line in told), told


async def test_injected_markup_does_not_run(site: Site, page: Any) -> None:
    told = told_by(page)
    await page.goto(f"https://localhost:{site.port}/injected")
    await page.wait_for_timeout(300)
    assert await page.evaluate("document.body.id") == ""
    assert await page.evaluate("document.baseURI") == f"https://localhost:{site.port}/injected"
    assert await page.evaluate("getComputedStyle(document.querySelector('p[style]')).color") != "rgb(255, 0, 0)"
    for directive in ("script-src", "base-uri", "style-src"):
        assert any(directive in line for line in told), (directive, told)
