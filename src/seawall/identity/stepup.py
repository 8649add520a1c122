"""Step-up: challenges and approvals, each bound to a session and to the SHA-256 of one exact action.

Implements `core.stepup.StepUps`. An approval is used up by a function of the database inside the business transaction,
as the person whom the verified context names, so neither a rollback loses it nor a second request reuses it.

What is to be confirmed is sealed. It goes when its approval is used; whoever is challenged next sweeps up what is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from seawall.audit import append_as
from seawall.core.errors import Forbidden, StepUpRequired
from seawall.core.events import StepUp
from seawall.core.ids import new_uuid7
from seawall.core.master import MasterSecret
from seawall.core.scope import Principal, Transaction
from seawall.core.stepup import Intent
from seawall.identity.desk import IdentityDatabase
from seawall.identity.paths import is_own_path
from seawall.identity.sessions import renew_token
from seawall.store.sealed_requests import RequestCell

PENDING_MAX = 20
"""Challenges that one session may have waiting; the oldest goes first."""
SWEEP_MAX = 100
SUMMARY_LENGTH_MAX = 500
HARDWARE = "hwk"
"""The method (RFC 8176) of a key that does not leave its device: what NIST SP 800-63B §2.3 wants for AAL 3. What is
typed can be given to a false page, and a key that is synchronised is in as many places as its person has devices."""


class FactorTooWeak(Forbidden):
    """The policy demands more than this factor proves. Nothing is approved."""

    code = "factor-too-weak"
    title = "This needs a passkey that is kept in hardware"


@dataclass(frozen=True, slots=True)
class Challenge:
    """A row of `seawall.step_up_challenges` that is still open, or was approved and is not yet over."""

    id: UUID
    action: str
    resource: str
    params: dict[str, Any]
    summary: str
    resume: dict[str, Any] | None
    digest: bytes
    acr: str
    max_age_s: int
    expires_at: datetime
    approved_at: datetime | None
    session_id: UUID
    """Whose approval it will be: the browser's own session, or the grant of a client of the same person."""
    client_id: str | None

    @property
    def in_hardware(self) -> bool:
        """Whether nothing but a key in hardware will do."""
        return self.acr == "aal3"


