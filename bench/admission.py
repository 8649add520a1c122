"""How long admission takes, beside the cheapest thing a database can be asked: one prepared read of one row by its key.

    python -m bench.admission           40 interleaved rounds of 200 calls

First the two statements on one asyncpg connection, then the same as a request pays it, through the app's pool. Rounds
are interleaved, because the machine's speed changes while we measure; printed are 10th percentiles and their ratios.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from tests.support.databases import ScratchDatabase, scratch_database

from seawall.core.ids import token_hash
from seawall.store.roles import APP

ROUNDS, CALLS = 40, 200
SESSIONS = 20_000
POINT = "SELECT id, user_id, tenant_id, expires_at FROM public.point WHERE token_hash = $1"
ADMIT = "SELECT * FROM seawall.admit($1, $2)"


async def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        async with scratch_database(Path(home)) as scratch:
            await measure(scratch)


async def measure(scratch: ScratchDatabase) -> None:
    tenant = await scratch.tenant()
    user = await scratch.person(tenant, "owner")
    tokens = {name: token_hash(await scratch.session(user, tenant)) for name in ("unbound", "bound")}
    device = secrets.token_bytes(32)
    await _fill(scratch.owner, tokens["bound"], device)
    bare = tokens["unbound"]
    connection = await scratch.connect(APP)
    try:
        point, admit = await connection.prepare(POINT), await connection.prepare(ADMIT)
        await _compare(
            "on one connection",
            {
                "one point read": lambda: point.fetchrow(bare),
                "admission": lambda: admit.fetchrow(bare, None),
                "admission, device-bound": lambda: admit.fetchrow(tokens["bound"], device),
            },
        )
    finally:
        await connection.close()

    async def read() -> asyncpg.Record | None:
        async with scratch.database.as_app() as pooled:
            return await pooled.fetchrow(POINT, bare)

    await _compare(
        "through the pool",
        {
            "one point read": read,
            "admission": lambda: scratch.database.admit(bare),
            "admission, device-bound": lambda: scratch.database.admit(tokens["bound"], device),
        },
    )


async def _compare(where: str, kinds: dict[str, Callable[[], Awaitable[object]]]) -> None:
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(ROUNDS):
        for name, call in kinds.items():
            for _ in range(CALLS):
                begun = time.perf_counter()
                found = await call()
                taken[name].append(time.perf_counter() - begun)
                if found is None:
                    raise SystemExit(f"{name} found nothing, so its time means nothing")
    least = {name: statistics.quantiles(times, n=10)[0] * 1e6 for name, times in taken.items()}
    base = next(iter(least.values()))
    for name, us in least.items():
        print(f"{where:<20}{name:<28}{us:8.1f} µs   {us / base:5.2f}x")


async def _fill(owner: asyncpg.Connection, bound: bytes, device: bytes) -> None:
    await owner.execute(
        "INSERT INTO seawall.device_bindings"
        " (session_id, name, algorithm, public_key, cookie_hash, cookie_until, grace_s, enforced_from)"
        " SELECT id, 'bench-bench-bench', 'ES256', '{}', $2, now() + interval '1 day', 0, now()"
        " FROM seawall.sessions WHERE token_hash = $1",
        bound, device,
    )  # fmt: skip
    await owner.execute(
        "INSERT INTO seawall.sessions (token_hash, user_id, tenant_id, epoch, idle_timeout_s, expires_at)"
        " SELECT sha256(n::text::bytea), s.user_id, s.tenant_id, s.epoch, 1800, now() + interval '1 day'"
        f" FROM generate_series(1, {SESSIONS}) n, (SELECT * FROM seawall.sessions LIMIT 1) s"
    )
    await owner.execute(
        "CREATE TABLE public.point AS SELECT * FROM seawall.sessions;"
        " ALTER TABLE public.point ADD PRIMARY KEY (token_hash);"
        " GRANT USAGE ON SCHEMA public TO seawall_app; GRANT SELECT ON public.point TO seawall_app"
    )
    await owner.execute("VACUUM ANALYZE")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    asyncio.run(main())
