"""Paths of ours, and where a browser may be sent after signing in: on this very origin (ASVS 1.2.2, CWE-601)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

HOME = "/"
ACCOUNT_PATH = "/auth/account"
NEXT_LENGTH_MAX = 2_048

# Printable ASCII without space, quote, angle brackets and backslash: browsers read "\" as "/", strip tabs and newlines,
# and that turns "/\evil" or "/<tab>/evil" into another site.
_PLAIN = re.compile(r"/(?!/)[!#-;=?-\[\]-~]*")


def is_own_path(value: str) -> bool:
    """Whether `value` is an absolute path of this origin: begins with exactly one slash and holds no surprises."""
    if len(value) > NEXT_LENGTH_MAX or _PLAIN.fullmatch(value) is None:
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return not parts.scheme and not parts.netloc


def own_path(value: str | None) -> str:
    """`value` if it is a path of this origin, else the home page. A bad `next` is not worth an error page."""
    return value if value is not None and is_own_path(value) else HOME
