"""Mutants: a policy with one small mistake, of the kinds that people make.

Made on Cedar's JSON form (EST), so that every mutant is a policy that parses. A test set that lets a mutant live would
let the same mistake live when somebody makes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import cedarpy
import orjson

from seawall.access.expressions import Est
from seawall.access.policies import Policy
from seawall.access.review.literals import duration

SWAPPED: Mapping[str, tuple[str, ...]] = {
    "<": ("<=",),
    "<=": ("<",),
    ">": (">=",),
    ">=": (">",),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
    "+": ("-",),
    "-": ("+",),
    "containsAll": ("containsAny",),
    "containsAny": ("containsAll",),
    "lessThan": ("lessThanOrEqual",),
    "lessThanOrEqual": ("lessThan",),
    "greaterThan": ("greaterThanOrEqual",),
    "greaterThanOrEqual": ("greaterThan",),
}
LONG_EDGE = 2**63 - 1
TEXT_MAX = 160
_BRACKETED = re.compile(r"(?<!\w)\(((?:principal|action|resource|context)(?:\.\w+)*)\)")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One policy with one mistake. `est` is None where the mistake is that the policy is gone."""

    policy: str
    mistake: str
    est: Est | None


def mutants(policy: Policy) -> Iterator[Mutant]:
    """Every mutant of a policy, each once."""
    seen: set[bytes] = {orjson.dumps(policy.est, option=orjson.OPT_SORT_KEYS)}
    yield Mutant(policy.id, "the policy is gone", None)
    for mistake, est in _changed(policy.est):
        key = orjson.dumps(est, option=orjson.OPT_SORT_KEYS)
        if key not in seen:
            seen.add(key)
            yield Mutant(policy.id, mistake, est)


def _changed(est: Est) -> Iterator[tuple[str, Est]]:
    other = "forbid" if est["effect"] == "permit" else "permit"
    yield f"{est['effect']} becomes {other}", {**est, "effect": other}
    for variable in ("principal", "action", "resource"):
        scope = est[variable]
        if scope["op"] != "All":
            yield f"the scope of {variable} is dropped", {**est, variable: {"op": "All"}}
        entities = scope.get("entities", ())
        for at, entity in enumerate(entities):
            rest = [*entities[:at], *entities[at + 1 :]]
            if rest:
                without = {**scope, "entities": rest}
                yield f"{variable} {entity['id']!r} is left out", {**est, variable: without}
    conditions = est["conditions"]
    for at, condition in enumerate(conditions):
        rest = [*conditions[:at], *conditions[at + 1 :]]
        yield f"{said(condition)} is dropped", {**est, "conditions": rest}
        kind = "unless" if condition["kind"] == "when" else "when"
        yield (
            f"{condition['kind']} becomes {kind}: {text(condition['body'])}",
            {**est, "conditions": [*conditions[:at], {**condition, "kind": kind}, *conditions[at + 1 :]]},
        )
        for mistake, body in _expressions(condition["body"]):
            yield mistake, {**est, "conditions": [*conditions[:at], {**condition, "body": body}, *conditions[at + 1 :]]}


def _expressions(node: Any) -> Iterator[tuple[str, Any]]:
    """Every expression with one mistake in it, with the mistake in words."""
    if not isinstance(node, dict) or len(node) != 1:
        return
    ((operator, body),) = node.items()
    yield from _here(node, operator, body)
    if isinstance(body, dict) and "__entity" not in body:
        for name, inner in body.items():
            for mistake, changed in _expressions(inner):
                yield mistake, {operator: {**body, name: changed}}
    elif isinstance(body, list):
        for at, inner in enumerate(body):
            for mistake, changed in _expressions(inner):
                yield mistake, {operator: [*body[:at], changed, *body[at + 1 :]]}


def _here(node: Any, operator: str, body: Any) -> Iterator[tuple[str, Any]]:
    if operator in ("&&", "||"):
        yield f"{text(node)} → {text(body['left'])}", body["left"]
        yield f"{text(node)} → {text(body['right'])}", body["right"]
    for swapped in SWAPPED.get(operator, ()):
        changed = {swapped: body}
        yield f"{text(node)} → {text(changed)}", changed
    if operator == "!":
        yield f"{text(node)} → {text(body['arg'])}", body["arg"]
    if operator == "has":
        yield f"{text(node)} → true", {"Value": True}
    if operator == "if-then-else":
        yield f"{text(node)} → {text(body['then'])}", body["then"]
        yield f"{text(node)} → {text(body['else'])}", body["else"]
    if operator == "Set" and len(body) > 1:
        for at, element in enumerate(body):
            yield f"{text(element)} is left out of {text(node)}", {"Set": [*body[:at], *body[at + 1 :]]}
    if operator == "Value":
        yield from _values(body)


def _values(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, bool):
        yield f"{str(value).lower()} → {str(not value).lower()}", {"Value": not value}
    elif isinstance(value, int):
        for step in (-1, 1):
            if abs(value + step) <= LONG_EDGE:
                yield f"{value} → {value + step}", {"Value": value + step}
    elif isinstance(value, str):
        span = duration(value)
        if span is not None:
            for step in (-1, 1):
                other = _cedar_duration(span + timedelta(milliseconds=step))
                yield f"{value} → {other}", {"Value": other}
        elif value:
            yield f'"{value}" → "{value}~"', {"Value": f"{value}~"}


def _cedar_duration(span: timedelta) -> str:
    return f"{round(span.total_seconds() * 1000)}ms"


def said(condition: Mapping[str, Any]) -> str:
    """`when { … }`."""
    return f"{condition['kind']} {{ {text(condition['body'])} }}"


def text(expression: Any) -> str:
    """An expression in Cedar, on one line, shortened."""
    policy = {
        "effect": "permit",
        "principal": {"op": "All"},
        "action": {"op": "All"},
        "resource": {"op": "All"},
        "conditions": [{"kind": "when", "body": expression}],
    }
    document = {"staticPolicies": {"it": policy}, "templates": {}, "templateLinks": []}
    try:
        whole = cedarpy.policies_from_json_str(orjson.dumps(document).decode())
    except ValueError:
        return orjson.dumps(expression).decode()[:TEXT_MAX]
    inner = _BRACKETED.sub(r"\1", " ".join(whole.partition("{")[2].rpartition("}")[0].split()))
    while inner.startswith("(") and _closes_last(inner):
        inner = inner[1:-1].strip()
    return inner if len(inner) <= TEXT_MAX else f"{inner[: TEXT_MAX - 1]}…"


def _closes_last(inner: str) -> bool:
    """Whether the first bracket is the last one's partner."""
    depth = 0
    for at, sign in enumerate(inner):
        depth += (sign == "(") - (sign == ")")
        if depth == 0:
            return at == len(inner) - 1
    return False
