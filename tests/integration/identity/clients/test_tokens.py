"""What a token opens, what it does not, and how a person approves for their client."""

from __future__ import annotations

import json
from hashlib import sha256
from uuid import UUID, uuid4

from tests.integration.identity.conftest import JSON, Browser, House
from tests.integration.identity.test_sessions_and_factors import enrol
from tests.support.clients import api_of

from seawall_check.controls._sweep import places_of
from seawall_check.probes.oauth import Api, Asking, claims_of, granted, unb64


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


async def test_what_is_written_down(house: House, browser: Browser, api: Api) -> None:
    """No token and nothing that makes one is in the database; in the log there is not even the person."""
    await api.refresh()
    asking = Asking(api)
    code = (await asking.consent(browser.http))["code"]
    secret_parts = [token.encode() for token in (api.access_token, api.refresh_token, code)]
    secret_parts += [unb64(api.refresh_token.removeprefix("swr_"))[20:], unb64(api.access_token.split(".")[2])]
    for part in secret_parts:
        assert await places_of(house.scratch.owner, part) == []
    assert await places_of(house.scratch.owner, sha256(code.encode()).digest())  # the search looks where codes are
    written = json.dumps(await house.events("identity.client-grant"), default=str)
    for secret in (api.refresh_token, "ann@example.com", "127.0.0.1"):
        assert secret not in written


async def test_sessions_of_the_admission_key_alone(house: House, api: Api) -> None:
    """The app's role cannot admit a grant of which it has read the id, nor a cookie one that is a grant."""
    grant = UUID(claims_of(api.access_token)["sid"])
    connection = await house.scratch.connect("seawall_app")
    try:
        for secret in (grant.bytes, grant.bytes * 2, bytes(32)):
            row = await connection.fetchrow(
                "SELECT * FROM seawall.admit_grant($1, $2, 1, $3, 0, $4)", secret, uuid4(), "A" * 43, "p_0"
            )
            assert row is None
        for table in ("client_grants", "authorization_codes", "signing_keys", "revoked_tokens", "proofs_seen"):
            assert not await connection.fetchval("SELECT has_table_privilege($1, 'SELECT')", f"seawall.{table}")
    finally:
        await connection.close()


async def test_a_proof_is_for_one_address(api: Api) -> None:
    for path, name in {"/things/a": "a", "/things/a%3Fb": "a?b", "/things/%2541": "%41", "/things/%C3%A9": "é"}.items():
        answer = await api.get(path)
        assert (answer.status_code, answer.json()) == (200, {"name": name}), answer.text
    for made_for, sent_to in (
        ("/things/a", "/things/a%3Fb"),
        ("/things/a", "/things/a%23b"),
        ("/things/A", "/things/%2541"),
    ):
        answer = await api.get(sent_to, proof=api.proof("GET", made_for))
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid-dpop-proof")
