"""Sealed columns on a real database: both ways of loading, searching, and everything that must not open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import StatementError
from tests.support.sealed import Guest, Hotel, hotel

from seawall.core.scope import Scope
from seawall.core.sealing import SealBroken
from seawall.core.vault import KeyDestroyed, VaultUnavailable
from seawall.store.loader import Loader
from seawall.store.prepared import prepared
from seawall.store.sealing import equal

IN_ROOM = prepared(Guest, Guest.room == bindparam("room"), order_by=Guest.id)
LOADER = Loader(Guest)
EVERYTHING: dict[str, Any] = {
    "name": "Ada Quill", "phone": "+1 555 0100", "born": date(1990, 2, 3), "visits": -42, "vip": False,
    "photo": b"\x80\x00\xff\x80", "likes": {"tea": ["green", "ä"], "n": 1},
}  # fmt: skip


@pytest.fixture(scope="module")
async def inn(embedded_directory: Path) -> AsyncIterator[Hotel]:
    async with hotel(embedded_directory) as made:
        yield made


async def _raw(inn: Hotel, guest: Any, who: Any = None) -> Guest:
    """Loaded on the raw connection, and its transaction ended."""
    lease = await inn.lease(who)
    found = await LOADER.load(lease, (who or inn.alpha).tenant_id, guest, lock=False)
    await lease.commit()
    assert found is not None
    return found


async def test_every_type_comes_back_on_both_faces(inn: Hotel) -> None:
    guest = await inn.put(**EVERYTHING)
    raw = await _raw(inn, guest)
    lease = await inn.lease()
    [loaded] = await (await lease.session()).scalars(select(Guest).where(Guest.id == guest))
    await lease.commit()
    for one in (raw, loaded):
        assert {name: getattr(one, name) for name in EVERYTHING} == EVERYTHING
    stored = await inn.scratch.owner.fetchrow("SELECT * FROM app.sealed_guests WHERE id = $1", guest)
    for name in EVERYTHING:
        assert stored[name][:5] == b"\x01\0\0\0\x01", name
        assert not len(stored[name][17:]) % 16, name
    assert b"Quill" not in stored["name"]
    assert "Quill" not in repr(raw.__dict__)


async def test_empty_is_sealed_and_none_is_null(inn: Hotel) -> None:
    guest = await inn.put(name="", phone=None)
    assert (await _raw(inn, guest)).name == ""
    assert await inn.envelope(guest, "phone") is None


async def test_two_equal_values_look_different(inn: Hotel) -> None:
    one, other = await inn.put(), await inn.put()
    assert await inn.envelope(one) != await inn.envelope(other)
    assert len(await inn.envelope(one)) == len(await inn.envelope(other))


async def test_changes_through_either_face_are_sealed(inn: Hotel) -> None:
    guest = await inn.put()
    before = await inn.envelope(guest)
    lease = await inn.lease()
    [found] = [one for one in await IN_ROOM.run(lease, {"room": "7"}) if one.id == guest]
    found.name = "Bo"
    assert found.name == "Bo"
    await lease.commit()
    assert await inn.envelope(guest) != before
    lease = await inn.lease()
    session = await lease.session()
    [loaded] = await session.scalars(select(Guest).where(Guest.id == guest))
    assert loaded.name == "Bo"
    loaded.name = "Cy"
    await session.flush()
    await session.refresh(loaded)
    assert loaded.name == "Cy"
    await lease.rollback()
    assert (await _raw(inn, guest)).name == "Bo"


async def test_rows_that_nobody_reads_are_not_opened(inn: Hotel) -> None:
    guest = await _raw(inn, await inn.put())
    assert not guest.__dict__["name"].opened
    assert guest.name == "Ada Quill"
    assert guest.__dict__["name"].opened


async def test_plain_values_reach_the_database_by_no_way(inn: Hotel) -> None:
    guest = await inn.put()
    lease = await inn.lease()
    session = await lease.session()
    for statement in (
        update(Guest).where(Guest.id == guest).values(name="plain"),
        insert(Guest).values(room="7", name="plain"),
        select(Guest).where(Guest.name == "Ada Quill"),
    ):
        with pytest.raises(StatementError, match="takes no plain value"):
            await session.execute(statement)
    await lease.rollback()
    for nonsense in (5, b"x", object(), None.__class__):
        with pytest.raises(TypeError, match="takes str"):
            Guest(room="7", name=nonsense)
    with pytest.raises(TypeError, match="takes int"):
        Guest(room="7", name="x", visits=True)


async def test_blind_index_finds_equal_values_of_this_tenant_only(inn: Hotel) -> None:
    mine = [await inn.put(phone="+1 (555) 0199"), await inn.put(phone="15550199")]
    theirs = await inn.put(inn.beta, phone="15550199")
    await inn.put(phone="+1 555 0198")
    lease = await inn.lease()
    scope = _Scope(lease)
    session = await lease.session()
    found = await session.scalars(select(Guest).where(await equal(scope, Guest.phone, "1-555-0199")))
    assert {guest.id for guest in found} == set(mine)
    assert not list(await session.scalars(select(Guest).where(await equal(scope, Guest.phone, "1555"))))
    with pytest.raises(TypeError, match="no blind index"):
        await equal(scope, Guest.name, "Ada")
    with pytest.raises(TypeError, match="not sealed"):
        await equal(scope, Guest.room, "7")
    await lease.rollback()
    assert await inn.envelope(mine[0], "phone_blind") == await inn.envelope(mine[1], "phone_blind")
    assert await inn.envelope(mine[0], "phone_blind") != await inn.envelope(theirs, "phone_blind")
    assert len(await inn.envelope(theirs, "phone_blind")) == 16


async def test_clearing_a_value_clears_its_index(inn: Hotel) -> None:
    guest = await inn.put(phone="1")
    lease = await inn.lease()
    (await lease.session()).add(found := await LOADER.load(lease, inn.alpha.tenant_id, guest, lock=True))
    found.phone = None
    await lease.commit()
    assert await inn.envelope(guest, "phone") is None
    assert await inn.envelope(guest, "phone_blind") is None


class _Scope(Scope):
    def __init__(self, lease: Any) -> None:
        self._lease = lease

    async def transaction(self) -> Any:
        return self._lease


# What must not open --------------------------------------------------------------------------------------------------


async def _moved(inn: Hotel) -> dict[str, tuple[bytes, str]]:
    guest = await inn.put(likes={"a": 1}, phone="12")
    one, likes = await inn.envelope(guest), await inn.envelope(guest, "phone")
    return {
        "of another row": (await inn.envelope(await inn.put()), "tag"),
        "of another column": (likes, "tag"),
        "of another tenant": (await inn.envelope(await inn.put(inn.beta)), "tag"),
        "a flipped bit": (one[:-1] + bytes([one[-1] ^ 1]), "tag"),
        "a flipped nonce": (one[:6] + bytes([one[6] ^ 128]) + one[7:], "tag"),
        "another version": (one[:1] + b"\0\0\0\x02" + one[5:], "version"),
        "version zero": (one[:1] + bytes(4) + one[5:], "version"),
        "another format": (b"\x02" + one[1:], "format"),
        "cut off": (one[:-1], "format"),
        "cut off short": (one[:40], "format"),
        "empty": (b"", "format"),
        "plain text": (b"Ada Quill", "format"),
        "plain text that is long": (b"\x01" + b"Ada Quill " * 10, "version"),
        "doubled": (one + one, "tag"),
    }


async def test_what_is_moved_or_altered_does_not_open(inn: Hotel) -> None:
    guest = await inn.put()
    right = await inn.envelope(guest)
    for what, (envelope, reason) in (await _moved(inn)).items():
        await inn.scratch.owner.execute("UPDATE app.sealed_guests SET name = $2 WHERE id = $1", guest, envelope)
        found = await _raw(inn, guest)
        with pytest.raises(SealBroken) as broken:
            assert found.name, what
        assert broken.value.reason == reason, what
        [event] = broken.value.events
        assert (event.kind, event.outcome, event.column) == ("privacy.seal", "failure", "sealed_guests.name"), what
        assert event.object_id == str(guest)
    await inn.scratch.owner.execute("UPDATE app.sealed_guests SET name = $2 WHERE id = $1", guest, right)
    assert (await _raw(inn, guest)).name == "Ada Quill"


async def test_a_row_in_the_wrong_transaction_does_not_open(inn: Hotel) -> None:
    """A bug that hands one tenant the object of another still shows nothing."""
    theirs = await inn.put(inn.beta)
    await inn.put()
    lease = await inn.lease()
    row = await inn.scratch.owner.fetchrow(
        "SELECT " + ", ".join(c.name for c in LOADER.columns) + " FROM app.sealed_guests WHERE id = $1", theirs
    )
    instance = LOADER._instance(row, await lease.keys())
    assert instance.tenant_id == inn.beta.tenant_id
    with pytest.raises(SealBroken):
        assert instance.name
    await lease.rollback()


async def test_the_id_of_a_sealed_row_cannot_change(inn: Hotel) -> None:
    guest = await inn.put()
    lease = await inn.lease()
    [loaded] = await (await lease.session()).scalars(select(Guest).where(Guest.id == guest))
    loaded.id = uuid4()
    with pytest.raises(TypeError, match="cannot change"):
        await lease.commit()


# Without keys ---------------------------------------------------------------------------------------------------------


async def test_without_the_vault_only_what_is_sealed_stops(embedded_directory: Path) -> None:
    async with hotel(embedded_directory) as inn:
        guest = await inn.put()
        inn.ring.revoke(inn.alpha.tenant_id)
        inn.transit.down = True
        found = await _raw(inn, guest)
        assert found.room == "7"
        with pytest.raises(VaultUnavailable):
            assert found.name
        with pytest.raises(VaultUnavailable):
            await inn.put(name="never written")
        assert await inn.scratch.owner.fetchval("SELECT count(*) FROM app.sealed_guests") == 1
        lease = await inn.lease()
        session = await lease.session()
        [again] = await session.scalars(select(Guest).where(Guest.id == guest))
        again.room = "8"
        await lease.commit()
        inn.transit.down = False
        inn.ring.revoke_all()
        found = await _raw(inn, guest)
        assert (found.room, found.name) == ("8", "Ada Quill")


async def test_without_a_keyring_nothing_is_sealed_or_opened(embedded_directory: Path) -> None:
    async with hotel(embedded_directory) as inn:
        guest = await inn.put()
        inn.scratch.database.use(None)  # type: ignore[arg-type]
        with pytest.raises(VaultUnavailable):
            assert (await _raw(inn, guest)).name
        with pytest.raises(VaultUnavailable):
            await inn.put()


async def test_destroyed_keys_open_nothing_and_make_nothing(embedded_directory: Path) -> None:
    async with hotel(embedded_directory) as inn:
        guest, theirs = await inn.put(), await inn.put(inn.beta)
        held = await _raw(inn, guest)
        await inn.scratch.owner.execute("SELECT seawall.destroy_tenant_keys($1)", inn.alpha.tenant_id)
        inn.ring.revoke(inn.alpha.tenant_id)
        with pytest.raises(VaultUnavailable):
            assert held.name
        with pytest.raises(KeyDestroyed):
            assert (await _raw(inn, guest)).name
        with pytest.raises(KeyDestroyed):
            await inn.put()
        assert (await _raw(inn, theirs, inn.beta)).name == "Ada Quill"
