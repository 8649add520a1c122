"""Raw SQL and the ORM on one transaction see the same rows, as the same objects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Mapped
from tests.support.databases import ScratchDatabase, scratch_database

from seawall.core.ids import token_hash
from seawall.store.lease import Lease
from seawall.store.models import Tenanted, object_id
from seawall.store.prepared import prepared


class Shelf(Tenanted):
    __tablename__ = "prepared_shelves"
    id: Mapped[UUID] = object_id()
    room: Mapped[str]
    name: Mapped[str]


IN_ROOM = prepared(Shelf, Shelf.room == bindparam("room"), order_by=Shelf.name)
TABLE = """
CREATE TABLE app.prepared_shelves (tenant_id uuid NOT NULL DEFAULT seawall.tenant_id(),
    id uuid NOT NULL DEFAULT uuidv7(), room text NOT NULL, name text NOT NULL, PRIMARY KEY (tenant_id, id));
ALTER TABLE app.prepared_shelves ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.prepared_shelves FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON app.prepared_shelves USING (tenant_id = (SELECT seawall.tenant_id()));
GRANT SELECT, INSERT, UPDATE, DELETE ON app.prepared_shelves TO seawall_app;
"""


@pytest.fixture(scope="module")
async def shelves(embedded_directory: Path) -> AsyncIterator[ScratchDatabase]:
    async with scratch_database(embedded_directory) as scratch:
        await scratch.owner.execute(TABLE)
        yield scratch


async def _lease(scratch: ScratchDatabase, names: tuple[str, ...] = ()) -> tuple[Lease, UUID]:
    tenant = await scratch.tenant()
    user = await scratch.person(tenant, "owner")
    token = await scratch.session(user, tenant)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    lease = await scratch.database.begin(principal)
    for name in names:
        await lease.fetchrow("INSERT INTO app.prepared_shelves (room, name) VALUES ('hall', $1)", name)
    return lease, tenant


async def test_rows_of_the_tenant_in_order(shelves: ScratchDatabase) -> None:
    other, _ = await _lease(shelves, ("theirs",))
    await other.commit()
    lease, tenant = await _lease(shelves, ("b", "a"))
    found = await IN_ROOM.run(lease, {"room": "hall"})
    assert [(shelf.name, shelf.tenant_id) for shelf in found] == [("a", tenant), ("b", tenant)]
    assert await IN_ROOM.run(lease, {"room": "' OR true --"}) == []
    with pytest.raises(KeyError):
        await IN_ROOM.run(lease, {})
    await lease.rollback()


async def test_a_change_to_such_a_row_is_written_without_asking_for_the_session(shelves: ScratchDatabase) -> None:
    lease, _ = await _lease(shelves, ("a",))
    [shelf] = await IN_ROOM.run(lease, {"room": "hall"})
    shelf.name = "renamed"
    await lease.commit()
    assert await shelves.owner.fetchval("SELECT count(*) FROM app.prepared_shelves WHERE name = 'renamed'") == 1


@pytest.mark.parametrize("open_first", [True, False])
async def test_raw_rows_and_orm_rows_are_the_same_objects(shelves: ScratchDatabase, open_first: bool) -> None:
    lease, _ = await _lease(shelves, ("a",))
    if open_first:
        await lease.session()
    [raw] = await IN_ROOM.run(lease, {"room": "hall"})
    [again] = await IN_ROOM.run(lease, {"room": "hall"})
    session = await lease.session()
    [loaded] = await session.scalars(select(Shelf).where(Shelf.id == raw.id))
    [after] = await IN_ROOM.run(lease, {"room": "hall"})
    assert raw is again is loaded is after
    await lease.rollback()


async def test_raw_sql_sees_what_the_orm_has_pending(shelves: ScratchDatabase) -> None:
    lease, _ = await _lease(shelves)
    session = await lease.session()
    session.add(Shelf(room="hall", name="new"))
    assert [shelf.name for shelf in await IN_ROOM.run(lease, {"room": "hall"})] == ["new"]
    assert (await lease.fetchrow("SELECT count(*) AS n FROM app.prepared_shelves"))["n"] == 1
    await lease.rollback()
