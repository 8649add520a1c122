"""The vault as headings may know it: keys that never leave it, and secrets that are read from it.

Implemented by `seawall.secrets` on OpenBao or HashiCorp Vault (transit and KV version 2 engines). Names are plain path
segments (`[a-z0-9_-]`); every call is bounded in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from seawall.core.errors import Unavailable


class VaultUnavailable(Unavailable):
    """The vault is sealed, slow or gone. What needs no key goes on; what needs one is a clear 503 (never plaintext)."""

    code = "vault-unavailable"
    title = "Sealed data cannot be read or written at the moment"


class KeyDestroyed(Unavailable):
    """The key has been destroyed (crypto-shredding): what it sealed can never be opened again."""

    code = "key-destroyed"
    title = "This data has been erased"


@dataclass(frozen=True, slots=True)
class Secret:
    """One version of a secret. `values` never appears in a repr, a log or an error."""

    values: Mapping[str, str] = field(repr=False)
    version: int = 1


class Transit(Protocol):
    """Keys inside the vault: key-encryption keys that wrap data keys. AES-256-GCM with associated data."""

    async def create(self, key: str) -> None:
        """Make a key, unless it is there. A destroyed one can be made anew, and opens nothing of the old one."""
        ...

    async def version(self, key: str) -> int:
        """The number of a key's newest version.

        Raises:
            KeyDestroyed: there is no such key.
        """
        ...

    async def wrap(self, key: str, plain: bytes, *, context: bytes) -> str:
        """Encrypt a data key under the newest version of `key`; `context` is its associated data.

        Raises:
            KeyDestroyed: there is no such key; none is made by the way.
        """
        ...

    async def unwrap(self, key: str, wrapped: Sequence[str], *, context: bytes) -> list[bytes]:
        """Decrypt data keys in one call.

        Raises:
            KeyDestroyed: there is no such key any more. VaultUnavailable: the vault does not answer.
            ValueError: a ciphertext is not of this key and context, or its version has been retired.
        """
        ...

    async def rotate(self, key: str) -> int:
        """Add a version; gives its number. Only an operator may, as with `retire` and `destroy`."""
        ...

    async def rewrap(self, key: str, wrapped: Sequence[str], *, context: bytes) -> list[str]:
        """Re-encrypt data keys under the newest version. They pass through this process: transit's own `rewrap` cannot
        open what is bound to associated data.

        Raises:
            As `unwrap`.
        """
        ...

    async def retire(self, key: str, *, oldest_version: int) -> None:
        """Refuse to decrypt what is under versions older than this."""
        ...

    async def destroy(self, key: str) -> None:
        """Delete the key with all its versions, for good. Deleting what is not there is no error."""
        ...


class Vault(Protocol):
    """What the app reads by its own identity, leased."""

    @property
    def transit(self) -> Transit: ...

    async def read(self, name: str, *, version: int | None = None) -> Secret | None:
        """The newest version of a secret of this app, or the one asked for; None when it is not there or retired."""
        ...

    async def write(self, name: str, values: Mapping[str, str], *, expected: int | None = None) -> int:
        """Add a version; gives its number. Older versions stay until they are retired. Only an operator may.

        Raises:
            ValueError: the newest version is not `expected` (0: none) any more: somebody else was faster.
        """
        ...

    async def versions(self, name: str) -> list[int]:
        """The numbers of the versions that can still be read, oldest first."""
        ...

    async def retire(self, name: str, *, oldest_version: int) -> None:
        """Destroy the versions older than this, for good. Only an operator may."""
        ...
