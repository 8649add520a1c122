"""Drill: a refresh token is stolen. How long does the thief have, and what does the owner notice?

The clock of the family is moved, not waited for: each side refreshes when it next calls after its access token is over,
within two minutes. What is told is how much time passed from the theft until nothing of the thief's works.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import replace

import pytest
from tests.conftest import Found
from tests.integration.identity.conftest import Browser, House
from tests.support.clients import age, api_of, last_event

from seawall_check.probes.oauth import Api, Key, granted

pytestmark = pytest.mark.prove

ACCESS_TOKEN_S = 300
IDLE_MAX_S = 120
RUNS = 20


async def test_the_thief_has_the_token_and_the_key(house: House, browser: Browser, found: Found) -> None:
    """A copied disk, or a client whose key lies beside the token: the worst case, and that of clients without keys."""
    chance, lives = random.Random(7), []
    for _ in range(RUNS):
        owner = await granted(browser.http, api_of(house))
        thief = replace(owner, http=api_of(house).http)
        lives.append(await _until_dead(house, owner, thief, chance))
        assert await last_event(house) == ("revoked", "refresh-reuse")
    found(
        f"stolen refresh token with its key: dead after {statistics.median(lives):.0f} s (median), "
        f"{max(lives):.0f} s at most, of {RUNS} thefts; each with an alert"
    )
    assert statistics.median(lives) <= 2 * ACCESS_TOKEN_S


async def _until_dead(house: House, owner: Api, thief: Api, chance: random.Random) -> float:
    """Seconds from the theft until the family ends. Both use what they get, and refresh when it is over."""
    moments = {"owner": chance.uniform(0, ACCESS_TOKEN_S), "thief": 0.0}
    who, now = {"owner": owner, "thief": thief}, 0.0
    for _ in range(50):
        name = min(moments, key=lambda one: moments[one])
        await age(house, round(moments[name] - now))
        now = moments[name]
        answer = await who[name].refresh()
        if answer.status_code != 200:
            for one in who.values():
                assert (await one.get("/auth/me")).status_code == 401
                assert (await one.refresh(keep=False)).status_code == 400
            return now
        assert (await who[name].get("/auth/me")).status_code == 200
        moments[name] = now + ACCESS_TOKEN_S + chance.uniform(0, IDLE_MAX_S)
    raise AssertionError("the thief was never noticed")


async def test_the_thief_has_the_token_alone(house: House, api: Api, found: Found) -> None:
    thief = Api(api_of(house).http, api.metadata, api.client_id, api.redirect_uri, Key.fresh())
    thief.refresh_token, thief.access_token = api.refresh_token, api.access_token
    assert (await thief.get("/auth/me")).status_code == 401
    assert (await thief.refresh()).status_code == 400
    assert await last_event(house) == ("refused", "wrong-key")
    assert (await api.refresh()).status_code == 200
    found("stolen refresh token without its key: dead after 0 s; an alert; the owner is not logged out")
