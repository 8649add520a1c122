"""The relying party against a certified provider, npm's `oidc-provider` 9. Needs node and a package registry."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit
from uuid import UUID

import httpx2
import pytest
from pydantic import SecretStr
from tests.integration.identity.conftest import JSON, ORIGIN, Browser, House

from seawall.settings import IdentitySection, ProviderSection, Settings

pytestmark = pytest.mark.prove

SCRIPT = Path(__file__).with_name("certified_provider.mjs")
CALLBACK = f"{ORIGIN}/auth/callback/idp"
READY_TIMEOUT_S = 60
HOPS_MAX = 20


@pytest.fixture(scope="module")
async def logged_out() -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """Where the provider sends its logout tokens: an address, and what came there."""
    came: asyncio.Queue[str] = asyncio.Queue()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = re.search(r"content-length: (\d+)", head)
        assert length
        form = dict(parse_qsl((await reader.readexactly(int(length[1]))).decode()))
        await came.put(form["logout_token"])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", came


@pytest.fixture(scope="module")
async def issuer(
    tmp_path_factory: pytest.TempPathFactory, logged_out: tuple[str, asyncio.Queue[str]]
) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("certified")
    shutil.copy(SCRIPT, folder / "provider.mjs")
    install = await asyncio.create_subprocess_exec(
        "npm", "install", "--no-audit", "--no-fund", "--silent", "oidc-provider@9", "jose", cwd=folder
    )
    assert await install.wait() == 0, "npm could not install oidc-provider"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "node", "provider.mjs", str(port), CALLBACK, logged_out[0], cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_S) == b"ready\n"
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture(params=["confidential", "public"])
def settings(request: pytest.FixtureRequest, tmp_path: Path, issuer: str) -> Settings:
    secret = SecretStr("a secret: with/odd+signs") if request.param == "confidential" else None
    section = ProviderSection(
        issuer=issuer, client_id=request.param, client_secret=secret, email_domains=("partner.example",)
    )
    return Settings(root=tmp_path, identity=IdentitySection(providers={"idp": section}))


async def at_the_provider(url: str, login: str, http: httpx2.AsyncClient | None = None) -> str:
    """Sign in and consent there, as a browser would; gives the address that it sends the browser back to."""
    http = http or httpx2.AsyncClient(trust_env=False)
    response = await http.get(url)
    for _ in range(HOPS_MAX):
        if response.status_code in (302, 303):
            location = urljoin(str(response.url), response.headers["location"])
            if location.startswith(ORIGIN):
                return location
            response = await http.get(location)
            continue
        action = re.search(r'<form[^>]*action="([^"]+)"', response.text)
        prompt = re.search(r'name="prompt" value="(\w+)"', response.text)
        assert action, response.text
        assert prompt, response.text
        fields = {"prompt": prompt[1]} | ({"login": login, "password": "x"} if prompt[1] == "login" else {})
        response = await http.post(urljoin(str(response.url), action[1]), data=fields)
    raise AssertionError("the provider did not send the browser back")


async def begin(browser: Browser, path: str = "/auth/sign-in?provider=idp") -> str:
    response = await browser.get(path)
    assert response.status_code == 303, response.text
    return str(response.headers["location"])


async def test_signing_in(house: House, tenant: UUID) -> None:
    await house.scratch.person(tenant, "owner", email="guest@partner.example")
    for path in ("/auth/sign-in?provider=idp", "/auth/sign-in?provider=idp&fresh=1"):
        browser = house.browser()
        back = await at_the_provider(await begin(browser, path), "guest")
        landed = await browser.get(back)
        assert landed.status_code == 200, [e["reason"] for e in await house.events("identity.sign-in")]
        assert (await browser.get("/auth/me", JSON)).json()["email"] == "guest@partner.example"
        replayed = await browser.get(back)
        assert replayed.status_code == 400


async def test_the_code_of_another_sign_in(house: House, tenant: UUID) -> None:
    await house.scratch.person(tenant, "owner", email="guest@partner.example")
    attacker, victim = house.browser(), house.browser()
    stolen = dict(parse_qsl(urlsplit(await at_the_provider(await begin(attacker), "guest")).query))
    own = dict(parse_qsl(urlsplit(await at_the_provider(await begin(victim), "guest")).query))
    injected = urlencode({**own, "code": stolen["code"]})
    assert (await victim.get(f"/auth/callback/idp?{injected}")).status_code == 400
    assert (await house.events("identity.sign-in"))[-1]["reason"] == "provider-status"


async def test_the_browser_carries_a_reference_to_a_pushed_request(house: House) -> None:
    query = dict(parse_qsl(urlsplit(await begin(house.browser())).query))
    assert set(query) == {"client_id", "request_uri"}
    assert query["request_uri"].startswith("urn:ietf:params:oauth:request_uri:")


async def test_signing_out_there_signs_out_here(
    house: House, tenant: UUID, issuer: str, logged_out: tuple[str, asyncio.Queue[str]]
) -> None:
    await house.scratch.person(tenant, "owner", email="guest@partner.example")
    browser = house.browser()
    async with httpx2.AsyncClient(trust_env=False) as there:
        assert (await browser.get(await at_the_provider(await begin(browser), "guest", there))).status_code == 200
        assert await browser.me() == 200
        form = (await there.get(f"{issuer}/session/end")).text
        token = re.search(r'name="xsrf" value="(\w+)"', form)
        assert token, form
        await there.post(f"{issuer}/session/end/confirm", data={"xsrf": token[1], "logout": "yes"})
    logout_token = await asyncio.wait_for(logged_out[1].get(), 10)
    for expected in (200, 400):  # once
        answer = await house.browser().http.post("/auth/back-channel-logout/idp", data={"logout_token": logout_token})
        assert answer.status_code == expected, [e["reason"] for e in await house.events("identity.provider-logout")]
    assert await browser.me() == 401
