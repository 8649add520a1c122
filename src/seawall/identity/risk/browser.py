"""Family and platform of a browser. Not its version, and nothing that tells two people's browsers apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

USER_AGENT_LENGTH_MAX = 512

# The first that occurs counts: everybody says Mozilla and Safari, and Edge and Opera also say Chrome.
_FAMILIES = (
    ("edg", "edge"), ("opr/", "opera"), ("samsungbrowser", "samsung"), ("firefox/", "firefox"), ("fxios/", "firefox"),
    ("crios/", "chrome"), ("chrome/", "chrome"), ("chromium/", "chrome"), ("safari/", "safari"),
)  # fmt: skip
_PLATFORMS = (
    ("windows nt", "windows"), ("android", "android"), ("iphone", "ios"), ("ipad", "ios"), ("cros ", "chromeos"),
    ("mac os x", "macos"), ("linux", "linux"),
)  # fmt: skip

# A tablet's "desktop site" claims to be a Mac or a Linux machine, so only a change between these is impossible.
_KINDS = {
    "windows": "windows", "macos": "apple", "ios": "apple", "linux": "open", "android": "open", "chromeos": "open",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Browser:
    """Both empty when unknown."""

    family: str
    platform: str


@lru_cache(maxsize=1_024)
def browser_of(user_agent: str) -> Browser:
    """Read a `User-Agent` header."""
    text = user_agent[:USER_AGENT_LENGTH_MAX].lower()
    family = next((name for mark, name in _FAMILIES if mark in text), "")
    platform = next((name for mark, name in _PLATFORMS if mark in text), "")
    return Browser(family, platform)


def same_machine(one: str, other: str) -> bool:
    """Whether one machine may call itself both platforms. What is unknown may be anything."""
    kinds = _KINDS.get(one), _KINDS.get(other)
    return None in kinds or kinds[0] == kinds[1]
