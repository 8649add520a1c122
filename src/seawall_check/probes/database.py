"""Asking PostgreSQL: connections and the catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from seawall_check.errors import Unproven

CONNECT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 30.0
NAME = "seawall-check"
"""What the judge's own connections are called in pg_stat_activity."""


async def connect(url: str) -> asyncpg.Connection:
    """A connection without a statement cache, since the judge alters what it looks at.

    Raises:
        Unproven: when the server cannot be reached or does not let the role in.
    """
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=COMMAND_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": NAME},
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise Unproven(f"cannot connect to the scratch database: {type(error).__name__}: {error}") from None


def literal(text: str) -> str:
    """A quoted SQL string literal (`standard_conforming_strings` is on since PostgreSQL 9.1)."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


async def attempt(connection: asyncpg.Connection, sql: str, *args: Any) -> tuple[str, Sequence[Any]]:
    """Run a statement that may be refused.

    Returns (sqlstate, rows): an empty sqlstate when it succeeded, else the five characters and no rows. 42501 is
    insufficient_privilege.
    """
    try:
        return "", await connection.fetch(sql, *args)
    except asyncpg.PostgresError as error:
        return str(error.sqlstate), []


async def tried(connection: asyncpg.Connection, sql: str, *args: Any) -> tuple[str, Sequence[Any]]:
    """Like `attempt`, and takes the effect back: in a transaction that is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        return await attempt(connection, sql, *args)
    finally:
        await transaction.rollback()
