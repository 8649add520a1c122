"""A lease: one pooled connection, one transaction, one tenant.

`BEGIN` and the tenant's context travel in one message, and so do `COMMIT` and the reset of everything a handler (or an
injected statement) may have `SET` on the connection: the next request finds it empty, and neither costs a round trip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import make_transient_to_detached

from seawall.core.errors import NotSignedIn
from seawall.core.vault import VaultUnavailable
from seawall.store.sealed import LEASE, sealed_models

if TYPE_CHECKING:
    import asyncpg
    from sqlalchemy.ext.asyncio import AsyncSession

    from seawall.core.sealing import Keyring, TenantKeys
    from seawall.store.pool import Loan, Pool

T = TypeVar("T")
HOLD_ATTEMPTS = 4
"""How often a rotation may come in between before a write gives up."""

_CONTEXT = re.compile(r"[0-9]{1,9}(\.[0-9a-f-]{36}|\.){3}\.[a-z]{1,16}\.[0-9]{1,12}\.[0-9a-f]{64}")
"""What the database mints. Checked before it is put into SQL text, since SET takes no parameters."""

# A SET, an advisory lock or a cursor (WITH HOLD keeps its rows) must not outlive its request. The unlock stands before
# COMMIT, because a SELECT fails in an aborted transaction, where COMMIT alone would silently roll back what a handler
# believes it has done.
_EMPTY = "RESET ALL; CLOSE ALL; UNLISTEN *"
_COMMIT = f"SELECT pg_advisory_unlock_all(); COMMIT; {_EMPTY}"
_ROLLBACK = f"ROLLBACK; SELECT pg_advisory_unlock_all(); {_EMPTY}"


class Lease:
    """One tenant-scoped transaction. Made by `Database.begin`; ended by `commit` or `rollback`, once."""

    def __init__(self, loan: Loan, context: str = "", keyring: Keyring | None = None) -> None:
        self._loan = loan
        self._context = context
        self._keyring = keyring
        self.known_keys: TenantKeys | None = None
        """The tenant's keys, once somebody has asked for them."""
        self._held_version: int | None = None
        self._raw = loan.raw
        self._handed_out = False
        self._session: AsyncSession | None = None
        self._adopted: dict[Any, Any] = {}
        self._open = True

    @classmethod
    async def begin(cls, pool: Pool, context: str) -> Lease:
        """Take a connection and send `BEGIN` with the context.

        Raises:
            NotSignedIn: when the context is not one that the database mints.
            Unavailable: when no connection comes free.
        """
        if not _CONTEXT.fullmatch(context):
            raise NotSignedIn("The tenant context is malformed.")
        loan = await pool.take()
        try:
            await loan.raw.execute(f"BEGIN; SET LOCAL seawall.ctx = '{context}'")
        except BaseException:
            await loan.discard()
            raise
        return cls(loan, context, pool.keyring)

    @property
    def connection(self) -> asyncpg.Connection:
        """The raw connection, for as long as the transaction lasts. It is cut at the end, and serves nobody else:
        statements that are sent on it by no parameters may be several, and one of them may give a prepared statement
        of the next request another meaning.
        """
        self._handed_out = True
        return self._live()

    def _live(self) -> asyncpg.Connection:
        """
        Raises:
            RuntimeError: the transaction has ended. Whoever runs after the answer (a background task, the body of a
                stream) may hold it still, while the connection serves somebody else by then, in *their* tenant.
        """
        if not self._open:
            raise RuntimeError("this transaction ended with its answer; enqueue a job for what comes after it")
        return self._raw

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """All rows of one parameterised statement. What the ORM has pending is sent first."""
        connection = self._live()
        if self._session is not None:
            await self._session.flush()
        return list(await connection.fetch(sql, *args))

    async def fetchrow(self, sql: str, *args: Any) -> Any | None:
        """The first row or None. What the ORM has pending is sent first."""
        connection = self._live()
        if self._session is not None:
            await self._session.flush()
        return await connection.fetchrow(sql, *args)

    async def session(self) -> AsyncSession:
        """The ORM session on this transaction, opened at the first call, with the adopted objects in it."""
        self._live()
        if self._session is None:
            if sealed_models:
                await self.keys()  # now, since rows are populated where nothing can be awaited
            self._session = self._loan.session()
            self._session.info[LEASE] = self
            self._session.add_all(self._adopted.values())
            self._adopted.clear()
        return self._session

    async def keys(self, envelopes: Iterable[bytes] = ()) -> TenantKeys | None:
        """The tenant's keys, maybe locked; asked for anew when an envelope names a version that is not known yet."""
        if self._keyring is None:
            return None
        if self.known_keys is None:
            self.known_keys = await self._keyring.of(self._context)
        unknown = next((one for one in envelopes if not self.known_keys.knows(one)), None)
        if unknown is not None and self.known_keys.locked is None:
            self.known_keys = await self._keyring.refreshed(self._context, self.known_keys, unknown)
        return self.known_keys

    async def sealing_keys(self, count: int) -> TenantKeys:
        """Keys under which `count` values may be sealed now, by the current version, which stays current until this
        transaction ends: a rotation waits for it.

        Raises:
            VaultUnavailable, KeyDestroyed: nothing can be sealed, so nothing is written.
        """
        if self._keyring is None:
            raise VaultUnavailable()
        for _ in range(HOLD_ATTEMPTS):
            self.known_keys = keys = await self._keyring.prepared(self._context, count)
            if keys.current == self._held_version:
                return keys
            if await self._live().fetchval("SELECT seawall.hold_tenant_key($1)", keys.current):
                self._held_version = keys.current
            else:  # rotated or destroyed a moment ago
                await self._keyring.refreshed(self._context, keys)
        raise VaultUnavailable()

    def adopt(self, instance: T) -> T:
        """Take in an object that was loaded by raw SQL; gives the one that is already here of the same row, if any."""
        state: Any = sa.inspect(instance)
        if state.key is None:
            make_transient_to_detached(instance)
        known: Any
        if self._session is None:
            known = self._adopted.setdefault(state.key, instance)
        else:
            known = self._session.identity_map.get(state.key) or instance
            self._session.add(known)
        row: T = known
        return row

    async def flush(self) -> None:
        """Send the ORM's pending changes."""
        if self._session is None and any(sa.inspect(one).modified for one in self._adopted.values()):
            await self.session()  # a handler that only sets attributes of its object never asks for the session
        if self._session is not None:
            await self._session.flush()

    async def commit(self) -> None:
        """Flush, commit, and give the connection back empty. On an error nothing is committed."""
        try:
            await self.flush()
        except BaseException:
            await self.rollback()
            raise
        await self._end(_COMMIT)

    async def rollback(self) -> None:
        """Undo everything. Harmless when the lease has ended."""
        if self._open:
            await self._end(_ROLLBACK)

    async def _end(self, how: str) -> None:
        self._open = False
        try:
            await self._raw.execute(how)
        except BaseException:
            await self._loan.discard()
            raise
        if self._session is not None:
            self._session.expunge_all()
        if self._handed_out:
            await self._loan.discard()
        else:
            self._loan.give_back()


class WitnessedLease(Lease):
    """A lease of the break-glass role. All that it can write is the audit events of what it reads, and they stay when
    the request is refused: what a handler has read may stand in the words of its refusal.
    """

    @property
    def connection(self) -> asyncpg.Connection:
        """
        Raises:
            RuntimeError: there, a savepoint could take the events of what was read back.
        """
        raise RuntimeError("under break-glass rows are read through scope.session() and scope.transaction() only")

    async def session(self) -> AsyncSession:
        """As ever, without going back to a savepoint: that would undo the events of what was read since."""
        fresh = self._session is None
        session = await super().session()
        if fresh:
            sa.event.listen(session.sync_session.get_bind(), "rollback_savepoint", _kept_in_mind)
        return session

    async def rollback(self) -> None:
        """Send nothing that is pending, and keep the events.

        Raises:
            asyncpg.InFailedSQLTransactionError: a statement has failed, and with it went the events of what was read
                before: nothing of that may be shown.
        """
        if self._open:
            await self._end(_COMMIT)


def _kept_in_mind(*_: Any) -> None:
    raise RuntimeError("under break-glass what was read stays read: there is no way back to a savepoint")
