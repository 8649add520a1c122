"""Which clients there are, where codes may go, who a client is: all without a database."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from tests.support.access import engine_for

from seawall.access import check_routes
from seawall.core.decisions import bearer, public, self_service
from seawall.core.errors import Refused
from seawall.core.scope import Principal
from seawall.identity.clients.refresh import RefreshKey
from seawall.identity.clients.refusals import OAuthError
from seawall.identity.clients.registry import Registry
from seawall.settings import ClientSection, load

SECRET = "s" * 43
LOOPBACK = ("http://127.0.0.1/callback", "http://[::1]/callback")
REGISTRY = Registry(
    {
        "cli": ClientSection(redirect_uris=LOOPBACK),
        "web": ClientSection(redirect_uris=("https://other.example/cb?x=1",), secret=SECRET),
        "app": ClientSection(redirect_uris=("com.example.app:/cb",)),
        "bare": ClientSection(redirect_uris=("http://127.0.0.1",)),
    }
)


@pytest.mark.parametrize(
    ("client_id", "uri"),
    [
        ("cli", "http://127.0.0.1/callback"),
        ("cli", "http://127.0.0.1:1/callback"),
        ("cli", "http://127.0.0.1:65535/callback"),
        ("cli", "http://[::1]:8080/callback"),
        ("web", "https://other.example/cb?x=1"),
        ("app", "com.example.app:/cb"),
        ("bare", "http://127.0.0.1:8080"),
    ],
)
def test_where_codes_may_go(client_id: str, uri: str) -> None:
    client, found = REGISTRY.to_authorize({"client_id": client_id, "redirect_uri": uri})
    assert (client.id, found) == (client_id, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:080/callback",
        "http://127.0.0.1:8080/callback?x",
        "http://127.0.0.1:8080/callback#x",
        "http://127.0.0.1:8080/callback/../x",
        "http://127.0.0.1:8080/callback%2f",
        "http://127.0.0.1:8080//callback",
        "http://127.0.0.1:8080\\@evil.example/callback",
        "http://127.0.0.1:80@evil.example:80/callback",
        "http://127.0.0.1:8080 /callback",
        "http://127.0.0.1:8080/callback\n",
        "HTTP://127.0.0.1:8080/callback",
        "http://127.1:8080/callback",
        "http://2130706433:8080/callback",
        "http://0.0.0.0:8080/callback",
        "http://localhost:8080/callback",
        "http://[::ffff:127.0.0.1]:8080/callback",
        "http://127.0.0.1.nip.io:8080/callback",
        "https://127.0.0.1:8080/callback",
        "https://other.example/cb?x=1",
        "javascript:alert(1)",
    ],
)
def test_where_they_may_not(uri: str) -> None:
    with pytest.raises(Exception, match="redirect_uri"):
        REGISTRY.to_authorize({"client_id": "cli", "redirect_uri": uri})


@given(st.text(max_size=80))
def test_no_other_text_is_an_address(text: str) -> None:
    with pytest.raises(Exception, match="redirect_uri"):
        REGISTRY.to_authorize({"client_id": "cli", "redirect_uri": "http://127.0.0.1" + text + "@evil.example"})


@pytest.mark.parametrize(
    ("name", "section"),
    [
        ("Cli", {}),
        ("a b", {}),
        ("", {}),
        ("x" * 65, {}),
        ("x", {"secret": "short"}),
        ("x", {"resource_server": True}),
        ("x", {"confidential": True}),
        ("x", {"redirect_uris": ("http://other.example/cb",)}),
        ("x", {"redirect_uris": ("http://localhost/cb",)}),
        ("x", {"redirect_uris": ("https://other.example/cb#f",)}),
        ("x", {"redirect_uris": ("https://user@other.example/cb",)}),
        ("x", {"redirect_uris": ("https:///cb",)}),
        ("x", {"redirect_uris": ("javascript:alert(1)",)}),
        ("x", {"redirect_uris": ("data:text/html,x",)}),
        ("x", {"redirect_uris": ('https://other.example/"><script>',)}),
        ("x", {"redirect_uris": ("custom:/cb",)}),
        ("x", {"redirect_uris": ("https://[::1/cb",)}),
        ("x", {"redirect_uris": ("https://other.example/" + "a" * 600,)}),
    ],
)
def test_clients_that_would_not_be_safe(name: str, section: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refused:
        Registry({name: ClientSection(**section)})
    assert refused.value.fix


def basic(name: str, secret: str) -> str:
    return "Basic " + b64encode(f"{name}:{secret}".encode()).decode()


async def test_who_a_client_is() -> None:
    assert (await REGISTRY.authenticated({"client_id": "cli"}, None)).id == "cli"
    assert (await REGISTRY.authenticated({"client_id": "web", "client_secret": SECRET}, None)).confidential
    assert (await REGISTRY.authenticated({}, basic("web", SECRET))).id == "web"
    assert (await REGISTRY.authenticated({"client_id": "web"}, basic("web", SECRET))).id == "web"
    assert SECRET not in repr(await REGISTRY.authenticated({}, basic("web", SECRET)))


@pytest.mark.parametrize(
    ("form", "authorization"),
    [
        ({}, None),
        ({"client_id": "web"}, None),
        ({"client_id": "web", "client_secret": SECRET[:-1]}, None),
        ({"client_id": "cli", "client_secret": SECRET}, None),
        ({}, basic("web", "")),
        ({}, basic("nobody", SECRET)),
        ({}, basic("cli", "")),
        ({}, "Basic"),
        ({}, "Basic !"),
        ({}, "Basic " + b64encode(b"web").decode()),
        ({}, "Basic " + b64encode(b"\xff:\xff").decode()),
        ({}, "Digest " + SECRET),
    ],
)
async def test_who_it_is_not(form: dict[str, str], authorization: str | None) -> None:
    with pytest.raises(OAuthError) as refused:
        await REGISTRY.authenticated(form, authorization)
    assert (refused.value.error, refused.value.status) == ("invalid_client", 401)


def test_a_fresh_app_has_one_client(tmp_path: Path) -> None:
    assert list(load(tmp_path).identity.clients) == ["cli"]


def test_clients_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seawall.toml").write_text('[identity.clients.web]\nredirect_uris = ["https://other.example/cb"]\n')
    monkeypatch.setenv("SEAWALL_IDENTITY__CLIENTS__WEB__SECRET", SECRET)
    [(name, section)] = load(tmp_path).identity.clients.items()
    assert (name, section.redirect_uris) == ("web", ("https://other.example/cb",))
    assert section.secret is not None
    assert SECRET not in repr(section)
    monkeypatch.setenv("SEAWALL_IDENTITY__CLIENTS", json.dumps({"judge": {"redirect_uris": []}}))
    assert "judge" in load(tmp_path).identity.clients


def test_refresh_tokens_are_determined_and_unforgeable() -> None:
    key, other, grant = RefreshKey(b"a" * 32), RefreshKey(b"b" * 32), uuid4()
    tokens = {key.write(grant, generation) for generation in range(50)}
    assert len(tokens) == 50
    token = key.write(grant, 7)
    found = key.read(token)
    assert found is not None
    assert (found.grant_id, found.generation, key.write(grant, 7)) == (grant, 7, token)
    assert other.read(token) is None
    for at in range(len(token)):
        assert key.read(token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]) is None, at
    for wrong in ("", "swr_", token + "=", token + "\n", token.upper(), "swr_" + "é" * 70, str(UUID(int=0))):
        assert key.read(wrong) is None


# -- bearer("why") -----------------------------------------------------------------------------------------------------

Self = Annotated[Principal, self_service("one's own things")]


def test_bearer_is_no_decision_and_stands_before_one(tmp_path: Path) -> None:
    engine = engine_for(tmp_path / "policies")

    def app_with(**route: Any) -> FastAPI:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

        @app.get("/scan", **route)
        async def scan() -> None: ...

        return app

    why = bearer("the old scanner cannot sign")
    assert check_routes(app_with(dependencies=[why, public("anyone may")]), engine) == 1
    with pytest.raises(Refused, match="no decision is declared"):
        check_routes(app_with(dependencies=[why]), engine)
    with pytest.raises(Refused, match="stands after the decision"):
        check_routes(app_with(dependencies=[public("anyone may"), why]), engine)
    with pytest.raises(Refused, match="gives no reason"):
        bearer("")


def test_bearer_before_a_decision_that_is_a_parameter(tmp_path: Path) -> None:
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/scan", dependencies=[bearer("the old scanner cannot sign")])
    async def scan(principal: Self) -> None: ...

    assert check_routes(app, engine_for(tmp_path / "policies")) == 1
