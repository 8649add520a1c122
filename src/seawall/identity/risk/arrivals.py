"""At a sign-in: how unusual it is, what it looked like, and the browser remembered for the next time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from seawall.core.decisions import passage_of
from seawall.core.events import Event, Risk
from seawall.core.ids import new_token, token_hash
from seawall.identity import cookies
from seawall.identity.devices.instructions import Offer
from seawall.identity.risk.assess import Assessment, History, Origin, at_sign_in
from seawall.identity.risk.browser import Browser, browser_of
from seawall.identity.risk.watch import USER_AGENT, Watch
from seawall.identity.throttle import Limit, network_of
from seawall.settings import IdentitySection

DEVICES_MAX = 20
"""Of one person; the one seen longest ago is forgotten first."""
ACCOUNT_FAILURES = ("totp", "dev-login")
NETWORK_FAILURES = ("sign-in-refused", "dev-login")
"""Throttles whose use tells how much guessing failed lately, by account and by network."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A sign-in that was assessed and written down."""

    session_id: UUID
    known_token: str
    events: tuple[Event, ...]
    """To be appended in the same transaction."""
    offer: Offer

    def dress(self, response: Response) -> None:
        """Add to the answer that sets the session: the known-browser cookie, and the offer to bind the session."""
        cookies.set_known(response, self.known_token)
        self.offer.make(response, self.session_id)


class Arrivals:
    """Notes arrivals."""

    def __init__(self, section: IdentitySection, watch: Watch, offer: Offer) -> None:
        self._section = section
        self._watch = watch
        self._offer = offer

    async def note(self, tx: Any, request: Request, *, session_id: UUID, user_id: UUID) -> Arrival:
        """Assess a session that has just begun, in the transaction that began it."""
        known = cookies.known_token(request) or new_token()
        device_hash = token_hash(f"{user_id}\0{known}")
        here, browser = self._watch.here(request), browser_of(request.headers.get(USER_AGENT, ""))
        failed_account, failed_network = await self._failures(tx, request, user_id)
        history = History(
            **await _history(tx, user_id, device_hash),
            failures_account=failed_account,
            failures_network=failed_network,
        )
        found = at_sign_in(history, here.place, self._section.risk)
        await _remember(tx, user_id, device_hash, browser, here)
        await _write_down(tx, session_id, browser, here, found)
        event = Risk(
            user_id=str(user_id),
            session_id=str(session_id),
            at="sign-in",
            score=found.score,
            reasons=found.reasons,
            effect=found.effect,
            trace_id=passage_of(request).trace_id,
        )
        return Arrival(session_id, known, (event,), self._offer)

    async def _failures(self, tx: Any, request: Request, user_id: UUID) -> tuple[int, int]:
        """How many attempts failed lately, at this account and from this network."""
        email = await tx.fetchval("SELECT email FROM seawall.users WHERE id = $1", user_id)
        network = network_of(request.client.host if request.client else None)
        section, window_s = self._section, self._section.attempts_window_s
        account = [
            Limit(kind, subject, section.attempts_per_account, window_s)
            for kind in ACCOUNT_FAILURES
            for subject in (str(user_id), email)
        ]
        near = [Limit(kind, network, section.attempts_per_network, window_s) for kind in NETWORK_FAILURES]
        return await _used(tx, account), await _used(tx, near)


async def _history(tx: Any, user_id: UUID, device_hash: bytes) -> dict[str, Any]:
    row = await tx.fetchrow(
        """SELECT count(*) AS devices, coalesce(bool_or(device_hash = $2), false) AS device_known,
             coalesce(array_agg(DISTINCT country) FILTER (WHERE country IS NOT NULL), '{}') AS countries,
             coalesce(array_agg(DISTINCT asn) FILTER (WHERE asn IS NOT NULL), '{}') AS operators
           FROM seawall.known_devices WHERE user_id = $1""",
        user_id,
        device_hash,
    )
    return {**dict(row), "countries": frozenset(row["countries"]), "operators": frozenset(row["operators"])}


async def _used(tx: Any, limits: list[Limit]) -> int:
    used = [
        await tx.fetchval("SELECT seawall.throttle_used($1, $2, $3)", limit.key, limit.times, limit.window_s)
        for limit in limits
    ]
    return sum(used)


async def _remember(tx: Any, user_id: UUID, device_hash: bytes, browser: Browser, here: Origin) -> None:
    await tx.execute(
        """INSERT INTO seawall.known_devices (user_id, device_hash, family, platform, country, asn)
           VALUES ($1, $2, $3, $4, $5, $6)
           ON CONFLICT (user_id, device_hash) DO UPDATE SET last_seen_at = now(), family = $3, platform = $4,
             country = coalesce($5, known_devices.country), asn = coalesce($6, known_devices.asn)""",
        user_id,
        device_hash,
        browser.family,
        browser.platform,
        here.place.country,
        here.place.asn,
    )
    await tx.execute(
        """DELETE FROM seawall.known_devices WHERE user_id = $1 AND (
             last_seen_at < now() - make_interval(secs => $3)
             OR device_hash IN (SELECT device_hash FROM seawall.known_devices WHERE user_id = $1
                                ORDER BY last_seen_at DESC OFFSET $2))""",
        user_id,
        DEVICES_MAX,
        cookies.KNOWN_LIFETIME_S,
    )


async def _write_down(tx: Any, session_id: UUID, browser: Browser, here: Origin, found: Assessment) -> None:
    await tx.execute(
        """UPDATE seawall.sessions SET family = $2, platform = $3, network = $4, country = $5, asn = $6,
             risk_score = $7, risk_reasons = $8, doubted_at = CASE WHEN $9 THEN created_at END
           WHERE id = $1""",
        session_id,
        browser.family,
        browser.platform,
        here.place.network,
        here.place.country,
        here.place.asn,
        found.score,
        list(found.reasons),
        found.effect == "step-up",
    )
