"""Databases of development: the app's own, which stays, and scratch ones, which the judge and tests throw away."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from seawall.settings import Settings
from seawall.store.embedded import EmbeddedServer
from seawall.store.migrate import AppTables, migrate
from seawall.store.roles import (
    APP,
    BREAKGLASS,
    DISPATCHER,
    IDENTITY,
    MIGRATOR,
    WORKER,
    database_statements,
    ensure_roles,
)

SCRATCH_PREFIX = "scratch_"


@dataclass(frozen=True)
class DevelopmentDatabase:
    """One database on an embedded server, with an URL for each role."""

    server: EmbeddedServer
    name: str

    @property
    def owner_url(self) -> str:
        """The superuser's: for seeding, and for the judge's look into the catalogue."""
        return self.server.dsn(self.name)

    def url(self, role: str) -> str:
        return self.server.dsn(self.name, role)

    def environment(self) -> dict[str, str]:
        """What the app's process needs to find it; the passwords come from the vault."""
        return {
            f"SEAWALL_DATABASE__{name}": self.server.address(self.name, role)
            for name, role in {
                "URL": APP, "IDENTITY_URL": IDENTITY, "MIGRATOR_URL": MIGRATOR, "WORKER_URL": WORKER,
                "DISPATCHER_URL": DISPATCHER, "BREAK_GLASS_URL": BREAKGLASS,
            }.items()
        }  # fmt: skip

    async def create(self) -> bool:
        """Make roles and database where they are missing. Gives whether the database is new."""
        connection = await asyncpg.connect(self.server.dsn("postgres"))
        try:
            await ensure_roles(connection)
            if await connection.fetchval("SELECT count(*) FROM pg_database WHERE datname = $1", self.name):
                return False
            await _sweep(connection)
            await connection.execute(f'CREATE DATABASE "{self.name}"')
        finally:
            await connection.close()
        connection = await asyncpg.connect(self.owner_url)
        try:
            for statement in database_statements(self.name):
                await connection.execute(statement)
        finally:
            await connection.close()
        return True

    async def migrate(self, app: AppTables | None) -> None:
        await migrate(self.url(MIGRATOR), app)

    async def drop(self) -> None:
        """Drop the database, cutting whoever is still connected."""
        connection = await asyncpg.connect(self.server.dsn("postgres"))
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
        finally:
            await connection.close()


async def _sweep(connection: asyncpg.Connection) -> None:
    """Drop scratch databases whose process died before it could: their names carry its pid."""
    rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE $1", SCRATCH_PREFIX + "%")
    for (name,) in rows:
        pid = name.removeprefix(SCRATCH_PREFIX).partition("_")[0]
        if pid.isdigit() and not process_lives(int(pid)):
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def process_lives(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def embedded_home(settings: Settings) -> Path:
    """Where this app's embedded server keeps its data."""
    return settings.database.embedded_directory or settings.state_directory / "postgres"


@contextmanager
def development_database(settings: Settings, *, scratch: bool) -> Iterator[DevelopmentDatabase]:
    """The app's database on a running embedded server; a scratch one has a name of its own."""
    name = f"{SCRATCH_PREFIX}{os.getpid()}_{secrets.token_hex(4)}" if scratch else settings.database.name
    with EmbeddedServer(embedded_home(settings)) as server:
        yield DevelopmentDatabase(server, name)
