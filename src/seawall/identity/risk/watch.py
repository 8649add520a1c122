"""At a request: compares it with the sign-in of its session, and acts on what is new.

Nothing is asked of the database unless something differs: the sign-in's values come along with admission.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request

from seawall.audit import append_as
from seawall.core.clock import now
from seawall.core.decisions import passage_of
from seawall.core.events import Risk
from seawall.core.scope import Assurance, Principal, Trail
from seawall.identity.risk.assess import Assessment, Origin, at_request, elsewhere
from seawall.identity.risk.browser import browser_of
from seawall.identity.risk.places import Places
from seawall.settings import RiskSection

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
USER_AGENT = "user-agent"


class Watch:
    """Watches the sessions of one app.

    Args:
        identity: opens a transaction as `seawall_identity`.
    """

    def __init__(
        self, section: RiskSection, places: Places, identity: Callable[[], AbstractAsyncContextManager[Any]]
    ) -> None:
        self._section = section
        self._places = places
        self._identity = identity

    def here(self, request: Request) -> Origin:
        """What this request looks like."""
        browser = browser_of(request.headers.get(USER_AGENT, ""))
        return Origin(browser.platform, self._places.of(request.client.host if request.client else None))

    async def over(self, principal: Principal, request: Request) -> Principal:
        """The principal, with less assurance if this request does not look like its session's sign-in."""
        trail = principal.trail
        here = self.here(request)
        if trail is None or trail.origin == "   " or (trail.origin == here.write() and trail.away_at is None):
            return principal
        moment = now()
        found = at_request(trail, here, moment, self._section)
        fresh = set(found.reasons) - set(trail.strayed)
        away = elsewhere(Origin.read(trail.origin).place, here.place) and self._is_news(trail, here, moment)
        if not fresh and not away:
            return principal
        async with self._identity() as tx:
            if away:
                await tx.execute(
                    "UPDATE seawall.sessions SET away_network = $2, away_at = now() WHERE id = $1",
                    principal.session_id,
                    here.place.network,
                )
            if fresh and await _told(tx, principal, found):
                await _record(tx, principal, found, passage_of(request).trace_id)
        if fresh and found.effect == "step-up":
            return replace(principal, assurance=Assurance(1, LONG_AGO, None))
        return principal

    def _is_news(self, trail: Trail, here: Origin, moment: datetime) -> bool:
        """Whether being elsewhere is worth a write; a session on the road must not cost one at every request."""
        if here.place.network is None:
            return False
        if trail.away_at is None or trail.away_network != here.place.network:
            return True
        return moment - trail.away_at > timedelta(seconds=self._section.two_networks_within_s / 4)


async def _told(tx: Any, principal: Principal, found: Assessment) -> bool:
    """Write the reasons down; False when another request of the same moment has done so."""
    noted = await tx.fetchval(
        """UPDATE seawall.sessions SET strayed = $2, strayed_at = clock_timestamp(),
             doubted_at = CASE WHEN $3 THEN clock_timestamp() ELSE doubted_at END
           WHERE id = $1 AND NOT coalesce(strayed, '{}') @> $2 RETURNING id""",
        principal.session_id,
        list(found.reasons),
        found.effect == "step-up",
    )
    return noted is not None


async def _record(tx: Any, principal: Principal, found: Assessment, trace_id: str) -> None:
    event = Risk(
        user_id=str(principal.user_id),
        session_id=str(principal.session_id),
        at="request",
        score=found.score,
        reasons=found.reasons,
        effect=found.effect,
        trace_id=trace_id,
    )
    await append_as(
        tx, [event], tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id
    )
