"""Browser sessions: opaque tokens of which only the SHA-256 is stored; their state lives in the database (ASVS 7.2).

Reading a session is `seawall.admit()` in the database. Here they begin, get new tokens, and end. Every function runs in
the caller's transaction as `seawall_identity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from seawall.core.ids import new_token, token_hash
from seawall.identity.transactions import forget_begun

if TYPE_CHECKING:
    from seawall.settings import SessionSection

LIVE_SESSIONS_MAX = 100
"""Of one person; the oldest end first, so that nobody can fill the table with sign-ins."""


ENDED_SESSIONS_KEPT_DAYS = 30
SWEPT_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that has just begun. `token` goes into the cookie and nowhere else."""

    id: UUID
    token: str


async def begin_session(
    tx: Any,
    timeouts: SessionSection,
    *,
    user_id: UUID,
    tenant_id: UUID,
    authenticated_at: datetime,
    amr: tuple[str, ...],
    replaces: bytes | None,
    aal: int = 1,
) -> NewSession:
    """A fresh session with a fresh token; the one that `replaces` names ends (against fixation, ASVS 7.2.4).

    Args:
        aal: 2 when two factors were proved at sign-in, as a passkey with user verification does.
    """
    if replaces is not None:
        await tx.execute(
            """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'replaced'
               WHERE token_hash = $1 AND revoked_at IS NULL""",
            replaces,
        )
    await tx.execute(
        """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'too-many'
           WHERE id IN (SELECT id FROM seawall.sessions WHERE user_id = $1 AND kind = 'browser' AND revoked_at IS NULL
                        AND expires_at > now() ORDER BY id DESC OFFSET $2)""",
        user_id,
        LIVE_SESSIONS_MAX - 1,
    )
    await _sweep(tx)
    token = new_token()
    session_id = await tx.fetchval(
        """INSERT INTO seawall.sessions
             (token_hash, user_id, tenant_id, aal, amr, authenticated_at, second_factor_at, epoch, idle_timeout_s,
              expires_at)
           SELECT $1, u.id, $3, $8::smallint, $4, $5, CASE WHEN $8::smallint > 1 THEN now() END, u.epoch, $6,
             now() + make_interval(secs => $7)
           FROM seawall.users u WHERE u.id = $2
           RETURNING id""",
        token_hash(token),
        user_id,
        tenant_id,
        list(amr),
        authenticated_at,
        timeouts.idle_timeout_s,
        timeouts.absolute_timeout_s,
        aal,
    )
    return NewSession(session_id, token)


async def _sweep(tx: Any) -> None:
    """Delete a few sessions that ended long ago. What they did stays in the audit log, which keeps their ids."""
    await tx.execute(
        """DELETE FROM seawall.sessions WHERE id IN (
             SELECT id FROM seawall.sessions
             WHERE expires_at < now() - make_interval(days => $1) OR revoked_at < now() - make_interval(days => $1)
             LIMIT $2 FOR UPDATE SKIP LOCKED)""",
        ENDED_SESSIONS_KEPT_DAYS,
        SWEPT_AT_ONCE,
    )


async def renew_token(tx: Any, session_id: UUID, *, method: str | None) -> str | None:
    """Give a live session a new token; the old one is dead at once. None when the session has ended meanwhile.

    Args:
        method: the RFC 8176 name of the second factor that was just proved; raises the session to AAL 2. With None the
            assurance stays.
    """
    token = new_token()
    found = await tx.fetchval(
        """UPDATE seawall.sessions SET token_hash = $2,
             aal = CASE WHEN $3::text IS NULL THEN aal ELSE greatest(aal, 2::smallint) END,
             second_factor_at = CASE WHEN $3::text IS NULL THEN second_factor_at ELSE now() END,
             recovered_at = CASE WHEN $3::text = 'recovery' THEN now() ELSE recovered_at END,
             amr = CASE WHEN $3::text IS NULL OR $3 = ANY (amr) THEN amr ELSE amr || $3::text END
           WHERE id = $1 AND revoked_at IS NULL AND expires_at > now() RETURNING id""",
        session_id,
        token_hash(token),
        method,
    )
    return None if found is None else token


