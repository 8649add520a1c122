"""One thing that is wrong with a set of policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seawall.access.review.score import Witness

Severity = Literal["error", "warning", "note"]
"""An error fails the command. A note is worth knowing, and asks for nothing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `code` is stable: it is what CI and the judge look for."""

    code: str
    severity: Severity
    policy: str
    file: str
    message: str
    fix: str
    witness: Witness | None = None
