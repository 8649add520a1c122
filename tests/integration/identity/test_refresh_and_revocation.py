"""Refresh families and the end of tokens, on a real database: races, lost answers, theft, two processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from tests.integration.identity.conftest import JSON, Browser, House
from tests.integration.identity.test_api_clients import CLI, api_of, last_event, settings  # noqa: F401 - a fixture
from tests.support.databases import ScratchDatabase

from seawall.identity.clients.refresh import RefreshKey
from seawall_check.probes.oauth import Api, Key, claims_of, granted

TABS = 8


@pytest.fixture
async def house(settings: Any, scratch: ScratchDatabase) -> AsyncIterator[House]:  # noqa: F811 - the imported fixture
    built = House(settings, scratch)
    async with built.identity.running():
        yield built


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("ann@example.com")
    return made


@pytest.fixture
async def api(house: House, browser: Browser) -> Api:
    return await granted(browser.http, api_of(house))


async def age(house: House, seconds: int) -> None:
    """Let time pass for every refresh family."""
    await house.scratch.owner.execute(
        "UPDATE seawall.client_grants SET rotated_at = rotated_at - make_interval(secs => $1)", seconds
    )


def refused(answer: httpx2.Response) -> bool:
    return answer.status_code == 400 and answer.json()["error"] == "invalid_grant"


# -- the rules ---------------------------------------------------------------------------------------------------------


async def test_it_rotates(api: Api) -> None:
    seen = {api.refresh_token}
    for _ in range(3):
        assert (await api.refresh()).status_code == 200
        assert (await api.get("/auth/me")).status_code == 200
        seen.add(api.refresh_token)
    assert len(seen) == 4


async def test_eight_tabs_at_once_get_the_same(api: Api) -> None:
    before = api.refresh_token
    answers = await asyncio.gather(*(api.refresh(before, keep=False) for _ in range(TABS)))
    assert [a.status_code for a in answers] == [200] * TABS
    assert len({a.json()["refresh_token"] for a in answers}) == 1
    assert len({a.json()["access_token"] for a in answers}) == TABS
    await api.refresh(answers[0].json()["refresh_token"])
    assert (await api.get("/auth/me")).status_code == 200


async def test_a_late_tab_within_the_window(api: Api) -> None:
    before = api.refresh_token
    await api.refresh()
    assert (await api.get("/auth/me")).status_code == 200
    late = await api.refresh(before, keep=False)
    assert late.json()["refresh_token"] == api.refresh_token


async def test_a_lost_answer_is_no_log_out(house: House, api: Api) -> None:
    before = api.refresh_token
    lost = await api.refresh(keep=False)
    await age(house, 3_600)
    again = await api.refresh(before)
    assert again.json()["refresh_token"] == lost.json()["refresh_token"]
    assert (await api.get("/auth/me")).status_code == 200


async def test_a_lost_answer_is_forgotten_after_a_day(house: House, api: Api) -> None:
    before = api.refresh_token
    await api.refresh()
    await age(house, 90_000)
    assert refused(await api.refresh(before))
    assert await last_event(house) == ("revoked", "refresh-reuse")


async def test_reuse_after_the_child_was_used(house: House, api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    before = api.refresh_token
    await api.refresh()
    assert (await api.get("/auth/me")).status_code == 200
    await age(house, 31)
    assert refused(await api.refresh(before, keep=False))
    assert (await api.get("/auth/me")).status_code == 401
    assert refused(await api.refresh(keep=False))
    assert await last_event(house) == ("revoked", "refresh-reuse")
    logged = "".join(capfd.readouterr())
    assert "a token was in two hands" in logged
    assert before not in logged


async def test_a_grandparent_ends_the_family(house: House, api: Api) -> None:
    first = api.refresh_token
    await api.refresh()
    await api.refresh()
    assert refused(await api.refresh(first, keep=False))
    assert refused(await api.refresh(keep=False))
    assert await last_event(house) == ("revoked", "refresh-reuse")


async def test_another_key_neither_refreshes_nor_ends(house: House, api: Api) -> None:
    stranger = Key.fresh()
    assert refused(await api.refresh(keep=False, key=stranger))
    assert await last_event(house) == ("refused", "wrong-key")
    before = api.refresh_token
    assert (await api.refresh()).status_code == 200
    assert refused(await api.refresh(before, keep=False, key=stranger))
    assert (await api.refresh()).status_code == 200


async def test_another_client_neither_refreshes_nor_ends(house: House, api: Api) -> None:
    other = api_of(house, "web", key=api.key)
    assert refused(await other.refresh(api.refresh_token))
    assert (await other.revoke(api.refresh_token)).json()["error"] == "invalid_grant"
    assert (await other.revoke(api.access_token)).json()["error"] == "invalid_grant"
    assert (await api.refresh()).status_code == 200


async def test_a_wrong_proof_uses_nothing_up(house: House, api: Api) -> None:
    before = api.refresh_token
    url = api.metadata["token_endpoint"]
    for proof in ("", "nonsense", api.key.proof("POST", url + "x", nonce=api.nonce) if api.key else ""):
        answer = await api.refresh(keep=False, proof=proof)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_dpop_proof")
    proof = api.key.proof("POST", url, nonce=api.nonce) if api.key else ""
    assert (await api.refresh(proof=proof)).status_code == 200
    replayed = await api.refresh(proof=proof, keep=False)
    assert (replayed.status_code, replayed.json()["error"]) == (400, "invalid_dpop_proof")
    row = await house.scratch.owner.fetchrow("SELECT generation, used FROM seawall.client_grants")
    assert (row["generation"], before == api.refresh_token) == (1, False)


@pytest.mark.parametrize("change", ["", "x", "short", "long", "prefix", "mac", "generation", "grant", "other key"])
async def test_tokens_that_we_never_gave(house: House, api: Api, change: str) -> None:
    token = api.refresh_token
    claims = claims_of(api.access_token)
    forged = {
        "short": token[:-1],
        "long": token + "A",
        "prefix": "swx_" + token[4:],
        "mac": token[:-3] + ("AAA" if token[-3:] != "AAA" else "BBB"),
        "generation": token[:30] + ("A" if token[30] != "A" else "B") + token[31:],
        "grant": token[:8] + ("A" if token[8] != "A" else "B") + token[9:],
        "other key": RefreshKey(b"k" * 32).write(UUID(claims["sid"]), 0),
    }
    assert refused(await api.refresh(forged.get(change, change), keep=False))
    assert (await api.refresh()).status_code == 200


async def test_a_grant_that_was_idle_too_long(house: House, api: Api) -> None:
    await house.scratch.owner.execute(
        "UPDATE seawall.sessions SET last_seen_at = now() - make_interval(secs => idle_timeout_s) WHERE kind = 'client'"
    )
    assert refused(await api.refresh(keep=False))
    assert (await api.get("/auth/me")).status_code == 401


async def test_at_most_fifty_grants_of_one_person(house: House, browser: Browser, ann: UUID, tenant: UUID) -> None:
    oldest = await granted(browser.http, api_of(house))
    for _ in range(55):
        await house.scratch.session(ann, tenant, kind="client", client_id="cli")
    newest = await granted(browser.http, api_of(house))
    live = await house.scratch.owner.fetchval(
        "SELECT count(*) FROM seawall.sessions WHERE kind = 'client' AND revoked_at IS NULL"
    )
    assert live == 50
    assert [(await one.get("/auth/me")).status_code for one in (oldest, newest)] == [401, 200]
    assert await browser.me() == 200  # what clients do costs the person no session


# -- the end of tokens -------------------------------------------------------------------------------------------------


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
    assert (await gateway.introspect(api.refresh_token)).json()["active"] is True
    old = api.refresh_token
    await api.refresh()
    assert (await gateway.introspect(old)).json() == {"active": False}
    assert (await gateway.introspect("nonsense")).json() == {"active": False}


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


# -- signing keys ------------------------------------------------------------------------------------------------------


async def test_keys_rotate_without_an_outage(house: House, api: Api) -> None:
    keys = house.identity.clients.keys
    old = api.access_token
    [first] = await keys.published()
    await house.scratch.owner.execute("UPDATE seawall.signing_keys SET signs_from = now() - interval '29 days 1 hour'")
    ahead = await keys.published()
    assert [key["kid"] for key in ahead][1:] == [first["kid"]]  # the next is published before it signs
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
    elsewhere = House(house.settings, house.scratch)  # another process, with keys of its own memory
    there = Api(api_of(elsewhere).http, api.metadata, "cli", CLI, api.key, access_token=api.access_token)
    assert (await there.get("/auth/me")).status_code == 200
    await house.identity.clients.keys.rotate(distrust=True)
    assert [(await one.get("/auth/me")).status_code for one in (api, there)] == [401, 401]
    assert (await api.refresh()).status_code == 200
    assert (await api.get("/auth/me")).status_code == 200
    await asyncio.sleep(1.1)  # an unknown key is looked up at most once a second
    assert (await there.get("/auth/me", token=api.access_token)).status_code == 200


async def test_eight_processes_at_the_first_request_make_one_key(house: House) -> None:
    houses = [House(house.settings, house.scratch) for _ in range(TABS)]
    found = await asyncio.gather(*(one.browser().get("/.well-known/jwks.json", JSON) for one in houses))
    assert len({answer.text for answer in found}) == 1


async def test_another_secret_key_does_not_stop_anything(house: House, browser: Browser, api: Api) -> None:
    await house.scratch.owner.execute("UPDATE seawall.signing_keys SET sealed = $1", b"\x01" + b"x" * 60)
    other = House(house.settings, house.scratch)
    fresh = await granted(browser.http, api_of(other))
    assert (await fresh.get("/auth/me")).status_code == 200
    await asyncio.sleep(1.1)
    assert (await api.get("/auth/me")).status_code == 200


# -- a process that is killed ------------------------------------------------------------------------------------------

KILLED = """
import asyncio, os, signal, sys
from uuid import UUID
import asyncpg
from seawall.identity.clients import refresh

