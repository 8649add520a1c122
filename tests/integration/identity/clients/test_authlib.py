"""Somebody else's client: Authlib, which knows RFC 6749, 7636, 7009 and 7662 and nothing of ours (nor DPoP)."""

from __future__ import annotations

import httpx2
import pytest
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from tests.integration.identity.conftest import ORIGIN, Browser, House
from tests.support.clients import OTHER_SECRET, WEB

from seawall_check.probes.oauth import HTML
from seawall_check.sign_in import Page

VERIFIER = "v" * 64


def authlib(house: House, method: str = "client_secret_basic") -> AsyncOAuth2Client:
    return AsyncOAuth2Client(
        client_id="old",
        client_secret=OTHER_SECRET,
        token_endpoint_auth_method=method,
        revocation_endpoint_auth_method=method,
        redirect_uri=WEB,
        code_challenge_method="S256",
        token_endpoint=f"{ORIGIN}/oauth/token",
        transport=httpx2.ASGITransport(app=house.asgi),  # type: ignore[arg-type]
        base_url=ORIGIN,
    )


async def returned(browser: Browser, address: str) -> str:
    """The address at which the browser comes back, once the person has agreed."""
    shown = await browser.http.get(address, headers=HTML)
    form = Page(shown.text).form_with("client_id")
    assert form is not None
    answer = await browser.post(form.action, data=form.fields)
    assert answer.status_code == 200, answer.text
    return Page(answer.text).onward or ""


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_the_whole_way(house: House, browser: Browser, method: str) -> None:
    async with authlib(house, method) as client:
        address, state = client.create_authorization_url(f"{ORIGIN}/oauth/authorize", code_verifier=VERIFIER)
        back = await returned(browser, address)
        token = await client.fetch_token(authorization_response=back, state=state, code_verifier=VERIFIER)
        assert (token["token_type"], token["expires_in"]) == ("Bearer", 300)
        assert (await client.get("/scan")).status_code == 200
        assert (await client.get("/auth/me")).status_code == 401
        fresh = await client.refresh_token(f"{ORIGIN}/oauth/token", token["refresh_token"])
        assert fresh["refresh_token"] != token["refresh_token"]
        told = await client.introspect_token(f"{ORIGIN}/oauth/introspect", fresh["access_token"])
        assert told.json()["active"] is True
        assert (await client.revoke_token(f"{ORIGIN}/oauth/revoke", fresh["refresh_token"])).status_code == 200
        assert (await client.get("/scan")).status_code == 401


async def test_what_it_makes_of_our_refusals(house: House, browser: Browser) -> None:
    async with authlib(house) as client:
        address, state = client.create_authorization_url(f"{ORIGIN}/oauth/authorize", code_verifier=VERIFIER)
        back = await returned(browser, address)
        with pytest.raises(OAuthError, match="invalid_grant"):
            await client.fetch_token(authorization_response=back, state=state, code_verifier="w" * 64)
        client.client_secret = "x" * 43
        with pytest.raises(OAuthError, match="invalid_client"):
            await client.fetch_token(authorization_response=back, state=state, code_verifier=VERIFIER)
