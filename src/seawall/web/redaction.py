"""What may stand in a log line: identifiers, enumerations and numbers; nothing of a person, no secret (ASVS 16.2.5).

By type first, because a pattern cannot know a name from a word: a *value* is kept when it is a number, a UUID, a time,
or a member of an enumeration; text is kept only in fields that hold codes (`CODE_FIELDS`), and only when it looks like
a code. Everything else becomes its type and length. Then, as defence in depth, what is left is searched for what has a
shape of its own: addresses, telephone and card numbers, tokens, passwords in URLs. So a developer's
`log.info("paid", customer=order.recipient)`, an f-string, or a library's `"failed for %s"` writes no person down.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID

CODE_FIELDS: Final = frozenset(
    {
        "action", "actions", "alert", "algorithm", "audience", "code_name", "column", "component", "control",
        "event_kind", "factor", "file", "grant_type", "heading", "job", "key_name", "kind", "level", "logger",
        "method", "migration", "module", "outcome", "policies", "policy", "problem", "provider", "queue", "reason",
        "resource_type", "role", "route", "scope", "service", "setting", "stage", "state", "step", "table", "tenant",
        "timestamp", "tool", "variable", "version",
    }
)  # fmt: skip
"""Fields whose text is one of the app's own words."""
SENTENCES: Final = frozenset({"fix", "why"})
"""Fields whose text a developer wrote as a literal."""
MARK: Final = "[redacted]"
CARD_DIGITS_MIN, CARD_DIGITS_MAX = 13, 19
ITEMS_MAX = 20

_CODE = re.compile(r"[A-Za-z0-9_.:/{}*,+-]{1,128}")
_ID = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?=\d*[a-f])(?:[0-9a-f]{16}|[0-9a-f]{32})"
)
"""A UUID, a span or a trace. Without a letter it may be a card number: those have 16 digits, too."""
_DATE = r"\d{4}-\d\d-\d\d"
_SHAPES = re.compile(
    "|".join(
        [
            r"(?P<url>(?<=://)[^/\s:@]*:[^/\s@]+(?=@))",  # a password in an URL
            r"(?P<mail>[\w.!#$%&'*+/=?^`{|}~-]+@[\w-]+(?:\.[\w-]+)+)",
            r"(?P<jwt>\beyJ[\w-]{5,}\.[\w-]*\.?[\w-]*)",
            r"(?P<auth>(?i:\b(?:bearer|basic|dpop|token)\s+)[\w.~+/=-]{8,})",
            r"(?P<pair>(?i:\b(?:password|passwd|secret|token|api_?key|authorization|cookie|code|otp)\b\s*[=:]\s*)\S+)",
            r"(?P<iban>\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b)",
            rf"(?P<number>(?<![\w.-])(?!{_DATE}\b)\+?\(?\d(?:[ ()/.-]{{0,2}}\d){{6,18}}(?![\w]))",
            r"(?P<blob>(?<![\w/.-])[A-Za-z0-9_+=-]{24,}(?![\w/.-]))",
        ]
    )
)


def scrubbed(text: str) -> str:
    """`text` without what has the shape of an address, a number of a person, a card or a secret."""
    return _SHAPES.sub(_mark, text)


def _mark(found: re.Match[str]) -> str:
    text = found.group()
    if found.lastgroup == "blob" and (_ID.fullmatch(text) or text.isalpha() or _is_word(text)):
        return text
    return MARK


def _is_word(text: str) -> bool:
    """`seawall_restaurant_app_main`: words of a program, not random characters."""
    parts = re.split("[_-]", text)
    return all(part.isalpha() and (part.islower() or part.istitle() or part.isupper()) for part in parts)


def value_of(field: str, value: Any) -> Any:
    """What is written of a field's value: itself, or its type and length."""
    if isinstance(value, Enum):
        return value_of("kind", value.value)
    if value is None or isinstance(value, bool | int | float):
        return MARK if isinstance(value, int) and is_card(str(abs(value))) else value
    if isinstance(value, UUID | datetime | date | time | timedelta):
        return str(value)
    if isinstance(value, str):
        return _text(field, value)
    if isinstance(value, list | tuple | set | frozenset) and len(value) <= ITEMS_MAX:
        return [value_of(field, item) for item in value]
    return f"[{type(value).__name__}]"


def _text(field: str, value: str) -> str:
    if _ID.fullmatch(value):
        return value
    if field in SENTENCES or ((field in CODE_FIELDS or field.endswith("_id")) and _CODE.fullmatch(value)):
        return scrubbed(value)
    return f"[text of {len(value)}]"


def is_card(digits: str) -> bool:
    """Whether a number passes the check of payment cards (ISO/IEC 7812, Luhn)."""
    if not CARD_DIGITS_MIN <= len(digits) <= CARD_DIGITS_MAX or not digits.isdigit():
        return False
    doubled = (int(digit) * (1 + index % 2) for index, digit in enumerate(reversed(digits)))
    return sum(one - 9 if one > 9 else one for one in doubled) % 10 == 0


def argument_of(value: Any) -> Any:
    """An argument of a library's log line (`"failed for %s"`): numbers stay numbers, so that `%d` still works."""
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, BaseException):
        return type(value).__qualname__
    return value_of("", value)
