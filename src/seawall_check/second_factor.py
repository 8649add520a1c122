"""Getting a persona through who must prove a second factor: a passkey is enrolled once, and proved at each sign-in."""

from __future__ import annotations

from typing import Any

import httpx2

from seawall_check.document import Passkeys, SignIn
from seawall_check.errors import Unproven
from seawall_check.probes.authenticator import Passkey

JSON = {"Accept": "application/json"}


def routes_of(how: SignIn) -> Passkeys:
    """Where passkeys are. Raises Unproven when the app does not say."""
    if how.passkeys is None:
        raise Unproven("target.json names no addresses of passkeys")
    return how.passkeys


def origin_of(client: httpx2.AsyncClient) -> str:
    return str(client.base_url).rstrip("/")


async def options_from(response: httpx2.Response, what: str) -> dict[str, Any]:
    """The options that an answer holds. Raises Unproven when it holds none."""
    told = response.json() if response.status_code == 200 else {}
    options = told.get("options") if isinstance(told, dict) else None
    if not isinstance(options, dict) or not isinstance(options.get("challenge"), str):
        raise Unproven(f"{what} gives no passkey options: {response.status_code}")
    return options


async def enrol(client: httpx2.AsyncClient, how: SignIn, name: str) -> tuple[Passkey, str]:
    """Enrol a passkey for a signed-in client; gives it and its id at the app. Raises Unproven when that fails."""
    routes = routes_of(how)
    options = await options_from(await client.get(routes.enrol, headers=JSON), routes.enrol)
    passkey = Passkey.for_options(options)
    answer = passkey.registration(options, origin_of(client))
    response = await client.post(routes.add, json={"credential": answer, "name": name}, headers=JSON)
    if response.status_code >= 300:
        raise Unproven(f"{routes.add} takes no new passkey: {response.status_code}")
    return passkey, str(response.json().get("passkey", ""))


async def prove(client: httpx2.AsyncClient, how: SignIn, passkey: Passkey, who: Any) -> None:
    """Prove the second factor of a signed-in client. Raises Unproven when it is not taken."""
    routes = routes_of(how)
    options = await options_from(await client.get(routes.prove, headers=JSON), routes.prove)
    answer = passkey.assertion(options, origin_of(client))
    response = await client.post(routes.prove, json={"credential": answer}, headers=JSON)
    if response.status_code >= 300:
        raise Unproven(f"{who.name} cannot prove the second factor: {routes.prove} says {response.status_code}")
