"""Tenants' keys on a real database and a real vault: made once, kept for minutes, rotated under load, destroyed."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from tests.support.sealed import KEYS, Guest, Hotel, name_of, owner_of
from tests.support.vaults import ScratchVault

from seawall.core.sealing import SEALS_IN_BLOCK
from seawall.core.vault import KeyDestroyed, VaultUnavailable
from seawall.privacy import revocations
from seawall.privacy.revocations import Revocations
from seawall.privacy.ring import Ring, kek_name
from seawall.privacy.rotation import destroy
from seawall.store.loader import Loader
from seawall.store.pool import Pool
from seawall.store.roles import APP, WORKER

LOADER = Loader(Guest)


async def _another_process(inn: Hotel, transit: Any) -> tuple[Ring, Pool]:
    pool = Pool(inn.scratch.url(APP), size=2, statement_timeout_ms=15_000)
    return Ring(pool, transit), pool


# The first key ------------------------------------------------------------------------------------------


async def test_many_first_writers_make_one_key(inn: Hotel, place: ScratchVault) -> None:
    other, pool = await _another_process(inn, place.app.transit)
    made = await asyncio.gather(
        *(ring.prepared(inn.alpha.context, 1) for ring in (inn.ring, other) for _ in range(8)),
        *(inn.put() for _ in range(3)),
    )
    await pool.close()
    rows = await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)
    assert [(row["version"], row["state"]) for row in rows] == [(1, "current")]
    assert await name_of(inn, made[-1]) == "Ada Quill"
    events = await inn.scratch.owner.fetch(
        "SELECT body ->> 'change' AS change FROM seawall.audit_events"
        " WHERE kind = 'privacy.tenant-key' AND tenant_id = $1",
        inn.alpha.tenant_id,
    )
    assert [row["change"] for row in events] == ["created"]


async def test_a_rolled_back_request_does_not_take_the_key_with_it(inn: Hotel) -> None:
    lease = await inn.lease()
    (await lease.session()).add(Guest(room="7", name="Ada"))
    await lease.flush()
    await lease.rollback()
    guest = await inn.put()
    inn.ring.revoke(inn.alpha.tenant_id)
    assert await name_of(inn, guest) == "Ada Quill"


async def test_one_unwrap_for_many_requests(inn: Hotel, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = await inn.put()
    inn.ring.revoke(inn.alpha.tenant_id)
    calls, unwrap = 0, inn.transit.unwrap

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return await unwrap(*args, **kwargs)

    monkeypatch.setattr(inn.transit, "unwrap", counted)
    assert await asyncio.gather(*(name_of(inn, guest) for _ in range(12))) == ["Ada Quill"] * 12
    assert calls == 1


async def test_seals_are_counted_before_they_are_made(inn: Hotel) -> None:
    await inn.put()
    [row] = await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)
    assert row["seals"] == SEALS_IN_BLOCK
    await inn.scratch.owner.execute("UPDATE seawall.tenant_keys SET seals = 4294967296 - 10")
    keys = await inn.ring.of(inn.alpha.context)
    keys.allowance.left = 1
    with pytest.raises(VaultUnavailable):
        await inn.put(phone="1", visits=2)
    assert await inn.scratch.owner.fetchval("SELECT count(*) FROM app.sealed_guests") == 1


async def test_the_app_can_neither_read_nor_change_the_table_of_keys(inn: Hotel) -> None:
    await inn.put()
    for role in (APP, WORKER):
        connection = await inn.scratch.connect(role)
        for sql in (
            "SELECT * FROM seawall.tenant_keys",
            "UPDATE seawall.tenant_keys SET wrapped = NULL",
            "DELETE FROM seawall.tenant_keys",
            "SELECT seawall.destroy_tenant_keys(gen_random_uuid())",
            "SELECT seawall.lock_tenant_keys(gen_random_uuid(), true)",
        ):
            with pytest.raises(Exception, match="permission denied"):
                await connection.execute(sql)
        assert await connection.fetch("SELECT * FROM seawall.read_tenant_keys()") == []
        await connection.close()
    connection = await inn.scratch.connect(APP)
    with pytest.raises(Exception, match="permission denied"):
        await connection.execute("SELECT seawall.rotate_tenant_key(2, 'x', 1)")
    await connection.close()


async def test_a_wrapped_key_of_another_tenant_or_version_is_refused(inn: Hotel) -> None:
    mine, theirs = await inn.put(), await inn.put(inn.beta)
    swap = "UPDATE seawall.tenant_keys SET wrapped = $2 WHERE tenant_id = $1"
    [row] = await inn.scratch.owner.fetch(KEYS, inn.beta.tenant_id)
    await inn.scratch.owner.execute(swap, inn.alpha.tenant_id, row["wrapped"])
    inn.ring.revoke_all()
    with pytest.raises(VaultUnavailable):
        await name_of(inn, mine)
    assert await name_of(inn, theirs, inn.beta) == "Ada Quill"


# Revocation and shredding -----------------------------------------------------------------------------------------


async def test_other_processes_hear_of_it_within_a_second(inn: Hotel, place: ScratchVault) -> None:
    guest, theirs = await inn.put(), await inn.put(inn.beta)
    told = Revocations(inn.scratch.url(APP), inn.ring)
    await told.start()
    lease = await inn.lease()
    held = await LOADER.load(lease, inn.alpha.tenant_id, guest, lock=False)
    beta = await inn.lease(inn.beta)
    still = await LOADER.load(beta, inn.beta.tenant_id, theirs, lock=False)
    assert held is not None
    assert still is not None
    async with owner_of(inn) as owner:
        assert await destroy(owner, place.operator.transit, inn.alpha.tenant_id) == 1
    for _ in range(50):
        if held.__dict__["name"].opened or held.__dict__["name"].keys.locked:
            break
        await asyncio.sleep(0.02)
    with pytest.raises(VaultUnavailable):
        assert held.name
    assert still.name == "Ada Quill"
    await lease.rollback()
    await beta.rollback()
    with pytest.raises(KeyDestroyed):
        await name_of(inn, guest)
    await told.stop()


async def test_a_tenant_is_not_deleted_before_its_keys(inn: Hotel, place: ScratchVault) -> None:
    tenant = await inn.scratch.tenant()
    lonely = await inn.admitted(tenant)
    await inn.put(lonely)
    clear = "DELETE FROM app.sealed_guests WHERE tenant_id = $1"
    await inn.scratch.owner.execute(clear, tenant)
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="destroy the keys"):
        await inn.scratch.owner.execute("DELETE FROM seawall.tenants WHERE id = $1", tenant)
    async with owner_of(inn) as owner:
        await destroy(owner, place.operator.transit, tenant)
    # what else hangs on a tenant goes with it, memberships with their own event
    async with inn.scratch.owner.transaction():
        await inn.scratch.owner.execute(
            "SELECT seawall.audit_append_as(NULL, NULL, NULL, $1)", ['{"kind":"access.grant","outcome":"success"}']
        )
        await inn.scratch.owner.execute("DELETE FROM seawall.tenants WHERE id = $1", tenant)


async def test_a_suspended_tenant_has_no_keys(inn: Hotel) -> None:
    guest = await inn.put()
    told = Revocations(inn.scratch.url(APP), inn.ring)
    await told.start()
    suspend = "UPDATE seawall.tenants SET suspended_at = {} WHERE id = $1"
    await inn.scratch.owner.execute(suspend.format("now()"), inn.alpha.tenant_id)
    await asyncio.sleep(0.2)
    with pytest.raises((VaultUnavailable, asyncpg.InsufficientPrivilegeError)):
        await name_of(inn, guest)
    assert isinstance((await inn.ring.of(inn.alpha.context)).locked, VaultUnavailable)
    await inn.scratch.owner.execute(suspend.format("NULL"), inn.alpha.tenant_id)
    await asyncio.sleep(1.2)  # a refusal is remembered for a second
    assert await name_of(inn, guest) == "Ada Quill"
    await told.stop()


async def test_shredding_reaches_backups_and_stays(inn: Hotel, place: ScratchVault) -> None:
    guest, theirs = await inn.put(), await inn.put(inn.beta)
    backup = await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)
    async with owner_of(inn) as owner:
        await destroy(owner, place.operator.transit, inn.alpha.tenant_id)
        await destroy(owner, place.operator.transit, inn.alpha.tenant_id, who="ops")  # again is no error
    told = await inn.scratch.owner.fetch(
        "SELECT body ->> 'change' AS change, body ->> 'operator' AS who FROM seawall.audit_events"
        " WHERE kind = 'privacy.tenant-key' AND tenant_id = $1 ORDER BY id",
        inn.alpha.tenant_id,
    )
    changes = ["created", "destroyed", "shredded", "destroyed", "shredded"]
    assert [row["change"] for row in told] == changes
    assert told[-1]["who"] == told[-2]["who"] == "ops"
    inn.ring.revoke_all()
    with pytest.raises(KeyDestroyed):
        await name_of(inn, guest)
    with pytest.raises(KeyDestroyed):
        await inn.put()
    # last night's backup comes back, wrapped key and all
    await inn.scratch.owner.execute("DELETE FROM seawall.tenant_keys WHERE tenant_id = $1", inn.alpha.tenant_id)
    await inn.scratch.owner.execute(
        "INSERT INTO seawall.tenant_keys (tenant_id, version, wrapped, kek_version) VALUES ($1, 1, $2, 1)",
        inn.alpha.tenant_id, backup[0]["wrapped"],
    )  # fmt: skip
    inn.ring.revoke_all()
    with pytest.raises(KeyDestroyed):
        await name_of(inn, guest)
    with pytest.raises(KeyDestroyed):
        await inn.put()
    with pytest.raises(KeyDestroyed):
        await place.operator.transit.version(kek_name(inn.alpha.tenant_id))
    assert await name_of(inn, theirs, inn.beta) == "Ada Quill"


async def test_a_deaf_process_keeps_keys_for_seconds_only(inn: Hotel, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = await inn.put()
    monkeypatch.setattr("seawall.privacy.ring.KEPT_DEAF_S", 0.05)
    inn.ring.hearing = False
    assert await name_of(inn, guest) == "Ada Quill"
    await inn.scratch.owner.execute("SELECT seawall.destroy_tenant_keys($1)", inn.alpha.tenant_id)
    await asyncio.sleep(0.1)
    with pytest.raises(KeyDestroyed):
        await name_of(inn, guest)


async def test_sweeping_lets_go_of_what_is_too_old(inn: Hotel, monkeypatch: pytest.MonkeyPatch) -> None:
    for who in (inn.alpha, inn.beta):
        await inn.put(who)
    inn.ring.sweep()
    assert len(inn.ring) == 2
    monkeypatch.setattr("seawall.privacy.ring.KEPT_MAX_S", -1.0)
    inn.ring.sweep()
    assert len(inn.ring) == 0


async def test_a_listener_that_is_cut_off_drops_everything_and_comes_back(
    inn: Hotel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RECONNECT_AFTER_S", "ECHO_EVERY_S"):
        monkeypatch.setattr(revocations, name, 0.05)
    await inn.put()
    told = Revocations(inn.scratch.url(APP), inn.ring)
    await told.start()
    await inn.put()
    assert len(inn.ring) == 1
    await inn.scratch.owner.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'seawall-keys'"
        " AND datname = current_database()"
    )
    for _ in range(1_500):
        if len(inn.ring) == 0 and inn.ring.hearing:
            break
        await asyncio.sleep(0.01)
    assert inn.ring.hearing
    assert len(inn.ring) == 0
    await inn.put()
    await asyncio.sleep(0.3)  # several rounds of listening with something kept
    assert inn.ring.hearing
    await told.stop()
