"""Rotating a tenant's keys while it works, with workers that die and values that do not open."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from tests.support.sealed import KEYS, Guest, Hotel, all_steps, name_of, owner_of, rotation_of
from tests.support.vaults import ScratchVault

from seawall.core.sealing import SealBroken
from seawall.core.vault import VaultUnavailable
from seawall.privacy.revocations import Revocations
from seawall.privacy.rotation import ask
from seawall.store.loader import Loader
from seawall.store.roles import APP

LOADER = Loader(Guest)


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
            assert await name_of(inn, guests[turn % 5]) == f"guest {turn % 5}"

    loads = [asyncio.create_task(load(n)) for n in range(3)]
    async with owner_of(inn) as owner, rotation_of(inn, place) as rotation:
        for version in (2, 3):
            assert await ask(owner, [inn.alpha.tenant_id], who="ops") == [inn.alpha.tenant_id]
            assert await ask(owner, None, who="ops") == []  # it is under way
            steps = await all_steps(rotation)
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
    asked = await inn.scratch.owner.fetch(
        "SELECT body ->> 'operator' AS who FROM seawall.audit_events"
        " WHERE kind = 'privacy.tenant-key' AND tenant_id = $1 AND body ->> 'change' = 'asked'",
        inn.alpha.tenant_id,
    )
    assert [row["who"] for row in asked] == ["ops", "ops"]
    for guest, name in written.items():
        assert await name_of(inn, guest) == name
    heads = "SELECT DISTINCT substring(name FROM 1 FOR 5) AS head FROM app.sealed_guests"
    versions = await inn.scratch.owner.fetch(heads)
    assert [row["head"] for row in versions] == [b"\x01\0\0\0\x03"]
    await inn.scratch.owner.execute("UPDATE app.sealed_guests SET name = $2 WHERE id = $1", guests[0], before)
    with pytest.raises(SealBroken) as broken:
        await name_of(inn, guests[0])
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
    async with owner_of(inn) as owner, rotation_of(inn, place) as rotation:
        await ask(owner, [inn.alpha.tenant_id])
        assert (await rotation.step()).did == "rotated"  # type: ignore[union-attr]
        inn.ring.forget(inn.alpha.tenant_id)
        assert await found() == [guest]
        await all_steps(rotation)
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
    async with owner_of(inn) as owner, rotation_of(inn, place) as rotation:
        await ask(owner, None)
        steps = await all_steps(rotation)
    assert (steps[-1].did, steps[-1].rows) == ("kept", 1)
    assert [row["state"] for row in await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)] == ["old", "current"]
    inn.ring.forget(inn.alpha.tenant_id)
    assert await name_of(inn, guest) == "Ada Quill"


async def test_two_workers_and_one_that_dies(inn: Hotel, place: ScratchVault) -> None:
    """A worker that is killed leaves a claimed job and no half-done batch; another one goes on when the claim ends."""
    for n in range(3):
        await inn.put(name=str(n))
    async with owner_of(inn) as owner, rotation_of(inn, place) as one, rotation_of(inn, place) as two:
        await ask(owner, None)
        assert (await one.step()).did == "rotated"  # type: ignore[union-attr]
        dying = one._jobs.claimed(["keys.reseal"])
        _, lease = await dying.__aenter__()  # type: ignore[misc]
        await lease.fetch("UPDATE app.sealed_guests SET room = 'half done'")
        lease.connection.terminate()
        assert await two.step() is None  # claimed still
        await inn.scratch.owner.execute("UPDATE seawall.jobs SET claimed_until = now() - interval '1 second'")
        assert [step.did for step in await all_steps(two)] == ["resealed", "retired"]
        assert await inn.scratch.owner.fetchval("SELECT count(*) FROM app.sealed_guests WHERE room = 'half done'") == 0
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a dead connection says
            await dying.__aexit__(None, None, None)


async def test_old_backups_are_refused_only_when_asked(inn: Hotel, place: ScratchVault) -> None:
    guest = await inn.put()
    backup = await inn.scratch.owner.fetch(KEYS, inn.alpha.tenant_id)
    envelope = await inn.envelope(guest)
    restore = "UPDATE seawall.tenant_keys SET wrapped = $2, state = 'old' WHERE tenant_id = $1 AND version = 1"
    for refuse in (False, True):
        async with owner_of(inn) as owner, rotation_of(inn, place) as rotation:
            await ask(owner, None, refuse_old_backups=refuse)
            await all_steps(rotation)
        await inn.scratch.owner.execute(restore, inn.alpha.tenant_id, backup[0]["wrapped"])
        await inn.scratch.owner.execute("UPDATE app.sealed_guests SET name = $2 WHERE id = $1", guest, envelope)
        inn.ring.revoke_all()
        if refuse:
            with pytest.raises(VaultUnavailable):
                await name_of(inn, guest)
        else:
            assert await name_of(inn, guest) == "Ada Quill"
