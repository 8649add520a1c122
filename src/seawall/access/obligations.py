"""Obligations: what must happen before an allowed action may go on. A policy states them as annotations."""

from __future__ import annotations

import re
from dataclasses import dataclass

WALL = "wall"
"""Marks a forbid that no change may remove or weaken; `seawall policy test` and `diff` see to it."""
DESCRIPTIVE = frozenset({"id", "title", "owner", "why", WALL})
"""Annotations that oblige to nothing."""
STEP_UP = "step_up"
KNOWN_ANNOTATIONS = DESCRIPTIVE | {STEP_UP}

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
