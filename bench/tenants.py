"""What the tenant wall costs in the database, and whether that grows with the number of tenants.

    python -m bench.tenants

Two ratios, from interleaved rounds, since the machine's speed changes while we measure:

    wall      one row by its key in a transaction under row-level security with the verified context, against the same
              transaction on the same rows without any of it. Aim: ≤ 1.25
    tenants   admission, context, the row and the commit of one request, for callers of 10,000 tenants at random against
              callers of 10. Aim: ≤ 1.1
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy.orm import Mapped
from tests.support.databases import ScratchDatabase, scratch_database

from seawall.store.loader import Loader
from seawall.store.models import Tenanted, object_id

FEW, MANY, ROWS_EACH = 10, 10_000, 20
ROUNDS, TIMES = 80, 30
AIM_WALL, AIM_TENANTS = 1.25, 1.1


class Item(Tenanted):
    __tablename__ = "bench_items"
    id: Mapped[UUID] = object_id()
    name: Mapped[str]
    amount_minor: Mapped[int]


PREPARE = """
CREATE TABLE app.bench_items (tenant_id uuid NOT NULL DEFAULT seawall.tenant_id(), id uuid NOT NULL DEFAULT uuidv7(),
    name text NOT NULL, amount_minor bigint NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE TABLE app.bench_open (LIKE app.bench_items INCLUDING ALL);
BEGIN;
INSERT INTO seawall.tenants (slug, name) SELECT 'bench-' || n, 'Bench ' || n FROM generate_series(1, {tenants}) AS n;
INSERT INTO seawall.users (email, name) SELECT 'bench-' || n || '@bench.example', n::text
    FROM generate_series(1, {tenants}) AS n;
INSERT INTO seawall.memberships (tenant_id, user_id, role)
    SELECT t.id, u.id, 'owner' FROM seawall.tenants t JOIN seawall.users u ON u.email = t.slug || '@bench.example';
SELECT seawall.audit_append_as(NULL, NULL, NULL, ARRAY['{{"kind": "access.grant", "outcome": "success"}}']);
INSERT INTO seawall.sessions (token_hash, user_id, tenant_id, aal, second_factor_at, epoch, idle_timeout_s, expires_at)
    SELECT sha256(convert_to(t.slug, 'UTF8')), m.user_id, t.id, 2, now(), 1, 86400, now() + interval '1 day'
    FROM seawall.memberships m JOIN seawall.tenants t ON t.id = m.tenant_id;
INSERT INTO app.bench_items (tenant_id, name, amount_minor)
    SELECT t.id, 'item ' || n, n FROM seawall.tenants t, generate_series(1, {rows}) AS n;
INSERT INTO app.bench_open SELECT * FROM app.bench_items;
COMMIT;
ALTER TABLE app.bench_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.bench_items FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON app.bench_items USING (tenant_id = (SELECT seawall.tenant_id()));
GRANT SELECT ON app.bench_items, app.bench_open TO seawall_app;
"""
OPEN = "SELECT tenant_id, id, name, amount_minor FROM app.bench_open WHERE tenant_id = $1 AND id = $2"
WALLED = OPEN.replace("bench_open", "bench_items")


async def measure(scratch: ScratchDatabase) -> dict[str, float]:
    owner, database = scratch.owner, scratch.database
    await owner.execute(PREPARE.format(tenants=MANY, rows=ROWS_EACH))
    await owner.execute("VACUUM ANALYZE")
    found = await owner.fetch(
        "SELECT t.slug, i.tenant_id, i.id FROM app.bench_items i JOIN seawall.tenants t ON t.id = i.tenant_id"
        " WHERE i.amount_minor = 1 ORDER BY t.slug"
    )
    hashes = [hashlib.sha256(row["slug"].encode()).digest() for row in found]
    everybody = list(zip(hashes, [row["tenant_id"] for row in found], [row["id"] for row in found], strict=True))
    choose, loader = random.Random(1), Loader(Item)
    first = await database.admit(everybody[0][0])
    assert first is not None
    tenant, item = everybody[0][1], everybody[0][2]
    bare = await asyncpg.connect(scratch.url("seawall_app"))

    async def unprotected() -> None:
        await bare.execute("BEGIN")
        assert await bare.fetchrow(OPEN, tenant, item)
        await bare.execute("COMMIT")

    async def walled() -> None:
        await bare.execute(f"BEGIN; SET LOCAL seawall.ctx = '{context}'")
        assert await bare.fetchrow(WALLED, tenant, item)
        await bare.execute("COMMIT; RESET ALL")

    def request(people: list[Any]) -> Callable[[], Awaitable[None]]:
        async def one() -> None:
            token_hash, tenant_id, item_id = choose.choice(people)
            principal = await database.admit(token_hash)
            assert principal is not None
            lease = await database.begin(principal)
            assert await loader.load(lease, tenant_id, item_id, lock=False)
            await lease.commit()

        return one

    works = {
        "unprotected": unprotected, "wall": walled, "few": request(everybody[:FEW]), "many": request(everybody),
    }  # fmt: skip
    least = dict.fromkeys(works, float("inf"))
    for number in range(ROUNDS + 1):
        fresh = await database.admit(everybody[0][0])  # a context lives for a minute
        assert fresh is not None
        context = fresh.context
        for name, work in works.items():
            begun = time.perf_counter()
            for _ in range(TIMES):
                await work()
            if number:  # the first round warms caches and statements
                least[name] = min(least[name], (time.perf_counter() - begun) / TIMES * 1e6)
    await bare.close()
    return least


def main() -> None:
    home = Path(os.environ.get("SEAWALL_DATABASE__EMBEDDED_DIRECTORY", "build/test-postgres"))
    least = asyncio.run(_run(home))
    wall, tenants = least["wall"] / least["unprotected"], least["many"] / least["few"]
    print(f"a row in a transaction, unprotected             {least['unprotected']:7.0f} µs")
    print(f"the same under row-level security and context   {least['wall']:7.0f} µs   {wall:.2f}x  aim ≤ {AIM_WALL}")
    print(f"a request's database work, {FEW:6} tenants       {least['few']:7.0f} µs")
    print(f"the same, {MANY:6} tenants          {least['many']:7.0f} µs   {tenants:.2f}x  aim ≤ {AIM_TENANTS}")
    out = Path(__file__).resolve().parent.parent / "build" / "bench" / "tenants.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(least | {"wall_ratio": wall, "tenants_ratio": tenants}, indent=2))


async def _run(home: Path) -> dict[str, float]:
    async with scratch_database(home) as scratch:
        return await measure(scratch)


if __name__ == "__main__":
    main()
