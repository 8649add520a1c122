"""What a Cedar policy mentions, read from its JSON form (EST).

Three things are decided from it: which attributes a set of policies could ever read (the rest need not be sent),
whether a policy depends on `context.step_up`, and whether one reaches through an entity whose attributes do not travel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Est = Mapping[str, Any]
"""One policy in Cedar's JSON form."""


@dataclass(frozen=True, slots=True)
class Mentions:
    """Everything that some policies could read.

    Args:
        attributes: every attribute name that is accessed or tested on anything at all.
        context: the names accessed on `context`, or None when `context` is used as a whole.
        action: whether a condition looks at `action`.
    """

    attributes: frozenset[str]
    context: frozenset[str] | None
    action: bool


def mentions(policies: list[Est]) -> Mentions:
    """What these policies mention, over-approximated: a name counts wherever it is accessed."""
    attributes: set[str] = set()
    of_context: set[str] = set()
    whole_context = False
    action = False
    for policy in policies:
        for node in _nodes(policy["conditions"]):
            access = _access(node)
            if access is not None:
                attributes.add(access[1])
                if access[0] == {"Var": "context"}:
                    of_context.add(access[1])
            action = action or node == {"Var": "action"}
        whole_context = whole_context or _bare_context(policy["conditions"])
    return Mentions(frozenset(attributes), None if whole_context else frozenset(of_context), action)


def chains(policy: Est) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every accessed path such as `("resource", ("venue", "name"))`, outermost and inner ones alike."""
    for node in _nodes(policy["conditions"]):
        path: list[str] = []
        at: Any = node
        while (access := _access(at)) is not None:
            path.append(access[1])
            at = access[0]
        if path and isinstance(at, dict) and set(at) == {"Var"}:
            yield at["Var"], tuple(reversed(path))


def _access(node: Any) -> tuple[Any, str] | None:
    """`(left, name)` when the node reads (`.`) or tests (`has`) an attribute."""
    if isinstance(node, dict) and len(node) == 1:
        for operator in (".", "has"):
            body = node.get(operator)
            if isinstance(body, dict) and isinstance(body.get("attr"), str):
                return body["left"], body["attr"]
    return None


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    waiting = [value]
    while waiting:
        at = waiting.pop()
        if isinstance(at, dict):
            yield at
            waiting.extend(at.values())
        elif isinstance(at, list):
            waiting.extend(at)


def _bare_context(value: Any) -> bool:
    """Whether `context` is used other than by reading one of its attributes."""
    waiting = [value]
    while waiting:
        at = waiting.pop()
        access = _access(at)
        if access is not None:
            if access[0] != {"Var": "context"}:
                waiting.append(access[0])
        elif isinstance(at, dict):
            if at == {"Var": "context"}:
                return True
            waiting.extend(at.values())
        elif isinstance(at, list):
            waiting.extend(at)
    return False
