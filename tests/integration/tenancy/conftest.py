"""A small shop on a real database: venues, audited orders, tenants with people in them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from tests.support.databases import ScratchDatabase, scratch_database

from seawall.core.ids import token_hash
from seawall.store.migrate import AppTables

REVISION = '''
from alembic import op
revision = "1"
down_revision = None
branch_labels = None
depends_on = None

def upgrade():
    for statement in """
        CREATE TABLE app.venues (tenant_id uuid NOT NULL, id uuid NOT NULL DEFAULT uuidv7(), name text NOT NULL,
                                 PRIMARY KEY (tenant_id, id));
        CREATE TABLE app.orders (tenant_id uuid NOT NULL, id uuid NOT NULL DEFAULT uuidv7(), venue_id uuid NOT NULL,
                                 note text NOT NULL, PRIMARY KEY (tenant_id, id),
                                 FOREIGN KEY (tenant_id, venue_id) REFERENCES app.venues (tenant_id, id));
        CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON app.orders
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('shop.order')
        """.split(";"):
        op.execute(statement)
'''


@pytest.fixture(scope="module")
async def shop(embedded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScratchDatabase]:
    versions = tmp_path_factory.mktemp("migrations")
    (versions / "0001.py").write_text(REVISION)
    async with scratch_database(embedded_directory, AppTables(versions)) as database:
        yield database


class Group:
    """A tenant with a member, rows and a live session."""

    def __init__(self, shop: ScratchDatabase, slug: str, tenant: UUID, user: UUID, token: str) -> None:
        self.shop, self.slug, self.tenant, self.user, self.token = shop, slug, tenant, user, token

    @classmethod
    async def made(cls, shop: ScratchDatabase, orders: int = 40) -> Group:
        slug = f"g{secrets.token_hex(6)}"
        tenant = await shop.tenant(slug)
        user = await shop.person(tenant, "owner")
        group = cls(shop, slug, tenant, user, await shop.session(user, tenant))
        await group.add(orders)
        return group

    async def add(self, count: int = 1) -> None:
        principal = await self.shop.database.admit(token_hash(self.token))
        if principal is None:
            raise PermissionError("not admitted")
        lease = await self.shop.database.begin(principal)
        try:
            [venue] = await lease.fetch("INSERT INTO app.venues (name) VALUES ($1) RETURNING id", f"of {self.tenant}")
            await lease.fetch(
                "INSERT INTO app.orders (venue_id, note) SELECT $1, $2 FROM generate_series(1, $3::int)",
                venue["id"], f"note of {self.tenant}", count,
            )  # fmt: skip
            await lease.fetchrow("SELECT seawall.audit_append($1)", ['{"kind": "shop.order", "outcome": "success"}'])
            await lease.commit()
        except BaseException:
            await lease.rollback()
            raise

    async def rows(self) -> int:
        return await self.shop.owner.fetchval(
            "SELECT (SELECT count(*) FROM app.orders WHERE tenant_id = $1)"
            " + (SELECT count(*) FROM app.venues WHERE tenant_id = $1)",
            self.tenant,
        )
