"""The database as the running app sees it: two pools, admission, leases.

One pool signs in as `seawall_app` and serves handlers; the other as `seawall_identity` and serves sign-in. They are
apart, so that an injected statement in a handler can neither read nor make a session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg

from seawall.core.scope import Assurance, Membership, Principal
from seawall.core.sealing import Keyring
from seawall.store.address import user_of
from seawall.store.lease import Lease
from seawall.store.pool import PasswordSource, Pool

_ADMIT = "SELECT * FROM seawall.admit($1)"


class Database:
    """Connections of the app's process. Open it with `Database.open`."""

    def __init__(self, app: Pool, identity: Pool) -> None:
        self._app = app
        self._identity = identity

    @classmethod
    async def open(
        cls,
        app_url: str,
        identity_url: str,
        *,
        size: int = 10,
        statement_timeout_ms: int = 15_000,
        passwords: Callable[[str], PasswordSource | None] = lambda role: None,
    ) -> Database:
        """Connect both pools. `passwords` gives, for a role, where its password comes from if not from its URL.

        Raises:
            Refused: the server does not answer, or an URL signs in as nobody it knows.
        """
        database = cls(
            *(
                Pool(url, size=count, statement_timeout_ms=statement_timeout_ms, password=passwords(user_of(url)))
                for url, count in ((app_url, size), (identity_url, max(2, size // 2)))
            )
        )
        try:
            await database._app.check()
            await database._identity.check()
        except BaseException:
            await database.close()
            raise
        return database

    def use(self, keyring: Keyring) -> None:
        """Open sealed columns with this keyring, in every transaction that begins from now on."""
        self._app.keyring = keyring

    async def close(self) -> None:
        """Close both pools."""
        await self._app.close()
        await self._identity.close()

    async def admit(self, token_hash: bytes) -> Principal | None:
        """The person behind a live session, in one round trip; None when there is no such session.

        The database checks expiry, idleness, revocation, the user's epoch, suspension of the tenant and of the person,
        and mints the signed context; none for a privileged person who has proved one factor only.
        """
        async with self._app.connection() as connection:
            row = await connection.fetchrow(_ADMIT, token_hash)
        if row is None:
            return None
        return Principal(
            user_id=row["user_id"],
            tenant_id=row["tenant_id"],
            session_id=row["session_id"],
            memberships=tuple(_membership(text) for text in row["memberships"]),
            assurance=Assurance(row["aal"], row["authenticated_at"], row["second_factor_at"]),
            context=row["context"] or "",
        )

    async def begin(self, principal: Principal) -> Lease:
        """A transaction in the principal's tenant: `BEGIN` carries the signed context."""
        return await self.begin_with(principal.context)

    async def begin_with(self, context: str) -> Lease:
        """A transaction under a context that the database minted, for a session or for a claimed job."""
        return await Lease.begin(self._app, context)

    @asynccontextmanager
    async def identity(self) -> AsyncIterator[asyncpg.Connection]:
        """A transaction as `seawall_identity`. Commits when the block ends, rolls back when it raises."""
        async with self._identity.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def as_app(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection as `seawall_app` outside any tenant's context, for statements that carry their own."""
        async with self._app.connection() as connection:
            yield connection


def _membership(text: str) -> Membership:
    role, _, scope = text.partition("|")
    if not scope:
        return Membership(role)
    scope_type, _, scope_id = scope.partition("|")
    return Membership(role, scope_type, UUID(scope_id))
