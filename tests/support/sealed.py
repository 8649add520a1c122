"""A table with sealed columns, people in two tenants, and a process's keyring on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Mapped

from seawall.core.ids import token_hash
from seawall.core.scope import Principal
from seawall.core.vault import Transit
from seawall.privacy.ring import Ring
from seawall.privacy.rotation import Rotation, Step
from seawall.store.lease import Lease
from seawall.store.loader import Loader
from seawall.store.models import Tenanted, object_id
from seawall.store.pool import Pool
from seawall.store.roles import APP, MIGRATOR, OWNER, WORKER
from seawall.store.sealed import Sealed, sealed
from tests.support.databases import ScratchDatabase, scratch_database
from tests.support.transit import MemoryTransit
from tests.support.vaults import ScratchVault


def digits(text: str) -> str:
    """A telephone number's digits alone."""
    return "".join(letter for letter in text if letter.isdigit())


class Guest(Tenanted):
    __tablename__ = "sealed_guests"
    __subject__ = "id"
    id: Mapped[UUID] = object_id()
    room: Mapped[str]
    name: Mapped[Sealed[str]]
    phone: Mapped[Sealed[str] | None] = sealed(find=digits)
    born: Mapped[Sealed[date] | None]
    visits: Mapped[Sealed[int] | None]
    vip: Mapped[Sealed[bool] | None]
    photo: Mapped[Sealed[bytes] | None]
    likes: Mapped[Sealed[dict[str, Any]] | None]


KEYS = (
    "SELECT version, state, wrapped, kek_version, seals FROM seawall.tenant_keys WHERE tenant_id = $1 ORDER BY version"
)

TABLE = """
CREATE TABLE app.sealed_guests (tenant_id uuid NOT NULL DEFAULT seawall.tenant_id(),
    id uuid NOT NULL DEFAULT uuidv7(), room text NOT NULL, name bytea NOT NULL, phone bytea, phone_blind bytea,
    born bytea, visits bytea, vip bytea, photo bytea, likes bytea, PRIMARY KEY (tenant_id, id));
CREATE INDEX ON app.sealed_guests (tenant_id, phone_blind);
ALTER TABLE app.sealed_guests ENABLE ROW LEVEL SECURITY;
ALTER TABLE app.sealed_guests FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_wall ON app.sealed_guests USING (tenant_id = (SELECT seawall.tenant_id()));
GRANT SELECT, INSERT, UPDATE, DELETE ON app.sealed_guests TO seawall_app, seawall_worker;
"""


@dataclass
class Hotel:
    """A scratch database with the table, and everything that a process has to open it."""

    scratch: ScratchDatabase
    transit: Any
    ring: Ring
    alpha: Principal
    beta: Principal

    async def lease(self, who: Principal | None = None) -> Lease:
        return await self.scratch.database.begin(who or self.alpha)

    async def admitted(self, tenant_id: UUID) -> Principal:
        token = await self.scratch.session(await self.scratch.person(tenant_id, "owner"), tenant_id)
        principal = await self.scratch.database.admit(token_hash(token))
        assert principal is not None
        return principal

    async def put(self, who: Principal | None = None, **values: Any) -> UUID:
        """A guest, committed."""
        lease = await self.lease(who)
        guest = Guest(**{"room": "7", "name": "Ada Quill", **values})
        (await lease.session()).add(guest)
        await lease.commit()
        return guest.id

    async def envelope(self, guest: UUID, column: str = "name") -> bytes:
        found: bytes = await self.scratch.owner.fetchval(f"SELECT {column} FROM app.sealed_guests WHERE id = $1", guest)
        return found


@asynccontextmanager
async def hotel(home: Path, transit: Transit | None = None) -> AsyncIterator[Hotel]:
    async with scratch_database(home) as scratch:
        await scratch.owner.execute(TABLE)
        transit = transit or MemoryTransit()
        pool = Pool(scratch.url(APP), size=2, statement_timeout_ms=15_000)
        ring = Ring(pool, transit)
        ring.hearing = True
        scratch.database.use(ring)
        made = Hotel(scratch, transit, ring, None, None)  # type: ignore[arg-type]
        made.alpha, made.beta = [await made.admitted(await scratch.tenant()) for _ in range(2)]
        try:
            yield made
        finally:
            await pool.close()


async def name_of(inn: Hotel, guest: UUID, who: Any = None) -> str:
    lease = await inn.lease(who)
    try:
        found = await Loader(Guest).load(lease, (who or inn.alpha).tenant_id, guest, lock=False)
        assert found is not None
        return found.name
    finally:
        await lease.rollback()


@asynccontextmanager
async def owner_of(inn: Hotel) -> AsyncIterator[Any]:
    connection = await inn.scratch.connect(MIGRATOR)
    try:
        await connection.execute(f"SET ROLE {OWNER}")
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def rotation_of(inn: Hotel, place: ScratchVault) -> AsyncIterator[Rotation]:
    pool = Pool(inn.scratch.url(WORKER), size=2, statement_timeout_ms=15_000)
    try:
        async with inn.scratch.jobs(keyring=Ring(pool, place.app.transit)) as jobs:
            yield Rotation(jobs, place.operator.transit, [Guest])
    finally:
        await pool.close()


async def all_steps(rotation: Rotation) -> list[Step]:
    steps = []
    while (step := await rotation.step()) is not None:
        steps.append(step)
    return steps
