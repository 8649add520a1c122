"""Obligations: what must happen before an allowed action may go on. A policy states them as annotations."""

from __future__ import annotations

import re
from dataclasses import dataclass

WALL = "wall"
"""Marks a forbid that no change may remove or weaken; `seawall policy test` and `diff` see to it."""
DESCRIPTIVE = frozenset({"id", "title", "owner", "why", WALL})
"""Annotations that oblige to nothing."""
STEP_UP = "step_up"
REQUIRES_APPROVAL = "requires_approval"
NOTIFY = "notify"
"""Advice: go on, and leave an event for the tenant to look at."""
KNOWN_ANNOTATIONS = DESCRIPTIVE | {STEP_UP, REQUIRES_APPROVAL, NOTIFY}

_NOTICE = re.compile(r"[a-z][a-z0-9-]{0,62}")
_ROLE = r"[a-z][a-z_]{0,62}"
_APPROVAL = re.compile(rf"role=({_ROLE}(?:\|{_ROLE}){{0,7}}),lifetime_s=([1-9]\d{{1,5}})")
LIFETIME_S_MIN, LIFETIME_S_MAX = 60, 604_800
_STEP_UP = re.compile(r"aal=([123]),max_age_s=([1-9]\d{0,3})")
MAX_AGE_S_MAX = 3_600


@dataclass(frozen=True, slots=True)
class StepUpObligation:
    """A fresh factor at `aal` or above (NIST SP 800-63B), proven at most `max_age_s` seconds ago."""

    aal: int
    max_age_s: int

    @property
    def acr(self) -> str:
        """The value for `acr_values` of an RFC 9470 challenge."""
        return f"aal{self.aal}"


def parse_step_up(text: str) -> StepUpObligation:
    """Read `aal=2,max_age_s=300`.

    Raises:
        ValueError: for anything else, so that a misspelt obligation is not a weaker one.
    """
    match = _STEP_UP.fullmatch(text.replace(" ", ""))
    if match is None or int(match[2]) > MAX_AGE_S_MAX:
        raise ValueError(text)
    return StepUpObligation(int(match[1]), int(match[2]))


def strictest(obligations: list[StepUpObligation]) -> StepUpObligation:
    """The one that satisfies all of them: highest level, shortest age."""
    return StepUpObligation(max(o.aal for o in obligations), min(o.max_age_s for o in obligations))


@dataclass(frozen=True, slots=True)
class ApprovalObligation:
    """Somebody else's approval, by a holder of one of `roles`; asked for and then used within `lifetime_s` seconds."""

    roles: frozenset[str]
    lifetime_s: int


def parse_approval(text: str) -> ApprovalObligation:
    """Read `role=finance|legal,lifetime_s=86400`.

    Raises:
        ValueError: for anything else, or a lifetime outside of one minute to seven days.
    """
    match = _APPROVAL.fullmatch(text.replace(" ", ""))
    if match is None or not LIFETIME_S_MIN <= int(match[2]) <= LIFETIME_S_MAX:
        raise ValueError(text)
    return ApprovalObligation(frozenset(match[1].split("|")), int(match[2]))


def joint(obligations: list[ApprovalObligation]) -> ApprovalObligation | None:
    """One approval that satisfies all of them: by a role that each of them names, within the shortest lifetime.

    Gives None when there is no such role; then nobody could approve.
    """
    roles = frozenset.intersection(*(o.roles for o in obligations))
    return ApprovalObligation(roles, min(o.lifetime_s for o in obligations)) if roles else None


def parse_notice(text: str) -> str:
    """Read the name of a notice, such as `large-refund`.

    Raises:
        ValueError: for what is not a plain name; it goes into the audit log.
    """
    if _NOTICE.fullmatch(text) is None:
        raise ValueError(text)
    return text
