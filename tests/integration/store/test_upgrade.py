"""A database that was in use is upgraded with its rows in it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.support.databases import ScratchDatabase, new_name

from seawall.development.database import DevelopmentDatabase
from seawall.store import migrate
from seawall.store.embedded import EmbeddedServer


@pytest.fixture
async def older(
    embedded_directory: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[ScratchDatabase]:
    """A database at the revision before the one that is asked for."""
    upgrade = migrate.command.upgrade
    with EmbeddedServer(embedded_directory) as server:
        development = DevelopmentDatabase(server, new_name())
        await development.create()
        try:
            with monkeypatch.context() as patch:
                patch.setattr(migrate.command, "upgrade", lambda config, _: upgrade(config, request.param))
                await development.migrate(None)
            owner = await asyncpg.connect(development.owner_url)
            try:
                none: Any = None
                yield ScratchDatabase(development, owner, none)
            finally:
                await owner.close()
        finally:
            await development.drop()


@pytest.mark.parametrize("older", ["0009"], indirect=True)
async def test_grants_of_before_have_a_name_for_their_person(older: ScratchDatabase) -> None:
    tenant = await older.tenant()
    people = [await older.person(tenant, "clerk") for _ in range(2)]
    for person in people:
        for client in ("cli", "night_reports"):
            token = await older.session(person, tenant, kind="client", client_id=client)
            assert token
    await older.owner.execute("INSERT INTO seawall.client_grants (id) SELECT id FROM seawall.sessions")
    await older.development.migrate(None)
    rows = await older.owner.fetch("SELECT id, subject FROM seawall.client_grants")
    names = {row["subject"] for row in rows}
    assert len(rows) == len(names) == 4
    assert all(name.startswith("p_") for name in names)
    asked = "SELECT seawall.access_token_is_live($1, $2, 1, 'x', $3)"
    assert await older.owner.fetchval(asked, rows[0]["id"], uuid4(), rows[0]["subject"]) is False  # no such key
