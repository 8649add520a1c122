"""Comparing the app's lists with its decisions, on a scratch database of the embedded server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg

from seawall.access import read_policies
from seawall.access.review.bench import Quiet
from seawall.access.review.differential import Agreement, Scratch, Step, differential, models_of
from seawall.core.errors import Refused
from seawall.development.database import DevelopmentDatabase, development_database
from seawall.modules import import_models
from seawall.settings import SETTINGS_FILE, Settings, load
from seawall.store.database import Database
from seawall.store.lease import Lease
from seawall.store.migrate import AppTables
from seawall.store.models import Tenanted
from seawall.store.roles import APP, IDENTITY

# What rows may hold is not what is compared: a filter has to agree with decisions on every row that a table can have.
LOOSEN = """
DO $$ DECLARE one record; BEGIN
    FOR one IN SELECT conrelid::regclass AS name, conname FROM pg_constraint
        WHERE connamespace = 'app'::regnamespace AND contype IN ('c', 'u', 'x') AND conislocal
          AND conrelid <> 0 AND coninhcount = 0
    LOOP EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I CASCADE', one.name, one.conname); END LOOP;
    FOR one IN SELECT i.indexrelid::regclass AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relnamespace = 'app'::regnamespace AND i.indisunique AND NOT i.indisprimary
          AND NOT c.relispartition
    LOOP EXECUTE format('DROP INDEX %s CASCADE', one.name); END LOOP;
    FOR one IN SELECT a.attrelid::regclass AS name, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
        WHERE c.relnamespace = 'app'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND a.attnum > 0 AND a.attnotnull AND a.attidentity = '' AND NOT a.attisdropped
          AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary
                          AND a.attnum = ANY (i.indkey::int2[]))
    LOOP EXECUTE format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', one.name, one.attname); END LOOP;
END $$
"""


async def agreement(folder: Path, *, decisions: int, seed: int, step: Step) -> Agreement:
    """Compare the lists and the decisions of the app that a policies folder belongs to.

    Whatever keeps it from being tried is the `why` of the answer, and never raised: the rest of the report counts.
    """
    try:
        settings = _settings(folder)
        engine = Quiet(read_policies(folder))
        step("lists and decisions: a scratch database", 0, decisions)
        with development_database(settings, scratch=True) as database:
            async with scratch_of(database, AppTables(settings.root / "migrations", Tenanted.metadata)) as scratch:
                return await differential(engine, models_of(engine), scratch, decisions=decisions, seed=seed, step=step)
    except Refused as refused:
        return Agreement(why=refused.what, seed=seed)
    except Exception as error:
        return Agreement(why=f"the scratch database: {type(error).__name__}: {error}", seed=seed)


def _settings(folder: Path) -> Settings:
    """The settings of the app, whose models are imported.

    Raises:
        Refused: when there is no app, or it cannot be imported.
    """
    root = folder.parent
    if not (root / SETTINGS_FILE).is_file():
        raise Refused(
            f"there is no {SETTINGS_FILE} beside {folder.name}/, so whose tables the policies are about is not known",
            why="lists are compared with decisions on the app's own tables",
            fix="run it in the app's folder, or leave it out with --no-differential",
        )
    settings = load(root)
    import_models(settings)
    return settings


@asynccontextmanager
async def scratch_of(database: DevelopmentDatabase, tables: AppTables) -> AsyncIterator[Scratch]:
    """The app's tables in a scratch database, without what would keep made-up rows out; dropped at the end.

    Raises:
        Refused: when the app's migrations do not run.
    """
    await database.create()
    try:
        await database.migrate(tables)
        owner = await asyncpg.connect(database.owner_url)
        pools = await Database.open(database.url(APP), database.url(IDENTITY), size=2)
        try:
            yield await _opened(owner, pools)
        finally:
            await pools.close()
            await owner.close()
    finally:
        await database.drop()


async def _opened(owner: asyncpg.Connection, pools: Database) -> Scratch:
    await owner.execute(LOOSEN)
    await owner.execute("SET session_replication_role = replica")  # no triggers, no foreign keys
    tenant_id: UUID = await owner.fetchval(
        "INSERT INTO seawall.tenants (slug, name) VALUES ('made-up', 'Made up') RETURNING id"
    )

    @asynccontextmanager
    async def transaction() -> AsyncIterator[Lease]:
        context = await owner.fetchval("SELECT seawall.mint($1, NULL, NULL, 'seed')", tenant_id)
        lease = await pools.begin_with(context)
        try:
            yield lease
        finally:
            await lease.rollback()

    return Scratch(tenant_id, owner, transaction)