@dataclass(frozen=True, slots=True)
class EndedSession:
    """Whose session has just ended."""

    session_id: UUID
    user_id: UUID
    tenant_id: UUID


async def end_session(tx: Any, token_hash: bytes) -> EndedSession | None:
    """End the session of a token, whether it would be admitted now or not: a suspended tenant comes back, and a device
    proves itself again. None when there is none that goes on.
    """
    row = await tx.fetchrow(
        """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'sign-out'
           WHERE token_hash = $1 AND kind = 'browser' AND revoked_at IS NULL AND expires_at > now()
           RETURNING id, user_id, tenant_id""",
        token_hash,
    )
    return None if row is None else EndedSession(*row)


async def end_all_sessions(tx: Any, user_id: UUID) -> int:
    """End every session of a person, on every device, in every tenant; gives how many ended. One that is about to
    begin is ended too.
    """
    await forget_begun(tx, user_id)
    ended = await tx.fetch(
        """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'sign-out-everywhere'
           WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() RETURNING id""",
        user_id,
    )
    return len(ended)


async def end_one_of(tx: Any, user_id: UUID, session_id: UUID) -> int:
    """End one session of a person; gives how many ended (0 or 1)."""
    ended = await tx.fetch(
        """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'ended-by-person'
           WHERE id = $1 AND user_id = $2 AND kind = 'browser' AND revoked_at IS NULL RETURNING id""",
        session_id,
        user_id,
    )
    return len(ended)


async def end_others(tx: Any, user_id: UUID, keep: UUID) -> int:
    """End every browser session of a person but one; gives how many ended. Apps are ended where they are listed."""
    await forget_begun(tx, user_id)
    ended = await tx.fetch(
        """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'ended-by-person'
           WHERE user_id = $1 AND id <> $2 AND kind = 'browser' AND revoked_at IS NULL AND expires_at > now()
           RETURNING id""",
        user_id,
        keep,
    )
    return len(ended)


@dataclass(frozen=True, slots=True)
class SessionLine:
    """A live session as its owner sees it."""

    id: UUID
    family: str | None
    platform: str | None
    tenant: str
    aal: int
    created_at: datetime
    last_seen_at: datetime
    this: bool


async def live_sessions(tx: Any, user_id: UUID, this: UUID) -> list[SessionLine]:
    """A person's live sessions, this one first, then by last use."""
    rows = await tx.fetch(
        """SELECT s.id, s.family, s.platform, t.name AS tenant, s.aal, s.created_at, s.last_seen_at, s.id = $2 AS this
           FROM seawall.sessions s JOIN seawall.users u ON u.id = s.user_id AND u.epoch = s.epoch
           JOIN seawall.tenants t ON t.id = s.tenant_id AND t.suspended_at IS NULL
           WHERE s.user_id = $1 AND s.kind = 'browser' AND s.revoked_at IS NULL AND s.expires_at > now()
             AND s.last_seen_at > now() - make_interval(secs => s.idle_timeout_s)
           ORDER BY this DESC, s.last_seen_at DESC, s.id LIMIT $3""",
        user_id,
        this,
        LIVE_SESSIONS_MAX,
    )
    return [SessionLine(**dict(row)) for row in rows]


async def raise_epoch(tx: Any, user_id: UUID, *, keep: UUID | None = None) -> None:
    """End every session of a person by raising the epoch they were made under, except the session `keep`. One that is
    about to begin is ended too.
    """
    await forget_begun(tx, user_id)
    epoch = await tx.fetchval("UPDATE seawall.users SET epoch = epoch + 1 WHERE id = $1 RETURNING epoch", user_id)
    if keep is not None:
        await tx.execute("UPDATE seawall.sessions SET epoch = $2 WHERE id = $1", keep, epoch)
