"""What is remembered of a provider, while it answers and while it does not."""

from __future__ import annotations

import asyncio

import pytest

from seawall.identity.refusals import ProviderAway, SignInRefused
from seawall.identity.remembered import LIFETIME_S, RENEW_EVERY_S, RETRY_AFTER_S, STALE_MAX_S, Remembered


class Source:
    """Counts how often it is asked; fails when told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.failure: Exception | None = None
        self.now = 1_000.0
        self.remembered = Remembered(self.fetch, clock=lambda: self.now)

    async def fetch(self) -> int:
        self.asked += 1
        await asyncio.sleep(0.001)
        if self.failure is not None:
            raise self.failure
        return self.asked


async def test_many_ask_and_one_fetches() -> None:
    source = Source()
    assert set(await asyncio.gather(*(source.remembered.get() for _ in range(1_000)))) == {1}
    source.now += LIFETIME_S + 1
    assert await source.remembered.get() == 2


async def test_renewing_is_bounded() -> None:
    source = Source()
    await source.remembered.get()
    for _ in range(1_000):
        await source.remembered.get(renew=True)
    assert source.asked == 1
    source.now += RENEW_EVERY_S + 1
    assert await source.remembered.get(renew=True) == 2


async def test_a_source_that_is_away_is_asked_once_in_a_while_and_nobody_waits_for_it() -> None:
    source = Source()
    source.failure = ProviderAway("provider-unreachable")
    answers = await asyncio.gather(*(source.remembered.get() for _ in range(1_000)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {ProviderAway}
    assert source.asked == 1
    source.now += RETRY_AFTER_S + 1
    source.failure = None
    assert await source.remembered.get() == 2


async def test_nothing_of_who_was_told_so_is_kept() -> None:
    source = Source()
    source.failure = ProviderAway("provider-unreachable")
    first, second = await asyncio.gather(*(source.remembered.get() for _ in range(2)), return_exceptions=True)
    assert first is not second
    assert isinstance(second, ProviderAway)
    assert (second.reason, source.asked) == ("provider-unreachable", 1)


async def test_what_was_good_is_used_for_a_day_and_no_longer() -> None:
    source = Source()
    assert await source.remembered.get() == 1
    source.failure = ProviderAway("provider-unreachable")
    source.now += STALE_MAX_S - 1
    assert await source.remembered.get() == 1
    source.now += RETRY_AFTER_S + 2
    with pytest.raises(ProviderAway):
        await source.remembered.get()


async def test_a_document_that_does_not_hold_is_no_absence() -> None:
    source = Source()
    await source.remembered.get()
    source.failure = SignInRefused("metadata-issuer")
    source.now += LIFETIME_S + 1
    with pytest.raises(SignInRefused, match="metadata-issuer"):
        await source.remembered.get()
