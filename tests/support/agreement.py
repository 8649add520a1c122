"""Scratch databases with the tables of some models, and rows in them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from seawall.store.lease import Lease
from seawall.store.migrate import AppTables
from tests.support.databases import ScratchDatabase, scratch_database


@asynccontextmanager
async def as_tenant(scratch: ScratchDatabase, tenant_id: UUID) -> AsyncIterator[Lease]:
    """A transaction under row-level security, rolled back at its end."""
    context = await scratch.owner.fetchval("SELECT seawall.mint($1, NULL, NULL, 'seed')", tenant_id)
    lease = await scratch.database.begin_with(context)
    try:
        yield lease
    finally:
        await lease.rollback()


async def put(scratch: ScratchDatabase, tenant_id: UUID, rows: Iterable[Any]) -> None:
    """Insert rows as the app would."""
    context = await scratch.owner.fetchval("SELECT seawall.mint($1, NULL, NULL, 'seed')", tenant_id)
    lease = await scratch.database.begin_with(context)
    session = await lease.session()
    for one in rows:
        session.add_all(one if isinstance(one, list) else [one])
        await lease.flush()
    await lease.commit()


@asynccontextmanager
async def tables_of(home: Path, models: Iterable[type[Any]], folder: Path) -> AsyncIterator[ScratchDatabase]:
    """A scratch database with the tables of some models, walled like any app's."""
    async with scratch_database(home, AppTables(migration_of(models, folder))) as scratch:
        yield scratch


def migration_of(models: Iterable[type[Any]], folder: Path) -> Path:
    """A folder of migrations that make the tables of some models."""
    (folder / "migrations").mkdir()
    statements: list[str] = []
    for model in models:
        table: Any = model.__table__  # type: ignore[attr-defined]
        statements.append(str(sa.schema.CreateTable(table).compile(dialect=postgresql.dialect())))
        statements += [str(sa.schema.CreateIndex(one).compile(dialect=postgresql.dialect())) for one in table.indexes]
    lines = ["from alembic import op", 'revision = "0001"', "down_revision = None", f"STATEMENTS = {statements!r}"]
    lines += ["def upgrade():", "    for statement in STATEMENTS:", "        op.execute(statement)"]
    (folder / "migrations" / "0001_tables.py").write_text("\n".join(lines))
    return folder / "migrations"
