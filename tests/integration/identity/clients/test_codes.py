"""A code becomes tokens, once, for whom it was meant; and who the client is."""

from __future__ import annotations

import asyncio
import gc
import json
from uuid import UUID

from starlette.requests import Request
from tests.integration.identity.conftest import ORIGIN, Browser, House
from tests.support.clients import OTHER_SECRET, SECRET, api_of, last_event

from seawall.settings import Settings
from seawall_check.probes.oauth import Asking, Key, claims_of, granted, header_of


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
    assert (claims["iss"], claims["aud"], claims["client_id"]) == (ORIGIN, ORIGIN, "cli")
    assert str(ann) not in json.dumps(claims)
    assert claims["exp"] - claims["iat"] == 300
    assert claims["cnf"] == {"jkt": api.key.thumbprint if api.key else ""}
    me = await api.get("/auth/me")
    assert (me.status_code, me.json()["user_id"]) == (200, str(ann)), me.text
    assert await last_event(house) == ("granted", "")
    assert (await house.events("identity.client-grant"))[-1]["trace_id"] == tokens.headers["x-trace-id"]


async def test_a_code_is_bound(house: House, browser: Browser) -> None:
    for change in [
        {"code_verifier": "A" * 43},
        {"code_verifier": ""},
        {"redirect_uri": "http://127.0.0.1:45124/callback"},
        {"redirect_uri": ""},
        {"client_id": "web", "client_secret": SECRET},
        {"code": "A" * 43},
        {"code": ""},
    ]:
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


async def test_clients_that_are_not_who_they_say(house: House) -> None:
    for client_id, secret, error in [
        ("web", "", "invalid_client"),
        ("web", "wrong" * 8, "invalid_client"),
        ("web", OTHER_SECRET, "invalid_client"),
        ("cli", "a secret of its own", "invalid_client"),
        ("nobody", "", "invalid_client"),
        ("", "", "invalid_client"),
    ]:
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


async def test_requests_that_do_not_parse(house: House) -> None:
    for body, content_type in [
        (b'{"grant_type":"refresh_token"}', "application/json"),
        (b"grant_type=refresh_token&grant_type=refresh_token", "application/x-www-form-urlencoded"),
        (b"a=1&" * 40, "application/x-www-form-urlencoded"),
        (b"client_id=cli&code=" + b"A" * 5000, "application/x-www-form-urlencoded"),
        (b"client_id=cli&code=%0A", "application/x-www-form-urlencoded"),
    ]:
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
    answers = []
    for _ in range(3 * settings.identity.attempts_per_network):  # tries come back while a slow machine tries
        answers.append(await api.call("token_endpoint", {}, proof=""))
        if answers[-1].status_code != 401:
            break
    assert answers[0].status_code == 401
    assert (answers[-1].status_code, answers[-1].json()["error"]) == (429, "slow_down")
    assert int(answers[-1].headers["retry-after"]) > 0


async def test_nothing_of_a_refused_request_stays_in_memory(house: House) -> None:
    """Whoever may have themselves refused, which is anybody, must not be able to fill the process."""
    api = api_of(house)

    async def refused_times(times: int) -> int:
        """How many requests are still held after so many refusals of every kind."""
        for _ in range(times):
            proof = (await api.call("token_endpoint", {})).request.headers["dpop"]
            for form in (
                {"grant_type": "refresh_token", "refresh_token": "x" * 4_000},
                {"grant_type": "authorization_code", "code": "x" * 43},
            ):
                assert (await api.call("token_endpoint", form)).json()["error"] == "invalid_grant"
            form = {"grant_type": "authorization_code", "code": "x" * 43}
            used = [(await api.call("token_endpoint", form, proof=proof)).json()["error"] for _ in range(2)]
            assert used == ["invalid_grant", "invalid_dpop_proof"]
        gc.collect()
        return sum(isinstance(one, Request) for one in gc.get_objects())

    assert await refused_times(1) >= await refused_times(5)
