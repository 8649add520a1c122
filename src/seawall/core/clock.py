"""Time. One place to ask, so that tests can say what time it is."""

from __future__ import annotations

import time
from datetime import UTC, datetime

CLOCK_SKEW_MAX_S = 60
"""How far the app's clock may be from the database's or a provider's before Seawall refuses."""


def now() -> datetime:
    """The time now, aware, in UTC."""
    return datetime.now(UTC)


def now_s() -> int:
    """The time now in whole seconds since the epoch (a NumericDate of RFC 7519)."""
    return int(time.time())
