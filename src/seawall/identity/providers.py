"""An OpenID provider as the relying party sees it: discovery, keys, authorization request, code exchange.

OpenID Connect Core 1.0, RFC 9207 (`iss` in the answer), RFC 7636 (PKCE), RFC 9126 (pushed requests), RFC 9700 (what is
best practice).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from seawall.core.clock import now_s
from seawall.core.errors import Refused
from seawall.identity.fetching import Fetcher, is_provider_url
from seawall.identity.metadata import Metadata
from seawall.identity.refusals import SignInRefused
from seawall.identity.remembered import Remembered
from seawall.identity.secret_sources import SecretSource
from seawall.identity.tokens import Expected, IdClaims, UnknownKey, verify_id_token
from seawall.identity.transactions import Secrets
from seawall.settings import ProviderSection

SCOPE = "openid email profile"
CODE_LENGTH_MAX = 4_096
_REQUEST_URI = re.compile(r"[!-~]{1,512}")


@dataclass(frozen=True, slots=True)
class Trust:
    """What a provider is believed, as the operator configured it."""

    email_domains: frozenset[str] = frozenset()
    """An invited account is linked by verified address only within these."""
    tenants: frozenset[str] = frozenset()
    """Slugs of the tenants that people may enter through it; empty: all."""
    acr_values: tuple[str, ...] = ()
    """One of these the ID token must say."""
    max_age_s: int | None = None
    """At every sign-in the person must have authenticated there within so many seconds."""

    @classmethod
    def of(cls, section: ProviderSection) -> Trust:
        return cls(
            email_domains=frozenset(domain.lower() for domain in section.email_domains),
            tenants=frozenset(section.tenants),
            acr_values=section.acr_values,
            max_age_s=section.max_age_s,
        )

    def max_age(self, asked_s: int | None) -> int | None:
        """The stricter of what is configured and what this sign-in asks."""
        ages = [age for age in (self.max_age_s, asked_s) if age is not None]
        return min(ages) if ages else None


class Provider:
    """One configured provider.

    Args:
        name: its key in `identity.providers`, part of the callback's path.
        issuer: compared exactly, character by character.
        fetcher: how to reach it.
        trust: what it is believed.
        own_host: whether its pages are on our own origin, under the issuer's path (the development provider).
    """

    def __init__(
        self,
        name: str,
        *,
        issuer: str,
        client_id: str,
        client_secret: SecretSource | None,
        title: str,
        fetcher: Fetcher,
        production: bool,
        trust: Trust | None = None,
        own_host: bool = False,
    ) -> None:
        if not is_provider_url(issuer, production=production):
            raise Refused(
                f"identity.providers.{name}.issuer is {issuer!r}",
                why="an issuer reached without TLS can be impersonated by anyone on the way",
                fix=f'issuer = "https://…" (http only for 127.0.0.1, ::1 and localhost in development) of {name}',
            )
        self.name = name
        self.issuer = issuer
        self.client_id = client_id
        self.title = title or name
        self.trust = trust or Trust()
        self._client_secret = client_secret
        self._fetcher = fetcher
        self._production = production
        self._own_host = own_host
        self._metadata = Remembered(self._fetch_metadata)
        self._keys = Remembered(self._fetch_keys)

    async def metadata(self) -> Metadata:
        """The discovery document, at most an hour old (a day, while the provider is away).

        Raises:
            ProviderAway: it cannot be had. SignInRefused: it does not hold.
        """
        return await self._metadata.get()

    async def _fetch_metadata(self) -> Metadata:
        document = await self._fetcher.get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
        return Metadata.parse(document, self.issuer, production=self._production)

    async def _fetch_keys(self) -> list[dict[str, Any]]:
        keys = (await self._fetcher.get((await self.metadata()).jwks_uri)).get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
            raise SignInRefused("keys-malformed")
        return keys

    async def authorization_url(self, secrets: Secrets, redirect_uri: str, *, max_age_s: int | None) -> str:
        """Where to send the browser (OpenID Connect Core §3.1.2.1, RFC 7636 §4.3).

        Where the provider takes pushed requests (RFC 9126) the browser carries a reference only, so that nothing of the
        request can be read or changed on the way.

        Raises:
            ProviderAway: it does not answer. SignInRefused: it does not take the request.
        """
        metadata = await self.metadata()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": redirect_uri,
            "scope": SCOPE,
            "state": secrets.state,
            "nonce": secrets.nonce,
            "code_challenge": secrets.challenge,
            "code_challenge_method": "S256",
        }
        max_age_s = self.trust.max_age(max_age_s)
        if max_age_s is not None:
            query["max_age"] = str(max_age_s)
        if self.trust.acr_values:
            query["acr_values"] = " ".join(self.trust.acr_values)
        if metadata.par_endpoint is not None:
            query = await self._pushed(metadata.par_endpoint, query)
        endpoint = metadata.authorization_endpoint
        if self._own_host:
            endpoint = urlsplit(endpoint).path
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def _pushed(self, endpoint: str, query: dict[str, str]) -> dict[str, str]:
        form, auth = await self._as_client(query)
        answer = await self._fetcher.post(endpoint, form, auth, status=201)
        reference = answer.get("request_uri")
        if not isinstance(reference, str) or _REQUEST_URI.fullmatch(reference) is None:
            raise SignInRefused("pushed-request-malformed")
        return {"client_id": self.client_id, "request_uri": reference}

    async def exchange(
        self, answer: dict[str, str], secrets: Secrets, redirect_uri: str, max_age_s: int | None
    ) -> IdClaims:
        """Turn the callback's parameters into verified claims. `state` has been checked by the caller.

        Raises:
            ProviderAway: the provider does not answer. SignInRefused: naming the check that failed.
        """
        metadata = await self.metadata()
        issuer = answer.get("iss")
        # RFC 9207 §2.4: the defence against a mixed-up issuer. A wrong one is refused even if it was not advertised.
        if issuer is None and metadata.iss_advertised:
            raise SignInRefused("issuer-missing")
        if issuer is not None and issuer != self.issuer:
            raise SignInRefused("issuer-mismatch")
        if "error" in answer:
            raise SignInRefused("provider-refused")
        code = answer.get("code", "")
        if not 1 <= len(code) <= CODE_LENGTH_MAX:
            raise SignInRefused("code-missing")
        form, auth = await self._as_client(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": secrets.verifier,
            }
        )
        tokens = await self._fetcher.post(metadata.token_endpoint, form, auth)
        expected = Expected(
            issuer=self.issuer,
            client_id=self.client_id,
            nonce=secrets.nonce,
            algorithms=metadata.algorithms,
            max_age_s=self.trust.max_age(max_age_s),
            acr_values=self.trust.acr_values,
        )
        token = tokens.get("id_token")
        try:
            return verify_id_token(token, await self.keys(), expected, now_s=now_s())
        except UnknownKey:
            return verify_id_token(token, await self.keys(renew=True), expected, now_s=now_s())

    async def _as_client(self, form: dict[str, str]) -> tuple[dict[str, str], tuple[str, str] | None]:
        """A form and how it is authenticated as ours."""
        secret = await self._client_secret() if self._client_secret is not None else None
        if secret is None:
            return {**form, "client_id": self.client_id}, None
        # RFC 6749 §2.3.1: both parts are form-encoded before they go into Basic.
        return form, (quote(self.client_id, safe=""), quote(secret, safe=""))

    async def keys(self, *, renew: bool = False) -> list[dict[str, Any]]:
        """The provider's keys; `renew` asks again, at most once in ten seconds.

        Raises:
            ProviderAway, SignInRefused: they cannot be had, or are no keys.
        """
        return await self._keys.get(renew=renew)

    async def close(self) -> None:
        await self._fetcher.close()
