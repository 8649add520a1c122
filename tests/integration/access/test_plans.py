"""The filter keeps the index: a list by policies is planned as one that somebody wrote by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from bench.list_filter import POLICIES, Desk, fill, people
from tests.support.access import Parcel, Venue, engine_for
from tests.support.agreement import as_tenant, tables_of
from tests.support.databases import ScratchDatabase

from seawall.access import Engine, Visible
from seawall.store.statements import cached


@pytest.fixture(scope="module")
async def parcels(embedded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScratchDatabase]:
    async with tables_of(embedded_directory, [Venue, Parcel], tmp_path_factory.mktemp("plans")) as scratch:
        yield scratch


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return engine_for(tmp_path_factory.mktemp("plans") / "policies", POLICIES)


@pytest.mark.parametrize(
    ("who", "index"),
    [
        ("manager of one venue", "(tenant_id, venue_id, made_at DESC)"),
        ("manager of two venues", ""),
        ("owner", "(tenant_id, made_at DESC)"),
    ],
)
async def test_the_index_is_kept(parcels: ScratchDatabase, engine: Engine, who: str, index: str) -> None:
    if not await parcels.owner.fetchval("SELECT count(*) FROM app.access_parcels"):
        await fill(parcels, tenants=5, rows_each=4_000)
    tenant = await parcels.owner.fetchval("SELECT max(tenant_id::text)::uuid FROM app.access_parcels")
    async with as_tenant(parcels, tenant) as lease:
        principal = (await people(parcels, tenant))[who]
        visible: Visible[Parcel] = Visible(Desk(lease), principal, engine, Parcel, "read")  # type: ignore[arg-type]
        query = visible.select().order_by(Parcel.made_at.desc()).limit(51)
        statement = cached(query)
        rows = await lease.fetch(f"EXPLAIN {statement.sql}", *statement.arguments())
        plan = "\n".join(row[0] for row in rows)
    assert "Seq Scan" not in plan, plan
    assert "Index" in plan, plan
    assert "InitPlan" in plan, plan  # the tenant is worked out once a query, not once a row
    if index:
        names = {row["indexdef"]: row["indexname"] for row in await _indexes(parcels)}
        used = next(name for text, name in names.items() if text.endswith(index))
        assert used in plan, plan
        assert "Filter: ((status)::text <> 'cart'::text)" in plan, plan  # all else is the index's, or settled before


async def _indexes(scratch: ScratchDatabase) -> list[Any]:
    return list(
        await scratch.owner.fetch("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'access_parcels'")
    )
