"""Cedar values that are known before any row is read: the caller, the context and what policies write out.

Held so that equal values are equal in Python: Long as int, String as str, Bool as bool, datetime and duration as
milliseconds, decimal as ten-thousandths, entities as `Ref`, sets as frozensets, records as sorted pairs. Which of them
an int is, the static type says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from seawall.access.schema import CedarType, EntityRef, Record, Scalar, SetOf

LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
DAY_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DURATION = re.compile(r"(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?")
_UNITS_MS = (DAY_MS, 3_600_000, 60_000, 1_000, 1)
_DECIMAL = re.compile(r"(-?)(\d+)\.(\d{1,4})")


class Ref(NamedTuple):
    """The name of an entity."""

    type: str
    id: str


class Members(frozenset[Any]):
    """A known set that remembers what it was converted to: somebody's ten thousand venues are parsed once."""

    def __init__(self, *given: Any) -> None:
        self.converted: dict[Any, list[Any]] = {}


Pairs = tuple[tuple[str, Any], ...]
"""A record: its members in the order of their names."""


@dataclass(frozen=True, slots=True)
class Env:
    """Everything that is known of one request: the caller with roles and attributes, and the context."""

    principal: Ref
    roles: frozenset[Ref]
    attributes: Mapping[str, Any]
    context: Pairs


def long(value: int) -> int:
    """
    Raises:
        OverflowError: for what is no 64-bit integer; Cedar's arithmetic fails there.
    """
    if not LONG_MIN <= value <= LONG_MAX:
        raise OverflowError
    return value


def moment_ms(text: str) -> int:
    """A Cedar datetime in milliseconds since 1970.

    Raises:
        ValueError: for what is none.
    """
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def duration_ms(text: str) -> int:
    """A Cedar duration, such as `1d12h`, in milliseconds.

    Raises:
        ValueError: for what is none.
    """
    found = _DURATION.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        raise ValueError(text)
    total = sum(int(part) * unit for part, unit in zip(found.groups()[1:], _UNITS_MS, strict=True) if part)
    return long(-total if found[1] else total)


def decimal_parts(text: str) -> int:
    """A Cedar decimal in ten-thousandths.

    Raises:
        ValueError: for what is none.
    """
    found = _DECIMAL.fullmatch(text)
    if found is None:
        raise ValueError(text)
    parts = int(found[2]) * 10_000 + int(found[3].ljust(4, "0"))
    return long(-parts if found[1] else parts)


LITERALS = {"datetime": moment_ms, "duration": duration_ms, "decimal": decimal_parts}


def decoded(kind: CedarType, value: Any) -> Any:
    """A value in Cedar's JSON form, of a known type.

    Raises:
        ValueError: for a type that nothing fills.
    """
    if isinstance(kind, EntityRef):
        return Ref(value["__entity"]["type"], value["__entity"]["id"])
    if isinstance(kind, SetOf):
        return Members(decoded(kind.element, one) for one in value)
    if isinstance(kind, Record):
        return tuple((name, decoded(kind.attributes[name].type, value[name])) for name in sorted(value))
    if kind.name in LITERALS:
        return LITERALS[kind.name](value["__extn"]["arg"])
    if kind.name == "ipaddr":
        raise ValueError("ipaddr")
    return value


def kind_of(value: Any) -> tuple[CedarType, Any]:
    """The type and value of a literal in a policy.

    Raises:
        ValueError: for what is no literal.
    """
    if isinstance(value, bool):
        return Scalar("Bool"), value
    if isinstance(value, int):
        return Scalar("Long"), value
    if isinstance(value, str):
        return Scalar("String"), value
    if isinstance(value, dict) and "__entity" in value:
        return EntityRef(value["__entity"]["type"]), Ref(value["__entity"]["type"], value["__entity"]["id"])
    raise ValueError(type(value).__name__)


def like(text: str, pattern: list[Any]) -> bool:
    """Cedar's `like` on known text."""
    parts = [".*" if part == "Wildcard" else re.escape(part["Literal"]) for part in pattern]
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None
