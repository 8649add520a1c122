"""Asking a provider: bounded in size, time and redirects (none)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import httpx2

from seawall.identity.refusals import ProviderAway, SignInRefused
from seawall.identity.tokens import strict_object

ANSWER_MAX_BYTES = 262_144
ANSWER_TIMEOUT_S = 10.0


class TransportFailed(SignInRefused):
    """The provider answered with an error, too much, or not in JSON."""


def is_loopback(host: str) -> bool:
    """Whether a host name of a URL is this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_provider_url(url: object, *, production: bool) -> bool:
    """https, or http on loopback in development; no userinfo, no fragment (OpenID Connect Discovery §3)."""
    if not isinstance(url, str) or not 8 <= len(url) <= 2_048 or any(c.isspace() for c in url):
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and not production and is_loopback(host))


class Fetcher:
    """An HTTP client for one provider.

    Args:
        make: makes the client at the first request, and again after `close`: an app may start twice in a process.
    """

    def __init__(self, make: Callable[[], httpx2.AsyncClient]) -> None:
        self._make = make
        self._client: httpx2.AsyncClient | None = None

    @classmethod
    def over_network(cls, issuer: str) -> Fetcher:
        """For a provider elsewhere. Proxies of the environment are used except for this machine."""
        outside = not is_loopback(urlsplit(issuer).hostname or "")
        return cls(lambda: httpx2.AsyncClient(follow_redirects=False, timeout=ANSWER_TIMEOUT_S, trust_env=outside))

    async def get(self, url: str) -> dict[str, Any]:
        """The JSON object at `url`.

        Raises:
            ProviderAway: it does not answer in time, or says that it cannot now.
            TransportFailed: on any other answer than 200 with one bounded JSON object.
        """
        return await self._json("GET", url, 200)

    async def post(
        self, url: str, form: dict[str, str], auth: tuple[str, str] | None, *, status: int = 200
    ) -> dict[str, Any]:
        """The JSON object that answers a form post; `auth` goes into HTTP Basic, `status` is what success says.

        Raises:
            ProviderAway: it does not answer in time, or says that it cannot now.
            TransportFailed: on any other answer than one bounded JSON object.
        """
        return await self._json("POST", url, status, data=form, auth=auth)

    async def _json(self, method: str, url: str, status: int, **more: Any) -> dict[str, Any]:
        client = self._client = self._client or self._make()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
                async with client.stream(method, url, headers=headers, **more) as response:
                    if response.status_code >= 500 or response.status_code == 429:
                        raise ProviderAway("provider-unavailable")
                    if response.status_code != status:
                        raise TransportFailed("provider-status")
                    raw = bytearray()
                    async for chunk in response.aiter_bytes():
                        raw += chunk
                        if len(raw) > ANSWER_MAX_BYTES:
                            raise TransportFailed("provider-answer-too-large")
        except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError):
            raise ProviderAway("provider-unreachable") from None
        try:
            return strict_object(bytes(raw))
        except ValueError:
            raise TransportFailed("provider-answer-malformed") from None

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()
