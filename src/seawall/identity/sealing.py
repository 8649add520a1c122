"""Sealing small secrets at rest: AES-256-GCM under a key of the app, bound to whom it belongs to.

The key comes from `secret_key`; development makes its own beside the embedded database.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from seawall.core.errors import Refused, SeawallError

if TYPE_CHECKING:
    from seawall.settings import Settings

NONCE_BYTES = 12
KEY_FILE = "secret.key"
_VERSION = b"\x01"


class Unsealable(SeawallError):
    """Wrong key, wrong owner or altered bytes."""


def derived_key(secret: str, purpose: str) -> bytes:
    """32 bytes of the app's master secret for one purpose (HKDF info, RFC 5869): one key tells nothing of another."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=b"seawall:" + purpose.encode()).derive(secret.encode())


class Seal:
    """Seals and opens byte strings for one purpose.

    Args:
        secret: the app's master secret.
        purpose: separates keys of different uses (HKDF info, RFC 5869).
    """

    def __init__(self, secret: str, purpose: str) -> None:
        self._aead = AESGCM(derived_key(secret, purpose))

    def seal(self, plain: bytes, owner: bytes) -> bytes:
        """Encrypt; `owner` is authenticated, so a sealed value copied to another row does not open there."""
        nonce = os.urandom(NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, plain, owner)

    def open(self, sealed: bytes, owner: bytes) -> bytes:
        """Decrypt.

        Raises:
            Unsealable: if anything about it is wrong.
        """
        if sealed[:1] != _VERSION:
            raise Unsealable("an unknown sealing version")
        try:
            return self._aead.decrypt(sealed[1 : 1 + NONCE_BYTES], sealed[1 + NONCE_BYTES :], owner)
        except (InvalidTag, ValueError):
            raise Unsealable("it does not open") from None


def master_secret(settings: Settings) -> str:
    """`secret_key`, or in development the key file of the state directory (mode 0600), made at first use.

    Raises:
        Refused: in production without `secret_key`, or when others may read the key file.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    if settings.production:
        raise Refused(
            "secret_key is not set",
            why="it seals the second factors; without it they could not be stored safely",
            fix="set SEAWALL_SECRET_KEY to `python -c 'import secrets; print(secrets.token_urlsafe(32))'`",
        )
    return private_file(settings.state_directory / KEY_FILE, lambda: secrets.token_urlsafe(32))


def private_file(path: Path, make: Callable[[], str]) -> str:
    """The text of a file that only its owner may read; made, atomically, when it is not there.

    Raises:
        Refused: when others may read it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(make())
        try:
            # Of two processes that start at once, the first link wins and both read the same file.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    if path.stat().st_mode & 0o077:
        raise Refused(f"{path} can be read by others", why="it is a key", fix=f"chmod 600 {path}")
    return path.read_text()
