"""Grants: that a person has let a client act for them, in one tenant. Each is a session of kind `client`.

So expiry, idleness, revocation, the person's epoch, suspension and "sign out everywhere" hold for API clients with no
code of their own. Every function runs in the caller's transaction as `seawall_identity`.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import structlog

from seawall.audit import append_as
from seawall.core.events import ClientGrant

if TYPE_CHECKING:
    from seawall.settings import IdentitySection

LIVE_GRANTS_MAX = 50
"""Of one person; the oldest end first, so that a client that asks again and again cannot fill the table."""
SERVICE_PREFIX = "client."
"""Before a client's id: the service under which `pseudonym` and `subject_of` know its names for people."""
ALARMS = frozenset({"refresh-reuse", "code-replay", "wrong-key"})
"""Reasons that mean that a secret was in two hands."""

_log = structlog.get_logger("seawall.identity")

Step = Literal["granted", "denied", "revoked", "token-revoked", "refused"]


@dataclass(frozen=True, slots=True)
class Grant:
    """A live grant, its row of `client_grants` locked by this transaction."""

    id: UUID
    user_id: UUID
    tenant_id: UUID
    client_id: str
    epoch: int
    jkt: str | None
    subject: str
    """What this client knows the person by."""
    generation: int
    trace_id: str = ""
    """Of the request that has it in hand; its events carry it."""


class AdmissionKey:
    """Derives from a grant's id what the database knows the grant by, so that SQL alone can admit none.

    Args:
        key: 32 bytes that only the app's processes have.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def secret(self, grant_id: UUID) -> bytes:
        return hmac.digest(self._key, b"admission" + grant_id.bytes, "sha256")


async def begin_grant(
    tx: Any,
    admission: AdmissionKey,
    timeouts: IdentitySection,
    *,
    session_id: UUID,
    client_id: str,
    jkt: str | None,
    trace_id: str = "",
) -> Grant | None:
    """A grant with the person, tenant and assurance of a browser session; None when that has ended meanwhile.

    A second factor from before the session came into doubt does not count, as admission has it.
    """
    grant_id = await tx.fetchval("SELECT uuidv7()")
    row = await tx.fetchrow(
        """INSERT INTO seawall.sessions (id, kind, client_id, token_hash, user_id, tenant_id, aal, amr,
             authenticated_at, second_factor_at, epoch, idle_timeout_s, expires_at)
           SELECT $1, 'client', $2, $3, s.user_id, s.tenant_id,
             CASE WHEN s.doubted_at > coalesce(s.second_factor_at, '-infinity') THEN 1 ELSE s.aal END, s.amr,
             s.authenticated_at,
             CASE WHEN s.doubted_at > s.second_factor_at THEN NULL ELSE s.second_factor_at END,
             u.epoch, $5, now() + make_interval(secs => $6)
           FROM seawall.sessions s
           JOIN seawall.users u ON u.id = s.user_id AND u.epoch = s.epoch AND u.disabled_at IS NULL
           JOIN seawall.tenants t ON t.id = s.tenant_id AND t.suspended_at IS NULL
           WHERE s.id = $4 AND s.kind = 'browser' AND s.revoked_at IS NULL AND s.expires_at > now()
           RETURNING user_id, tenant_id, epoch""",
        grant_id,
        client_id,
        admission.secret(grant_id),
        session_id,
        timeouts.grant_idle_timeout_s,
        timeouts.grant_absolute_timeout_s,
    )
    if row is None:
        return None
    subject = await known_as(tx, row["tenant_id"], client_id, row["user_id"])
    await tx.execute("INSERT INTO seawall.client_grants (id, jkt, subject) VALUES ($1, $2, $3)", grant_id, jkt, subject)
    # Without the provider's `sid`: signing out of one browser there ends no program here, "end all of this person's
    # sessions" does (OpenID Connect Back-Channel Logout §2.7 leaves what was consented to for later alone).
    await tx.execute(
        """INSERT INTO seawall.provider_sessions (session_id, issuer, subject)
           SELECT $1, issuer, subject FROM seawall.provider_sessions WHERE session_id = $2""",
        grant_id,
        session_id,
    )
    grant = Grant(grant_id, row["user_id"], row["tenant_id"], client_id, row["epoch"], jkt, subject, 0, trace_id)
    await tx.execute(
        """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'too-many'
           WHERE id IN (SELECT id FROM seawall.sessions
                        WHERE user_id = $1 AND kind = 'client' AND revoked_at IS NULL AND expires_at > now()
                        ORDER BY id DESC OFFSET $2)""",
        grant.user_id,
        LIVE_GRANTS_MAX,
    )
    await record(tx, grant, "granted")
    return grant


async def known_as(tx: Any, tenant_id: UUID, client_id: str, user_id: UUID) -> str:
    """What a client knows a person of a tenant by: always the same, and this client's alone (OpenID Connect Core §8.1).

    Gone with the person, when they are erased.
    """
    name: str = await tx.fetchval(
        "SELECT seawall.pseudonym_in($1, $2, $3)", tenant_id, SERVICE_PREFIX + client_id, user_id
    )
    return name


async def lock_grant(tx: Any, grant_id: UUID, *, trace_id: str = "") -> Grant | None:
    """A grant that has not been revoked, locked: refresh, revocation and code replay take turns on it.

    Whether it is *live* is asked with `is_live`, so that an idle grant can still be revoked.
    """
    # Two statements: while the first waits for the lock, what a join read of the session would grow old.
    await tx.execute("SELECT FROM seawall.client_grants WHERE id = $1 FOR UPDATE", grant_id)
    row = await tx.fetchrow(
        """SELECT g.id, s.user_id, s.tenant_id, s.client_id, s.epoch, g.jkt, g.subject, g.generation
           FROM seawall.client_grants g JOIN seawall.sessions s ON s.id = g.id
           WHERE g.id = $1 AND s.revoked_at IS NULL""",
        grant_id,
    )
    return None if row is None else Grant(**dict(row), trace_id=trace_id)


async def is_live(tx: Any, grant_id: UUID) -> bool:
    """What admission asks, before a token is made for it."""
    return bool(await tx.fetchval("SELECT seawall.grant_is_live($1)", grant_id))


async def revoke_grant(tx: Any, grant: Grant, reason: str) -> None:
    """End a grant with every token of it, on the next request, in every process."""
    await tx.execute(
        "UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = $2 WHERE id = $1 AND revoked_at IS NULL",
        grant.id,
        reason,
    )
    await record(tx, grant, "revoked", reason)


async def record(tx: Any, grant: Grant, step: Step, reason: str = "") -> None:
    """Append the audit event; what means theft is an alert too."""
    if reason in ALARMS:
        _log.error(
            "a token was in two hands",
            alert=True,
            reason=reason,
            step=step,
            client=grant.client_id,
            grant=str(grant.id),
        )
    event = ClientGrant(
        outcome="refused" if reason in ALARMS or step == "denied" else "success",
        user_id=str(grant.user_id),
        client_id=grant.client_id,
        grant_id=str(grant.id),
        step=step,
        reason=reason,
        trace_id=grant.trace_id,
    )
    await append_as(tx, [event], tenant_id=grant.tenant_id, user_id=grant.user_id, session_id=grant.id)
