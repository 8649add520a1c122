"""Somebody who has lost every factor, recovery codes included: an operator takes the factors away.

It is the way round the second factor, so it is narrow: no route leads here, only the owner of Seawall's schema may
write what it writes, it names a ticket and a reason, it is in the log of every tenant that the person can enter, and
the person reads of it. Nothing is given in the place of what is taken: whoever signs in next holds one factor, and
where their role is privileged they can do nothing but enrol one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from seawall.audit import append_as
from seawall.core.errors import Refused
from seawall.core.events import FactorReset
from seawall.core.ids import TICKET
from seawall.identity.sessions import raise_epoch

REASON_LENGTH_MIN, REASON_LENGTH_MAX = 10, 500

# A challenge or a half-made factor was begun under the rules of before; none of them may be finished.
_GOES = {
    "passkeys": "DELETE FROM seawall.passkeys WHERE user_id = $1 RETURNING 1",
    "totp": "DELETE FROM seawall.totp_factors WHERE user_id = $1 RETURNING 1",
    "recovery_codes": "DELETE FROM seawall.recovery_codes WHERE user_id = $1 RETURNING 1",
    "pending": "DELETE FROM seawall.totp_pending WHERE user_id = $1 RETURNING 1",
    "challenges": """DELETE FROM seawall.passkey_challenges c USING seawall.sessions s
                     WHERE s.id = c.session_id AND s.user_id = $1 RETURNING 1""",
    "sessions": """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'factors-reset'
                   WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now() RETURNING 1""",
}


@dataclass(frozen=True, slots=True)
class Reset:
    """What one reset took."""

    id: UUID
    user_id: UUID
    passkeys: int
    totp: bool
    recovery_codes: int
    sessions_ended: int
    """Browsers' and API clients'."""
    privileged: bool
    """Whether the person can do nothing but enrol a factor when they sign in next."""


async def reset_factors(owner: Any, *, email: str, tenant_id: UUID, reason: str, ticket: str) -> Reset:
    """Take every second factor of a person away, and end all that they are signed in with.

    Args:
        owner: a connection as the owner of Seawall's schema, outside a transaction.
        email: the person's address.
        tenant_id: who asks for it: a tenant that the person belongs to.
        reason: why, in words.
        ticket: where it was asked for and checked.

    Raises:
        Refused: the person does not belong there, has no factor, or reason or ticket say nothing. Nothing is changed.
    """
    _must_say_why(reason, ticket)
    async with owner.transaction():
        # Locked first, as in every change of factors: one that is under way ends before this, or finds this done.
        user_id = await owner.fetchval(
            """SELECT u.id FROM seawall.users u JOIN seawall.tenant_people p ON p.user_id = u.id AND p.tenant_id = $2
               WHERE u.email = lower($1) FOR NO KEY UPDATE OF u""",
            email,
            tenant_id,
        )
        if user_id is None:
            raise Refused(
                "nobody of this address belongs to the tenant",
                why="the wrong person's factors would be gone; nothing was changed",
                fix="check the address and the tenant",
            )
        gone = {what: len(await owner.fetch(sql, user_id)) for what, sql in _GOES.items()}
        if not (gone["passkeys"] or gone["totp"] or gone["recovery_codes"]):
            raise Refused(
                "this person has no second factor",
                why="there is nothing to take away, so it may be another person who asks; nothing was changed",
                fix="let them sign in: they can enrol one within five minutes of it",
            )
        await raise_epoch(owner, user_id)
        reset_id = await owner.fetchval(
            """INSERT INTO seawall.factor_resets (tenant_id, user_id, reason, ticket) VALUES ($1, $2, $3, $4)
               RETURNING id""",
            tenant_id,
            user_id,
            reason,
            ticket,
        )
        done = Reset(
            id=reset_id,
            user_id=user_id,
            passkeys=gone["passkeys"],
            totp=gone["totp"] > 0,
            recovery_codes=gone["recovery_codes"],
            sessions_ended=gone["sessions"],
            privileged=await _is_privileged(owner, user_id),
        )
        await _record(owner, done)
    return done


def _must_say_why(reason: str, ticket: str) -> None:
    if not len(reason.strip()) >= REASON_LENGTH_MIN or len(reason) > REASON_LENGTH_MAX:
        raise Refused(
            f"a reason has {REASON_LENGTH_MIN} to {REASON_LENGTH_MAX} characters",
            why="somebody will ask why the second factor was taken off this account",
            fix='--reason "Lost telephone and codes; identity checked by video call"',
        )
    if not TICKET.fullmatch(ticket):
        raise Refused(
            f"{ticket!r} is not the name of a ticket",
            why="it stands on the person's account page, and is how they ask who did this",
            fix="--ticket OPS-1234: letters, digits and #/_.-, at most 64",
        )


async def _is_privileged(owner: Any, user_id: UUID) -> bool:
    found: bool = await owner.fetchval(
        """SELECT EXISTS (SELECT FROM seawall.memberships m JOIN seawall.privileged_roles p ON p.role = m.role
                          WHERE m.user_id = $1 AND (m.expires_at IS NULL OR m.expires_at > now()))""",
        user_id,
    )
    return found


async def _record(owner: Any, done: Reset) -> None:
    """In every tenant that the person can enter: each of them is one factor less sure of this person."""
    event = FactorReset(
        user_id=str(done.user_id),
        reset_id=str(done.id),
        passkeys=done.passkeys,
        totp=done.totp,
        recovery_codes=done.recovery_codes,
        sessions_ended=done.sessions_ended,
    )
    for row in await owner.fetch("SELECT tenant_id FROM seawall.tenant_people WHERE user_id = $1", done.user_id):
        await append_as(owner, [event], tenant_id=row["tenant_id"])
