"""Migrations wall tables by themselves, and refuse what cannot be walled; models carry the tenant in every key."""

from __future__ import annotations

import textwrap
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import ForeignKey, MetaData
from sqlalchemy.orm import Mapped, mapped_column
from tests.support.databases import ScratchDatabase, scratch_database

from seawall.core.errors import Refused
from seawall.core.ids import token_hash
from seawall.store.migrate import AppTables
from seawall.store.models import Tenanted, object_id, refers_to

GOOD = """
op.create_table("things",
    sa.Column("tenant_id", sa.Uuid, nullable=False), sa.Column("id", sa.Uuid, server_default=sa.text("uuidv7()")),
    sa.Column("name", sa.Text), sa.PrimaryKeyConstraint("tenant_id", "id"))
"""


def _revision(folder: Path, body: str) -> AppTables:
    folder.mkdir(exist_ok=True)
    (folder / "0001_first.py").write_text(
        "import sqlalchemy as sa\nfrom alembic import op\n"
        "revision = '0001'\ndown_revision = None\n\n\ndef upgrade():\n" + textwrap.indent(textwrap.dedent(body), "    ")
    )
    return AppTables(folder, MetaData())


async def test_a_migrated_table_is_walled_without_asking(embedded_directory: Path, tmp_path: Path) -> None:
    async with scratch_database(embedded_directory, _revision(tmp_path / "migrations", GOOD)) as scratch:
        alpha, beta = await scratch.tenant(), await scratch.tenant()
        for tenant, name in ((alpha, "ours"), (beta, "theirs")):
            lease = await _lease(scratch, tenant)
            await lease.fetchrow("INSERT INTO app.things (name) VALUES ($1)", name)
            await lease.commit()
        lease = await _lease(scratch, alpha)
        assert [row["name"] for row in await lease.fetch("SELECT name FROM app.things")] == ["ours"]
        assert await lease.fetch("UPDATE app.things SET name = 'x' WHERE name = 'theirs' RETURNING 1") == []
        assert await lease.fetch("DELETE FROM app.things WHERE name = 'theirs' RETURNING 1") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await lease.fetchrow("INSERT INTO app.things (tenant_id, name) VALUES ($1, 'planted')", beta)
        await lease.rollback()
        async with scratch.database.as_app() as connection:
            assert await connection.fetch("SELECT * FROM app.things") == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('op.create_table("loose", sa.Column("id", sa.Uuid, primary_key=True))', "has no tenant_id"),
        (
            'op.create_table("loose", sa.Column("tenant_id", sa.Uuid, nullable=False),'
            ' sa.Column("id", sa.Uuid, primary_key=True))',
            "without tenant_id",
        ),
        (GOOD + 'op.execute("CREATE POLICY open ON things USING (true)")', "not the canonical one"),
        (GOOD + 'op.create_unique_constraint("u", "things", ["name"])', "without tenant_id"),
        (GOOD + 'op.execute("CREATE UNIQUE INDEX u ON things (name) INCLUDE (tenant_id)")', "without tenant_id"),
        (GOOD + 'op.execute("ALTER TABLE things ADD CONSTRAINT u EXCLUDE (name WITH =)")', "without tenant_id"),
    ],
)
async def test_what_cannot_be_walled_is_not_migrated(
    embedded_directory: Path, tmp_path: Path, body: str, said: str
) -> None:
    with pytest.raises(Refused, match=said):
        async with scratch_database(embedded_directory, _revision(tmp_path / "migrations", body)):
            pass


async def test_migrating_again_changes_nothing(embedded_directory: Path, tmp_path: Path) -> None:
    app = _revision(tmp_path / "migrations", GOOD)
    async with scratch_database(embedded_directory, app) as scratch:
        await scratch.development.migrate(app)
        policies = await scratch.owner.fetch("SELECT policyname FROM pg_policies WHERE schemaname = 'app' ORDER BY 1")
        assert [row[0] for row in policies] == ["break_glass_wall", "break_glass_witness", "tenant_wall"]


async def _lease(scratch: ScratchDatabase, tenant: UUID):
    user = await scratch.person(tenant, "owner")
    principal = await scratch.database.admit(token_hash(await scratch.session(user, tenant)))
    assert principal is not None
    return await scratch.database.begin(principal)


def test_a_model_carries_the_tenant_in_every_key() -> None:
    class Shelf(Tenanted):
        __tablename__ = "shelves"
        id: Mapped[UUID] = object_id()

    class Book(Tenanted):
        __tablename__ = "books"
        __audited__ = "library.lend"
        id: Mapped[UUID] = object_id()
        shelf_id: Mapped[UUID] = refers_to("shelves")

    table = Book.__table__
    assert [column.name for column in table.primary_key] == ["tenant_id", "id"]
    [constraint] = table.foreign_key_constraints
    assert [element.target_fullname for element in constraint.elements] == ["app.shelves.tenant_id", "app.shelves.id"]
    assert table.info["audited"] == "library.lend"
    assert next(iter(Shelf.__table__.columns)).name == "tenant_id"


def test_a_plain_foreign_key_is_refused() -> None:
    with pytest.raises(Refused, match="plain ForeignKey"):

        class Loose(Tenanted):
            __tablename__ = "loose_links"
            id: Mapped[UUID] = object_id()
            shelf_id: Mapped[UUID] = mapped_column(ForeignKey("app.shelves.id"))
