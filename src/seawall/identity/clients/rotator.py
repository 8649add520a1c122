"""`seawall rotate signing-key`: the key of access tokens, as something that can be renewed while the app runs."""

from __future__ import annotations

from seawall.core.rotation import Progress
from seawall.identity.clients.signing_keys import SigningKeys


class SigningKeyRotator:
    """Implements `core.rotation.Rotator`.

    Args:
        wait: the old key stays until its last token is over, six minutes; whoever next needs a key then takes it away.
            Without, it goes at once with every token that it signed, and clients get new ones by refreshing.
    """

    name = "signing-key"
    what = "signs the access tokens of API clients"

    def __init__(self, keys: SigningKeys, *, wait: bool) -> None:
        self._keys = keys
        self._wait = wait

    async def newest(self) -> int:
        return await self._keys.newest()

    async def begin(self, seen: int) -> int:
        newest = await self.newest()
        if newest <= seen:
            await self._keys.rotate()
        return await self.newest()

    async def adopt(self, version: int, progress: Progress) -> None:
        progress("the new key signs" + ("; the old one goes when its last token is over" if self._wait else ""))

    async def retire(self, version: int) -> None:
        if not self._wait:
            await self._keys.forget_before(version)
