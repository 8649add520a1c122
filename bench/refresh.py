"""Does refreshing ever log anybody out? Eight tabs at the same moment, again and again, with answers that are lost.

    python -m bench.refresh                    200 rounds
    python -m bench.refresh --rounds 10000     the full proof

Everything is real: the token endpoint behind the wall, a proof for each request, PostgreSQL. In each round eight tabs
send the same refresh token at once. In one of ten nobody gets the answer, an hour passes, and they ask again. A
spurious logout is a tab that is refused, or that gets another successor than the others.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import secrets
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.integration.identity.conftest import House
from tests.support.clients import api_of, settings_with_clients
from tests.support.databases import scratch_database

from seawall.web import logs
from seawall_check.probes.oauth import Api, granted

REPOSITORY = Path(__file__).resolve().parent.parent
TABS = 8
LOST_ONE_IN = 10
ROUNDS_A_GRANT = 100


@dataclass
class Count:
    """What has happened so far."""

    refreshes: int = 0
    rotations: int = 0
    lost: int = 0
    spurious: list[str] = field(default_factory=list)
    waits_ms: list[float] = field(default_factory=list)


async def main(rounds: int, seed: int) -> int:
    logging.disable(logging.WARNING)
    chance, count, begun = random.Random(seed), Count(), time.monotonic()
    async with scratch_database(REPOSITORY / "build" / "test-postgres") as scratch:
        with tempfile.TemporaryDirectory() as folder:
            house = House(settings_with_clients(Path(folder)), scratch)
            await house.identity.clients.open()
            logs.configure(production=False, level=logging.ERROR)
            browser = house.browser()
            await house.person("ann@example.com", await scratch.tenant())
            await browser.sign_in("ann@example.com")
            for number in range(rounds):
                if number % ROUNDS_A_GRANT == 0:
                    tabs = await _tabs(house, await granted(browser.http, api_of(house)))
                await _round(house, tabs, count, lost=chance.randrange(LOST_ONE_IN) == 0)
                if (number + 1) % max(1, rounds // 10) == 0:
                    _say(number + 1, rounds, count, begun)
                    sys.stdout.flush()
    print(f"spurious logouts: {len(count.spurious)} of {count.refreshes} refreshes, seed {seed}")
    for one in count.spurious[:10]:
        print(f"  {one}")
    return 1 if count.spurious else 0


async def _tabs(house: House, first: Api) -> list[Api]:
    """Eight tabs of one client: one key, one storage."""
    tabs = [api_of(house, key=first.key) for _ in range(TABS)]
    for tab in tabs:
        tab.access_token, tab.refresh_token, tab.nonce = first.access_token, first.refresh_token, first.nonce
    return tabs


async def _round(house: House, tabs: list[Api], count: Count, *, lost: bool) -> None:
    parent = tabs[0].refresh_token
    answers = await _all(tabs, parent, count)
    if lost:
        count.lost += 1
        await house.scratch.owner.execute(
            "UPDATE seawall.client_grants SET rotated_at = rotated_at - interval '1 hour'"
        )
        answers += await _all(tabs, parent, count)
    given = {token for token, _ in answers}
    if len(given) != 1 or "" in given:
        count.spurious.append(f"{len(given)} successors, {sum(not token for token, _ in answers)} refused")
        given = given - {""}
    count.rotations += 1
    for tab, (_, access) in zip(tabs, answers[-TABS:], strict=True):
        tab.refresh_token, tab.access_token = next(iter(given), parent), access
    used = await tabs[0].get("/auth/me")
    if used.status_code != 200:
        count.spurious.append(f"the access token is refused: {used.status_code}")


async def _all(tabs: list[Api], token: str, count: Count) -> list[tuple[str, str]]:
    """What each tab is given: refresh and access token, or nothing."""

    async def one(tab: Api) -> tuple[str, str]:
        begun = time.perf_counter()
        answer = await tab.refresh(token, keep=False)
        count.waits_ms.append((time.perf_counter() - begun) * 1e3)
        count.refreshes += 1
        body = answer.json() if answer.status_code == 200 else {}
        return body.get("refresh_token", ""), body.get("access_token", "")

    return list(await asyncio.gather(*(one(tab) for tab in tabs)))


def _say(done: int, rounds: int, count: Count, begun: float) -> None:
    seconds = time.monotonic() - begun
    print(
        f"{done:6} of {rounds} rounds   {count.refreshes} refreshes, {count.lost} answers lost, "
        f"{len(count.spurious)} spurious logouts   {count.refreshes / seconds:.0f}/s, "
        f"p50 {statistics.median(count.waits_ms):.0f} ms for {TABS} at once"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    arguments = parser.parse_args()
    sys.exit(asyncio.run(main(arguments.rounds, arguments.seed)))
