"""Sealing one value of one column of one row of one tenant: the envelope, and the keys that open it.

    envelope = format (1 byte) ‖ key version (4, big-endian) ‖ nonce (12) ‖ AES-256-GCM ciphertext ‖ tag (16)
    associated data = format ‖ key version ‖ tenant ‖ table.column ‖ 0 ‖ primary key

A data key is never used itself: HKDF (RFC 5869) derives one key for each column from it, and one for each column's
blind index. So an envelope opens in its own cell only, and nothing that is learnt of one column helps with another.

Nonces are 96 random bits. NIST SP 800-38D §8.3 allows 2³² of them under one key; `SEALS_MAX` counts all columns of a
tenant together, and the database hands the count out in blocks *before* they are used (`Allowance`), so that it holds
across processes and crashes. Then the data key has to be rotated.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from seawall.core.errors import Problem
from seawall.core.events import SealFailure
from seawall.core.vault import VaultUnavailable

FORMAT = b"\x01"
KEY_BYTES = 32
VERSION_BYTES = 4
NONCE_BYTES = 12
TAG_BYTES = 16
BLIND_BYTES = 16
HEAD_BYTES = 1 + VERSION_BYTES
BLOCK_BYTES = 16
"""Values are padded to whole blocks, so that the envelope's length tells less."""
ENVELOPE_BYTES_MIN = HEAD_BYTES + NONCE_BYTES + BLOCK_BYTES + TAG_BYTES
SEALED_MAX_BYTES = 1024 * 1024
"""The longest value that is sealed."""
SEALS_MAX = 2**32
SEALS_IN_BLOCK = 4_096
_PAD = b"\x80"  # ISO/IEC 7816-4


class SealBroken(Problem):
    """What is stored does not open: altered, moved from elsewhere, or under a key that is not accepted any more.

    It carries its audit event, which the wall records. `reason` is `format`, `version` or `tag`.
    """

    status = 500
    code = "seal-broken"
    title = "Stored data did not pass its integrity check"

    def __init__(self, label: str, identity: object, reason: str) -> None:
        super().__init__("It has been recorded. Nothing of it is shown.")
        self.reason = reason
        self.events = (SealFailure(outcome="failure", column=label, object_id=str(identity), reason=reason),)


class Label:
    """A column's name as it goes into keys and associated data: `orders.address`.

    PostgreSQL's identifiers hold no NUL, so the parts cannot run into one another.
    """

    __slots__ = ("data", "text")

    def __init__(self, table: str, column: str) -> None:
        self.text = f"{table}.{column}"
        self.data = table.encode() + b"\0" + column.encode() + b"\0"


class Allowance:
    """How many more values may be sealed under one version, as the database granted it."""

    __slots__ = ("left", "version")

    def __init__(self) -> None:
        self.version = 0
        self.left = 0

    def grant(self, version: int, count: int) -> None:
        """So many more for this version; what was left for another is void."""
        if version != self.version:
            self.version, self.left = version, 0
        self.left += count


