"""A transit engine in memory, for tests that are not about the vault: the same promises, keys in a dictionary."""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from seawall.core.vault import KeyDestroyed, VaultUnavailable


class MemoryTransit:
    """`down` makes every call fail; `calls` counts the unwraps."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[int, bytes]] = {}
        self.oldest: dict[str, int] = {}
        self.down = False
        self.calls = 0

    def _key(self, key: str) -> dict[int, bytes]:
        if self.down:
            raise VaultUnavailable()
        if key not in self.keys:
            raise KeyDestroyed()
        return self.keys[key]

    async def create(self, key: str) -> None:
        if self.down:
            raise VaultUnavailable()
        self.keys.setdefault(key, {1: os.urandom(32)})

    async def version(self, key: str) -> int:
        return max(self._key(key))

    async def wrap(self, key: str, plain: bytes, *, context: bytes) -> str:
        versions = self._key(key)
        newest, nonce = max(versions), os.urandom(12)
        sealed = nonce + AESGCM(versions[newest]).encrypt(nonce, plain, context)
        return f"vault:v{newest}:{base64.b64encode(sealed).decode()}"

    async def unwrap(self, key: str, wrapped: Sequence[str], *, context: bytes) -> list[bytes]:
        self.calls += 1
        versions, opened = self._key(key), []
        for one in wrapped:
            _, version, text = one.split(":")
            number, sealed = int(version.removeprefix("v")), base64.b64decode(text)
            if number < self.oldest.get(key, 1) or number not in versions:
                raise ValueError("not a version that is accepted")
            try:
                opened.append(AESGCM(versions[number]).decrypt(sealed[:12], sealed[12:], context))
            except InvalidTag:
                raise ValueError("not of this key and context") from None
        return opened

    async def rotate(self, key: str) -> int:
        versions = self._key(key)
        versions[max(versions) + 1] = os.urandom(32)
        return max(versions)

    async def rewrap(self, key: str, wrapped: Sequence[str], *, context: bytes) -> list[str]:
        return [await self.wrap(key, one, context=context) for one in await self.unwrap(key, wrapped, context=context)]

    async def retire(self, key: str, *, oldest_version: int) -> None:
        self._key(key)
        self.oldest[key] = oldest_version

    async def destroy(self, key: str) -> None:
        if self.down:
            raise VaultUnavailable()
        self.keys.pop(key, None)
