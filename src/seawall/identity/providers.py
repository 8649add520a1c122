"""An OpenID provider as the relying party sees it: discovery, keys, code exchange.

OpenID Connect Discovery 1.0, RFC 8414, RFC 9207 (`iss` in the answer), RFC 7636 (PKCE), RFC 9700 (what is best
practice).
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from seawall.core.clock import now_s
from seawall.core.errors import Refused
from seawall.identity.fetching import Fetcher, is_provider_url
from seawall.identity.refusals import SignInRefused
from seawall.identity.tokens import ALGORITHMS, Expected, IdClaims, UnknownKey, verify_id_token
from seawall.identity.transactions import Secrets

METADATA_LIFETIME_S = 3_600
KEYS_LIFETIME_S = 3_600
KEYS_REFETCH_EVERY_S = 10
"""A flood of tokens with invented `kid`s must not become a flood of requests at the provider."""
SCOPE = "openid email profile"
CODE_LENGTH_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Metadata:
    """What we use of a provider's discovery document."""

    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    algorithms: frozenset[str]
    iss_advertised: bool
    """`authorization_response_iss_parameter_supported`: then an answer without `iss` is refused."""

    @classmethod
    def parse(cls, document: dict[str, Any], issuer: str, *, production: bool) -> Metadata:
        """Check a discovery document.

        Raises:
            SignInRefused: it is not this issuer's, or offers nothing that we accept.
        """
        if document.get("issuer") != issuer:
            raise SignInRefused("metadata-issuer")
        urls = [document.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        if not all(is_provider_url(url, production=production) for url in urls):
            raise SignInRefused("metadata-endpoint")
        offered = document.get("id_token_signing_alg_values_supported", ["RS256"])
        algorithms = (
            ALGORITHMS & frozenset(a for a in offered if isinstance(a, str)) if isinstance(offered, list) else ()
        )
        if not algorithms:
            raise SignInRefused("metadata-algorithms")
        methods = document.get("code_challenge_methods_supported")
        if methods is not None and (not isinstance(methods, list) or "S256" not in methods):
            raise SignInRefused("metadata-pkce")
        return cls(
            authorization_endpoint=str(urls[0]),
            token_endpoint=str(urls[1]),
            jwks_uri=str(urls[2]),
            algorithms=frozenset(algorithms),
            iss_advertised=document.get("authorization_response_iss_parameter_supported") is True,
        )


class Provider:
    """One configured provider.

    Args:
        name: its key in `identity.providers`, part of the callback's path.
        issuer: compared exactly, character by character.
        fetcher: how to reach it.
        own_host: whether its pages are on our own origin, under the issuer's path (the development provider).
    """

    def __init__(
        self,
        name: str,
        *,
        issuer: str,
        client_id: str,
        client_secret: str | None,
        title: str,
        email_domains: frozenset[str],
        fetcher: Fetcher,
        production: bool,
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
        self.email_domains = email_domains
        self._client_secret = client_secret
        self._fetcher = fetcher
        self._production = production
        self._own_host = own_host
        self._lock = asyncio.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, list[dict[str, Any]]] | None = None

    async def metadata(self) -> Metadata:
        """The discovery document, at most an hour old.

        Raises:
            SignInRefused: it cannot be had or does not hold.
        """
        async with self._lock:
            if self._metadata is None or time.monotonic() - self._metadata[0] > METADATA_LIFETIME_S:
                document = await self._fetcher.get(f"{self.issuer.rstrip('/')}/.well-known/openid-configuration")
                parsed = Metadata.parse(document, self.issuer, production=self._production)
                self._metadata = (time.monotonic(), parsed)
            return self._metadata[1]

    async def authorization_url(self, secrets: Secrets, redirect_uri: str, *, max_age_s: int | None) -> str:
        """Where to send the browser (OpenID Connect Core §3.1.2.1, RFC 7636 §4.3)."""
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
        if max_age_s is not None:
            query["max_age"] = str(max_age_s)
        endpoint = metadata.authorization_endpoint
        if self._own_host:
            endpoint = urlsplit(endpoint).path
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def exchange(
        self, answer: dict[str, str], secrets: Secrets, redirect_uri: str, max_age_s: int | None
    ) -> IdClaims:
        """Turn the callback's parameters into verified claims. `state` has been checked by the caller.

        Raises:
            SignInRefused: naming the check that failed.
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
        tokens = await self._exchange_code(metadata, code, secrets.verifier, redirect_uri)
        expected = Expected(
            issuer=self.issuer,
            client_id=self.client_id,
            nonce=secrets.nonce,
            algorithms=metadata.algorithms,
            max_age_s=max_age_s,
        )
        token = tokens.get("id_token")
        try:
            return verify_id_token(token, await self._key_set(metadata), expected, now_s=now_s())
        except UnknownKey:
            return verify_id_token(token, await self._key_set(metadata, renew=True), expected, now_s=now_s())

    async def _exchange_code(self, metadata: Metadata, code: str, verifier: str, redirect_uri: str) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        auth = None
        if self._client_secret is None:
            form["client_id"] = self.client_id
        else:
            # RFC 6749 §2.3.1: both parts are form-encoded before they go into Basic.
            auth = (quote(self.client_id, safe=""), quote(self._client_secret, safe=""))
        return await self._fetcher.post(metadata.token_endpoint, form, auth)

    async def _key_set(self, metadata: Metadata, *, renew: bool = False) -> list[dict[str, Any]]:
        """The provider's keys, cached; `renew` asks again, at most once in ten seconds."""
        async with self._lock:
            age = time.monotonic() - self._keys[0] if self._keys is not None else None
            stale = age is None or age > KEYS_LIFETIME_S or (renew and age > KEYS_REFETCH_EVERY_S)
            if stale or self._keys is None:
                keys = (await self._fetcher.get(metadata.jwks_uri)).get("keys")
                if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
                    raise SignInRefused("keys-malformed")
                self._keys = (time.monotonic(), keys)
            return self._keys[1]

    async def close(self) -> None:
        await self._fetcher.close()
