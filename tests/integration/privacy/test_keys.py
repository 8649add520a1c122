"""Tenants' keys on a real database and a real vault: made once, kept for minutes, rotated under load, destroyed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.support.sealed import Guest, Hotel, hotel
from tests.support.vaults import ScratchVault, scratch_vault

from seawall.core.sealing import SEALS_IN_BLOCK, SealBroken
from seawall.core.vault import KeyDestroyed, VaultUnavailable
from seawall.privacy import revocations
from seawall.privacy.revocations import Revocations
from seawall.privacy.ring import Ring, kek_name
from seawall.privacy.rotation import Rotation, Step, ask, destroy
from seawall.secrets import EmbeddedVault
from seawall.store.jobs import Jobs
from seawall.store.loader import Loader
from seawall.store.pool import Pool
from seawall.store.roles import APP, MIGRATOR, OWNER, WORKER

LOADER = Loader(Guest)
KEYS = (
    "SELECT version, state, wrapped, kek_version, seals FROM seawall.tenant_keys WHERE tenant_id = $1 ORDER BY version"
)


@pytest.fixture(scope="module")
async def place(vault_server: EmbeddedVault) -> AsyncIterator[ScratchVault]:
    async with scratch_vault(vault_server) as made:
        yield made


@pytest.fixture(scope="module")
async def house(embedded_directory: Path, place: ScratchVault) -> AsyncIterator[Hotel]:
    async with hotel(embedded_directory, place.app.transit) as made:
        yield made


@pytest.fixture
async def inn(house: Hotel, place: ScratchVault) -> Hotel:
    """Two new tenants, an empty table, and a process that knows nothing yet."""
    await house.scratch.owner.execute("TRUNCATE app.sealed_guests, seawall.tenant_keys, seawall.jobs")
    house.alpha, house.beta = [await house.admitted(await house.scratch.tenant()) for _ in range(2)]
    house.transit = house.ring._transit = place.app.transit
    house.ring.revoke_all()
    house.ring.hearing = True
    return house


async def _name(inn: Hotel, guest: UUID, who: Any = None) -> str:
    lease = await inn.lease(who)
    try:
        found = await LOADER.load(lease, (who or inn.alpha).tenant_id, guest, lock=False)
        assert found is not None
        return found.name
    finally:
        await lease.rollback()


@asynccontextmanager
async def _owner(inn: Hotel) -> AsyncIterator[Any]:
    connection = await inn.scratch.connect(MIGRATOR)
    try:
        await connection.execute(f"SET ROLE {OWNER}")
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _rotation(inn: Hotel, place: ScratchVault) -> AsyncIterator[Rotation]:
    pools = [Pool(inn.scratch.url(WORKER), size=2, statement_timeout_ms=15_000) for _ in range(2)]
    pools[0].keyring = Ring(pools[1], place.app.transit)
    try:
        yield Rotation(Jobs(pools[0]), place.operator.transit, [Guest])
    finally:
        for pool in pools:
            await pool.close()


async def _all_steps(rotation: Rotation) -> list[Step]:
    steps = []
    while (step := await rotation.step()) is not None:
        steps.append(step)
    return steps


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
    assert await _name(inn, made[-1]) == "Ada Quill"
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
    assert await _name(inn, guest) == "Ada Quill"


async def test_one_unwrap_for_many_requests(inn: Hotel, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = await inn.put()
    inn.ring.revoke(inn.alpha.tenant_id)
    calls, unwrap = 0, inn.transit.unwrap

    async def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        return await unwrap(*args, **kwargs)

    monkeypatch.setattr(inn.transit, "unwrap", counted)
    assert await asyncio.gather(*(_name(inn, guest) for _ in range(12))) == ["Ada Quill"] * 12
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
        await _name(inn, mine)
    assert await _name(inn, theirs, inn.beta) == "Ada Quill"


# Rotation ------------------------------------------------------------------------------------------


async def test_rotation_under_load_loses_nothing_and_retires_the_old_key(inn: Hotel, place: ScratchVault) -> None:
    guests = [await inn.put(name=f"guest {n}", phone=f"555 {n}") for n in range(5)]
    others = [await inn.put(name="many") for _ in range(3)]
    before = await inn.envelope(guests[0])
    told = Revocations(inn.scratch.url(APP), inn.ring)
    await told.start()
    assert inn.ring.hearing
    done = asyncio.Event()
    written: dict[UUID, str] = dict.fromkeys(others, "many")

    async def load(number: int) -> None:
        turn = 0
        while not done.is_set():
            turn += 1
            guest, name = others[number], f"writer {number} turn {turn}"
            lease = await inn.lease()
            found = await LOADER.load(lease, inn.alpha.tenant_id, guest, lock=True)
            assert found is not None
            assert found.name == written[guest]
            lease.adopt(found)
            found.name = name
            await lease.commit()
            written[guest] = name
            written[await inn.put(name=name)] = name
            assert await _name(inn, guests[turn % 5]) == f"guest {turn % 5}"

    loads = [asyncio.create_task(load(n)) for n in range(3)]
    async with _owner(inn) as owner, _rotation(inn, place) as rotation:
        for version in (2, 3):
            assert await ask(owner, [inn.alpha.tenant_id]) == [inn.alpha.tenant_id]
            assert await ask(owner, None) == []  # it is under way
            steps = await _all_steps(rotation)
            did = [step.did for step in steps]
            assert (did[0], did[-1], set(did[1:-1])) == ("rotated", "retired", {"resealed"}), steps
            assert sum(step.rows for step in steps) >= 8
            rows = await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)
            assert {row["state"] for row in rows[:-1]} == {"retired"}
            assert not any(row["wrapped"] for row in rows[:-1])
            assert (rows[-1]["version"], rows[-1]["state"], rows[-1]["kek_version"]) == (version, "current", version)
    done.set()
    await asyncio.gather(*loads)
    await told.stop()
    for guest, name in written.items():
        assert await _name(inn, guest) == name
    heads = "SELECT DISTINCT substring(name FROM 1 FOR 5) AS head FROM app.sealed_guests"
    versions = await inn.scratch.owner.fetch(heads)
    assert [row["head"] for row in versions] == [b"\x01\0\0\0\x03"]
    await inn.scratch.owner.execute("UPDATE app.sealed_guests SET name = $2 WHERE id = $1", guests[0], before)
    with pytest.raises(SealBroken) as broken:
        await _name(inn, guests[0])
    assert broken.value.reason == "version"


async def test_the_blind_index_finds_rows_before_during_and_after(inn: Hotel, place: ScratchVault) -> None:
    from sqlalchemy import select

    from seawall.store.sealing import equal

    guest = await inn.put(phone="555 1")

    async def found() -> list[UUID]:
        lease = await inn.lease()
        scope: Any = type("S", (), {"transaction": staticmethod(lambda: _given(lease))})
        condition = await equal(scope, Guest.phone, "5551")
        rows = await (await lease.session()).scalars(select(Guest).where(condition))
        ids = [row.id for row in rows]
        await lease.rollback()
        return ids

    before = await inn.envelope(guest, "phone_blind")
    async with _owner(inn) as owner, _rotation(inn, place) as rotation:
        await ask(owner, [inn.alpha.tenant_id])
        assert (await rotation.step()).did == "rotated"  # type: ignore[union-attr]
        inn.ring.forget(inn.alpha.tenant_id)
        assert await found() == [guest]
        await _all_steps(rotation)
        inn.ring.forget(inn.alpha.tenant_id)
        assert await found() == [guest]
    assert await inn.envelope(guest, "phone_blind") != before


async def _given(lease: Any) -> Any:
    return lease


async def test_what_does_not_open_keeps_the_old_key(inn: Hotel, place: ScratchVault) -> None:
    guest, broken = await inn.put(), await inn.put()
    await inn.scratch.owner.execute(
        "UPDATE app.sealed_guests SET name = $2 WHERE id = $1", broken, await inn.envelope(guest)
    )
    async with _owner(inn) as owner, _rotation(inn, place) as rotation:
        await ask(owner, None)
        steps = await _all_steps(rotation)
    assert (steps[-1].did, steps[-1].rows) == ("kept", 1)
    assert [row["state"] for row in await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)] == ["old", "current"]
    inn.ring.forget(inn.alpha.tenant_id)
    assert await _name(inn, guest) == "Ada Quill"


async def test_two_workers_and_one_that_dies(inn: Hotel, place: ScratchVault) -> None:
    """A worker that is killed leaves a claimed job and no half-done batch; another one goes on when the claim ends."""
    for n in range(3):
        await inn.put(name=str(n))
    async with _owner(inn) as owner, _rotation(inn, place) as one, _rotation(inn, place) as two:
        await ask(owner, None)
        assert (await one.step()).did == "rotated"  # type: ignore[union-attr]
        dying = one._jobs.claimed(["keys.reseal"])
        _, lease = await dying.__aenter__()  # type: ignore[misc]
        await lease.fetch("UPDATE app.sealed_guests SET room = 'half done'")
        lease.connection.terminate()
        assert await two.step() is None  # claimed still
        await inn.scratch.owner.execute("UPDATE seawall.jobs SET claimed_until = now() - interval '1 second'")
        assert [step.did for step in await _all_steps(two)] == ["resealed", "retired"]
        assert await inn.scratch.owner.fetchval("SELECT count(*) FROM app.sealed_guests WHERE room = 'half done'") == 0
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a dead connection says
            await dying.__aexit__(None, None, None)


async def test_old_backups_are_refused_only_when_asked(inn: Hotel, place: ScratchVault) -> None:
    guest = await inn.put()
    backup = await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)
    envelope = await inn.envelope(guest)
    restore = "UPDATE seawall.tenant_keys SET wrapped = $2, state = 'old' WHERE tenant_id = $1 AND version = 1"
    for refuse in (False, True):
        async with _owner(inn) as owner, _rotation(inn, place) as rotation:
            await ask(owner, None, refuse_old_backups=refuse)
            await _all_steps(rotation)
        await inn.scratch.owner.execute(restore, inn.alpha.tenant_id, backup[0]["wrapped"])
        await inn.scratch.owner.execute("UPDATE app.sealed_guests SET name = $2 WHERE id = $1", guest, envelope)
        inn.ring.revoke_all()
        if refuse:
            with pytest.raises(VaultUnavailable):
                await _name(inn, guest)
        else:
            assert await _name(inn, guest) == "Ada Quill"


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
    async with _owner(inn) as owner:
        assert await destroy(owner, place.operator.transit, inn.alpha.tenant_id) == 1
    for _ in range(50):
        if held.__dict__["name"].opened or held._sa_instance_state.info["seawall_keys"].locked:  # type: ignore[attr-defined]
            break
        await asyncio.sleep(0.02)
    with pytest.raises(VaultUnavailable):
        assert held.name
    assert still.name == "Ada Quill"
    await lease.rollback()
    await beta.rollback()
    with pytest.raises(KeyDestroyed):
        await _name(inn, guest)
    await told.stop()


async def test_a_suspended_tenant_has_no_keys(inn: Hotel) -> None:
    guest = await inn.put()
    told = Revocations(inn.scratch.url(APP), inn.ring)
    await told.start()
    suspend = "UPDATE seawall.tenants SET suspended_at = {} WHERE id = $1"
    await inn.scratch.owner.execute(suspend.format("now()"), inn.alpha.tenant_id)
    await asyncio.sleep(0.2)
    with pytest.raises(VaultUnavailable):
        await _name(inn, guest)
    await inn.scratch.owner.execute(suspend.format("NULL"), inn.alpha.tenant_id)
    await asyncio.sleep(0.2)
    assert await _name(inn, guest) == "Ada Quill"
    await told.stop()


async def test_shredding_reaches_backups_and_stays(inn: Hotel, place: ScratchVault) -> None:
    guest, theirs = await inn.put(), await inn.put(inn.beta)
    backup = await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)
    async with _owner(inn) as owner:
        await destroy(owner, place.operator.transit, inn.alpha.tenant_id)
        await destroy(owner, place.operator.transit, inn.alpha.tenant_id)  # again is no error
    inn.ring.revoke_all()
    with pytest.raises(KeyDestroyed):
        await _name(inn, guest)
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
        await _name(inn, guest)
    with pytest.raises(KeyDestroyed):
        await inn.put()
    with pytest.raises(KeyDestroyed):
        await place.operator.transit.version(kek_name(inn.alpha.tenant_id))
    assert await _name(inn, theirs, inn.beta) == "Ada Quill"


async def test_a_deaf_process_keeps_keys_for_seconds_only(inn: Hotel, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = await inn.put()
    monkeypatch.setattr("seawall.privacy.ring.KEPT_DEAF_S", 0.05)
    inn.ring.hearing = False
    assert await _name(inn, guest) == "Ada Quill"
    await inn.scratch.owner.execute("SELECT seawall.destroy_tenant_keys($1)", inn.alpha.tenant_id)
    await asyncio.sleep(0.1)
    with pytest.raises(KeyDestroyed):
        await _name(inn, guest)


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
    await told.stop()
