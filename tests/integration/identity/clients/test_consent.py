"""Letting a client in: what the page says, and where nobody is sent."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from tests.integration.identity.conftest import HTML, JSON, ORIGIN, Browser, House
from tests.support.clients import WEB, api_of, last_event

from seawall_check.probes.oauth import Asking


async def test_where_things_are(house: House) -> None:
    metadata = (await house.browser().get("/.well-known/oauth-authorization-server", JSON)).json()
    assert metadata["issuer"] == ORIGIN
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    assert metadata["dpop_signing_alg_values_supported"] == ["ES256"]
    assert metadata["authorization_response_iss_parameter_supported"] is True
    [key] = (await house.browser().get("/.well-known/jwks.json", JSON)).json()["keys"]
    assert key.keys() == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert (key["kty"], key["crv"], key["alg"]) == ("EC", "P-256", "ES256")


async def test_the_page_says_who_lets_whom_do_what(house: House, browser: Browser) -> None:
    asking = Asking(api_of(house))
    shown = await browser.http.get("/oauth/authorize", params=asking.query(), headers=HTML)
    assert shown.status_code == 200, shown.text
    for words in ("Command &lt;line&gt;", "ann@example.com", "clerk", "a program on this computer"):
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


async def test_requests_that_are_refused_at_the_redirect_address(house: House, browser: Browser) -> None:
    for change, error in [
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
    ]:
        asking = Asking(api_of(house))
        answer = await asking.consent(browser.http, **change)
        assert (answer["error"], answer["state"], answer["iss"]) == (error, asking.state, ORIGIN)


async def test_nobody_is_sent_to_an_address_that_is_not_registered(house: House, browser: Browser) -> None:
    for change in [
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
    ]:
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


async def test_only_soon_after_a_sign_in(house: House, browser: Browser) -> None:
    """A cookie that was stolen an hour after its sign-in gets no grant, which would outlive it by weeks."""
    asking = Asking(api_of(house))
    assert "code" in await asking.consent(browser.http)
    await house.scratch.owner.execute("UPDATE seawall.sessions SET authenticated_at = now() - interval '10 minutes'")
    shown = await browser.http.get("/oauth/authorize", params=asking.query(), headers=HTML)
    again = urlsplit(shown.headers["location"])
    query = dict(parse_qsl(again.query))
    assert (shown.status_code, again.path, query["fresh"]) == (303, "/auth/sign-in", "1")
    assert dict(parse_qsl(urlsplit(query["next"]).query)) == asking.query()
    posted = await browser.post("/oauth/authorize", data={**asking.query(), "decision": "allow"})
    assert posted.headers["location"].startswith("/auth/sign-in?fresh=1&next=")
    as_data = await browser.http.get("/oauth/authorize", params=asking.query(), headers=JSON)
    assert (as_data.status_code, as_data.json()["code"]) == (401, "recent-sign-in-required")
    await house.scratch.owner.execute("UPDATE seawall.sessions SET second_factor_at = now(), aal = 2")
    assert "code" in await asking.consent(browser.http)  # a fresh second factor will do as well


async def test_a_session_in_doubt_gives_no_second_factor(house: House, browser: Browser) -> None:
    api = api_of(house)
    asking = Asking(api)
    await house.scratch.owner.execute("UPDATE seawall.sessions SET second_factor_at = now(), aal = 2")
    code = (await asking.consent(browser.http))["code"]
    await house.scratch.owner.execute("UPDATE seawall.sessions SET doubted_at = now() + interval '1 second'")
    assert (await api.redeem(code, asking.verifier)).status_code == 200
    row = await house.scratch.owner.fetchrow("SELECT aal, second_factor_at FROM seawall.sessions WHERE kind = 'client'")
    assert tuple(row) == (1, None)


async def test_a_grant_needs_a_sign_in_of_the_last_minutes(house: House, browser: Browser) -> None:
    """Else who copied a cookie jar would turn its minutes into a grant of months."""
    asking = Asking(api_of(house))
    await house.scratch.owner.execute("UPDATE seawall.sessions SET authenticated_at = now() - interval '6 minutes'")
    shown = await browser.http.get("/oauth/authorize", params=asking.query(), headers=HTML)
    assert (shown.status_code, shown.headers["location"][:44]) == (303, "/auth/sign-in?fresh=1&next=%2Foauth%2Fauthor")
    for headers, status in ((HTML, 303), (JSON, 401)):
        decided = await browser.post("/oauth/authorize", headers=headers, data=asking.query() | {"decision": "allow"})
        assert decided.status_code == status
        assert "code=" not in decided.headers.get("location", "") + decided.text
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.authorization_codes") == 0
    # and whoever can sign in comes back to the same page
    await browser.sign_in("ann@example.com", path=shown.headers["location"].replace("?", "?provider=dev&"))
    assert "code" in await asking.consent(browser.http)
