"""A secret that is shared with somebody outside, leased from the vault: read when it is needed, kept for a moment.

So it is in no environment and in no file, and whoever changes it in the vault restarts nothing.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from seawall.core.vault import Secret, VaultUnavailable

GIVEN = "value"
"""The name under which a secret holds what somebody gave us."""


class Reader(Protocol):
    async def read(self, name: str) -> Secret | None: ...


class LeasedSecret:
    """One secret of the vault; what settings hold is the fallback where the vault has none.

    While the vault is away the last one known goes on, so that people and clients do.

    Args:
        vault: reads it.
        name: its name there.
        from_settings: the fallback.
        keep_s: how long one that was read counts, so that a flood of wrong guesses is not one on the vault.
        required: raise rather than do without, while the vault is away and none is known.
    """

    def __init__(
        self, vault: Reader, name: str, from_settings: str | None, *, keep_s: float = 0.0, required: bool = False
    ) -> None:
        self._vault = vault
        self._name = name
        self._from_settings = from_settings
        self._keep_s = keep_s
        self._required = required
        self._last = from_settings
        self._read_at = float("-inf")
        self._turn = asyncio.Lock()

    async def __call__(self) -> str | None:
        """The secret; None when there is none.

        Raises:
            VaultUnavailable: the vault is away, none is known, and one is required.
        """
        async with self._turn:  # of many at once, one asks
            if time.monotonic() - self._read_at >= self._keep_s:
                await self._read()
            return self._last

    async def _read(self) -> None:
        try:
            found = await self._vault.read(self._name)
        except VaultUnavailable:
            if self._required and self._last is None:
                raise
            return
        self._read_at = time.monotonic()
        self._last = found.values.get(GIVEN) if found is not None else self._from_settings
