"""The judge as an API client of the app. Shared by controls of identity."""

from __future__ import annotations

import httpx2

from seawall_check.document import ApiClient, Persona
from seawall_check.errors import Unproven
from seawall_check.probes.oauth import JSON, Api, Key, granted
from seawall_check.target import Target


async def client_of(target: Target, key: Key | None = None, client: ApiClient | None = None) -> Api:
    """A client without tokens; the one that target.json names first, if not another. Raises Unproven when the metadata
    cannot be read.
    """
    told, client = target.api, client or target.api
    response = await target.anonymous().get(told.metadata, headers=JSON)
    metadata = response.json() if response.status_code == 200 else {}
    metadata = metadata if isinstance(metadata, dict) else {}
    for name in ("issuer", "authorization_endpoint", "token_endpoint"):
        if not isinstance(metadata.get(name), str):
            raise Unproven(f"{told.metadata} names no {name}: {response.status_code}")
    if not metadata.get("dpop_signing_alg_values_supported"):
        raise Unproven(f"{told.metadata} offers no DPoP: tokens cannot be bound to a key")
    target.redactor.learn(client.client_secret)
    return Api(
        target.anonymous(), metadata, client.client_id, client.redirect_uri, key or Key.fresh(), client.client_secret
    )


async def signed_in(target: Target, persona: Persona, key: Key | None = None) -> tuple[Api, httpx2.AsyncClient]:
    """A client with tokens for a persona, and the browser in which the persona agreed."""
    browser = await target.fresh(persona)
    api = await granted(browser, await client_of(target, key))
    target.redactor.learn(api.access_token, api.refresh_token)
    return api, browser


def somebody(target: Target) -> Persona:
    """Somebody who is not the first of a role, if possible, so that others' sessions are left alone."""
    if not target.personas:
        raise Unproven("there is no persona to sign in as")
    return target.personas[-1]
