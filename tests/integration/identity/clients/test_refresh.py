"""Refresh families: races, lost answers, theft, a process that is killed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from uuid import UUID

import pytest
from tests.integration.identity.conftest import Browser, House
from tests.support.clients import TABS, age, api_of, last_event, refused

from seawall.identity.clients.refresh import RefreshKey
from seawall_check.probes.oauth import Api, Key, claims_of, granted


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


async def test_tokens_that_we_never_gave(house: House, api: Api) -> None:
    for change in ["", "x", "short", "long", "prefix", "mac", "generation", "grant", "other key"]:
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
