"""access on the real database: the whole wall, real sessions, and row-level security under the policies."""

# No `from __future__ import annotations`: routes are annotated with local values.

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import inspect, select
from tests.support.access import Parcel, Venue, write_policies
from tests.support.databases import ScratchDatabase, scratch_database

from seawall import Seawall
from seawall.access import Body, Scope, Visible, may, may_list
from seawall.core.scope import Tenant
from seawall.settings import DatabaseSection, Settings
from seawall.store.migrate import AppTables
from seawall.store.roles import APP, IDENTITY

REVISION = '''
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE app.access_venues (
            tenant_id uuid NOT NULL DEFAULT seawall.tenant_id(), id uuid NOT NULL DEFAULT uuidv7(),
            name text NOT NULL, PRIMARY KEY (tenant_id, id))
    """)
    op.execute("""
        CREATE TABLE app.access_parcels (
            tenant_id uuid NOT NULL DEFAULT seawall.tenant_id(), id uuid NOT NULL DEFAULT uuidv7(),
            venue_id uuid NOT NULL, status text NOT NULL, total_minor bigint NOT NULL, currency text NOT NULL,
            courier_id uuid, rushed boolean NOT NULL DEFAULT false, made_at timestamptz NOT NULL DEFAULT now(),
            weight_kg numeric(10, 3), notes jsonb NOT NULL DEFAULT '{}', card_last4 text,
            PRIMARY KEY (tenant_id, id),
            FOREIGN KEY (tenant_id, venue_id) REFERENCES app.access_venues (tenant_id, id))
    """)
    op.execute("CREATE INDEX ON app.access_parcels (tenant_id, venue_id)")
'''


NEW_VENUE = "INSERT INTO app.access_venues (tenant_id, name) VALUES ($1, $2) RETURNING id"
NEW_PARCEL = """
INSERT INTO app.access_parcels
    (tenant_id, venue_id, status, total_minor, currency, courier_id, notes, weight_kg)
VALUES ($1, $2, 'paid', $3, 'USD', $4, '{"n": [1]}', 1.5) RETURNING id
"""


class RefundIn(Body):
    amount_minor: int
    currency: str = "USD"


async def refunded(parcel: Parcel, body: RefundIn, scope: Any) -> dict[str, int]:
    transaction = await scope.transaction()
    sql = "SELECT coalesce(notes->>'refunded', '0')::bigint AS sum FROM app.access_parcels WHERE id = $1"
    row = await transaction.fetchrow(sql, parcel.id)
    return {"refunded_minor": row["sum"]}


def shop(settings: Settings) -> FastAPI:
    app = FastAPI()
    Seawall(app, settings=settings)

    @app.get("/parcels/{parcel_id}")
    async def read(parcel: Annotated[Parcel, may(Parcel, "read")]) -> dict[str, Any]:
        return {
            "id": parcel.id, "total": parcel.total_minor, "notes": parcel.notes, "weight": str(parcel.weight_kg),
            "year": parcel.made_at.year, "loaded": inspect(parcel).key is not None,
        }  # fmt: skip

    @app.post("/parcels/{parcel_id}/refunds")
    async def refund(
        parcel: Annotated[Parcel, may(Parcel, "refund", context=RefundIn, facts=refunded)], body: RefundIn, scope: Scope
    ) -> dict[str, Any]:
        session = await scope.session()
        assert parcel in session
        same = (await session.execute(select(Parcel).where(Parcel.id == parcel.id))).scalar_one()
        assert same is parcel
        await asyncio.sleep(0.05)
        parcel.notes = {"refunded": parcel.notes.get("refunded", 0) + body.amount_minor}
        return {"refunded": parcel.notes["refunded"]}

    @app.get("/parcels")
    async def parcels(visible: Annotated[Visible[Parcel], may_list(Parcel, "read")], scope: Scope) -> list[UUID]:
        found = await visible.all(
            Parcel.status.in_(["paid", "new"]), Parcel.total_minor >= 0, order_by=Parcel.total_minor.desc()
        )
        session = await scope.session()
        assert all(one in session for one in found)
        return [one.id for one in found]

    @app.get("/team")
    async def team(tenant: Annotated[Tenant, may(Tenant, "manage_team")]) -> UUID:
        return tenant.id

    return app


class Shop:
    """Two tenants with two venues each, the same people in both, and parcels."""

    def __init__(self, scratch: ScratchDatabase, client: httpx2.AsyncClient) -> None:
        self.scratch = scratch
        self.client = client
        self.tenants: list[UUID] = []
        self.venues: dict[UUID, list[UUID]] = {}
        self.parcels: dict[UUID, list[UUID]] = {}
        self.tokens: dict[tuple[int, str], str] = {}

    async def fill(self) -> None:
        owner = self.scratch.owner
        for number in range(2):
            tenant = await self.scratch.tenant()
            self.tenants.append(tenant)
            self.venues[tenant] = [await owner.fetchval(NEW_VENUE, tenant, name) for name in ("north", "south")]
            north = self.venues[tenant][0]
            courier = await self.scratch.person(tenant, "courier")
            people = {
                "manager": await self.scratch.person(tenant, "manager", "Venue", north),
                "courier": courier,
                "owner": await self.scratch.person(tenant, "owner"),
            }
            for name, user in people.items():
                self.tokens[number, name] = await self.scratch.session(user, tenant)
            self.parcels[tenant] = [
                await owner.fetchval(NEW_PARCEL, tenant, venue, 50_000 + step, courier if step == 0 else None)
                for step, venue in enumerate([north, north, self.venues[tenant][1]])
            ]

    async def ask(self, who: tuple[int, str], method: str, path: str, **more: Any) -> httpx2.Response:
        headers = {"Cookie": f"__Host-sw_sid={self.tokens[who]}", "Origin": "https://shop.localhost"}
        return await self.client.request(method, path, headers=headers, **more)


