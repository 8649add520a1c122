"""The end of tokens, asking about them, and the keys that sign them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.identity.conftest import JSON, Browser, House
from tests.support.clients import CLI, TABS, api_of, last_event, refused
from tests.support.masters import TwoVersions

from seawall.core.errors import Refused
from seawall.core.master_seal import Seal, head_of
from seawall.identity.logout import LogoutToken, end_provider_sessions
from seawall.store.resealing import Resealer
from seawall_check.probes.oauth import Api, claims_of, granted, header_of


async def test_whatever_ends_sessions_ends_tokens(house: House, browser: Browser, ann: UUID, tenant: UUID) -> None:
    owner = house.scratch.owner

    async def end(how: str, *arguments: Any) -> list[int]:
        """Tokens before and after."""
        api = await granted(browser.http, api_of(house))
        before = (await api.get("/auth/me")).status_code
        await owner.execute(how, *arguments)
        return [before, (await api.get("/auth/me")).status_code, (await api.refresh(keep=False)).status_code]

    gone = [200, 401, 400]
    assert await end("UPDATE seawall.sessions SET revoked_at = now() WHERE kind = 'client'") == gone
    assert await end("UPDATE seawall.sessions SET expires_at = now() WHERE kind = 'client'") == gone
    assert await end("UPDATE seawall.tenants SET suspended_at = now() WHERE id = $1", tenant) == gone
    await owner.execute("UPDATE seawall.tenants SET suspended_at = NULL")
    assert await end("UPDATE seawall.users SET disabled_at = now() WHERE id = $1", ann) == gone
    await owner.execute("UPDATE seawall.users SET disabled_at = NULL")
    assert await end("UPDATE seawall.users SET epoch = epoch + 1 WHERE id = $1", ann) == gone


async def test_signing_out_everywhere(browser: Browser, api: Api) -> None:
    await browser.post("/auth/sign-out-everywhere")
    assert (await api.get("/auth/me")).status_code == 401
    assert refused(await api.refresh(keep=False))


async def test_signing_out_here_leaves_clients_alone(browser: Browser, api: Api) -> None:
    await browser.post("/auth/sign-out")
    assert (await api.get("/auth/me")).status_code == 200


async def test_a_provider_ends_everything_of_a_person(house: House, browser: Browser, ann: UUID) -> None:
    """Its logout of one browser leaves programs alone; that of the person, as when somebody leaves the company, not."""
    async with house.scratch.database.identity() as tx:
        await tx.execute(
            """INSERT INTO seawall.provider_sessions (session_id, issuer, subject, sid)
               SELECT id, 'https://idp.example', 'ann', 'one' FROM seawall.sessions WHERE user_id = $1
               ON CONFLICT (session_id) DO NOTHING""",
            ann,
        )
    row = await house.scratch.owner.fetchrow("SELECT issuer, subject, sid FROM seawall.provider_sessions")
    api = await granted(browser.http, api_of(house))
    for token, ended, status in (
        (LogoutToken(row["issuer"], row["subject"], "one", "t1"), row["sid"] == "one", 200),
        (LogoutToken(row["issuer"], row["subject"], None, "t2"), True, 401),
    ):
        async with house.scratch.database.identity() as tx:
            assert (await end_provider_sessions(tx, token) > 0) is ended
        assert (await api.get("/auth/me")).status_code == status


async def test_revoking_one_access_token(house: House, browser: Browser) -> None:
    api, gateway = await granted(browser.http, api_of(house, "web")), api_of(house, "gateway")
    first = api.access_token
    await api.refresh()
    assert (await api.introspect(first)).json()["active"] is True
    assert (await api.revoke(first)).status_code == 200
    assert (await api.get("/auth/me", token=first)).status_code == 401
    assert (await api.introspect(first)).json() == {"active": False}
    assert (await gateway.introspect(first)).json() == {"active": False}
    assert (await api.get("/auth/me")).status_code == 200
    assert (await api.introspect(api.access_token)).json()["active"] is True
    assert await last_event(house) == ("token-revoked", "client")
    events = len(await house.events("identity.client-grant"))
    assert (await api.revoke(first)).status_code == 200  # again: no error, and nothing new to tell
    assert len(await house.events("identity.client-grant")) == events


async def test_revoking_a_refresh_token(house: House, api: Api) -> None:
    assert (await api.revoke(api.refresh_token)).status_code == 200
    assert (await api.get("/auth/me")).status_code == 401
    assert refused(await api.refresh(keep=False))
    assert await last_event(house) == ("revoked", "client")
    for unknown in (api.refresh_token, "nonsense", str(uuid4())):
        assert (await api.revoke(unknown)).status_code == 200
    assert (await api.call("revocation_endpoint", {})).json()["error"] == "invalid_request"


async def test_a_person_ends_one_app(house: House, browser: Browser, api: Api, tenant: UUID) -> None:
    beside = await granted(browser.http, api_of(house, "web"))
    page = await browser.get("/auth/clients")
    assert "Command &lt;line&gt;" in page.text
    listed = (await browser.get("/auth/clients", JSON)).json()["clients"]
    assert [one["client_id"] for one in listed] == ["web", "cli"]
    await house.person("eve@example.com", tenant)
    eve = house.browser()
    await eve.sign_in("eve@example.com")
    assert (await eve.get("/auth/clients", JSON)).json() == {"clients": []}
    address = f"/auth/clients/{listed[1]['id']}/end"
    assert (await eve.post(address, headers=JSON)).status_code == 404
    assert (await api.get("/auth/me")).status_code == 200
    assert (await api.post(address)).status_code == 403
    assert (await browser.post("/auth/clients/x/end", headers=JSON)).status_code == 404
    assert (await browser.post(address)).headers["location"] == "/auth/clients"
    assert [(await one.get("/auth/me")).status_code for one in (api, beside)] == [401, 200]
    assert await last_event(house) == ("revoked", "person")
    assert (await browser.post(address, headers=JSON)).status_code == 404


async def test_who_may_ask_what(house: House, browser: Browser, api: Api) -> None:
    web, gateway = await granted(browser.http, api_of(house, "web")), api_of(house, "gateway")
    assert (await api.introspect(api.access_token)).json()["error"] == "unauthorized_client"
    assert (await web.introspect(api.access_token)).json() == {"active": False}
    assert (await web.introspect(api.refresh_token)).json() == {"active": False}
    told = (await gateway.introspect(api.access_token)).json()
    claims = claims_of(api.access_token)
    assert told == {
        "active": True,
        "token_type": "DPoP",
        **{name: claims[name] for name in ("client_id", "sub", "sid", "jti", "iss", "aud", "iat", "exp", "cnf")},
    }
    assert (await gateway.introspect("nonsense")).json() == {"active": False}
    await _about_refresh_tokens(web, gateway)


async def _about_refresh_tokens(web: Api, gateway: Api) -> None:
    """They open no API, so whoever guards one is told so: else a stolen one would be let in there, without its key."""
    old, claims = web.refresh_token, claims_of(web.access_token)
    assert (await gateway.introspect(old)).json() == {"active": False}
    about = {name: claims[name] for name in ("client_id", "sub", "sid", "cnf")}
    assert (await web.introspect(old)).json() == {"active": True, **about}
    await web.refresh()
    assert (await web.introspect(old)).json() == {"active": False}


async def test_refresh_against_revocation(house: House, api: Api) -> None:
    """Whatever comes first: afterwards no token works."""
    for _ in range(5):
        answers = await asyncio.gather(api.refresh(keep=False), api.revoke(api.refresh_token), api.refresh(keep=False))
        given = [answer.json()["access_token"] for answer in answers if "access_token" in answer.text]
        for token in given:
            assert (await api.get("/auth/me", token=token)).status_code == 401
        browser = house.browser()
        await browser.sign_in("ann@example.com")
        api = await granted(browser.http, api_of(house))


async def test_keys_rotate_without_an_outage(house: House, api: Api) -> None:
    keys = house.identity.clients.keys
    old = api.access_token
    [first] = await keys.published()
    await house.scratch.owner.execute("UPDATE seawall.signing_keys SET signs_from = now() - interval '29 days 1 hour'")
    ahead = await keys.published()
    assert [key["kid"] for key in ahead][1:] == [first["kid"]]  # the next is published before it signs
    made = await house.scratch.owner.fetch(
        "SELECT (e.body ->> 'after')::int AS generation, k.kid FROM seawall.audit_events e"
        " JOIN seawall.signing_keys k ON k.generation = (e.body ->> 'after')::int"
        " WHERE e.kind = 'secrets.rotation' AND e.body ->> 'step' = 'made'"
    )
    assert {row["kid"] for row in made} == {key["kid"] for key in ahead}, "each key is in the log"
    await api.refresh()
    assert (await api.get("/auth/me", token=old)).status_code == 200
    await house.scratch.owner.execute(
        "UPDATE seawall.signing_keys SET signs_from = now() - interval '1 minute' WHERE kid = $1", ahead[0]["kid"]
    )
    await api.refresh()
    assert (await api.get("/auth/me")).status_code == 200
    assert (await api.get("/auth/me", token=old)).status_code == 200  # its key stays until it is over
    await house.scratch.owner.execute(
        "UPDATE seawall.signing_keys SET signs_from = now() - interval '7 minutes' WHERE kid = $1", ahead[0]["kid"]
    )
    assert [key["kid"] for key in await keys.published()] == [ahead[0]["kid"]]


async def test_a_key_in_wrong_hands(house: House, api: Api) -> None:
    """All access tokens go at once, in every process; the clients stay signed in."""
    assert (await api.get("/auth/me")).status_code == 200
    elsewhere = await another(house)
    there = Api(api_of(elsewhere).http, api.metadata, "cli", CLI, api.key, access_token=api.access_token)
    assert (await there.get("/auth/me")).status_code == 200
    await rotate(house, wait=False)
    assert [(await one.get("/auth/me")).status_code for one in (api, there)] == [401, 401]
    assert (await api.refresh()).status_code == 200
    assert (await api.get("/auth/me")).status_code == 200
    await asyncio.sleep(1.1)  # an unknown key is looked up at most once a second
    assert (await there.get("/auth/me", token=api.access_token)).status_code == 200


async def test_eight_processes_at_the_first_request_make_one_key(house: House) -> None:
    houses = [await another(house) for _ in range(TABS)]
    found = await asyncio.gather(*(one.browser().get("/.well-known/jwks.json", JSON) for one in houses))
    assert len({answer.text for answer in found}) == 1


async def test_keys_under_another_master_secret(house: House, browser: Browser, api: Api) -> None:
    """They still verify what they signed; a new one signs. The root of all tokens is another matter."""
    await house.scratch.owner.execute("UPDATE seawall.signing_keys SET sealed = $1", b"\x02\0\0\0\1" + b"x" * 60)
    other = await another(house)
    fresh = await granted(browser.http, api_of(other))
    assert (await fresh.get("/auth/me")).status_code == 200
    await asyncio.sleep(1.1)
    assert (await api.get("/auth/me")).status_code == 200
    await house.scratch.owner.execute("UPDATE seawall.token_root SET sealed = $1", b"\x02\0\0\0\1" + b"x" * 60)
    with pytest.raises(Refused, match="does not open"):
        await another(house)


async def test_rotating_the_signing_key(house: House, api: Api) -> None:
    old, kid = api.access_token, header_of(api.access_token)["kid"]
    await rotate(house, wait=True)
    await api.refresh()
    assert header_of(api.access_token)["kid"] != kid
    assert [(await api.get("/auth/me", token=token)).status_code for token in (old, api.access_token)] == [200, 200]


async def test_rotating_the_master_secret_ends_no_grant(house: House, api: Api) -> None:
    """What it seals of clients moves under the next version, and old versions can go."""
    columns = house.identity.clients.sealed
    moved = Resealer(
        house.scratch.database.identity,
        [replace(column, seal=Seal(TwoVersions(), column.seal._purpose)) for column in columns],
    )
    await moved(2, lambda _: None)
    for column in columns:
        under_old = await house.scratch.owner.fetchval(
            f"SELECT count(*) FROM {column.table} WHERE sealed < $1", head_of(2)
        )
        assert under_old == 0
    after = House(house.settings, house.scratch, master=TwoVersions())
    await after.identity.clients.open()
    there = Api(api_of(after).http, api.metadata, "cli", CLI, api.key, "", api.access_token, api.refresh_token)
    assert (await there.get("/auth/me")).status_code == 200
    assert (await there.refresh()).status_code == 200
    assert (await api.get("/auth/me", token=there.access_token)).status_code == 200


async def another(house: House) -> House:
    """Another process of the same app, with a memory of its own."""
    made = House(house.settings, house.scratch)
    await made.identity.clients.open()
    return made


async def rotate(house: House, *, wait: bool) -> None:
    """As `seawall rotate signing-key` does."""
    rotator = house.identity.clients.rotator(wait=wait)
    version = await rotator.begin(await rotator.newest())
    await rotator.adopt(version, lambda _: None)
    await rotator.retire(version)
