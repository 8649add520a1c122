"""The database as the running app sees it: its pools, admission, leases.

One pool signs in as `seawall_app` and serves handlers; the other as `seawall_identity` and serves sign-in. They are
apart, so that an injected statement in a handler can neither read nor make a session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID

import asyncpg

from seawall.core.errors import ProofReplayed, Unavailable
from seawall.core.scope import BREAK_GLASS_ROLE, Assurance, GrantUse, Membership, Principal, Trail
from seawall.core.sealing import Keyring
from seawall.store.address import user_of
from seawall.store.lease import Lease, WitnessedLease
from seawall.store.pool import PasswordSource, Pool

_ADMIT = "SELECT * FROM seawall.admit($1, $2)"
# The proof is used up only by a grant that is live: so nobody without a token can fill the table of proofs.
_ADMIT_GRANT = """SELECT g.*, ($7::bytea IS NULL OR seawall.use_proof($7, $8)) AS fresh
                  FROM seawall.admit_grant($1, $2, $3, $4, $5, $6) g"""
PROOF_KEPT_S = 180
"""A proof is taken within ±60 s; the clocks of the app and the database may differ by another 60."""
_ENTER = "SELECT * FROM seawall.enter_break_glass($1, $2)"


class Database:
    """Connections of the app's process. Open it with `Database.open`."""

    def __init__(self, app: Pool, identity: Pool, break_glass: Pool | None = None) -> None:
        self._app = app
        self._identity = identity
        self._break_glass = break_glass

    @classmethod
    async def open(
        cls,
        app_url: str,
        identity_url: str,
        *,
        break_glass_url: str | None = None,
        size: int = 10,
        statement_timeout_ms: int = 15_000,
        passwords: Callable[[str], PasswordSource | None] = lambda role: None,
    ) -> Database:
        """Connect both pools. `passwords` gives, for a role, where its password comes from if not from its URL. The
        third pool, of the break-glass role, connects when a grant is first used.

        Raises:
            Refused: the server does not answer, or an URL signs in as nobody it knows.
        """
        database = cls(
            *(
                Pool(url, size=count, statement_timeout_ms=statement_timeout_ms, password=passwords(user_of(url)))
                for url, count in ((app_url, size), (identity_url, max(2, size // 2)), (break_glass_url, 2))
                if url is not None
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
        """Open sealed columns with this keyring, in every transaction that begins from now on; not under break-glass,
        where what is sealed stays sealed.
        """
        self._app.keyring = keyring

    async def close(self) -> None:
        """Close all pools."""
        await self._app.close()
        await self._identity.close()
        if self._break_glass is not None:
            await self._break_glass.close()

    async def admit(self, token_hash: bytes, device_hash: bytes | None = None) -> Principal | None:
        """The person behind a live session, in one round trip; None when there is no such session.

        The database checks expiry, idleness, revocation, the user's epoch, suspension of the tenant and of the person,
        the bound cookie of a device-bound session, and mints the signed context; none for a privileged person who has
        proved one factor only.
        """
        async with self._app.connection() as connection:
            row = await connection.fetchrow(_ADMIT, token_hash, device_hash)
        if row is None:
            return None
        trail = Trail(row["origin"], tuple(row["strayed"] or ()), row["away_network"], row["away_at"])
        return _principal(row, trail)

    async def admit_grant(self, use: GrantUse) -> Principal | None:
        """The person behind a verified access token, in one round trip; None when its grant is not live.

        Beside what `admit` checks: the token's own revocation, its epoch, its signing key, whom it names, and that its
        proof is new.

        Raises:
            ProofReplayed: the proof was used before.
        """
        async with self._app.connection() as connection:
            row = await connection.fetchrow(
                _ADMIT_GRANT,
                use.secret,
                use.token_id,
                use.epoch,
                use.kid,
                use.generation,
                use.subject,
                use.proof,
                PROOF_KEPT_S,
            )
        if row is None:
            return None
        if not row["fresh"]:
            raise ProofReplayed
        return _principal(row)

    async def begin(self, principal: Principal) -> Lease:
        """A transaction in the principal's tenant: `BEGIN` carries the signed context.

        Raises:
            Unavailable: under break-glass, when the app has no URL of the break-glass role.
        """
        if principal.break_glass is None:
            return await self.begin_with(principal.context)
        if self._break_glass is None:
            raise Unavailable("Break-glass is not set up: SEAWALL_DATABASE__BREAK_GLASS_URL is missing.")
        return await WitnessedLease.begin(self._break_glass, principal.context)

    async def enter_break_glass(self, staff: Principal, grant_id: UUID) -> Principal | None:
        """A staff person in the tenant of their live grant, known to policies by the role `breakglass` alone; None when
        the grant does not hold, is another's, or their session has no second factor.
        """
        if staff.owes_second_factor:
            return None
        async with self._app.connection() as connection:
            row = await connection.fetchrow(_ENTER, staff.context, grant_id)
        if row is None:
            return None
        return replace(
            staff,
            tenant_id=row["tenant_id"],
            memberships=(Membership(BREAK_GLASS_ROLE),),
            context=row["context"],
            break_glass=grant_id,
        )

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


def _principal(row: asyncpg.Record, trail: Trail | None = None) -> Principal:
    return Principal(
        user_id=row["user_id"],
        tenant_id=row["tenant_id"],
        session_id=row["session_id"],
        memberships=tuple(_membership(text) for text in row["memberships"]),
        assurance=Assurance(row["aal"], row["authenticated_at"], row["second_factor_at"]),
        context=row["context"] or "",
        trail=trail,
    )


def _membership(text: str) -> Membership:
    role, _, scope = text.partition("|")
    if not scope:
        return Membership(role)
    scope_type, _, scope_id = scope.partition("|")
    return Membership(role, scope_type, UUID(scope_id))
