"""Bring a database up to date: Seawall's tables and functions, then the app's tables, then the walls around these."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from seawall.core.errors import Refused
from seawall.store.address import sqlalchemy_url
from seawall.store.functions import write_functions
from seawall.store.roles import LOGIN_ROLES, OWNER
from seawall.store.version import require_version
from seawall.store.walls import raise_walls

MIGRATION_LOCK = 7309454
"""Two deployments that migrate at once take turns."""
logging.getLogger("alembic").setLevel(logging.WARNING)  # its progress is not ours
_TREE = Path(__file__).parent / "migrations"


@dataclass(frozen=True)
class AppTables:
    """What an app brings: its revisions and its models' metadata (for `__audited__` tables)."""

    versions: Path
    metadata: MetaData | None = None


async def migrate(url: str, app: AppTables | None = None) -> None:
    """Upgrade the database behind `url`, the migrator's (or a superuser's).

    Raises:
        Refused: PostgreSQL is missing or too old, a role is missing, the role may not become the owner, something of
        the app needs a function that Seawall no longer has, or a table would stand outside the walls.
    """
    engine = create_async_engine(sqlalchemy_url(url), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await _check_version(connection)
            await _check_roles(connection)
            await connection.execute(text(f"SELECT pg_advisory_lock({MIGRATION_LOCK})"))
            await connection.execute(text(f"SET ROLE {OWNER}"))
            await connection.execute(text("CREATE SCHEMA IF NOT EXISTS seawall_meta"))
            # In one transaction with the functions: nobody meets new tables under old functions, or half an upgrade.
            await connection.run_sync(_upgrade, _TREE / "versions", "seawall_revision", None)
            await connection.run_sync(write_functions)
            await connection.commit()
            if app is not None and app.versions.is_dir():
                await connection.execute(text("SET search_path = app"))
                await connection.commit()
                await connection.run_sync(_upgrade, app.versions, "app_revision", app.metadata)
                await connection.run_sync(lambda sync: raise_walls(sync, app.metadata))
                await connection.commit()
    except (OSError, OperationalError, InterfaceError) as error:
        raise Refused(
            f"PostgreSQL does not answer: {type(error).__name__}",
            why="nothing can be isolated without the database",
            fix="check the server and the migrator's URL (SEAWALL_DATABASE__MIGRATOR_URL)",
        ) from None
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, versions: Path, version_table: str, metadata: MetaData | None) -> None:
    command.upgrade(alembic_config(connection, versions, version_table, metadata), "head")


def alembic_config(connection: Connection, versions: Path, version_table: str, metadata: MetaData | None) -> Config:
    """A configuration in memory: apps need no alembic.ini and no env.py of their own."""
    config = Config()
    config.set_main_option("script_location", str(_TREE).replace("%", "%%"))
    config.set_main_option("version_locations", str(versions).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes.update(connection=connection, version_table=version_table, metadata=metadata)
    return config


async def _check_version(connection: AsyncConnection) -> None:
    require_version(int((await connection.execute(text("SHOW server_version_num"))).scalar_one()))


async def _check_roles(connection: AsyncConnection) -> None:
    """A newer Seawall may have a role more, and only a superuser makes roles."""
    there = set((await connection.execute(text("SELECT rolname::text FROM pg_roles"))).scalars())
    missing = [role for role in (OWNER, *LOGIN_ROLES) if role not in there]
    if missing:
        raise Refused(
            f"the database server does not have the role{'s' * (len(missing) > 1)} {', '.join(missing)}",
            why="each role may do one part of the work, so that a break-in at one is not a break-in everywhere",
            fix="run what `seawall migrate --print-roles` prints, once more, as a superuser, and give it a password",
        )
