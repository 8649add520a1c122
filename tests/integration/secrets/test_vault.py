"""The vault's client against a real OpenBao: what each identity may, and what is said when it may not."""

from __future__ import annotations

import pytest
from tests.support.vaults import ScratchVault

from seawall.core.vault import KeyDestroyed, VaultUnavailable
from seawall.secrets.leased import LeasedSecret

CONTEXT = b"tenant-1"


async def test_secrets_have_versions_and_the_slower_writer_loses(scratch_place: ScratchVault) -> None:
    operator, app = scratch_place.operator, scratch_place.app
    assert await app.read("sample") is None
    assert await operator.write("sample", {"value": "one"}, expected=0) == 1
    with pytest.raises(ValueError, match="meanwhile"):
        await operator.write("sample", {"value": "other"}, expected=0)
    assert await operator.write("sample", {"value": "two"}, expected=1) == 2
    newest = await app.read("sample")
    assert newest is not None
    assert (newest.version, newest.values["value"]) == (2, "two")
    assert "two" not in repr(newest)
    await operator.retire("sample", oldest_version=2)
    assert await operator.versions("sample") == [2]
    assert await app.read("sample", version=1) is None


async def test_the_app_reads_and_cannot_write(scratch_place: ScratchVault) -> None:
    with pytest.raises(VaultUnavailable):
        await scratch_place.app.write("sample", {"value": "mine"})
    await scratch_place.app.transit.create("t")
    for forbidden in (
        scratch_place.app.transit.rotate("t"),
        scratch_place.app.transit.retire("t", oldest_version=1),
        scratch_place.app.transit.destroy("t"),
    ):
        with pytest.raises(VaultUnavailable):
            await forbidden
    assert await scratch_place.app.transit.version("t") == 1


async def test_data_keys_are_bound_to_key_and_context(scratch_place: ScratchVault) -> None:
    transit = scratch_place.app.transit
    await transit.create("one")
    await transit.create("one")
    await transit.create("two")
    plain = [bytes([number]) * 32 for number in range(3)]
    wrapped = [await transit.wrap("one", key, context=CONTEXT) for key in plain]
    assert await transit.unwrap("one", wrapped, context=CONTEXT) == plain
    for key, texts, context in (("one", wrapped, b"tenant-2"), ("two", wrapped, CONTEXT), ("one", ["junk"], CONTEXT)):
        with pytest.raises(ValueError, match="vault"):
            await transit.unwrap(key, texts, context=context)


async def test_rotated_rewrapped_retired_destroyed(scratch_place: ScratchVault) -> None:
    transit = scratch_place.operator.transit
    await transit.create("t")
    old = await transit.wrap("t", b"k" * 32, context=CONTEXT)
    assert await transit.rotate("t") == 2
    [new] = await transit.rewrap("t", [old], context=CONTEXT)
    await transit.retire("t", oldest_version=2)
    with pytest.raises(ValueError, match="vault"):
        await transit.unwrap("t", [old], context=CONTEXT)
    assert await transit.unwrap("t", [new], context=CONTEXT) == [b"k" * 32]
    await transit.destroy("t")
    await transit.destroy("t")
    for identity in (scratch_place.operator, scratch_place.app):
        with pytest.raises(KeyDestroyed):
            await identity.transit.unwrap("t", [new], context=CONTEXT)
        with pytest.raises(KeyDestroyed):  # and none is made by the way
            await identity.transit.wrap("t", b"k" * 32, context=CONTEXT)
    await transit.create("t")
    with pytest.raises(ValueError, match="vault"):
        await transit.unwrap("t", [new], context=CONTEXT)


async def test_a_clients_secret_is_leased_and_changed_while_the_app_runs(scratch_place: ScratchVault) -> None:
    lease = LeasedSecret(scratch_place.app, "client-night_reports", None, required=True)
    assert await lease() is None
    for value in ("one", "two"):
        await scratch_place.operator.write("client-night_reports", {"value": value})
        assert await lease() == value
