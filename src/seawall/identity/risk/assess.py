"""Signals → score, reasons, effect. No clock, no database, no chance: the same facts give the same answer (ASVS 8.2.4).

A signal is a plain difference between two known values. Whatever is unknown on either side is neutral, because a
missing database must not turn every sign-in into an alarm.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from seawall.core.scope import Trail
from seawall.identity.risk.browser import same_machine
from seawall.identity.risk.places import Place
from seawall.settings import RiskSection

Effect = Literal["none", "notify", "step-up"]
SCORE_MAX = 100

WEIGHT = {
    "new-device": "new_device",
    "country-changed": "country",
    "operator-changed": "asn",
    "platform-changed": "platform",
    "two-networks": "two_networks",
    "failures-account": "failures",
    "failures-network": "failures",
}
"""The setting of `identity.risk` that weighs each reason."""


@dataclass(frozen=True, slots=True)
class Assessment:
    score: int
    reasons: tuple[str, ...]
    """Sorted codes, only those with a weight."""
    effect: Effect


@dataclass(frozen=True, slots=True)
class History:
    """What is known of a person at a sign-in, before it."""

    devices: int = 0
    """How many browsers; 0 at the first sign-in ever, which nothing can be compared with."""
    device_known: bool = False
    countries: frozenset[str] = frozenset()
    operators: frozenset[int] = frozenset()
    failures_account: int = 0
    failures_network: int = 0


@dataclass(frozen=True, slots=True)
class Origin:
    """What a session's sign-in looked like."""

    platform: str
    place: Place

    @classmethod
    def read(cls, text: str) -> Origin:
        """The inverse of `write`; also of what the database writes as `sessions.origin`."""
        platform, network, country, asn = text.split(" ")
        place = Place(bytes.fromhex(network) or None, country or None, int(asn) if asn else None)
        return cls(platform, place)

    def write(self) -> str:
        network = self.place.network.hex() if self.place.network else ""
        return f"{self.platform} {network} {self.place.country or ''} {self.place.asn or ''}"


def weigh(reasons: Iterable[str], section: RiskSection) -> Assessment:
    """Add up what the reasons weigh, each once."""
    counted = {reason: getattr(section, WEIGHT[reason]) for reason in set(reasons) if reason in WEIGHT}
    told = tuple(sorted(reason for reason, weight in counted.items() if weight > 0))
    score = min(SCORE_MAX, sum(counted.values()))
    effect: Effect = "step-up" if score >= section.step_up_at else "notify" if score >= section.notify_at else "none"
    return Assessment(score, told, effect)


def at_sign_in(history: History, place: Place, section: RiskSection) -> Assessment:
    """Compare a sign-in with the person's earlier ones, and with what failed just before."""
    reasons = set()
    if history.devices and not history.device_known:
        reasons.add("new-device")
    if place.country and history.countries and place.country not in history.countries:
        reasons.add("country-changed")
    if place.asn and history.operators and place.asn not in history.operators:
        reasons.add("operator-changed")
    if history.failures_account >= section.failures_per_account:
        reasons.add("failures-account")
    if history.failures_network >= section.failures_per_network:
        reasons.add("failures-network")
    return weigh(reasons, section)


def at_request(trail: Trail, here: Origin, moment: datetime, section: RiskSection) -> Assessment:
    """Compare a request with its session's *sign-in*, never with the request before: nobody drifts away in small steps.

    What was noticed earlier in the session counts on.
    """
    begun = Origin.read(trail.origin)
    reasons = set(trail.strayed)
    if not same_machine(begun.platform, here.platform):
        reasons.add("platform-changed")
    if begun.place.country and here.place.country and begun.place.country != here.place.country:
        reasons.add("country-changed")
    if begun.place.asn and here.place.asn and begun.place.asn != here.place.asn:
        reasons.add("operator-changed")
    if _two_networks(trail, begun.place, here.place, moment, section):
        reasons.add("two-networks")
    return weigh(reasons, section)


def elsewhere(begun: Place, here: Place) -> bool:
    """Whether a request comes from another network than its session's sign-in.

    By operator where that is known on both sides: a phone's address wanders within one. Else by prefix, and only
    within one IP version, since a browser with both changes between them all day.
    """
    if begun.asn and here.asn:
        return begun.asn != here.asn
    return comparable(begun.network, here.network) and begun.network != here.network


def comparable(one: bytes | None, other: bytes | None) -> bool:
    """Whether two hashes of networks say anything about each other: the same IP version, under the same key."""
    return bool(one and other and one[:2] == other[:2])


def _two_networks(trail: Trail, begun: Place, here: Place, moment: datetime, section: RiskSection) -> bool:
    """The session was used from elsewhere a moment ago, and now it is used from where it began: two places at once."""
    if trail.away_at is None or moment - trail.away_at > timedelta(seconds=section.two_networks_within_s):
        return False
    return comparable(trail.away_network, here.network) and not elsewhere(begun, here)
