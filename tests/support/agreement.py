"""Does the filter of a list agree with the decision on each row? On a real database, under row-level security."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from seawall.access import Allow, Engine
from seawall.core.scope import Principal
from seawall.store.lease import Lease
from seawall.store.migrate import AppTables
from seawall.store.statements import cached, compiled
from tests.support.databases import ScratchDatabase, scratch_database


@dataclass
class Tally:
    """What was compared, and where the two differ."""

    decisions: int = 0
    allowed: int = 0
    mismatches: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.decisions += other.decisions
        self.allowed += other.allowed
        self.mismatches += other.mismatches


async def compare(engine: Engine, lease: Lease, principal: Principal, model: type[Any], action: str) -> Tally:
    """List as this person, decide on every row of the tenant as this person, and compare."""
    loader, ruling = engine.loader(model), engine.ruling(model, action)
    context = ruling.context.build(principal, {}, step_up=False)
    where = engine.row_filter(model, action).where(engine.known(principal, ruling, context))
    listing = cached(loader.select().where(loader.tenant_column == principal.tenant_id, where))
    listed = {row[0] for row in await _identities(loader, lease, listing)}
    everything = compiled(loader.select())
    rows = await loader.fetch(lease, everything.sql, everything.arguments())
    verdicts = engine.decide_in(context, principal, ruling, rows)
    tally = Tally(len(rows), len(listed))
    for row, verdict in zip(rows, verdicts, strict=True):
        if isinstance(verdict, Allow) != (row.id in listed):
            how = "listed, but denied" if row.id in listed else "allowed, but not listed"
            values = {key: value for key, value in vars(row).items() if not key.startswith("_")}
            tally.mismatches.append(f"{action} {model.__name__} {how}: {verdict} {values} {principal.memberships}")
    return tally


async def _identities(loader: Any, lease: Lease, listing: Any) -> list[tuple[UUID]]:
    return [(found.id,) for found in await loader.fetch(lease, listing.sql, listing.arguments())]


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
    (folder / "migrations").mkdir()
    statements: list[str] = []
    for model in models:
        table: Any = model.__table__  # type: ignore[attr-defined]
        statements.append(str(sa.schema.CreateTable(table).compile(dialect=postgresql.dialect())))
        statements += [str(sa.schema.CreateIndex(one).compile(dialect=postgresql.dialect())) for one in table.indexes]
    lines = ["from alembic import op", 'revision = "0001"', "down_revision = None", f"STATEMENTS = {statements!r}"]
    lines += ["def upgrade():", "    for statement in STATEMENTS:", "        op.execute(statement)"]
    (folder / "migrations" / "0001_tables.py").write_text("\n".join(lines))
    async with scratch_database(home, AppTables(folder / "migrations")) as scratch:
        yield scratch
