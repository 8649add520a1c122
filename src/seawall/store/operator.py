"""The operator in the database: the owner of Seawall's schema, by the one role that may become it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from seawall.core.errors import Refused
from seawall.store.address import asyncpg_url, sqlalchemy_url
from seawall.store.pool import PasswordSource
from seawall.store.roles import OWNER

CONNECT_TIMEOUT_S = 10.0


@asynccontextmanager
async def as_operator(migrator_url: str, password: PasswordSource | None = None) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is the owner of Seawall's schema.

    Args:
        migrator_url: signs in as `seawall_migrator`.
        password: where that role's password comes from when the URL holds none.

    Raises:
        Refused: the server does not answer, or the role may not.
    """
    given = {"password": password} if password is not None and sqlalchemy_url(migrator_url).password is None else {}
    try:
        connection = await asyncpg.connect(asyncpg_url(migrator_url), timeout=CONNECT_TIMEOUT_S, **given)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise Refused(
            f"PostgreSQL does not let the operator in: {type(error).__name__}",
            why="tenants, people and keys are changed by the migrator's role, which the running app does not have",
            fix="check the server and SEAWALL_DATABASE__MIGRATOR_URL",
        ) from None
    try:
        try:
            await connection.execute(f"SET ROLE {OWNER}")
        except asyncpg.InsufficientPrivilegeError:
            raise Refused(
                "this role may not become the owner of Seawall's schema",
                why="an app's own role must not be able to end a tenant",
                fix="set SEAWALL_DATABASE__MIGRATOR_URL to the role seawall_migrator",
            ) from None
        yield connection
    finally:
        await connection.close(timeout=5)
