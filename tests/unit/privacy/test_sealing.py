"""Envelopes: what goes in comes out of its own cell, and of no other."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.core.sealing import (
    BLOCK_BYTES,
    ENVELOPE_BYTES_MIN,
    SEALS_IN_BLOCK,
    Label,
    SealBroken,
    TenantKeys,
)
from seawall.core.vault import KeyDestroyed, VaultUnavailable

ALPHA, BETA = uuid.UUID(int=0xA), uuid.UUID(int=0xB)
NAME, PHONE = Label("guests", "name"), Label("guests", "phone")
ROW, OTHER = uuid.uuid4().bytes, uuid.uuid4().bytes


def keys(tenant: uuid.UUID = ALPHA, **versions: int) -> TenantKeys:
    """Keys of fixed bytes, version 1 current."""
    made = TenantKeys(tenant).learn({1: b"k" * 32}, 1)
    made.allowance.grant(1, SEALS_IN_BLOCK)
    return made


KEYS = keys()


@settings(max_examples=200)
@given(st.binary(max_size=300), st.binary(min_size=16, max_size=16))
def test_round_trip(plain: bytes, row: bytes) -> None:
    KEYS.allowance.grant(1, 1)
    envelope = KEYS.seal(NAME, row, plain)
    assert KEYS.open(NAME, row, envelope) == plain
    assert len(envelope) == ENVELOPE_BYTES_MIN + len(plain) // BLOCK_BYTES * BLOCK_BYTES
    assert len(plain) < 4 or plain not in envelope


@settings(max_examples=200)
@given(st.data())
def test_any_changed_byte_is_noticed(data: st.DataObject) -> None:
    KEYS.allowance.grant(1, 1)
    envelope = bytearray(KEYS.seal(NAME, ROW, b"Ada Quill"))
    place = data.draw(st.integers(0, len(envelope) - 1))
    envelope[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SealBroken):
        KEYS.open(NAME, ROW, bytes(envelope))


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_no_other_bytes_open(noise: bytes) -> None:
    with pytest.raises(SealBroken):
        KEYS.open(NAME, ROW, noise)


def test_an_envelope_belongs_to_its_cell() -> None:
    envelope = keys().seal(NAME, ROW, b"Ada Quill")
    for holder, label, row in (
        (keys(), PHONE, ROW),
        (keys(), NAME, OTHER),
        (keys(BETA), NAME, ROW),  # even with the same data key
        (keys(), Label("guest", "s.name"), ROW),
        (keys(), Label("guests.name", ""), ROW),
    ):
        with pytest.raises(SealBroken):
            holder.open(label, row, envelope)


def test_versions() -> None:
    old = keys().seal(NAME, ROW, b"Ada Quill")
    both = TenantKeys(ALPHA).learn({1: b"k" * 32, 2: b"j" * 32}, 2)
    assert both.knows(old)
    assert both.open(NAME, ROW, old) == b"Ada Quill"
    with pytest.raises(SealBroken):  # its version is bound as well
        both.open(NAME, ROW, old[:4] + b"\x02" + old[5:])
    with pytest.raises(VaultUnavailable):  # nothing was granted for version 2
        both.seal(NAME, ROW, b"")
    with pytest.raises(SealBroken):
        both.learn({2: b"j" * 32}, 2).open(NAME, ROW, old)


def test_the_allowance_is_a_bound() -> None:
    few = TenantKeys(ALPHA).learn({1: b"k" * 32}, 1)
    few.allowance.grant(1, 2)
    few.seal(NAME, ROW, b"")
    few.seal(NAME, ROW, b"")
    with pytest.raises(VaultUnavailable):
        few.seal(NAME, ROW, b"")
    few.allowance.grant(2, 5)
    with pytest.raises(VaultUnavailable):
        few.seal(NAME, ROW, b"")


def test_nonces_do_not_repeat() -> None:
    holder = keys()
    nonces = {holder.seal(NAME, ROW, b"same")[5:17] for _ in range(2_000)}
    assert len(nonces) == 2_000


def test_locked_keys_say_why_and_hold_nothing() -> None:
    holder = keys()
    envelope = holder.seal(NAME, ROW, b"Ada")
    holder.lock(KeyDestroyed())
    for attempt in (
        lambda: holder.open(NAME, ROW, envelope),
        lambda: holder.seal(NAME, ROW, b""),
        lambda: holder.blind(NAME, b"ada"),
        lambda: holder.blinds(NAME, b"ada"),
    ):
        with pytest.raises(KeyDestroyed):
            attempt()
    assert not holder._data_keys
    assert not holder._columns
    assert not holder._blind


def test_blind_indexes() -> None:
    one = keys()
    assert one.blind(NAME, b"ada") == keys().blind(NAME, b"ada") == one.blinds(NAME, b"ada")[0]
    assert len(one.blind(NAME, b"ada")) == 16
    seen = {one.blind(NAME, b"ada"), one.blind(NAME, b"Ada"), one.blind(PHONE, b"ada"), keys(BETA).blind(NAME, b"ada")}
    assert len(seen) == 4
    assert len(TenantKeys(ALPHA).learn({1: b"k" * 32, 2: b"j" * 32}, 2).blinds(NAME, b"ada")) == 2
    assert TenantKeys(ALPHA).blinds(NAME, b"ada") == []


def test_a_repr_shows_no_key() -> None:
    assert "kkkk" not in repr(keys())
    assert b"k" * 32 not in repr(vars(type(keys()))).encode()
