"""What a flood of sign-ins costs everybody else: latency of ordinary requests beside as many password checks as come.

    python -m bench.sign_in            3 interleaved rounds of 6 s, quiet and flooded

The flood is `FLOOD` connections that try wrong passwords without pause, from accounts that exist and that do not, with
the limits per network raised so far that only the bounded pool of hashing threads stands in the way. The claim is that
the 99th percentile of reading orders stays within twice the quiet one. Only the ratio means anything.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

import httpx2

from seawall.scaffold import new
from seawall.testing import RunningApp, running

ROUNDS = 3
ROUND_S = 6
FLOOD = 16
EVERY_S = 0.02


async def read_orders(app: RunningApp, cookie: str, until: float) -> list[float]:
    """Latencies in milliseconds of reading orders, one at a time, at a steady pace."""
    latencies = []
    async with client(app) as http:
        while time.monotonic() < until:
            begun = time.perf_counter()
            answer = await http.get("/api/orders", headers={"Cookie": cookie})
            latencies.append((time.perf_counter() - begun) * 1000)
            if answer.status_code != 200:
                raise SystemExit(f"reading orders says {answer.status_code}: {answer.text[:200]}")
            await asyncio.sleep(EVERY_S)
    return latencies


async def guess(app: RunningApp, number: int, until: float) -> list[int]:
    """Try wrong passwords without pause; gives the statuses."""
    start = app.target["sign_in"]
    login = next(iter(app.personas.values()))["login"] if number % 2 else f"nobody{number}@example.com"
    statuses = []
    async with client(app) as http:
        page = await http.get(f"{start['start']}", headers={"Accept": "text/html"}, follow_redirects=True)
        query = dict(page.url.params)
        while time.monotonic() < until:
            fields = {**query, start["login_field"]: login, start["password_field"]: "wrong"}
            answer = await http.post(page.url.path, data=fields, headers={"Origin": app.base_url})
            statuses.append(answer.status_code)
    return statuses


def client(app: RunningApp) -> httpx2.AsyncClient:
    import ssl

    return httpx2.AsyncClient(
        base_url=app.base_url, verify=ssl.create_default_context(cafile=app.target["ca_file"]), timeout=30
    )


async def measure(app: RunningApp, cookie: str) -> None:
    ratios = []
    for number in range(1, ROUNDS + 1):
        quiet = await read_orders(app, cookie, time.monotonic() + ROUND_S)
        until = time.monotonic() + ROUND_S
        flooded, *guesses = await asyncio.gather(
            read_orders(app, cookie, until), *(guess(app, n, until) for n in range(FLOOD))
        )
        statuses = [status for one in guesses for status in one]
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
    os.environ |= {
        "SEAWALL_IDENTITY__ATTEMPTS_PER_NETWORK": "100000",
        "SEAWALL_IDENTITY__ATTEMPTS_PER_ACCOUNT": "10000",
        "SEAWALL_IDENTITY__ATTEMPTS_WINDOW_S": "1",
    }
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as temporary:
        Path(temporary).chmod(0o755)
        with running(new("restaurant", "shop", Path(temporary))) as app:
            manager = next(name for name, one in app.personas.items() if one["role"] == "manager")
            cookies = app.client(manager).cookies
            cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
            asyncio.run(measure(app, cookie))


if __name__ == "__main__":
    main()
