"""Who may change factors: the first needs a sign-in of the last minutes, everything after it a factor that is there.

So a session left open, or stolen, is not enough to plant a factor or to take one away (ASVS 7.5.1). A recovery code
that this session has just used stands for the factor that was lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from seawall.core.clock import now
from seawall.core.errors import NotSignedIn, SeawallError, StepUpRequired
from seawall.core.scope import Principal
from seawall.core.stepup import Intent, Resume
from seawall.identity.desk import Desk
from seawall.identity.paths import ACCOUNT_PATH
from seawall.identity.sign_in import RECENT_SIGN_IN_S
from seawall.identity.stepup import DatabaseStepUps

RECOVERY_S = 600
"""How long a used recovery code opens the gate for its session."""


class RecentSignInRequired(NotSignedIn):
    """Signed in, but too long ago for this."""

    code = "recent-sign-in-required"
    title = "Sign in again first"

    def __init__(self, back: str) -> None:
        super().__init__("The first factor needs a sign-in of the last five minutes.")
        self.location = f"/auth/sign-in?{urlencode({'fresh': '1', 'next': back})}"


class _Unapproved(SeawallError):
    pass


def change_of_factors(principal: Principal, summary: str, resume: Resume | None = None, **what: str) -> Intent:
    """The intent of one change: `change_of_factors(who, "Add a passkey.", add="passkey")`."""
    return Intent("change_second_factors", f'User::"{principal.user_id}"', what, summary, resume)


class FactorGate:
    """Opens a transaction in which a factor may be changed."""

    def __init__(self, desk: Desk, step_ups: DatabaseStepUps) -> None:
        self._desk = desk
        self._step_ups = step_ups

    @asynccontextmanager
    async def opened(
        self, principal: Principal, intent: Intent, page: tuple[str, dict[str, str]] | None = None
    ) -> AsyncIterator[Any]:
        """A transaction as `seawall_identity`. An approval that opened it is used up with it, or not at all.

        Args:
            intent: what exactly is to be approved.
            page: path and query of the page to come back to, when that is what asks.

        Raises:
            RecentSignInRequired: for the first factor.
            StepUpRequired: for everything after it.
        """
        back = ACCOUNT_PATH if page is None else f"{page[0]}?{urlencode(page[1])}"
        try:
            async with self._desk.db.identity() as tx:
                await self._check(tx, principal, intent, back)
                yield tx
        except _Unapproved:
            raise await self._challenge(principal, intent, page) from None

    async def _check(self, tx: Any, principal: Principal, intent: Intent, back: str) -> None:
        held = await self._desk.factors.held(tx, principal.user_id)
        if not held.any:
            if now() - principal.assurance.authenticated_at > timedelta(seconds=RECENT_SIGN_IN_S):
                raise RecentSignInRequired(back)
            return
        if await recovering(tx, principal):
            return
        if not await self._step_ups.consume_own(tx, principal, intent):
            raise _Unapproved

    async def _challenge(
        self, principal: Principal, intent: Intent, page: tuple[str, dict[str, str]] | None
    ) -> StepUpRequired:
        if page is not None:
            return await self._step_ups.challenge_page(principal, intent, *page)
        lifetime_s = self._desk.settings.identity.step_up_lifetime_s
        return await self._step_ups.challenge(principal, intent, acr="aal2", max_age_s=lifetime_s)


async def recovering(tx: Any, principal: Principal) -> bool:
    """Whether this session used a recovery code in the last minutes."""
    found: bool = await tx.fetchval(
        """SELECT EXISTS (SELECT FROM seawall.sessions
                          WHERE id = $1 AND recovered_at > now() - make_interval(secs => $2))""",
        principal.session_id,
        RECOVERY_S,
    )
    return found
