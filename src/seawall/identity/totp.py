"""TOTP (RFC 6238): a code works once, in its time step or one beside it.

The last used step is kept and only ever grows, by one conditional `UPDATE`, so that of two concurrent uses of one code
one succeeds (ASVS 6.5.1). The secret is sealed and bound to its owner.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pyotp

from seawall.core.clock import now_s
from seawall.core.master_seal import Seal

STEP_S = 30
STEPS_BESIDE = 1
SECRET_BYTES = 20
"""160 bits, the length of HMAC-SHA-1's output (RFC 4226 §4 R6)."""
PENDING_LIFETIME_S = 900

_CODE = re.compile(r"[0-9]{6}")


def new_secret() -> str:
    """A fresh secret, base32."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


def step_of(secret: str, code: str, at_s: int) -> int | None:
    """The time step at which `code` is right, if it is one of the three around `at_s`. Constant time per step."""
    if not _CODE.fullmatch(code):
        return None
    totp = pyotp.TOTP(secret)
    current = at_s // STEP_S
    found = None
    for step in range(current - STEPS_BESIDE, current + STEPS_BESIDE + 1):
        if hmac.compare_digest(totp.generate_otp(step), code):
            found = step
    return found


def otpauth_uri(secret: str, *, account: str, issuer: str) -> str:
    """What an authenticator app scans (the Key URI format)."""
    return pyotp.TOTP(secret).provisioning_uri(name=account, issuer_name=issuer)


@dataclass(frozen=True, slots=True)
class TotpFactors:
    """A person's authenticator app in the database. Every method runs in the caller's transaction as
    `seawall_identity`.
    """

    seal: Seal

    async def enrolled(self, tx: Any, user_id: UUID) -> bool:
        found = await tx.fetchval(
            "SELECT EXISTS (SELECT FROM seawall.totp_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL)", user_id
        )
        return bool(found)

    async def start(self, tx: Any, user_id: UUID, session_id: UUID) -> str:
        """Make the secret of an enrolment that this session may confirm; replaces an earlier unconfirmed one."""
        secret = new_secret()
        await tx.execute(
            """INSERT INTO seawall.totp_pending (user_id, session_id, sealed, expires_at)
               VALUES ($1, $2, $3, now() + make_interval(secs => $4))
               ON CONFLICT (user_id) DO UPDATE
                 SET session_id = excluded.session_id, sealed = excluded.sealed, expires_at = excluded.expires_at""",
            user_id,
            session_id,
            self.seal.seal(secret.encode(), user_id.bytes),
            PENDING_LIFETIME_S,
        )
        return secret

    async def pending(self, tx: Any, user_id: UUID, session_id: UUID) -> str | None:
        """The secret that this session is enrolling, if that is still open."""
        sealed = await tx.fetchval(
            """SELECT sealed FROM seawall.totp_pending
               WHERE user_id = $1 AND session_id = $2 AND expires_at > now() FOR UPDATE""",
            user_id,
            session_id,
        )
        return None if sealed is None else self.seal.open(sealed, user_id.bytes).decode()

    async def confirm(self, tx: Any, user_id: UUID, session_id: UUID, code: str) -> str | None:
        """Make the pending factor the person's factor if `code` is right: gives the RFC 8176 method `otp`, or None.

        The confirming code counts as used.
        """
        secret = await self.pending(tx, user_id, session_id)
        step = None if secret is None else step_of(secret, code, now_s())
        if secret is None or step is None:
            return None
        await tx.execute("DELETE FROM seawall.totp_pending WHERE user_id = $1", user_id)
        await tx.execute(
            """INSERT INTO seawall.totp_factors (user_id, sealed, last_step, confirmed_at) VALUES ($1, $2, $3, now())
               ON CONFLICT (user_id) DO UPDATE
                 SET sealed = excluded.sealed, last_step = excluded.last_step, confirmed_at = now()""",
            user_id,
            self.seal.seal(secret.encode(), user_id.bytes),
            step,
        )
        return "otp"

    async def prove(self, tx: Any, user_id: UUID, code: str) -> str | None:
        """Use up a code. Gives the RFC 8176 method `otp`, or None if it was not good."""
        sealed = await tx.fetchval(
            "SELECT sealed FROM seawall.totp_factors WHERE user_id = $1 AND confirmed_at IS NOT NULL", user_id
        )
        if sealed is None:
            return None
        step = step_of(self.seal.open(sealed, user_id.bytes).decode(), code, now_s())
        if step is None:
            return None
        used = await tx.fetchval(
            "UPDATE seawall.totp_factors SET last_step = $2 WHERE user_id = $1 AND last_step < $2 RETURNING 1",
            user_id,
            step,
        )
        return None if used is None else "otp"

    async def remove(self, tx: Any, user_id: UUID) -> bool:
        """Take the factor away; whether there was one."""
        removed = await tx.fetchval("DELETE FROM seawall.totp_factors WHERE user_id = $1 RETURNING 1", user_id)
        return removed is not None
