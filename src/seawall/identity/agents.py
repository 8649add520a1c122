"""Which kind of browser somebody uses: its family and its platform, never the raw `User-Agent`.

Enough for a person to recognise a session, too little to follow anybody around (the header's versions and devices are
dropped before anything is stored).
"""

from __future__ import annotations

from dataclasses import dataclass

_BROWSERS = (  # order matters: Edge and Opera call themselves Chrome, Chrome calls itself Safari
    ("edg", "Edge"),
    ("opr/", "Opera"),
    ("samsungbrowser", "Samsung Internet"),
    ("firefox", "Firefox"),
    ("fxios", "Firefox"),
    ("headlesschrome", "Chrome"),
    ("chrome", "Chrome"),
    ("crios", "Chrome"),
    ("chromium", "Chrome"),
    ("safari", "Safari"),
    ("python", "a program"),
    ("curl", "a program"),
    ("seawall", "a program"),
)
_PLATFORMS = (
    ("iphone", "iPhone"),
    ("ipad", "iPad"),
    ("android", "Android"),
    ("cros", "ChromeOS"),
    ("windows", "Windows"),
    ("mac os", "macOS"),
    ("macintosh", "macOS"),
    ("linux", "Linux"),
)
LENGTH_MAX = 512


@dataclass(frozen=True, slots=True)
class Agent:
    """Families; both `unknown` when they are not among those that we know."""

    browser: str
    platform: str


UNKNOWN = Agent("unknown", "unknown")


def agent_of(user_agent: str) -> Agent:
    """The families that a `User-Agent` header names."""
    text = user_agent[:LENGTH_MAX].lower()
    browser = next((name for sign, name in _BROWSERS if sign in text), UNKNOWN.browser)
    platform = next((name for sign, name in _PLATFORMS if sign in text), UNKNOWN.platform)
    return Agent(browser, platform)
