"""API clients of the House of identity's integration tests."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import httpx2

from seawall.settings import ClientSection, IdentitySection, ProviderSection, Settings
from seawall_check.probes.oauth import Api, Key
from tests.integration.identity.conftest import ORIGIN, House

SECRET = secrets.token_urlsafe(32)
OTHER_SECRET = secrets.token_urlsafe(32)
CLI = "http://127.0.0.1:45123/callback"
WEB = "https://other.example/callback"
TABS = 8


def settings_with_clients(root: Path) -> Settings:
    """A public client, a confidential one, one that cannot sign, and a resource server."""
    return Settings(
        root=root,
        identity=IdentitySection(
            providers={"dev": ProviderSection(kind="development")},
            attempts_per_network=200,
            clients={
                "cli": ClientSection(title="Command <line>", redirect_uris=("http://127.0.0.1/callback",)),
                "web": ClientSection(title="Other site", redirect_uris=(WEB,), secret=SECRET),
                "old": ClientSection(title="Old scanner", redirect_uris=(WEB,), secret=OTHER_SECRET, bearer=True),
                "gateway": ClientSection(secret=SECRET[::-1], resource_server=True),
            },
        ),
    )


def api_of(house: House, client_id: str = "cli", *, key: Key | None = None, bound: bool = True) -> Api:
    known = {"cli": ("", CLI), "web": (SECRET, WEB), "old": (OTHER_SECRET, WEB), "gateway": (SECRET[::-1], WEB)}
    secret, uri = known[client_id]
    metadata = {
        "issuer": ORIGIN,
        "authorization_endpoint": f"{ORIGIN}/oauth/authorize",
        "token_endpoint": f"{ORIGIN}/oauth/token",
        "revocation_endpoint": f"{ORIGIN}/oauth/revoke",
        "introspection_endpoint": f"{ORIGIN}/oauth/introspect",
    }
    http = house.browser().http

    async def no_browser(request: Any) -> None:
        for name in ("origin", "sec-fetch-site"):
            if request.headers.get(name) == "":
                del request.headers[name]

    http.event_hooks = {"request": [no_browser]}
    return Api(http, metadata, client_id, uri, (key or Key.fresh()) if bound else None, secret)


async def last_event(house: House) -> tuple[str, str]:
    event = (await house.events("identity.client-grant"))[-1]
    return event["step"], event["reason"]


async def age(house: House, seconds: int) -> None:
    """Let time pass for every refresh family."""
    await house.scratch.owner.execute(
        "UPDATE seawall.client_grants SET rotated_at = rotated_at - make_interval(secs => $1)", seconds
    )


def refused(answer: httpx2.Response) -> bool:
    return answer.status_code == 400 and answer.json()["error"] == "invalid_grant"
