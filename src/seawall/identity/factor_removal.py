"""Taking a factor away: confirmed with a factor, never the last one of a privileged person; other sessions end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from seawall.core.errors import Conflict, NotFound
from seawall.core.scope import Principal
from seawall.core.stepup import Resume
from seawall.identity import cookies
from seawall.identity.desk import Desk, data, onward, wants_html
from seawall.identity.factor_gate import FactorGate, change_of_factors
from seawall.identity.factors import change_event
from seawall.identity.paths import ACCOUNT_PATH


class LastFactor(Conflict):
    """A privileged person without a factor could do nothing, and whoever has their password could enrol one."""

    code = "last-factor"
    title = "Your role needs a second factor"


@dataclass(frozen=True, slots=True)
class Removal:
    """One factor to be taken away."""

    factor: Literal["totp", "passkey"]
    name: str
    """`totp`, or the passkey's id."""
    summary: str
    """What the person approves."""
    path: str
    """Where they asked, and ask again once they have approved."""
    left: bool
    """Whether a factor would be left."""
    delete: Callable[[Any], Awaitable[bool]]
    """In a transaction; False when it is gone already."""


async def remove_factor(
    desk: Desk, gate: FactorGate, request: Request, principal: Principal, removal: Removal
) -> Response:
    """Remove it; every other session ends, this one gets a new token.

    Raises:
        LastFactor: their role needs one, and this is the last.
        StepUpRequired: it is not confirmed yet. NotFound: it is gone already.
    """
    _refuse_last_factor(desk, principal, left=removal.left)
    again = Resume(removal.path, {})
    intent = change_of_factors(principal, removal.summary, again, remove=removal.name)
    async with gate.opened(principal, intent) as tx:
        if not await removal.delete(tx):
            raise NotFound()
        passkey = removal.name if removal.factor == "passkey" else ""
        event = change_event(request, principal, removal.factor, "removed", passkey=passkey)
        changed = await desk.factors.settle(tx, principal, event)
        left = await desk.factors.held(tx, principal.user_id)
        _refuse_last_factor(desk, principal, left=left.any)  # two removals at once: the second sees the first
    answer = onward(ACCOUNT_PATH) if wants_html(request) else data({"removed": removal.name})
    cookies.set_session(answer, changed.token)
    return answer


def _refuse_last_factor(desk: Desk, principal: Principal, *, left: bool) -> None:
    if not left and principal.roles & set(desk.settings.identity.privileged_roles):
        raise LastFactor("Add another factor before you remove the last one.")
