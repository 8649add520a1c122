"""Which values matter for which attribute: the literals that policies compare it with, and their neighbours.

A mistake in a policy is a limit that is one off, a comparison that is turned round, or a condition that is missing. All
of them show at the values beside the ones that the policies name, so those are the ones to try.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from seawall.access.expressions import Est, _access, nodes

Chain = tuple[str, tuple[str, ...]]
"""`("resource", ("status",))`."""
COMPARING = frozenset(
    {"==", "!=", "<", "<=", ">", ">=", "contains", "containsAll", "containsAny", "in", "like"}
    | {"lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual"}
)
_DURATION = re.compile(r"(-?)(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+)s)?(?:(\d+)ms)?")


@dataclass
class Literals:
    """What one group of attributes, compared with one another, is compared with."""

    numbers: set[int] = field(default_factory=set)
    strings: set[str] = field(default_factory=set)
    decimals: set[Decimal] = field(default_factory=set)
    durations: set[timedelta] = field(default_factory=set)
    entities: set[tuple[str, str]] = field(default_factory=set)

    def add(self, other: Literals) -> None:
        for name in ("numbers", "strings", "decimals", "durations", "entities"):
            getattr(self, name).update(getattr(other, name))


def literals_of(policies: Iterable[Est]) -> Mapping[Chain, Literals]:
    """For every attribute, the literals of its group. Attributes of one comparison are one group, transitively."""
    groups: dict[Chain, tuple[set[Chain], Literals]] = {}
    for policy in policies:
        for node in _comparisons(policy["conditions"]):
            paths, found = set(_paths(node)), _literals(node)
            merged: tuple[set[Chain], Literals] = (set(paths), found)
            for path in paths:
                if path in groups:
                    merged[0].update(groups[path][0])
                    merged[1].add(groups[path][1])
            for path in merged[0]:
                groups[path] = merged
    return {path: found for path, (_, found) in groups.items()}


def roles_of(policies: Iterable[Est], role_type: str) -> tuple[str, ...]:
    """Every role that some policy names, in scope or condition, sorted."""
    return tuple(sorted({name for policy in policies for kind, name in _entities(policy) if kind == role_type}))


def duration(text: str) -> timedelta | None:
    """Cedar's `1d2h3m4s5ms`, or None for anything else."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()[1:]):
        return None
    days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in match.groups()[1:])
    span = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    return -span if match[1] else span


def _comparisons(value: Any) -> Iterator[Any]:
    for node in nodes(value):
        if len(node) == 1 and next(iter(node)) in COMPARING:
            yield node


def _paths(node: Any) -> Iterator[Chain]:
    for inner in nodes(node):
        path: list[str] = []
        at: Any = inner
        while (access := _access(at)) is not None:
            path.append(access[1])
            at = access[0]
        if path and isinstance(at, dict) and set(at) == {"Var"}:
            yield at["Var"], tuple(reversed(path))


def _literals(node: Any) -> Literals:
    found = Literals()
    for inner in nodes(node):
        value = inner.get("Value")
        if isinstance(value, bool):
            continue
        if isinstance(value, int):
            found.numbers.add(value)
        elif isinstance(value, str):
            found.strings.add(value)
            span = duration(value)
            if span is not None:
                found.durations.add(span)
            with contextlib.suppress(InvalidOperation):
                found.decimals.add(Decimal(value))
        if "like" in inner:
            found.strings.add(_like(inner["like"].get("pattern", [])))
    found.entities.update(_entities(node))
    return found


def _like(pattern: Any) -> str:
    """A text that a `like` pattern matches."""
    parts = [part["Literal"] if isinstance(part, dict) else "x" for part in pattern]
    return "".join(parts)


def _entities(value: Any) -> Iterator[tuple[str, str]]:
    for node in nodes(value):
        inner = node.get("__entity", node)
        if isinstance(inner, dict) and set(inner) == {"type", "id"}:
            yield inner["type"], inner["id"]
