"""A person's second factors together: which there are, what a typed code proves, and what follows from a change.

totp       an authenticator app        passkeys   WebAuthn credentials       recovery   codes for when both are lost
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from starlette.requests import Request

from seawall.audit import append_as
from seawall.core.decisions import passage_of
from seawall.core.errors import NotSignedIn
from seawall.core.events import Event, FactorChange, Outcome
from seawall.core.scope import Principal
from seawall.identity import recovery
from seawall.identity.sessions import raise_epoch, renew_token
from seawall.identity.totp import TotpFactors


@dataclass(frozen=True, slots=True)
class Held:
    """The factors of one person."""

    totp: bool
    passkeys: int
    recovery_codes: int
    """How many are unused."""

    @property
    def any(self) -> bool:
        """Whether there is a factor. Recovery codes alone are none: they only stand for one that was lost."""
        return self.totp or self.passkeys > 0

    def dump(self) -> dict[str, Any]:
        return {"totp": self.totp, "passkeys": self.passkeys, "recovery_codes": self.recovery_codes}


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change of factors gives the person: the session's new token, and recovery codes if they are new."""

    token: str
    recovery_codes: list[str]


@dataclass(frozen=True, slots=True)
class Factors:
    """Every method runs in the caller's transaction as `seawall_identity`."""

    totp: TotpFactors

    async def held(self, tx: Any, user_id: UUID) -> Held:
        passkeys = await tx.fetchval("SELECT count(*) FROM seawall.passkeys WHERE user_id = $1", user_id)
        return Held(await self.totp.enrolled(tx, user_id), passkeys, await recovery.codes_left(tx, user_id))

    async def prove(self, tx: Any, user_id: UUID, code: str) -> str | None:
        """Use up a typed code. Gives the method (`otp` of RFC 8176, or `recovery`), or None if it was not good."""
        typed = recovery.plain(code)
        if recovery.is_recovery_code(typed):
            return await recovery.use_code(tx, user_id, typed)
        return await self.totp.prove(tx, user_id, typed)

    async def settle(self, tx: Any, principal: Principal, event: FactorChange, *, method: str | None = None) -> Changed:
        """What follows from a change of factors, in its transaction: every other session ends (ASVS 7.4.3), this one
        gets a new token, what was half enrolled is void, the event is written, the first factor brings recovery codes
        and the last takes them along.

        Args:
            method: the RFC 8176 name of the factor that was just proved by enrolling it.

        Raises:
            NotSignedIn: the session has ended meanwhile. The transaction must not be committed, and is not.
        """
        user_id = principal.user_id
        # First the person's row is locked, so that two changes at once go one after the other, and of two sessions the
        # second finds that the first has ended it. Not FOR UPDATE: both hold a key's share of the row by then.
        epoch = await tx.fetchval("SELECT epoch FROM seawall.users WHERE id = $1 FOR NO KEY UPDATE", user_id)
        alive = await tx.fetchval(
            "SELECT EXISTS (SELECT FROM seawall.sessions WHERE id = $1 AND epoch = $2 AND revoked_at IS NULL)",
            principal.session_id,
            epoch,
        )
        if not alive:
            raise NotSignedIn("The session has ended.")
        await raise_epoch(tx, user_id, keep=principal.session_id)
        token = await renew_token(tx, principal.session_id, method=method)
        if token is None:
            raise NotSignedIn("The session has ended.")
        # Begun under the rules of before, such as "there is no factor yet, a recent sign-in is enough".
        await tx.execute("DELETE FROM seawall.totp_pending WHERE user_id = $1", user_id)
        await tx.execute(
            """DELETE FROM seawall.passkey_challenges c USING seawall.sessions s
               WHERE s.id = c.session_id AND s.user_id = $1 AND c.purpose = 'enrol'""",
            user_id,
        )
        held = await self.held(tx, user_id)
        codes = []
        if held.any and held.recovery_codes == 0:
            codes = await recovery.new_codes(tx, user_id)
        elif not held.any:
            await recovery.forget_codes(tx, user_id)
        await record(tx, principal, event)
        return Changed(token, codes)


def change_event(
    request: Request,
    principal: Principal,
    factor: Literal["totp", "passkey", "recovery-codes"],
    change: Literal["enrolled", "removed", "renewed"],
    *,
    outcome: Outcome = "success",
    passkey: str = "",
) -> FactorChange:
    """The event of a change that the person of this request makes to their own factors."""
    return FactorChange(
        outcome=outcome,
        user_id=str(principal.user_id),
        factor=factor,
        change=change,
        passkey=passkey,
        trace_id=passage_of(request).trace_id,
    )


async def record(tx: Any, principal: Principal, event: Event) -> None:
    """Append an event in the transaction of what it tells, as the person whose session it is."""
    await append_as(
        tx, [event], tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id
    )
