"""What a Cedar policy mentions, read from its JSON form (EST).

Decided from it: which attributes some policies could ever read (the rest need not be sent), whether a policy depends on
`context.step_up`, and which rows beside the object one reaches.
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
        for node in nodes(policy["conditions"]):
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
    for node in nodes(policy["conditions"]):
        path: list[str] = []
        at: Any = node
        while (access := _access(at)) is not None:
            path.append(access[1])
            at = access[0]
        if path and isinstance(at, dict) and set(at) == {"Var"}:
            yield at["Var"], tuple(reversed(path))


def memberships(policy: Est) -> Iterator[tuple[str, ...]]:
    """The path from `resource` of everything that is asked whether it is `in` something; `()` is the resource."""
    scope = policy["resource"]
    if scope["op"] == "in" or "in" in scope:
        yield ()
    for left in _asked_in(policy):
        variable, path = path_of(left) or ("", ())
        if variable == "resource":
            yield path


def _asked_in(policy: Est) -> Iterator[Any]:
    for node in nodes(policy["conditions"]):
        for operator in ("in", "is"):
            body = node.get(operator)
            if len(node) == 1 and isinstance(body, dict) and "left" in body and (operator == "in" or "in" in body):
                yield body["left"]


def path_of(node: Any) -> tuple[str, tuple[str, ...]] | None:
    """`("resource", ("venue", "name"))` for `resource.venue.name`; None for anything that is not such a path."""
    path: list[str] = []
    while (access := _access(node)) is not None and "." in node:
        path.append(access[1])
        node = access[0]
    return (node["Var"], tuple(reversed(path))) if isinstance(node, dict) and set(node) == {"Var"} else None


def unnamed(policy: Est) -> Iterator[str]:
    """What is asked of something that no path names, so that no one can say beforehand which row it is."""
    for node in nodes(policy["conditions"]):
        access = _access(node)
        if access is not None and path_of(access[0]) is None:
            yield f"the attribute {access[1]}"
    for left in _asked_in(policy):
        if path_of(left) is None and set(left) != {"Value"}:
            yield "the operator in"


def _access(node: Any) -> tuple[Any, str] | None:
    """`(left, name)` when the node reads (`.`) or tests (`has`) an attribute."""
    if isinstance(node, dict) and len(node) == 1:
        for operator in (".", "has"):
            body = node.get(operator)
            if isinstance(body, dict) and isinstance(body.get("attr"), str):
                return body["left"], body["attr"]
    return None


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON value, however deep."""
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
