"""Discovery, keys and code exchange against a provider that may send anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from seawall.core.clock import now_s
from seawall.core.errors import Refused
from seawall.identity import fetching
from seawall.identity.fetching import Fetcher, is_provider_url
from seawall.identity.metadata import Metadata
from seawall.identity.providers import Provider, Trust
from seawall.identity.refusals import ProviderAway, SignInRefused
from seawall.identity.secret_sources import SecretSource
from seawall.identity.transactions import Secrets, challenge_of

ISSUER = "https://idp.example"
SECRETS = Secrets.of("x" * 43)
DOCUMENT: dict[str, Any] = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize?tenant=1",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/jwks",
    "id_token_signing_alg_values_supported": ["none", "HS256", "ES256", 7],
    "code_challenge_methods_supported": ["plain", "S256"],
    "authorization_response_iss_parameter_supported": True,
}


class Idp:
    """Answers like a provider; every part can be replaced."""

    def __init__(self) -> None:
        self.document: Any = dict(DOCUMENT)
        self.keys = [ECKey.generate_key("P-256", parameters={"kid": "a"})]
        self.signing = self.keys[0]
        self.claims: dict[str, Any] = {}
        self.asked: list[httpx2.Request] = []
        self.answers: dict[str, httpx2.Response] = {}

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        path = request.url.path
        if path == "/par":
            reference = {"request_uri": "urn:ietf:params:oauth:request_uri:1", "expires_in": 60}
            return self.answers.get(path) or httpx2.Response(201, json=reference)
        if path in self.answers:
            return self.answers[path]
        if path.endswith("openid-configuration"):
            return httpx2.Response(200, json=self.document)
        if path == "/jwks":
            return httpx2.Response(200, json={"keys": [key.as_dict(private=False) for key in self.keys]})
        claims = {
            "iss": ISSUER,
            "sub": "s",
            "aud": "app",
            "iat": now_s(),
            "exp": now_s() + 60,
            "nonce": SECRETS.nonce,
            **self.claims,
        }
        token = jwt.encode({"alg": "ES256", "kid": self.signing.kid}, claims, self.signing, algorithms=["ES256"])
        return httpx2.Response(200, json={"id_token": token})

    def count(self, path: str) -> int:
        return sum(request.url.path == path for request in self.asked)

    def provider(self, *, secret: str | None = None, production: bool = True, trust: Trust | None = None) -> Provider:
        fetcher = Fetcher(lambda: httpx2.AsyncClient(transport=httpx2.MockTransport(self)))
        return Provider(
            "idp",
            issuer=ISSUER,
            client_id="app",
            client_secret=_secret(secret),
            title="",
            fetcher=fetcher,
            production=production,
            trust=trust,
        )


def _secret(value: str | None) -> SecretSource:
    async def secret() -> str | None:
        return value

    return secret


ANSWER = {"code": "c", "state": SECRETS.state, "iss": ISSUER}
BACK = "https://shop.example/auth/callback/idp"


async def refused(provider: Provider, answer: dict[str, str]) -> str:
    with pytest.raises(SignInRefused) as caught:
        await provider.exchange(answer, SECRETS, BACK, None)
    return caught.value.reason


async def test_the_authorization_request() -> None:
    url = httpx2.URL(await Idp().provider().authorization_url(SECRETS, BACK, max_age_s=300))
    query = dict(url.params)
    assert query == {
        "tenant": "1",
        "response_type": "code",
        "client_id": "app",
        "redirect_uri": BACK,
        "scope": "openid email profile",
        "state": SECRETS.state,
        "nonce": SECRETS.nonce,
        "code_challenge": challenge_of(SECRETS.verifier),
        "code_challenge_method": "S256",
        "max_age": "300",
    }
    assert len({SECRETS.state, SECRETS.nonce, SECRETS.verifier, Secrets.of("y" * 43).state}) == 4


async def test_an_honest_exchange_with_and_without_a_secret() -> None:
    idp = Idp()
    assert (await idp.provider().exchange(ANSWER, SECRETS, BACK, None)).subject == "s"
    form = httpx2.QueryParams(idp.asked[-2].content.decode() if idp.asked[-2].url.path == "/token" else "")
    assert dict(form) == {
        "grant_type": "authorization_code",
        "code": "c",
        "redirect_uri": BACK,
        "code_verifier": SECRETS.verifier,
        "client_id": "app",
    }
    await idp.provider(secret="s:e/c").exchange(ANSWER, SECRETS, BACK, None)
    tokens = [request for request in idp.asked if request.url.path == "/token"]
    assert tokens[-1].headers["authorization"] == httpx2.BasicAuth("app", "s%3Ae%2Fc")._auth_header


async def test_the_issuer_of_the_answer() -> None:
    idp = Idp()
    assert await refused(idp.provider(), {**ANSWER, "iss": "https://evil.example"}) == "issuer-mismatch"
    assert await refused(idp.provider(), {"code": "c"}) == "issuer-missing"
    del idp.document["authorization_response_iss_parameter_supported"]
    assert (await idp.provider().exchange({"code": "c"}, SECRETS, BACK, None)).subject == "s"
    assert await refused(idp.provider(), {**ANSWER, "iss": "https://evil.example"}) == "issuer-mismatch"
    assert await refused(idp.provider(), {**ANSWER, "error": "access_denied"}) == "provider-refused"
    assert await refused(idp.provider(), {"iss": ISSUER}) == "code-missing"


async def test_a_rotated_key_is_fetched_once_and_unknown_keys_do_not_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    idp = Idp()
    provider = idp.provider()
    await provider.exchange(ANSWER, SECRETS, BACK, None)
    await provider.exchange(ANSWER, SECRETS, BACK, None)
    assert idp.count("/jwks") == 1
    idp.signing = ECKey.generate_key("P-256", parameters={"kid": "b"})
    for _ in range(5):
        assert await refused(provider, ANSWER) == "token-key-unknown"
    assert idp.count("/jwks") == 1  # asked less than ten seconds ago
    monkeypatch.setattr("seawall.identity.remembered.RENEW_EVERY_S", -1)
    idp.keys.append(idp.signing)
    assert (await provider.exchange(ANSWER, SECRETS, BACK, None)).subject == "s"
    assert idp.count("/jwks") == 2


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"issuer": f"{ISSUER}/"}, "metadata-issuer"),
        ({"issuer": None}, "metadata-issuer"),
        ({"token_endpoint": "http://idp.example/token"}, "metadata-endpoint"),
        ({"token_endpoint": "http://127.0.0.1/token"}, "metadata-endpoint"),
        ({"jwks_uri": None}, "metadata-endpoint"),
        ({"jwks_uri": ["https://a"]}, "metadata-endpoint"),
        ({"authorization_endpoint": "https://user@idp.example/"}, "metadata-endpoint"),
        ({"id_token_signing_alg_values_supported": ["none", "HS256"]}, "metadata-algorithms"),
        ({"id_token_signing_alg_values_supported": "ES256"}, "metadata-algorithms"),
        ({"code_challenge_methods_supported": ["plain"]}, "metadata-pkce"),
    ],
)
async def test_discovery_documents_that_do_not_hold(change: dict[str, Any], code: str) -> None:
    idp = Idp()
    idp.document |= change
    with pytest.raises(SignInRefused) as caught:
        await idp.provider().metadata()
    assert caught.value.reason == code


def test_metadata_takes_only_what_is_offered_and_safe() -> None:
    metadata = Metadata.parse(DOCUMENT, ISSUER, production=True)
    assert (metadata.algorithms, metadata.iss_advertised) == (frozenset({"ES256"}), True)
    truthy = {**DOCUMENT, "authorization_response_iss_parameter_supported": "true"}
    assert Metadata.parse(truthy, ISSUER, production=True).iss_advertised is False


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(500, json={"id_token": "x"}),
        httpx2.Response(302, headers={"location": "https://evil.example"}),
        httpx2.Response(200, content=b"<html>"),
        httpx2.Response(200, content=b"[]"),
        httpx2.Response(200, content=b'{"id_token":"a","id_token":"b"}'),
        httpx2.Response(200, content=b'{"a":' + b"[" * 9_000 + b"]" * 9_000 + b"}"),
        httpx2.Response(200, content=json.dumps({"id_token": "x" * 300_000}).encode()),
        httpx2.Response(200, json={}),
        httpx2.Response(200, json={"id_token": 7}),
    ],
)
async def test_token_endpoints_that_answer_wrongly(answer: httpx2.Response) -> None:
    idp = Idp()
    idp.answers["/token"] = answer
    assert (await refused(idp.provider(), ANSWER)).startswith(("provider-", "token-"))


async def test_a_provider_that_does_not_finish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "ANSWER_TIMEOUT_S", 0.05)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.02)
            yield b" "

    idp = Idp()
    idp.answers["/token"] = httpx2.Response(200, content=endless())
    assert await refused(idp.provider(), ANSWER) == "provider-unreachable"


def test_issuers_without_tls_are_refused_at_start() -> None:
    for issuer, production in [
        ("http://idp.example", False),
        ("http://127.0.0.1:9", True),
        ("", False),
        ("ftp://a", False),
    ]:
        with pytest.raises(Refused, match="issuer"):
            Provider(
                "idp",
                issuer=issuer,
                client_id="app",
                client_secret=None,
                title="",
                fetcher=Fetcher.over_network("https://idp.example"),
                production=production,
            )
    assert is_provider_url("http://127.0.0.1:9", production=False)
    assert is_provider_url("http://[::1]:9", production=False)
    assert not is_provider_url("http://127.0.0.1.evil.example", production=False)
    assert not is_provider_url("https://idp.example/#x", production=False)
    assert not is_provider_url("https://[", production=False)


async def test_a_provider_that_takes_pushed_requests_gets_them() -> None:
    idp = Idp()
    idp.document["pushed_authorization_request_endpoint"] = f"{ISSUER}/par"
    url = httpx2.URL(await idp.provider(secret="s").authorization_url(SECRETS, BACK, max_age_s=None))
    assert dict(url.params) == {
        "tenant": "1",
        "client_id": "app",
        "request_uri": "urn:ietf:params:oauth:request_uri:1",
    }
    pushed = next(request for request in idp.asked if request.url.path == "/par")
    form = dict(httpx2.QueryParams(pushed.content.decode()))
    assert (form["code_challenge"], form["redirect_uri"]) == (challenge_of(SECRETS.verifier), BACK)
    assert pushed.headers["authorization"].startswith("Basic ")
    for answer in (
        httpx2.Response(200, json={"request_uri": "urn:x"}),
        httpx2.Response(201, json={"request_uri": "urn:x\r\nSet-Cookie: a=b"}),
        httpx2.Response(201, json={}),
        httpx2.Response(400, json={"error": "invalid_request"}),
    ):
        idp.answers["/par"] = answer
        with pytest.raises(SignInRefused):
            await idp.provider().authorization_url(SECRETS, BACK, max_age_s=None)


async def test_a_provider_that_insists_on_pushing_and_says_not_where() -> None:
    idp = Idp()
    idp.document["require_pushed_authorization_requests"] = True
    with pytest.raises(SignInRefused, match="metadata-endpoint"):
        await idp.provider().metadata()


async def test_acr_and_max_age_are_asked_for_and_demanded() -> None:
    idp = Idp()
    provider = idp.provider(trust=Trust(acr_values=("urn:mfa", "urn:smartcard"), max_age_s=600))
    query = httpx2.URL(await provider.authorization_url(SECRETS, BACK, max_age_s=3_600)).params
    assert (query["acr_values"], query["max_age"]) == ("urn:mfa urn:smartcard", "600")  # the stricter age
    assert await refused(provider, ANSWER) == "token-time-malformed"
    idp.claims = {"auth_time": now_s()}
    assert await refused(provider, ANSWER) == "token-acr"
    idp.claims |= {"acr": "urn:password"}
    assert await refused(provider, ANSWER) == "token-acr"
    idp.claims |= {"acr": ["urn:mfa"]}
    assert await refused(provider, ANSWER) == "token-acr"
    idp.claims |= {"acr": "urn:mfa", "auth_time": now_s() - 3_600}
    assert await refused(provider, ANSWER) == "token-auth-time"
    idp.claims |= {"auth_time": now_s() - 30, "sid": "at-theirs"}
    assert (await provider.exchange(ANSWER, SECRETS, BACK, None)).session == "at-theirs"


async def test_a_provider_that_is_away_is_told_apart_from_one_that_refuses() -> None:
    idp = Idp()
    provider = idp.provider()
    for status in (500, 503, 429):
        idp.answers["/token"] = httpx2.Response(status)
        with pytest.raises(ProviderAway):
            await provider.exchange(ANSWER, SECRETS, BACK, None)