async def main():
    connection = await asyncpg.connect(sys.argv[1])
    token = refresh.RefreshToken(UUID(sys.argv[2]), int(sys.argv[3]))
    async with connection.transaction():
        found = await refresh.rotate(connection, token, client_id="cli", jkt=sys.argv[4], retry_s=30)
        assert not isinstance(found, str), found
        if sys.argv[5] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_kill_9_around_the_commit_logs_nobody_out(house: House, api: Api, when: str) -> None:
    grant = claims_of(api.access_token)["sid"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, house.scratch.url("seawall_identity"), grant, "0",
        api.key.thumbprint if api.key else "", when, env=os.environ,
    )  # fmt: skip
    assert await process.wait() == -signal.SIGKILL
    generation = await house.scratch.owner.fetchval("SELECT generation FROM seawall.client_grants")
    assert generation == (0 if when == "before" else 1)
    await age(house, 600)
    assert (await api.refresh()).status_code == 200
    assert (await api.get("/auth/me")).status_code == 200


async def test_sessions_of_the_admission_key_alone(house: House, api: Api) -> None:
    """The app's role cannot admit a grant of which it has read the id, nor a cookie one that is a grant."""
    grant = UUID(claims_of(api.access_token)["sid"])
    connection = await house.scratch.connect("seawall_app")
    try:
        for secret in (grant.bytes, grant.bytes * 2, bytes(32)):
            row = await connection.fetchrow(
                "SELECT * FROM seawall.admit_grant($1, $2, 1, $3, 0)", secret, uuid4(), "A" * 43
            )
            assert row is None
        for table in ("client_grants", "authorization_codes", "signing_keys", "revoked_tokens", "proofs_seen"):
            assert not await connection.fetchval("SELECT has_table_privilege($1, 'SELECT')", f"seawall.{table}")
    finally:
        await connection.close()