@pytest.fixture
async def scene(embedded_directory: Path, tmp_path: Path) -> AsyncIterator[Shop]:
    write_policies(tmp_path / "policies")
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_parcels.py").write_text(REVISION)
    metadata = Parcel.metadata
    assert {Parcel.__table__, Venue.__table__} <= set(metadata.tables.values())
    async with scratch_database(embedded_directory, AppTables(tmp_path / "migrations", metadata)) as scratch:
        database = DatabaseSection(url=SecretStr(scratch.url(APP)), identity_url=SecretStr(scratch.url(IDENTITY)))
        app = shop(Settings(root=tmp_path, database=database))
        transport = httpx2.ASGITransport(app=app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="https://shop.localhost") as client,
        ):
            scene = Shop(scratch, client)
            await scene.fill()
            yield scene


async def test_own_objects_and_nobody_elses(scene: Shop) -> None:
    alpha, beta = scene.tenants
    read = await scene.ask((0, "manager"), "GET", f"/parcels/{scene.parcels[alpha][0]}")
    assert read.status_code == 200, read.text
    assert read.json() == {
        "id": str(scene.parcels[alpha][0]), "total": 50_000, "notes": {"n": [1]}, "weight": "1.500", "year": 2026,
        "loaded": True,
    }  # fmt: skip
    for who, tenant, statuses in (
        ((0, "manager"), alpha, [200, 200, 404]),
        ((0, "courier"), alpha, [200, 404, 404]),
        ((0, "owner"), alpha, [404, 404, 404]),
        ((0, "manager"), beta, [404, 404, 404]),
        ((1, "manager"), alpha, [404, 404, 404]),
    ):
        got = [(await scene.ask(who, "GET", f"/parcels/{one}")).status_code for one in scene.parcels[tenant]]
        assert (who, got) == (who, statuses)


async def test_lists(scene: Shop) -> None:
    alpha = scene.tenants[0]
    listed = (await scene.ask((0, "manager"), "GET", "/parcels")).json()
    assert listed == [str(one) for one in reversed(scene.parcels[alpha][:2])]
    assert (await scene.ask((0, "courier"), "GET", "/parcels")).json() == [str(scene.parcels[alpha][0])]
    assert (await scene.ask((0, "owner"), "GET", "/parcels")).json() == []


async def test_the_own_tenant(scene: Shop) -> None:
    assert (await scene.ask((0, "owner"), "GET", "/team")).json() == str(scene.tenants[0])
    assert (await scene.ask((0, "manager"), "GET", "/team")).status_code == 403


async def test_concurrent_refunds_cannot_dodge_the_limit(scene: Shop) -> None:
    """Five at once of 40.00 under a limit of 100.00: the row lock makes each see what those before it did."""
    path = f"/parcels/{scene.parcels[scene.tenants[0]][0]}/refunds"
    answers = await asyncio.gather(
        *(scene.ask((0, "manager"), "POST", path, json={"amount_minor": 4_000}) for _ in range(5))
    )
    assert sorted(a.status_code for a in answers) == [200, 200, 401, 401, 401], [a.text for a in answers]
    notes = await scene.scratch.owner.fetchval(
        "SELECT notes->>'refunded' FROM app.access_parcels WHERE id = $1", scene.parcels[scene.tenants[0]][0]
    )
    assert notes == "8000"


async def test_every_decision_is_in_the_log(scene: Shop) -> None:
    parcel = scene.parcels[scene.tenants[0]][0]
    await scene.ask((0, "manager"), "POST", f"/parcels/{parcel}/refunds", json={"amount_minor": 1})
    await scene.ask((0, "manager"), "GET", f"/parcels/{parcel}")
    await scene.ask((1, "manager"), "GET", f"/parcels/{parcel}")
    await asyncio.sleep(1.2)  # ordinary reads are recorded in batches of at most a second
    rows = await scene.scratch.owner.fetch(
        "SELECT body->>'action' AS action, body->>'effect' AS effect, coalesce(body->>'reason', '') AS reason,"
        " body->>'resource' AS resource FROM seawall.audit_events WHERE kind = 'access.decision'"
    )
    found = {(r["action"], r["effect"], r["reason"]) for r in rows if r["resource"] == f'Parcel::"{parcel}"'}
    assert found == {("refund", "allow", ""), ("read", "allow", ""), ("read", "deny", "absent")}
