"""What can be told of policies from how they are written: the ones without a use, and the ones that can go wrong.

Nothing that is found is a guess, and not everything is found: two policies that say the same in other words are not
seen to. Those the requests of `idle.py` show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from seawall.access.expressions import nodes
from seawall.access.policies import Policy, PolicyBook

Kind = Literal["unreachable", "shadowed", "overruled", "may-fail"]
_ARITHMETIC = frozenset({"+", "-", "*", "neg", "offset", "durationSince"})


@dataclass(frozen=True, slots=True)
class Written:
    """One policy and what is seen of it. `other` is the policy that makes it useless."""

    policy: Policy
    kind: Kind
    other: str = ""


@dataclass(frozen=True, slots=True)
class _Meaning:
    """A policy as sets that can be compared: where it applies, and all that must hold."""

    policy: Policy
    principal: bytes | None
    resource: bytes | None
    requests: frozenset[tuple[str, str]]
    conditions: frozenset[bytes]

    def covers(self, other: _Meaning) -> bool:
        """Whether this one holds wherever the other does."""
        return (
            self.principal in (None, other.principal)
            and self.resource in (None, other.resource)
            and self.requests >= other.requests
            and self.conditions <= other.conditions
        )


def written(book: PolicyBook) -> tuple[Written, ...]:
    """What is seen of the policies of an app, in the order of their files."""
    user = book.schema.qualified("User")
    requests: dict[str, set[tuple[str, str]]] = {name: set() for name in book.policies}
    for action in book.schema.actions.values():
        for resource in action.resources:
            for policy in book.chosen(action.name, resource, user):
                requests[policy.id].add((action.name, resource))
    meanings = [_meaning(policy, frozenset(requests[policy.id])) for policy in book.policies.values()]
    return tuple(found for one in meanings for found in _of(one, meanings))


def _of(one: _Meaning, all_of_them: list[_Meaning]) -> Iterator[Written]:
    policy = one.policy
    if not one.requests:
        yield Written(policy, "unreachable")
        return
    effect = policy.est["effect"]
    for other in all_of_them:
        if other is one or not other.requests or not other.covers(one):
            continue
        same = other.policy.est["effect"] == effect
        if same and not (one.covers(other) and one.policy.id < other.policy.id):  # of two alike, one is useless
            yield Written(policy, "shadowed", other.policy.id)
            break
        if effect == "permit" and not same:
            yield Written(policy, "overruled", other.policy.id)
            break
    if any(len(node) == 1 and not _ARITHMETIC.isdisjoint(node) for node in nodes(policy.est["conditions"])):
        yield Written(policy, "may-fail")


def _meaning(policy: Policy, requests: frozenset[tuple[str, str]]) -> _Meaning:
    conditions: set[bytes] = set()
    for condition in policy.est["conditions"]:
        if condition["kind"] == "when":
            conditions |= {_text(part) for part in _conjuncts(condition["body"])}
        else:
            conditions.add(_text({"!": {"arg": condition["body"]}}))
    principal, resource = policy.est["principal"], policy.est["resource"]
    return _Meaning(
        policy,
        None if principal["op"] == "All" else _text(principal),
        # a type alone is already in `requests`
        None if resource["op"] == "All" or (resource["op"] == "is" and "in" not in resource) else _text(resource),
        requests,
        frozenset(conditions),
    )


def _conjuncts(body: Any) -> Iterator[Any]:
    both = body.get("&&") if isinstance(body, dict) else None
    if both is None:
        yield body
        return
    yield from _conjuncts(both["left"])
    yield from _conjuncts(both["right"])


def _text(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
