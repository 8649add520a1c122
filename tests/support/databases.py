"""Scratch databases for tests, migrated, with helpers to put a person and a session in."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from seawall.core.ids import new_token, token_hash
from seawall.core.scope import Principal
from seawall.core.sealing import Keyring
from seawall.development.database import DevelopmentDatabase
from seawall.store.database import Database
from seawall.store.embedded import EmbeddedServer
from seawall.store.jobs import Jobs
from seawall.store.migrate import AppTables
from seawall.store.pool import Pool
from seawall.store.roles import APP, DISPATCHER, IDENTITY, WORKER, database_statements


@dataclass
class ScratchDatabase:
    """A database of one test. `owner` is a superuser's connection; `database` the app's own pools."""

    development: DevelopmentDatabase
    owner: asyncpg.Connection
    database: Database

    def url(self, role: str) -> str:
        return self.development.url(role)

    async def connect(self, role: str) -> asyncpg.Connection:
        """A connection of its own as a role; close it yourself."""
        return await asyncpg.connect(self.url(role))

    @asynccontextmanager
    async def jobs(self, *, size: int = 2, keyring: Keyring | None = None) -> AsyncIterator[Jobs]:
        """Who claims jobs, and who does them."""
        claims, works = (Pool(self.url(role), size=size, statement_timeout_ms=15_000) for role in (DISPATCHER, WORKER))
        works.keyring = keyring
        try:
            yield Jobs(dispatcher=claims, worker=works)
        finally:
            await works.close()
            await claims.close()

    async def tenant(self, slug: str = "") -> UUID:
        slug = slug or f"t{secrets.token_hex(6)}"
        return await self.owner.fetchval("INSERT INTO seawall.tenants (slug, name) VALUES ($1, $1) RETURNING id", slug)

    async def person(
        self, tenant_id: UUID, role: str, scope_type: str | None = None, scope_id: UUID | None = None, email: str = ""
    ) -> UUID:
        """A user with one membership (and its audit event, without which the database refuses it)."""
        email = email or f"{secrets.token_hex(6)}@people.example"
        async with self.owner.transaction():
            user_id = await self.owner.fetchval(
                "INSERT INTO seawall.users (email, name) VALUES ($1, $1) RETURNING id", email
            )
            await self.owner.execute(
                "INSERT INTO seawall.memberships (tenant_id, user_id, role, scope_type, scope_id)"
                " VALUES ($1, $2, $3, $4, $5)",
                tenant_id, user_id, role, scope_type, scope_id,
            )  # fmt: skip
            await self.owner.execute(
                "SELECT seawall.audit_append_as($1, NULL, NULL, $2)",
                tenant_id,
                ['{"kind":"access.grant","outcome":"success"}'],
            )
        return user_id

    async def session(self, user_id: UUID, tenant_id: UUID, **columns: Any) -> str:
        """A live session with both factors proved, so that any role may act in it; gives its token."""
        token = new_token()
        values = {"idle_timeout_s": 1800, "aal": 2, **columns}
        names = ", ".join(values)
        places = ", ".join(f"${n}" for n in range(4, 4 + len(values)))
        await self.owner.execute(
            f"INSERT INTO seawall.sessions (token_hash, user_id, tenant_id, epoch, expires_at, {names})"
            " VALUES ($1, $2, $3, (SELECT epoch FROM seawall.users WHERE id = $2), now() + interval '1 hour',"
            f" {places})",
            token_hash(token), user_id, tenant_id, *values.values(),
        )  # fmt: skip
        return token

    async def approval(self, principal: Principal, action: str) -> bytes:
        """A step-up that a person has approved and not used yet; gives its digest for `seawall.consume_approval`."""
        digest = secrets.token_bytes(32)
        who = (principal.session_id, principal.user_id, principal.tenant_id, digest)
        challenge = await self.owner.fetchval(
            "INSERT INTO seawall.step_up_challenges (session_id, user_id, tenant_id, digest, action, resource, acr,"
            " max_age_s, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, '', 'aal2', 300, now() + interval '1 hour') RETURNING id",
            *who, action,
        )  # fmt: skip
        await self.owner.execute(
            "INSERT INTO seawall.step_up_approvals (session_id, user_id, tenant_id, digest, challenge_id, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, now() + interval '5 minutes')",
            *who, challenge,
        )  # fmt: skip
        return digest


@asynccontextmanager
async def scratch_database(home: Path, app: AppTables | None = None) -> AsyncIterator[ScratchDatabase]:
    """A new, migrated database on the embedded server in `home`; dropped afterwards.

    Without an app's tables it is copied from a template that this process migrated once.
    """
    with EmbeddedServer(home) as server:
        development = DevelopmentDatabase(server, new_name())
        if app is None:
            await _copy(server, await _template(server), development.name)
        else:
            await _relax(server)
            await development.create()
        try:
            if app is not None:
                await development.migrate(app)
            owner = await asyncpg.connect(development.owner_url)
            database = await Database.open(development.url(APP), development.url(IDENTITY), size=4)
            try:
                yield ScratchDatabase(development, owner, database)
            finally:
                await database.close()
                await owner.close()
        finally:
            await development.drop()


def new_name() -> str:
    return f"scratch_{os.getpid()}_{secrets.token_hex(4)}"  # the pid lets a later run sweep what a killed one left


_templates: dict[Path, str] = {}


async def _template(server: EmbeddedServer) -> str:
    if server.home not in _templates:
        await _relax(server)
        made = DevelopmentDatabase(server, new_name())
        await made.create()
        await made.migrate(None)
        _templates[server.home] = made.name
    return _templates[server.home]


async def _relax(server: EmbeddedServer) -> None:
    """Tests do not need their data to survive a power cut."""
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            await connection.execute(f"ALTER SYSTEM SET {setting} = off")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


async def _copy(server: EmbeddedServer, template: str, name: str) -> None:
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    finally:
        await connection.close()
    copy = DevelopmentDatabase(server, name)
    connection = await asyncpg.connect(copy.owner_url)
    try:
        for statement in database_statements(name):  # rights on a database are not copied with it
            await connection.execute(statement)
    finally:
        await connection.close()
