"""Sealing small secrets at rest: AES-256-GCM under a key derived from the app's master secret, bound to its owner.

    sealed = format (1 byte) ‖ master version (4, big-endian) ‖ nonce (12) ‖ ciphertext ‖ tag (16)

The version is in front, so that the database can find what is still under an older one (`reseal`).
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from seawall.core.errors import SeawallError
from seawall.core.master import MasterSecret

FORMAT = b"\x02"
VERSION_BYTES = 4
HEAD_BYTES = 1 + VERSION_BYTES
NONCE_BYTES = 12


class Unsealable(SeawallError):
    """Wrong key, wrong owner, altered bytes, or under a version of the master secret that has been retired."""


def derived_key(secret: bytes, purpose: str) -> bytes:
    """32 bytes of a secret for one purpose (HKDF info, RFC 5869): one key tells nothing of another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"seawall:" + purpose.encode()).derive(secret)


class Seal:
    """Seals and opens byte strings for one purpose.

    Args:
        master: the app's master secret.
        purpose: separates keys of different uses (HKDF info, RFC 5869).
    """

    def __init__(self, master: MasterSecret, purpose: str) -> None:
        self._master = master
        self._purpose = purpose
        self._derived: dict[str, AESGCM] = {}

    def seal(self, plain: bytes, owner: bytes) -> bytes:
        """Encrypt; `owner` is authenticated, so a sealed value copied to another row does not open there.

        Raises:
            VaultUnavailable: the key to seal under is not known for sure.
        """
        version, secret = self._master.current()
        head, nonce = head_of(version), os.urandom(NONCE_BYTES)
        return head + nonce + self._key(secret).encrypt(nonce, plain, head + owner)

    def open(self, sealed: bytes, owner: bytes) -> bytes:
        """Decrypt.

        Raises:
            Unsealable: if anything about it is wrong.
            VaultUnavailable: it is under a version that this process has not seen yet.
        """
        head, nonce, rest = sealed[:HEAD_BYTES], sealed[HEAD_BYTES:][:NONCE_BYTES], sealed[HEAD_BYTES + NONCE_BYTES :]
        if head[:1] != FORMAT:
            raise Unsealable("an unknown sealing format")
        secret = self._master.version(int.from_bytes(head[1:], "big"))
        if secret is None:
            raise Unsealable("it is under a version that has been retired")
        try:
            return self._key(secret).decrypt(nonce, rest, head + owner)
        except (InvalidTag, ValueError):
            raise Unsealable("it does not open") from None

    def _key(self, secret: str) -> AESGCM:
        if secret not in self._derived:
            if len(self._derived) > 8:  # versions come one at a time; old ones need not be kept
                self._derived.clear()
            self._derived[secret] = AESGCM(derived_key(secret.encode(), self._purpose))
        return self._derived[secret]


def head_of(version: int) -> bytes:
    """What every value sealed under a version of the master secret begins with; heads sort as their versions do."""
    return FORMAT + version.to_bytes(VERSION_BYTES, "big")
