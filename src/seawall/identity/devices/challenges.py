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

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from seawall.identity.devices.refusals import ProofRefused

_HEAD = struct.Struct(">QQ")
_MAC_BYTES = 32
LENGTH = (_HEAD.size + _MAC_BYTES) * 4 // 3
"""Characters; a multiple of three bytes, so base64url needs no padding."""


class Challenges:
    """Makes and checks challenges under a key of the app."""

    def __init__(self, secret: str) -> None:
        info = b"seawall:device-challenge"
        self._key = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(secret.encode())

    def issue(self, subject: bytes, generation: int, *, until_s: int) -> str:
        """A challenge for `subject` that ends at `until_s` (seconds since the epoch)."""
        head = _HEAD.pack(until_s, generation)
        return urlsafe_b64encode(head + self._mac(subject, head)).decode()

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
        if not hmac.compare_digest(mac, self._mac(subject, head)):
            raise ProofRefused("challenge-unknown")
        until_s, generation = _HEAD.unpack(head)
        if until_s < now_s:
            raise ProofRefused("challenge-over")
        return int(generation)

    def _mac(self, subject: bytes, head: bytes) -> bytes:
        return hmac.digest(self._key, struct.pack(">H", len(subject)) + subject + head, "sha256")


def for_binding(session_id: UUID) -> bytes:
    """The subject of a registration's challenge."""
    return b"bind:" + session_id.bytes


def for_refresh(session_id: UUID, name: str) -> bytes:
    """The subject of a refresh's challenge."""
    return b"refresh:" + session_id.bytes + name.encode()