class TenantKeys:
    """The unwrapped data keys of one tenant, in this process only. Made and refreshed by a `Keyring`.

    What is shared is the object: when it is locked, it is locked for every transaction that holds it.
    """

    __slots__ = (
        "__weakref__", "_blind", "_columns", "_data_keys", "_locked", "allowance", "current", "tenant_id",
    )  # fmt: skip

    def __init__(self, tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        self.current: int | None = None
        """The version that new values are sealed under; None before the tenant's first one."""
        self.allowance = Allowance()
        self._data_keys: dict[bytes, bytes] = {}
        self._columns: dict[tuple[bytes, bytes], tuple[AESGCM, bytes]] = {}
        self._blind: dict[tuple[bytes, bytes], bytes] = {}
        self._locked: Problem | None = None

    def __repr__(self) -> str:
        return f"TenantKeys({self.tenant_id}, current={self.current})"

    def learn(self, data_keys: Mapping[int, bytes], current: int | None) -> TenantKeys:
        """Hold these versions, and no others."""
        self._data_keys = {_packed(version): key for version, key in data_keys.items()}
        self._columns.clear()
        self._blind.clear()
        self.current, self._locked = current, None
        return self

    def lock(self, reason: Problem) -> TenantKeys:
        """Drop every key. Whoever uses this object from now on gets `reason` raised."""
        self.learn({}, None)
        self._locked = reason
        return self

    @property
    def locked(self) -> Problem | None:
        return self._locked

    def check(self) -> None:
        """Raises what locked these keys: `VaultUnavailable` or `KeyDestroyed`."""
        if self._locked is not None:
            raise _again(self._locked)

    def knows(self, envelope: bytes) -> bool:
        """Whether the version that an envelope names is held. For asking anew before a refusal, not for deciding."""
        return envelope[1:HEAD_BYTES] in self._data_keys

    def seal(self, label: Label, identity: bytes, plain: bytes) -> bytes:
        """An envelope that opens in this cell only.

        Raises:
            VaultUnavailable: there is no current key, or no allowance was granted; nothing is ever stored in plain.
        """
        self.check()
        allowance = self.allowance
        if self.current is None or allowance.version != self.current or allowance.left <= 0:
            raise VaultUnavailable()
        allowance.left -= 1
        head = FORMAT + _packed(self.current)
        cipher, bound = self._column(head[1:], label)
        nonce = os.urandom(NONCE_BYTES)
        padded = plain + _PAD + bytes(-(len(plain) + 1) % BLOCK_BYTES)
        return head + nonce + cipher.encrypt(nonce, padded, bound + identity)

    def open(self, label: Label, identity: bytes, envelope: bytes) -> bytes:
        """What was sealed in this cell.

        Raises:
            SealBroken: it is not an envelope, of another cell, altered, or under a version that is not accepted.
            VaultUnavailable, KeyDestroyed: the keys are locked.
        """
        if self._locked is not None:
            self.check()
        if len(envelope) < ENVELOPE_BYTES_MIN or envelope[:1] != FORMAT:
            raise SealBroken(label.text, identity.hex(), "format")
        version = envelope[1:HEAD_BYTES]
        if version not in self._data_keys:
            raise SealBroken(label.text, identity.hex(), "version")
        cipher, bound = self._column(version, label)
        try:
            padded = cipher.decrypt(
                envelope[HEAD_BYTES : HEAD_BYTES + NONCE_BYTES], envelope[HEAD_BYTES + NONCE_BYTES :], bound + identity
            )
        except InvalidTag:
            raise SealBroken(label.text, identity.hex(), "tag") from None
        return padded[: padded.rindex(_PAD)]

    def blind(self, label: Label, value: bytes, *, version: int | None = None) -> bytes:
        """The blind index of a value: equal values of this column and tenant have equal ones, under one version."""
        self.check()
        packed = _packed(self.current or 0 if version is None else version)
        key = self._blind.get((packed, label.data))
        if key is None:
            if packed not in self._data_keys:
                raise VaultUnavailable()
            key = self._blind[packed, label.data] = self._derived(packed, b"seawall blind 1\0" + label.data)
        return hmac.digest(key, value, "sha256")[:BLIND_BYTES]

    def blinds(self, label: Label, value: bytes) -> list[bytes]:
        """The blind indexes under every version held: rows that are not re-sealed yet are found too."""
        self.check()
        return [self.blind(label, value, version=int.from_bytes(packed, "big")) for packed in sorted(self._data_keys)]

    def _column(self, version: bytes, label: Label) -> tuple[AESGCM, bytes]:
        found = self._columns.get((version, label.data))
        if found is None:
            cipher = AESGCM(self._derived(version, b"seawall seal 1\0" + label.data))
            bound = FORMAT + version + self.tenant_id.bytes + label.data
            found = self._columns[version, label.data] = (cipher, bound)
        return found

    def _derived(self, version: bytes, info: bytes) -> bytes:
        salt = self.tenant_id.bytes
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(self._data_keys[version])


class Keyring(Protocol):
    """Finds the keys of tenants. Implemented by `privacy.Ring`; a transaction asks it at most once each way."""

    async def of(self, context: str) -> TenantKeys:
        """The keys of the tenant whom a verified context names. Never raises for a key that cannot be had: the keys
        are then locked, so that what needs none goes on.
        """
        ...

    async def refreshed(self, context: str, stale: TenantKeys, envelope: bytes | None = None) -> TenantKeys:
        """The same, asked anew, because `stale` has not the version that this envelope names, or its own is not current
        any more.
        """
        ...

    async def prepared(self, context: str, count: int) -> TenantKeys:
        """The same with a current version, made when the tenant has none yet, and an allowance for `count` seals.

        Raises:
            VaultUnavailable, KeyDestroyed: there is none, so nothing can be sealed.
        """
        ...


def _packed(version: int) -> bytes:
    return version.to_bytes(VERSION_BYTES, "big")


def _again(problem: Problem) -> Problem:
    """A fresh copy: an exception that is raised twice collects the tracebacks of both."""
    copy: Any = type(problem)(problem.detail)
    copy.__cause__ = None
    fresh: Problem = copy
    return fresh
