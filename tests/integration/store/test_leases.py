"""A pooled connection serves one tenant after the other: nothing of one transaction reaches into the next."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import MetaData
from tests.support.databases import ScratchDatabase, scratch_database

from seawall.core.ids import token_hash
from seawall.store.database import Database
from seawall.store.lease import Lease
from seawall.store.migrate import AppTables
from seawall.store.roles import APP, IDENTITY

REVISION = """
from alembic import op
revision = "0001"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE app.notes (tenant_id uuid NOT NULL, id uuid NOT NULL DEFAULT uuidv7(), text text NOT NULL,"
               " PRIMARY KEY (tenant_id, id))")
"""
READ = "SELECT text FROM app.notes"


class Two:
    """Two tenants with a note each, and one connection that they share."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tokens: dict[str, str] = {}

    async def begun(self, name: str) -> Lease:
        principal = await self.database.admit(token_hash(self.tokens[name]))
        assert principal is not None
        return await self.database.begin(principal)


@pytest.fixture
async def two(embedded_directory: Path, tmp_path: Path) -> AsyncIterator[Two]:
    (tmp_path / "0001_notes.py").write_text(textwrap.dedent(REVISION))
    async with scratch_database(embedded_directory, AppTables(tmp_path, MetaData())) as scratch:
        database = await Database.open(scratch.url(APP), scratch.url(IDENTITY), size=1)
        both = Two(database)
        for name in ("mine", "theirs"):
            both.tokens[name] = await _filled(scratch, name)
        yield both
        await database.close()


async def _filled(scratch: ScratchDatabase, text: str) -> str:
    tenant = await scratch.tenant()
    await scratch.owner.execute("INSERT INTO app.notes (tenant_id, text) VALUES ($1, $2)", tenant, text)
    return await scratch.session(await scratch.person(tenant, "owner"), tenant)


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_who_comes_after_the_answer_reads_nobodys_rows(two: Two, end: str) -> None:
    """A background task or the body of a stream that still holds what its request had."""
    ended = await two.begun("mine")
    session = await ended.session()
    assert list(await session.scalars(sa.text(READ))) == ["mine"]
    await getattr(ended, end)()
    other = await two.begun("theirs")

    async def afterwards() -> list[object]:
        ways = (
            ended.fetch(READ), ended.fetchrow(READ), ended.session(), session.scalars(sa.text(READ)),
            ended.fetch("INSERT INTO app.notes (text) VALUES ('planted')"),
        )  # fmt: skip
        return [*await asyncio.gather(*ways, return_exceptions=True)]

    found = await afterwards()
    assert all(isinstance(one, RuntimeError | sa.exc.StatementError) for one in found), found
    with pytest.raises(RuntimeError, match="ended"):
        _ = ended.connection
    assert [row["text"] for row in await other.fetch(READ)] == ["theirs"]
    await other.commit()


async def test_a_cursor_that_holds_rows_ends_with_its_transaction(two: Two) -> None:
    lease = await two.begun("theirs")
    await lease.fetch(f"DECLARE kept CURSOR WITH HOLD FOR {READ}")
    await lease.commit()
    lease = await two.begun("mine")
    with pytest.raises(asyncpg.InvalidCursorNameError):
        await lease.fetch("FETCH ALL FROM kept")
    await lease.rollback()


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_a_statement_prepared_by_injection_serves_nobody_else(two: Two, end: str) -> None:
    """Text in a command takes several statements: one makes the next person's admission into the attacker's own."""
    lease = await two.begun("mine")
    mine = (await lease.fetch("SELECT seawall.tenant_id() AS id"))[0]["id"]
    found = await lease.fetch("SELECT name, statement FROM pg_prepared_statements")
    [admission] = [row["name"] for row in found if "seawall.admit(" in row["statement"]]
    injected = (
        f'\'; DEALLOCATE "{admission}"; PREPARE "{admission}" (bytea, bytea) AS SELECT a.user_id, a.tenant_id,'
        " a.session_id, a.aal, a.authenticated_at, a.second_factor_at, ARRAY['owner'] AS memberships, a.context,"
        " a.origin, a.strayed, a.away_network, a.away_at"
        f" FROM seawall.admit('\\x{token_hash(two.tokens['mine']).hex()}', $2) a; --"
    )
    await lease.connection.execute(f"UPDATE app.notes SET text = text WHERE text = '{injected}'")
    await getattr(lease, end)()
    admitted = await two.database.admit(token_hash(two.tokens["theirs"]))
    assert admitted is not None
    assert admitted.tenant_id != mine
