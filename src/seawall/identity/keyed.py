"""Message authentication under keys derived from the app's master secret, which changes: a version says which key it
was.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from seawall.core.master import MasterSecret


class Keyed:
    """HMAC-SHA-256 for one purpose.

    Args:
        master: the app's master secret.
        purpose: separates keys of different uses (HKDF info, RFC 5869).
    """

    def __init__(self, master: MasterSecret, purpose: str) -> None:
        self._master = master
        self._info = b"seawall:" + purpose.encode()
        self._derived: dict[str, bytes] = {}

    @property
    def version(self) -> int:
        """The version to use now.

        Raises:
            VaultUnavailable: it is not known for sure.
        """
        return self._master.current()[0]

    def mac(self, message: bytes, version: int) -> bytes | None:
        """32 bytes; None when that version of the master secret has been retired.

        Raises:
            VaultUnavailable: there is no such version yet, as far as this process has seen.
        """
        secret = self._master.version(version)
        if secret is None:
            return None
        if secret not in self._derived:
            if len(self._derived) > 8:  # versions come one at a time; old ones need not be kept
                self._derived.clear()
            derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=self._info).derive(secret.encode())
            self._derived[secret] = derived
        return hmac.digest(self._derived[secret], message, "sha256")
