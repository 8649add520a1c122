"""API clients on a real database: consent, code, tokens, proofs, refresh, revocation; every message of every flow."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID

import pytest
from tests.integration.identity.conftest import HTML, JSON, ORIGIN, Browser, House
from tests.integration.identity.test_sessions_and_factors import enrol
from tests.support.databases import ScratchDatabase

from seawall.core.decisions import bearer, self_service
from seawall.core.scope import Principal
from seawall.settings import ClientSection, IdentitySection, ProviderSection, Settings
from seawall_check.probes.oauth import Api, Asking, Key, claims_of, granted, header_of

SECRET = secrets.token_urlsafe(32)
OTHER_SECRET = secrets.token_urlsafe(32)
CLI = "http://127.0.0.1:45123/callback"
WEB = "https://other.example/callback"

Self = Annotated[Principal, self_service("a test of one's own account")]


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return Settings(
        root=tmp_path,
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


@pytest.fixture
async def house(settings: Settings, scratch: ScratchDatabase) -> AsyncIterator[House]:
    built = House(settings, scratch)

    @built.app.get("/scan", dependencies=[bearer("the old scanner cannot sign")])
    async def scan(principal: Self) -> dict[str, str]:
        return {"who": str(principal.user_id)}

    async with built.identity.running():
        yield built


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("ann@example.com")
    return made


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


@pytest.fixture
async def api(house: House, browser: Browser) -> Api:
    return await granted(browser.http, api_of(house))


async def last_event(house: House) -> tuple[str, str]:
    event = (await house.events("identity.client-grant"))[-1]
    return event["step"], event["reason"]


# -- discovery ---------------------------------------------------------------------------------------------------------


async def test_where_things_are(house: House) -> None:
    metadata = (await house.browser().get("/.well-known/oauth-authorization-server", JSON)).json()
    assert metadata["issuer"] == ORIGIN
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["dpop_signing_alg_values_supported"] == ["ES256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    [key] = (await house.browser().get("/.well-known/jwks.json", JSON)).json()["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")


# -- consent -----------------------------------------------------------------------------------------------------------


async def test_the_page_says_who_lets_whom_do_what(house: House, browser: Browser) -> None:
    asking = Asking(api_of(house))
    shown = await browser.http.get("/oauth/authorize", params=asking.query(), headers=HTML)
    assert shown.status_code == 200, shown.text
    for words in ("Command &lt;line&gt;", "ann@example.com", "owner", "a program on this computer"):
        assert words in shown.text
    assert "<line>" not in shown.text
    as_data = await browser.http.get("/oauth/authorize", params=asking.query(), headers=JSON)
    assert as_data.json()["client_id"] == "cli"


async def test_who_is_not_signed_in_signs_in_first(house: House) -> None:
    asking = Asking(api_of(house))
    answer = await house.browser().http.get("/oauth/authorize", params=asking.query(), headers=HTML)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/auth/sign-in?next=/oauth/authorize")
    assert (await house.browser().http.get("/oauth/authorize", params=asking.query(), headers=JSON)).status_code == 401


async def test_saying_no(house: House, browser: Browser) -> None:
    asking = Asking(api_of(house))
    answer = await asking.consent(browser.http, decision="deny")
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", asking.state, ORIGIN)
    assert await last_event(house) == ("denied", "")
    assert "code" not in await asking.consent(browser.http, decision="anything else")


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": "A" * 44}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"scope": "read"}, "invalid_scope"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"dpop_jkt": "short"}, "invalid_request"),
        ({"prompt": "none"}, "consent_required"),
    ],
)
async def test_requests_that_are_refused_at_the_redirect_address(
    house: House, browser: Browser, change: dict[str, str | None], error: str
) -> None:
    asking = Asking(api_of(house))
    answer = await asking.consent(browser.http, **change)
    assert (answer["error"], answer["state"], answer["iss"]) == (error, asking.state, ORIGIN)


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "nobody"},
        {"client_id": None},
        {"redirect_uri": None},
        {"redirect_uri": "https://evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1:45123/callback/"},
        {"redirect_uri": "http://127.0.0.1:45123/other"},
        {"redirect_uri": "http://127.0.0.1:45123@evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example:45123/callback"},
        {"redirect_uri": "http://localhost:45123/callback"},
        {"redirect_uri": "https://127.0.0.1:45123/callback"},
        {"redirect_uri": "http://127.0.0.1:45123/callback#x"},
        {"redirect_uri": "http://127.0.0.1:99999/callback"},
        {"redirect_uri": "javascript:alert(1)//127.0.0.1/callback"},
        {"redirect_uri": WEB},
    ],
)
async def test_nobody_is_sent_to_an_address_that_is_not_registered(
    house: House, browser: Browser, change: dict[str, str | None]
) -> None:
    query = Asking(api_of(house)).query(**change)
    shown = await browser.http.get("/oauth/authorize", params=query, headers=HTML)
    assert (shown.status_code, "location" in shown.headers) == (400, False)
    posted = await browser.post("/oauth/authorize", data={**query, "decision": "allow"})
    assert (posted.status_code, "location" in posted.headers) == (400, False)
    assert "evil.example" not in posted.text + shown.text


async def test_a_parameter_that_comes_twice(house: House, browser: Browser) -> None:
    query = [*Asking(api_of(house)).query().items(), ("state", "2")]
    assert (await browser.http.get("/oauth/authorize", params=query, headers=JSON)).status_code == 400


async def test_a_form_from_elsewhere_agrees_to_nothing(house: House, browser: Browser) -> None:
    data = {**Asking(api_of(house)).query(), "decision": "allow"}
    headers = {**HTML, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert (await browser.http.post("/oauth/authorize", data=data, headers=headers)).status_code == 403


# -- codes -------------------------------------------------------------------------------------------------------------


async def test_a_code_becomes_tokens(house: House, browser: Browser, ann: UUID) -> None:
    api = api_of(house)
    asking = Asking(api)
    answer = await asking.consent(browser.http)
    assert (answer["state"], answer["iss"]) == (asking.state, ORIGIN)
    tokens = await api.redeem(answer["code"], asking.verifier)
    assert tokens.status_code == 200, tokens.text
    assert tokens.headers["cache-control"] == "no-store"
    assert {**tokens.json(), "access_token": "", "refresh_token": ""} == {
        "access_token": "", "refresh_token": "", "token_type": "DPoP", "expires_in": 300
    }  # fmt: skip
    header, claims = header_of(api.access_token), claims_of(api.access_token)
    assert (header["alg"], header["typ"], header.keys()) == ("ES256", "at+jwt", {"alg", "typ", "kid"})
    assert (claims["iss"], claims["aud"], claims["sub"], claims["client_id"]) == (ORIGIN, ORIGIN, str(ann), "cli")
    assert claims["exp"] - claims["iat"] == 300
    assert claims["cnf"] == {"jkt": api.key.thumbprint if api.key else ""}
    me = await api.get("/auth/me")
    assert (me.status_code, me.json()["user_id"]) == (200, str(ann)), me.text
    assert await last_event(house) == ("granted", "")


@pytest.mark.parametrize(
    "change",
    [
        {"code_verifier": "A" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:45124/callback"},
        {"redirect_uri": ""},
        {"client_id": "web", "client_secret": SECRET},
        {"code": "A" * 43},
        {"code": ""},
    ],
)
async def test_a_code_is_bound(house: House, browser: Browser, change: dict[str, str]) -> None:
    api = api_of(house)
    asking = Asking(api)
    code = (await asking.consent(browser.http))["code"]
    refused = await api.redeem(code, asking.verifier, **change)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    if change.get("code") is None:  # used up by the wrong try
        assert (await api.redeem(code, asking.verifier)).json()["error"] == "invalid_grant"


async def test_a_code_bound_to_a_key(house: House, browser: Browser) -> None:
    api = api_of(house)
    asking = Asking(api)
    code = (await asking.consent(browser.http, dpop_jkt=Key.fresh().thumbprint))["code"]
    assert (await api.redeem(code, asking.verifier)).json()["error"] == "invalid_grant"
    code = (await asking.consent(browser.http, dpop_jkt=api.key.thumbprint if api.key else ""))["code"]
    assert (await api.redeem(code, asking.verifier)).status_code == 200


async def test_a_code_that_is_too_old(house: House, browser: Browser) -> None:
    api = api_of(house)
    asking = Asking(api)
    code = (await asking.consent(browser.http))["code"]
    await house.scratch.owner.execute("UPDATE seawall.authorization_codes SET expires_at = now()")
    assert (await api.redeem(code, asking.verifier)).json()["error"] == "invalid_grant"


async def test_a_code_after_its_session_has_ended(house: House, browser: Browser) -> None:
    api = api_of(house)
    asking = Asking(api)
    code = (await asking.consent(browser.http))["code"]
    await browser.post("/auth/sign-out")
    assert (await api.redeem(code, asking.verifier)).json()["error"] == "invalid_grant"


async def test_a_code_twice_ends_its_grant(house: House, browser: Browser) -> None:
    api = api_of(house)
    asking = Asking(api)
    code = (await asking.consent(browser.http))["code"]
    await api.redeem(code, asking.verifier)
    assert (await api.get("/auth/me")).status_code == 200
    thief = api_of(house)
    assert (await thief.redeem(code, asking.verifier)).json()["error"] == "invalid_grant"
    assert (await api.get("/auth/me")).status_code == 401
    assert (await api.refresh()).status_code == 400
    assert await last_event(house) == ("revoked", "code-replay")


async def test_a_code_at_the_same_moment(house: House, browser: Browser) -> None:
    """One wins; the code was in several hands, so what it gave is worth nothing."""
    apis = [api_of(house) for _ in range(6)]
    asking = Asking(apis[0])
    code = (await asking.consent(browser.http))["code"]
    answers = await asyncio.gather(*(api.redeem(code, asking.verifier) for api in apis))
    winners = [api for api, answer in zip(apis, answers, strict=True) if answer.status_code == 200]
    assert len(winners) == 1
    assert (await winners[0].get("/auth/me")).status_code == 401
    assert await last_event(house) == ("revoked", "code-replay")


# -- who the client is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("client_id", "secret", "error"),
    [
        ("web", "", "invalid_client"),
        ("web", "wrong" * 8, "invalid_client"),
        ("web", OTHER_SECRET, "invalid_client"),
        ("cli", "a secret of its own", "invalid_client"),
        ("nobody", "", "invalid_client"),
        ("", "", "invalid_client"),
    ],
)
async def test_clients_that_are_not_who_they_say(house: House, client_id: str, secret: str, error: str) -> None:
    api = api_of(house)
    api.client_id, api.secret = client_id, secret
    answer = await api.redeem("A" * 43, "A" * 43)
    assert (answer.status_code, answer.json()["error"]) == (401, error)


async def test_the_two_ways_to_authenticate(house: House, browser: Browser) -> None:
    api = await granted(browser.http, api_of(house, "web"))
    form = {"grant_type": "refresh_token", "refresh_token": api.refresh_token}
    url = api.metadata["token_endpoint"]

    def proof() -> dict[str, str]:
        return {"DPoP": api.key.proof("POST", url, nonce=api.nonce) if api.key else ""}

    basic = ("web", SECRET)
    both = await api.http.post(url, data={**form, "client_secret": SECRET}, auth=basic, headers=proof())
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    other = await api.http.post(url, data={**form, "client_id": "cli"}, auth=basic, headers=proof())
    assert other.json()["error"] == "invalid_request"
    wrong = await api.http.post(url, data=form, auth=("web", "x"), headers=proof())
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, 'Basic realm="token"')
    nonsense = await api.http.post(url, data=form, headers={**proof(), "Authorization": "Basic ???"})
    assert nonsense.json()["error"] == "invalid_client"
    assert (await api.http.post(url, data=form, auth=basic, headers=proof())).status_code == 200


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"grant_type":"refresh_token"}', "application/json"),
        (b"grant_type=refresh_token&grant_type=refresh_token", "application/x-www-form-urlencoded"),
        (b"a=1&" * 40, "application/x-www-form-urlencoded"),
        (b"client_id=cli&code=" + b"A" * 5000, "application/x-www-form-urlencoded"),
        (b"client_id=cli&code=%0A", "application/x-www-form-urlencoded"),
    ],
)
async def test_requests_that_do_not_parse(house: House, body: bytes, content_type: str) -> None:
    answer = await house.browser().http.post("/oauth/token", content=body, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_a_grant_type_that_is_none(house: House) -> None:
    api = api_of(house)
    for kind in ("password", "client_credentials", "", "implicit"):
        answer = await api.call("token_endpoint", {"grant_type": kind})
        assert answer.json()["error"] == "unsupported_grant_type"


async def test_refusals_are_slowed_down(house: House, settings: Settings) -> None:
    api = api_of(house)
    api.client_id = "nobody"
    answers = [
        await api.call("token_endpoint", {}, proof="") for _ in range(settings.identity.attempts_per_network + 1)
    ]
    assert answers[0].status_code == 401
    assert (answers[-1].status_code, answers[-1].json()["error"]) == (429, "slow_down")
    assert int(answers[-1].headers["retry-after"]) > 0


# -- tokens without proof ----------------------------------------------------------------------------------------------


async def test_bearer_tokens_are_for_declared_clients_and_routes(house: House, browser: Browser, api: Api) -> None:
    refused = await api.refresh(proof="", keep=False)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")
    old = await granted(browser.http, api_of(house, "old", bound=False))
    assert (await old.get("/scan")).status_code == 200
    elsewhere = await old.get("/auth/me")
    assert elsewhere.status_code == 401
    assert elsewhere.headers["www-authenticate"].startswith('DPoP error="invalid_token"')
    assert (await old.get("/scan", scheme="DPoP")).status_code == 401
    # a bound token is bound here too
    assert (await api.get("/scan")).status_code == 200
    assert (await api.get("/scan", scheme="Bearer")).status_code == 401
    # what a client may have, it need not: this one makes proofs, and is then held to them
    bound = await granted(browser.http, api_of(house, "old"))
    assert (await bound.get("/auth/me")).status_code == 200
    assert (await bound.refresh(proof="")).status_code == 400


# -- what a token does not open ----------------------------------------------------------------------------------------


async def test_a_token_is_not_the_account(api: Api) -> None:
    for method, path in (
        ("GET", "/auth/account"),
        ("GET", "/auth/totp"),
        ("POST", "/auth/totp"),
        ("POST", "/auth/sign-out-everywhere"),
        ("GET", "/oauth/authorize"),
        ("POST", f"/auth/step-up/{UUID(int=0)}"),
    ):
        answer = await api.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (403, "person-only"), path
    assert (await api.get("/auth/me")).status_code == 200


async def test_a_cookie_beside_a_token(browser: Browser, api: Api) -> None:
    both = await api.get("/auth/me", headers={"Cookie": f"__Host-sw_sid={browser.token}"})
    assert (both.status_code, both.json()["code"]) == (400, "ambiguous-credentials")


async def test_every_401_has_a_challenge(house: House, api: Api) -> None:
    nobody = await house.browser().get("/auth/me", JSON)
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'DPoP algs="ES256"')
    challenged = await api.post("/pay/150")
    assert challenged.status_code == 401
    assert challenged.headers["www-authenticate"].startswith('DPoP error="insufficient_user_authentication"')
    assert challenged.headers["dpop-nonce"]


# -- step-up -----------------------------------------------------------------------------------------------------------


async def test_a_person_approves_what_their_client_asks_for(house: House, browser: Browser, api: Api) -> None:
    app, _ = await enrol(browser)
    assert (await api.get("/auth/me")).status_code == 401  # another factor ends every other session, clients' too
    api = await granted(browser.http, api_of(house))
    address = (await api.post("/pay/150")).json()["step_up"]
    other_client = await granted(browser.http, api_of(house))
    shown = await browser.get(address)
    assert "Asked by" in shown.text
    assert "Command &lt;line&gt;" in shown.text
    assert (await browser.get(address, JSON)).json()["client"] == "Command <line>"
    assert (await api.post(address, json={"code": app.code()})).status_code == 403  # not by the token itself
    approved = await browser.post(address, headers=JSON, json={"code": app.code()})
    assert approved.status_code == 200, approved.text
    assert (await other_client.post("/pay/150")).status_code == 401
    assert (await browser.post("/pay/150", headers=JSON)).status_code == 401
    assert (await api.post("/pay/151")).status_code == 401
    assert (await api.post("/pay/150")).status_code == 200
    assert (await api.post("/pay/150")).status_code == 401


async def test_nobody_elses_client(house: House, browser: Browser, tenant: UUID) -> None:
    await house.person("eve@example.com", tenant)
    eve = house.browser()
    await eve.sign_in("eve@example.com")
    hers = await granted(eve.http, api_of(house))
    address = (await hers.post("/pay/150")).json()["step_up"]
    assert (await eve.get(address, JSON)).status_code == 200
    assert (await browser.get(address, JSON)).status_code == 404
    await hers.revoke(hers.refresh_token)
    assert (await eve.get(address, JSON)).status_code == 404


async def test_what_is_written_down(house: House, api: Api) -> None:
    """Neither token nor anything of a token is in the log or in the database."""
    written = json.dumps(await house.events("identity.client-grant"), default=str)
    for secret in (api.access_token, api.refresh_token, "ann@example.com"):
        assert secret not in written
    rows = await house.scratch.owner.fetch("SELECT s::text AS s FROM seawall.sessions s WHERE kind = 'client'")
    assert len(rows) == 1
    assert time.time() > 0