class DatabaseStepUps:
    """`StepUps` on PostgreSQL.

    Args:
        master: what is to be confirmed is sealed under it.
        lifetime_s: how long a challenge may wait, and how long its approval may be used.
    """

    def __init__(self, db: IdentityDatabase, master: MasterSecret, *, lifetime_s: int) -> None:
        self._db = db
        self._cell = RequestCell(master, "seawall.step_up_challenges", "sealed")
        self.sealed = self._cell.column
        self._lifetime_s = lifetime_s

    async def consume(self, transaction: Transaction, intent: Intent) -> str | None:
        """Use up the caller's live approval of exactly this intent, inside the business transaction."""
        row = await transaction.fetchrow("SELECT seawall.consume_approval($1) AS id", intent.digest)
        return None if row is None or row["id"] is None else str(row["id"])

    async def challenge(self, principal: Principal, intent: Intent, *, acr: str, max_age_s: int) -> StepUpRequired:
        """Record a pending challenge for the caller's session and give the error to raise."""
        resume = None
        if intent.resume is not None and is_own_path(intent.resume.path):
            resume = {"path": intent.resume.path, "fields": intent.resume.fields, "method": intent.resume.method}
        return await self._pend(principal, intent, resume, acr=acr, max_age_s=max_age_s)

    async def challenge_page(
        self, principal: Principal, intent: Intent, path: str, query: dict[str, str]
    ) -> StepUpRequired:
        """The same for a page of our own, which the browser then gets again."""
        resume = {"path": path, "fields": query, "method": "get"}
        return await self._pend(principal, intent, resume, acr="aal2", max_age_s=self._lifetime_s)

    async def _pend(
        self, principal: Principal, intent: Intent, resume: dict[str, Any] | None, *, acr: str, max_age_s: int
    ) -> StepUpRequired:
        challenge_id, summary = new_uuid7(), intent.summary[:SUMMARY_LENGTH_MAX]
        owner = (principal.tenant_id, challenge_id, intent.digest)
        sealed = self._cell.seal({"params": intent.params, "summary": summary, "resume": resume}, owner)
        async with self._db.identity() as tx:
            await _sweep(tx, principal)
            await tx.execute(
                """INSERT INTO seawall.step_up_challenges (tenant_id, id, digest, session_id, user_id, action, resource,
                     sealed, acr, max_age_s, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now() + make_interval(secs => $11))""",
                *owner,
                principal.session_id,
                principal.user_id,
                intent.action,
                intent.resource,
                sealed,
                acr,
                max_age_s,
                self._lifetime_s,
            )
            await _record(tx, principal, (challenge_id, intent.action, intent.digest), "challenged")
        return StepUpRequired(str(challenge_id), acr=acr, max_age_s=max_age_s)

    async def find(self, tx: Any, principal: Principal, challenge_id: UUID) -> Challenge | None:
        """A challenge that is not over, of the caller's own session, or of a client of theirs in the same tenant.

        An API client has no page to show and no factor to ask for: its person approves in a browser (RFC 9470). The
        approval is the grant's, so neither the browser nor another client can use it.

        Raises:
            RequestBroken: what is to be confirmed does not open.
        """
        row = await tx.fetchrow(
            """SELECT c.id, c.action, c.resource, c.sealed, c.digest, c.acr, c.max_age_s, c.expires_at, c.approved_at,
                 c.session_id, s.client_id
               FROM seawall.step_up_challenges c JOIN seawall.sessions s ON s.id = c.session_id
               WHERE c.id = $1 AND c.user_id = $3 AND c.tenant_id = $4 AND c.expires_at > now() AND c.sealed IS NOT NULL
                 AND (c.session_id = $2 OR (s.kind = 'client' AND seawall.grant_is_live(s.id)))""",
            challenge_id,
            principal.session_id,
            principal.user_id,
            principal.tenant_id,
        )
        if row is None:
            return None
        values = dict(row)
        said = self._cell.open(values.pop("sealed"), (principal.tenant_id, row["id"], row["digest"]))
        return Challenge(**values, **said)

    async def approve(self, tx: Any, principal: Principal, challenge: Challenge, method: str) -> str | None:
        """Turn a challenge into an approval, raise the caller's session to AAL 2 and renew its token. The approval is
        good no longer than the factor that was just proved counts as fresh.

        Gives the new token; None when the challenge was approved already or the session has ended.

        Raises:
            FactorTooWeak: `method` does not reach the level that is asked for.
        """
        if challenge.in_hardware and method != HARDWARE:
            raise FactorTooWeak("An authenticator app, a recovery code or a synchronised passkey is not enough.")
        opened = await tx.fetchval(
            """UPDATE seawall.step_up_challenges SET approved_at = now()
               WHERE id = $1 AND approved_at IS NULL AND expires_at > now() RETURNING id""",
            challenge.id,
        )
        token = None if opened is None else await renew_token(tx, principal.session_id, method=method)
        if token is None:
            return None
        await tx.execute(
            """INSERT INTO seawall.step_up_approvals (challenge_id, session_id, user_id, tenant_id, digest, expires_at)
               VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))""",
            challenge.id,
            challenge.session_id,
            principal.user_id,
            principal.tenant_id,
            challenge.digest,
            min(self._lifetime_s, challenge.max_age_s),
        )
        await _record(tx, principal, (challenge.id, challenge.action, challenge.digest), "approved")
        return token

    async def note_failure(self, tx: Any, principal: Principal, challenge: Challenge) -> None:
        """Record that a wrong code was tried."""
        await _record(tx, principal, (challenge.id, challenge.action, challenge.digest), "failed")

    async def consume_own(self, tx: Any, principal: Principal, intent: Intent) -> bool:
        """Use up an approval for an action of identity itself, in identity's own transaction."""
        used = await tx.fetchval(
            """UPDATE seawall.step_up_approvals SET consumed_at = clock_timestamp()
               WHERE id = (SELECT id FROM seawall.step_up_approvals
                           WHERE session_id = $1 AND user_id = $2 AND digest = $3 AND consumed_at IS NULL
                             AND expires_at > clock_timestamp() ORDER BY expires_at LIMIT 1 FOR UPDATE)
                 AND consumed_at IS NULL RETURNING challenge_id""",
            principal.session_id,
            principal.user_id,
            intent.digest,
        )
        if used is None:
            return False
        await tx.execute("UPDATE seawall.step_up_challenges SET sealed = NULL WHERE id = $1", used)
        await _record(tx, principal, (used, intent.action, intent.digest), "consumed")
        return True


async def _sweep(tx: Any, principal: Principal) -> None:
    """Take away challenges that are over, anybody's, with their approvals; and those of the caller's session that are
    too many.
    """
    # SKIP LOCKED: two sweeps at once must not wait for each other's rows. An approval outlives its challenge by an hour
    # at most, the longest `step_up_lifetime_s`.
    await tx.execute(
        """DELETE FROM seawall.step_up_challenges WHERE id IN (
             SELECT id FROM seawall.step_up_challenges WHERE expires_at < now() - interval '1 hour'
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)""",
        SWEEP_MAX,
    )
    await tx.execute(
        """DELETE FROM seawall.step_up_challenges WHERE id IN (
             SELECT id FROM seawall.step_up_challenges WHERE session_id = $1 AND approved_at IS NULL
             ORDER BY id DESC OFFSET $2 FOR UPDATE SKIP LOCKED)""",
        principal.session_id,
        PENDING_MAX - 1,
    )


Step = Literal["challenged", "approved", "failed", "consumed"]


async def _record(tx: Any, principal: Principal, what: tuple[UUID, str, bytes], step: Step) -> None:
    """Append the event of one step; `what` is challenge id, action and digest."""
    challenge_id, action, digest = what
    event = StepUp(
        outcome="refused" if step == "failed" else "success",
        user_id=str(principal.user_id),
        challenge_id=str(challenge_id),
        action=action,
        digest=digest.hex(),
        step=step,
    )
    await append_as(
        tx, [event], tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id
    )
