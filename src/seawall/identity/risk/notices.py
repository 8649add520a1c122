"""What a person is told on their account page of the last thirty days, in words: unusual sign-ins and sessions, and
that an operator took their second factors away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

SHOWN_MAX = 5
OPERATOR = "An operator of this app"

WORDS = {
    "new-device": "a browser that had not been here before",
    "country-changed": "another country than before",
    "operator-changed": "another network operator than before",
    "platform-changed": "another operating system in the middle of a session",
    "two-networks": "two places at once",
    "failures-account": "after several failed attempts at this account",
    "failures-network": "after many failed attempts from the same network",
    "factors-reset": "took away all your second factors and signed you out everywhere",
}
_FAMILIES = {"edge": "Edge", "opera": "Opera", "samsung": "Samsung Internet", "firefox": "Firefox"}
_FAMILIES |= {"chrome": "Chrome", "safari": "Safari"}
_PLATFORMS = {"windows": "Windows", "android": "Android", "ios": "iOS", "chromeos": "ChromeOS", "macos": "macOS"}
_PLATFORMS |= {"linux": "Linux"}


@dataclass(frozen=True, slots=True)
class Notice:
    """One unusual session of the person's own, or one reset of their factors."""

    at: datetime
    browser: str
    """`Firefox on Linux`, or `An unknown browser`; or who it was instead."""
    reasons: tuple[str, ...]
    this: bool
    """Whether it is the session that asks."""
    live: bool
    ticket: str = ""
    """Where a reset was asked for."""

    @property
    def words(self) -> str:
        said = ", ".join(WORDS[reason] for reason in self.reasons if reason in WORDS)
        return f"{said} (ticket {self.ticket})" if self.ticket else said

    def dump(self) -> dict[str, Any]:
        """JSON values."""
        facts = {"at": self.at.isoformat(), "browser": self.browser, "reasons": list(self.reasons)}
        return {**facts, "this": self.this, "live": self.live, **({"ticket": self.ticket} if self.ticket else {})}


async def notices_of(tx: Any, user_id: UUID, session_id: UUID, *, notify_at: int) -> list[Notice]:
    """The newest first. `notify_at` is the score from which a sign-in is worth telling."""
    rows = await tx.fetch(
        """SELECT s.id = $2 AS this, greatest(s.created_at, s.strayed_at) AS at, s.family, s.platform,
             CASE WHEN s.risk_score >= $3 THEN s.risk_reasons ELSE '{}' END || coalesce(s.strayed, '{}') AS reasons,
             s.revoked_at IS NULL AND s.expires_at > now() AND s.epoch = u.epoch AS live
           FROM seawall.sessions s JOIN seawall.users u ON u.id = s.user_id
           WHERE s.user_id = $1 AND s.created_at > now() - interval '30 days'
             AND (s.risk_score >= $3 OR s.strayed IS NOT NULL)
           ORDER BY at DESC LIMIT $4""",
        user_id,
        session_id,
        notify_at,
        SHOWN_MAX,
    )
    notices = [
        Notice(
            row["at"], browser_words(row["family"], row["platform"]), _once(row["reasons"]), row["this"], row["live"]
        )
        for row in rows
    ]
    notices += await _resets(tx, user_id)
    return sorted(notices, key=lambda one: one.at, reverse=True)[:SHOWN_MAX]


async def _resets(tx: Any, user_id: UUID) -> list[Notice]:
    rows = await tx.fetch(
        """SELECT reset_at, ticket FROM seawall.factor_resets
           WHERE user_id = $1 AND reset_at > now() - interval '30 days' ORDER BY id DESC LIMIT $2""",
        user_id,
        SHOWN_MAX,
    )
    return [Notice(row["reset_at"], OPERATOR, ("factors-reset",), False, False, row["ticket"]) for row in rows]


def browser_words(family: str | None, platform: str | None) -> str:
    """`Chrome on Windows`, as far as it is known."""
    name, system = _FAMILIES.get(family or "", ""), _PLATFORMS.get(platform or "", "")
    if name and system:
        return f"{name} on {system}"
    return name or (f"A browser on {system}" if system else "An unknown browser")


def _once(reasons: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reasons))
