"""What an access token with its proof costs a request, beside a session cookie.

    python -m bench.tokens

Prints CPU microseconds of verifying the token, of verifying the proof, and of joserfc alone on the same token; then the
round trips of admission for a cookie and for a token (with its proof remembered), on PostgreSQL, interleaved.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from joserfc import jws
from joserfc.jwk import import_key
from tests.integration.identity.conftest import ORIGIN, House
from tests.support.clients import api_of, settings_with_clients
from tests.support.databases import scratch_database

from seawall.core.clock import now_s
from seawall.core.ids import token_hash
from seawall.core.scope import GrantUse
from seawall.identity.clients.access_token import read_token
from seawall.identity.clients.dpop import ProofRequest, verify_proof
from seawall.web import logs
from seawall_check.probes.oauth import granted

REPOSITORY = Path(__file__).resolve().parent.parent
ROUNDS, CALLS = 7, 200


async def main() -> None:
    logging.disable(logging.WARNING)
    async with scratch_database(REPOSITORY / "build" / "test-postgres") as scratch:
        with tempfile.TemporaryDirectory() as folder:
            house = House(settings_with_clients(Path(folder)), scratch)
            await house.identity.clients.open()
            logs.configure(production=False, level=logging.ERROR)
            browser = house.browser()
            await house.person("ann@example.com", await scratch.tenant())
            await browser.sign_in("ann@example.com")
            await _measure(house, await granted(browser.http, api_of(house)), browser.token or "")


async def _measure(house: House, api: Any, cookie: str) -> None:
    clients, now = house.identity.clients, now_s()
    [jwk] = await clients.keys.published()
    key, proofs = import_key(jwk), [api.proof("GET", "/api/orders") for _ in range(CALLS)]
    asked = ProofRequest("GET", f"{ORIGIN}/api/orders", api.access_token)

    async def verified(_: int) -> None:
        await read_token(api.access_token, clients.keys, issuer=ORIGIN, now_s=now)

    async def proved(n: int) -> None:
        verify_proof([proofs[n]], asked, clients.nonces, now_s=now)

    async def joserfc(_: int) -> None:
        jws.deserialize_compact(api.access_token, key, algorithms=["ES256"])

    print(f"access token, verified in every claim   {await _cpu_us(verified):7.0f} µs CPU")
    print(f"joserfc alone, its signature only       {await _cpu_us(joserfc):7.0f} µs CPU")
    print(f"proof of possession                     {await _cpu_us(proved):7.0f} µs CPU")
    claims = await read_token(api.access_token, clients.keys, issuer=ORIGIN, now_s=now)
    secret, hashed = clients.admission.secret(claims.grant_id), token_hash(cookie)
    counter = iter(range(10**9))

    async def by_token() -> None:
        proof = sha256(str(next(counter)).encode()).digest()
        use = GrantUse(secret, claims.token_id, claims.epoch, claims.kid, claims.generation, claims.subject, proof)
        assert await house.scratch.database.admit_grant(use) is not None

    async def by_cookie() -> None:
        assert await house.scratch.database.admit(hashed) is not None

    waits: dict[str, list[float]] = {"cookie": [], "token and proof": []}
    for _ in range(ROUNDS * CALLS):
        for name, admit in (("cookie", by_cookie), ("token and proof", by_token)):
            begun = time.perf_counter()
            await admit()
            waits[name].append((time.perf_counter() - begun) * 1e6)
    for name, times in waits.items():
        times.sort()
        print(f"admission by {name:20} {times[len(times) // 10]:14.0f} µs p10   {statistics.median(times):6.0f} µs p50")


async def _cpu_us(call: Callable[[int], Awaitable[None]]) -> float:
    """CPU microseconds of one call: the least of the rounds, because others share the machine."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for n in range(CALLS):
            await call(n)
        best = min(best, time.process_time() - begun)
    return best / CALLS * 1e6


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
