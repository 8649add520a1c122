"""What a flood of sign-ins costs everybody else: latency of ordinary requests beside as many password checks as come.

    python -m bench.sign_in            3 interleaved rounds of 6 s, quiet and flooded

The flood is `FLOOD` connections that try wrong passwords without pause, from accounts that exist and that do not, with
the limits per network raised so far that only the bounded pool of hashing threads stands in the way. The claim is that
the 99th percentile of reading orders stays within twice the quiet one. Only the ratio means anything.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import ssl
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import httpx2

from seawall.scaffold import new
from seawall.testing import RunningApp, running

ROUNDS = 3
ROUND_S = 6
FLOOD = 16
EVERY_S = 0.02
LIMITS = {
    "SEAWALL_IDENTITY__ATTEMPTS_PER_NETWORK": "100000",
    "SEAWALL_IDENTITY__ATTEMPTS_PER_ACCOUNT": "10000",
    "SEAWALL_IDENTITY__ATTEMPTS_WINDOW_S": "1",
}


async def read_orders(app: RunningApp, cookie: str, until: float) -> list[float]:
    """Latencies in milliseconds of reading orders, one at a time, at a steady pace."""
    latencies = []
    async with client(app.base_url, app.target["ca_file"]) as http:
        while time.monotonic() < until:
            begun = time.perf_counter()
            answer = await http.get("/api/orders", headers={"Cookie": cookie})
            latencies.append((time.perf_counter() - begun) * 1000)
            if answer.status_code != 200:
                raise SystemExit(f"reading orders says {answer.status_code}: {answer.text[:200]}")
            await asyncio.sleep(EVERY_S)
    return latencies


@dataclass(frozen=True)
class Door:
    """Where passwords are tried, and whose."""

    base_url: str
    ca_file: str
    start: str
    login_field: str
    password_field: str
    login: str


def flood(door: Door, until: float) -> list[int]:
    """Try wrong passwords over `FLOOD` connections until then (`time.time()`); gives the statuses.

    In a process of its own: an attacker does not sit in the browser of those who wait.
    """

    async def together() -> list[int]:
        found = await asyncio.gather(*(guess(door, number, until) for number in range(FLOOD)))
        return [status for one in found for status in one]

    return asyncio.run(together())


async def guess(door: Door, number: int, until: float) -> list[int]:
    login = door.login if number % 2 else f"nobody{number}@example.com"
    statuses = []
    async with client(door.base_url, door.ca_file) as http:
        page = await http.get(door.start, headers={"Accept": "text/html"}, follow_redirects=True)
        query = dict(page.url.params)
        while time.time() < until:
            fields = {**query, door.login_field: login, door.password_field: "wrong"}
            answer = await http.post(page.url.path, data=fields, headers={"Origin": door.base_url})
            statuses.append(answer.status_code)
    return statuses


def client(base_url: str, ca_file: str) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=base_url, verify=ssl.create_default_context(cafile=ca_file), timeout=30)


async def measure(app: RunningApp, cookie: str, attackers: ProcessPoolExecutor) -> None:
    start = app.target["sign_in"]
    door = Door(
        app.base_url, app.target["ca_file"], start["start"], start["login_field"], start["password_field"],
        next(iter(app.personas.values()))["login"],
    )  # fmt: skip
    ratios = []
    for number in range(1, ROUNDS + 1):
        quiet = await read_orders(app, cookie, time.monotonic() + ROUND_S)
        attack = asyncio.get_running_loop().run_in_executor(attackers, flood, door, time.time() + ROUND_S)
        flooded = await read_orders(app, cookie, time.monotonic() + ROUND_S)
        statuses = await attack
        checked, turned_away = statuses.count(403), statuses.count(429)
        p99 = [statistics.quantiles(one, n=100)[98] for one in (quiet, flooded)]
        ratios.append(p99[1] / p99[0])
        print(
            f"round {number}  p99 quiet {p99[0]:6.1f} ms, flooded {p99[1]:6.1f} ms   "
            f"{checked / ROUND_S:.0f} passwords/s checked, {turned_away / ROUND_S:.0f}/s turned away",
            flush=True,
        )
    print(f"\np99 flooded ÷ quiet, median of rounds: {statistics.median(ratios):.2f}   aim: ≤ 2")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as temporary:
        Path(temporary).chmod(0o755)
        with (
            patch.dict(os.environ, LIMITS),
            running(new("restaurant", "shop", Path(temporary))) as app,
            ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as attackers,
        ):
            manager = next(name for name, one in app.personas.items() if one["role"] == "manager")
            cookies = app.client(manager).cookies
            cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
            asyncio.run(measure(app, cookie, attackers))


if __name__ == "__main__":
    main()
