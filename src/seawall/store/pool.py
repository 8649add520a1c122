"""A pool of asyncpg connections, kept by SQLAlchemy's own pool.

Both faces of one physical connection are needed: raw asyncpg for the hot path, and SQLAlchemy's adapter for the ORM.
asyncpg's pool invalidates prepared statements at every release, so the adapter's cache would be worthless; SQLAlchemy's
does not. Connections run in autocommit for SQLAlchemy: the transaction belongs to the lease, which says `BEGIN` and
`COMMIT` itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import Connection
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.util import greenlet_spawn

from seawall.core.errors import Refused, Unavailable
from seawall.core.sealing import Keyring
from seawall.store.address import sqlalchemy_url
from seawall.store.sealing import SealingSession

WAIT_MAX_S = 5.0
"""How long a request waits for a connection before it is answered 503."""
CONNECT_ATTEMPTS = 3
PasswordSource = Callable[[], Awaitable[str]]
"""Asked for a password at each new connection, because it may have been changed since the last."""
_INVALID_PASSWORD = "28P01"  # noqa: S105 - the SQLSTATE of it


class Loan:
    """A connection taken from the pool. `raw` is asyncpg's; give it back with `give_back` or `discard`, once."""

    __slots__ = ("_engine", "_fairy", "raw")

    def __init__(self, engine: Any, fairy: Any) -> None:
        self._engine = engine
        self._fairy = fairy
        self.raw: asyncpg.Connection = fairy.driver_connection

    def session(self) -> AsyncSession:
        """An ORM session on this connection; it neither begins nor commits."""
        bound = Connection(self._engine.sync_engine, connection=self._fairy)
        return AsyncSession(
            AsyncConnection(self._engine, bound), expire_on_commit=False, sync_session_class=SealingSession
        )

    def give_back(self) -> None:
        self._fairy.close()

    async def discard(self) -> None:
        """Cut the connection: its state is unknown, so nobody else may have it."""
        self.raw.terminate()
        await greenlet_spawn(self._fairy.invalidate)


class Pool:
    """Connections that sign in as one database role.

    Args:
        url: the server, the database and the role.
        size: how many at most.
        statement_timeout_ms: the server ends what takes longer.
        password: where the role's password comes from when `url` holds none.
    """

    def __init__(
        self, url: str, *, size: int, statement_timeout_ms: int, password: PasswordSource | None = None
    ) -> None:
        source = {"password": password} if password is not None and sqlalchemy_url(url).password is None else {}
        self.keyring: Keyring | None = None
        """Opens sealed columns for the leases of this pool; set by who wires the process."""
        self._engine = create_async_engine(
            sqlalchemy_url(url),
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,  # the lease resets in the message that ends its transaction
            pool_size=size,
            max_overflow=0,
            pool_timeout=WAIT_MAX_S,
            pool_use_lifo=True,
            connect_args=source
            | {
                "timeout": WAIT_MAX_S,
                "server_settings": {
                    "application_name": "seawall",
                    "statement_timeout": str(statement_timeout_ms),
                    "idle_in_transaction_session_timeout": "60000",
                    "TimeZone": "UTC",
                },
            },
        )
        self._pool = self._engine.sync_engine.pool
        # SQLAlchemy's adapter wraps what asyncpg raises while connecting, and only then
        dbapi: Any = self._engine.dialect.dbapi
        self._failures = (
            PoolTimeout,
            TimeoutError,
            OSError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            dbapi.Error,
        )

    async def take(self) -> Loan:
        """A live connection.

        Raises:
            Unavailable: none came free in `WAIT_MAX_S`, or the server does not answer.
        """
        for _ in range(CONNECT_ATTEMPTS):
            try:
                loan = Loan(self._engine, await greenlet_spawn(self._pool.connect))
            except self._failures as error:
                if _password_refused(error):
                    continue  # changed between our asking and our connecting: the new one is asked for
                raise Unavailable("The database is busy.") from None
            if not loan.raw.is_closed():
                return loan
            await loan.discard()  # the server went away in between; the pool makes a new one
        raise Unavailable("The database is restarting.")

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection in autocommit for single statements."""
        loan = await self.take()
        try:
            yield loan.raw
        finally:
            if loan.raw.is_closed() or loan.raw.is_in_transaction():
                await loan.discard()
            else:
                loan.give_back()

    async def check(self) -> None:
        """Connect once.

        Raises:
            Refused: the server does not answer, or does not know the role.
        """
        try:
            async with self.connection() as connection:
                await connection.execute("SELECT 1")
        except (Unavailable, OSError, asyncpg.PostgresError) as error:
            reason = error.__context__ if isinstance(error, Unavailable) else error
            raise Refused(
                f"PostgreSQL does not answer: {type(reason).__name__}",
                why="nothing can be decided or isolated without the database",
                fix="start the server, check its URL, and run `seawall migrate` once",
            ) from None

    async def close(self) -> None:
        await self._engine.dispose()


def _password_refused(error: BaseException) -> bool:
    current: BaseException | None = error
    while current is not None:
        if getattr(current, "sqlstate", None) == _INVALID_PASSWORD:
            return True
        current = current.__cause__
    return False
