"""One value of somebody else's, remembered for a while: a provider's metadata, its keys.

A provider that is down or slow must not take us along. However many sign-ins wait, one asks; after a failure nobody
asks for a few seconds and everybody is told at once; and what was good an hour ago goes on being used for a day.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from seawall.identity.refusals import ProviderAway

T = TypeVar("T")

LIFETIME_S = 3_600
STALE_MAX_S = 86_400
"""How old a value may get while its source is away. Keys that a provider withdrew live on no longer than this."""
RETRY_AFTER_S = 5
RENEW_EVERY_S = 10
"""A flood of tokens with invented `kid`s must not become a flood of requests at the provider."""


class Remembered(Generic[T]):
    """A value that is fetched when it is wanted and too old.

    Args:
        fetch: gets it.
        clock: monotonic seconds.
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._value: tuple[float, T] | None = None
        self._failed: tuple[float, str] | None = None
        """When, and why: kept as a word, since an exception raised twice keeps what both times had in hand."""

    async def get(self, *, renew: bool = False) -> T:
        """The value, at most an hour old; with `renew`, at most ten seconds.

        Raises:
            ProviderAway: its source does not answer, and there is no value to go on with.
            SignInRefused: whatever else `fetch` raises.
        """
        async with self._lock:
            if self._value is not None and self._age(self._value[0]) <= (RENEW_EVERY_S if renew else LIFETIME_S):
                return self._value[1]
            if self._failed is not None and self._age(self._failed[0]) <= RETRY_AFTER_S:
                return self._kept(self._failed[1])
            try:
                fetched = await self._fetch()
            except ProviderAway as away:
                self._failed = (self._clock(), away.reason)
                return self._kept(away.reason)
            self._value, self._failed = (self._clock(), fetched), None
            return fetched

    def _kept(self, reason: str) -> T:
        if self._value is None or self._age(self._value[0]) > STALE_MAX_S:
            raise ProviderAway(reason)
        return self._value[1]

    def _age(self, since: float) -> float:
        return self._clock() - since
