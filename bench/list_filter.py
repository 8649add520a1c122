"""What the policies' filter adds to listing a page of orders: to the query, and to the request's CPU.

    python -m bench.list_filter

A million rows in 40 tenants, row-level security on; managers and an owner. The same page by a WHERE that somebody wrote
by hand, and by the compiled policies; interleaved, and the least of several rounds of each.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from tests.support.access import ADA, Parcel, Venue, engine_for, person
from tests.support.agreement import as_tenant, tables_of
from tests.support.databases import ScratchDatabase

from seawall.access import Engine, Visible
from seawall.core.scope import Membership, Principal
from seawall.store.lease import Lease
from seawall.store.statements import cached

HOME = Path(__file__).resolve().parent.parent / "build" / "test-postgres"
ROUNDS, LISTS = 7, 60
TENANTS, VENUES, ROWS_EACH = 40, 20, 25_000

POLICIES = """
@id("wall.tenant") @title("t") forbid (principal, action, resource)
when { resource has tenant && resource.tenant != principal.tenant };
@id("owner") @title("o") permit (principal in Role::"owner", action == Action::"read", resource is Parcel)
when { resource.status != "cart" };
@id("manager") @title("m") permit (principal, action == Action::"read", resource is Parcel)
when { principal.manager_at.contains(resource.venue) && resource.status != "cart" };
@id("courier") @title("c") permit (principal in Role::"courier", action == Action::"read", resource is Parcel)
when { resource has courier && resource.courier == principal };
"""

FILL_VENUES = """
INSERT INTO app.access_venues (tenant_id, id, name)
SELECT t.id, md5(t.id::text || v)::uuid, 'v' || v FROM seawall.tenants t, generate_series(1, $1) v
"""
FILL_PARCELS = """
INSERT INTO app.access_parcels (tenant_id, venue_id, status, total_minor, currency, rushed, made_at)
SELECT t.id, md5(t.id::text || (1 + n % $1))::uuid, CASE n % 7 WHEN 0 THEN 'cart' ELSE 'paid' END, n, 'USD', false,
       now() - n * interval '1 minute'
FROM seawall.tenants t, generate_series(1, $2) n
"""


class Desk:
    """What a `Visible` needs of a request: a transaction."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease

    async def begin(self) -> Lease:
        return self.lease


async def fill(scratch: ScratchDatabase, tenants: int, rows_each: int) -> UUID:
    """Rows for every tenant; gives the last one."""
    tenant = [await scratch.tenant() for _ in range(tenants)][-1]
    await scratch.owner.execute(FILL_VENUES.replace("$1", str(VENUES)))
    await scratch.owner.execute(FILL_PARCELS.replace("$1", str(VENUES)).replace("$2", str(rows_each)))
    await scratch.owner.execute("CREATE INDEX ON app.access_parcels (tenant_id, made_at DESC)")
    await scratch.owner.execute("CREATE INDEX ON app.access_parcels (tenant_id, venue_id, made_at DESC)")
    await scratch.owner.execute("ANALYZE app.access_parcels; ANALYZE app.access_venues")
    return tenant


async def people(scratch: ScratchDatabase, tenant: UUID) -> dict[str, Principal]:
    venues = [
        row["id"]
        for row in await scratch.owner.fetch("SELECT id FROM app.access_venues WHERE tenant_id = $1 LIMIT 2", tenant)
    ]
    held = {
        "manager of one venue": [Membership("manager", "Venue", venues[0])],
        "manager of two venues": [Membership("manager", "Venue", venue) for venue in venues],
        "owner": [Membership("owner")],
    }
    return {name: person(*memberships, user_id=ADA, tenant_id=tenant) for name, memberships in held.items()}


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        engine = engine_for(Path(folder) / "policies", POLICIES)
        engine.production = True
        async with tables_of(HOME, [Venue, Parcel], Path(folder)) as scratch:
            tenant = await fill(scratch, TENANTS, ROWS_EACH)
            async with as_tenant(scratch, tenant) as lease:
                for name, who in (await people(scratch, tenant)).items():
                    await _beside(engine, lease, name, who)


async def _beside(engine: Engine, lease: Lease, name: str, who: Principal) -> None:
    venues = [m.scope_id for m in who.memberships if m.scope_id]
    loader = engine.loader(Parcel)
    place = (
        [Parcel.venue_id == venues[0]]
        if len(venues) == 1
        else [Parcel.venue_id == sa.any_(sa.literal(venues, ARRAY(sa.Uuid)))]
        if venues
        else []
    )

    async def hand() -> Any:
        query = loader.select().where(loader.tenant_column == who.tenant_id, Parcel.status != "cart", *place)
        by_hand = cached(query.order_by(Parcel.made_at.desc(), Parcel.id.desc()).limit(51))
        return [lease.adopt(one) for one in await loader.fetch(lease, by_hand.sql, by_hand.arguments())]

    async def ours() -> Any:
        visible: Visible[Parcel] = Visible(Desk(lease), who, engine, Parcel, "read")  # type: ignore[arg-type]
        return await visible.page(order_by=Parcel.made_at.desc(), limit=50)

    if [one.id for one in (await hand())[:50]] != [one.id for one in await ours()]:
        raise SystemExit(f"{name}: the two lists differ, so their times mean nothing")
    best = await least(hand, ours)
    for number, what in enumerate(("elapsed", "CPU")):
        hand_ms, ours_ms = best[0][number], best[1][number]
        beside = f"by hand {hand_ms:6.2f}   by policies {ours_ms:6.2f}   added {ours_ms - hand_ms:5.2f} ms"
        print(f"{name:22} {what:8} {beside}")


async def least(*ways: Callable[[], Awaitable[Any]]) -> list[tuple[float, float]]:
    """(wall, CPU) milliseconds of one call of each, the least of the rounds, which take turns."""
    best = [(float("inf"), float("inf"))] * len(ways)
    for _ in range(ROUNDS):
        for number, way in enumerate(ways):
            begun, cpu = time.perf_counter(), time.process_time()
            for _ in range(LISTS):
                await way()
            wall_ms = (time.perf_counter() - begun) / LISTS * 1e3
            cpu_ms = (time.process_time() - cpu) / LISTS * 1e3
            best[number] = min(best[number][0], wall_ms), min(best[number][1], cpu_ms)
    return best


if __name__ == "__main__":
    asyncio.run(main())
