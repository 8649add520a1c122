"""Challenges: what a browser signs to show that it still has its key.

Stateless, so asking for one writes nothing: the end of its life and the number of refreshes so far, under an HMAC
that covers what it is for. It is good once because the refresh that uses it raises that number (`bindings.rotate`),
and a registration because a session has at most one binding.
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from uuid import UUID

from seawall.core.master import MasterSecret
from seawall.core.vault import VaultUnavailable
from seawall.identity.devices.refusals import ProofRefused
from seawall.identity.keyed import Keyed

_HEAD = struct.Struct(">QQI")
_MAC_BYTES = 28
LENGTH = (_HEAD.size + _MAC_BYTES) * 4 // 3
"""Characters; a multiple of three bytes, so base64url needs no padding."""


class Challenges:
    """Makes and checks challenges under a key of the app."""

    def __init__(self, master: MasterSecret) -> None:
        self._keyed = Keyed(master, "device-challenge")

    def issue(self, subject: bytes, generation: int, *, until_s: int) -> str:
        """A challenge for `subject` that ends at `until_s` (seconds since the epoch).

        Raises:
            VaultUnavailable: the key to use is not known for sure.
        """
        version = self._keyed.version
        head = _HEAD.pack(until_s, generation, version)
        return urlsafe_b64encode(head + (self._mac(subject, head, version) or b"")).decode()

    def generation_of(self, challenge: str, subject: bytes, *, now_s: int) -> int:
        """The generation that a challenge of ours names.

        Raises:
            ProofRefused: it is not ours, is for something else, or is over.
        """
        if len(challenge) != LENGTH or not challenge.isascii():
            raise ProofRefused("challenge-unknown")
        try:
            raw = urlsafe_b64decode(challenge)
        except ValueError:
            raise ProofRefused("challenge-unknown") from None
        head, mac = raw[: _HEAD.size], raw[_HEAD.size :]
        if len(raw) != _HEAD.size + _MAC_BYTES:
            raise ProofRefused("challenge-unknown")
        until_s, generation, version = _HEAD.unpack(head)
        try:
            right = self._mac(subject, head, version)
        except VaultUnavailable:
            # A version that we have not seen: invented, or a faster process's. Either way the next one will be ours.
            right = None
        if right is None or not hmac.compare_digest(mac, right):
            raise ProofRefused("challenge-unknown")
        if until_s < now_s:
            raise ProofRefused("challenge-over")
        return int(generation)

    def _mac(self, subject: bytes, head: bytes, version: int) -> bytes | None:
        mac = self._keyed.mac(struct.pack(">H", len(subject)) + subject + head, version)
        return None if mac is None else mac[:_MAC_BYTES]


def for_binding(session_id: UUID) -> bytes:
    """The subject of a registration's challenge."""
    return b"bind:" + session_id.bytes


def for_refresh(session_id: UUID, name: str) -> bytes:
    """The subject of a refresh's challenge."""
    return b"refresh:" + session_id.bytes + name.encode()
