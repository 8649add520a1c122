"""Which requests satisfy which policies, one by one: the sieve that makes measuring hundreds of mutants cheap.

Cedar names every satisfied permit as a reason. So all policies, turned into permits, tell in one evaluation which of
them are satisfied; and so do all mutants of a policy. A mutant can change a decision only on requests that it sees
differently from its policy: only those are put to the engine, which has the last word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

import orjson
from cedarpy import PolicySet
from cedarpy import _internal as cedar

from seawall.access.context import APPROVED, STEP_UP
from seawall.access.expressions import Est
from seawall.access.policies import Policy, policy_set
from seawall.access.review.bench import Bench, Request
from seawall.access.values import Unconvertible

FAR = 10_000
WEIGHT = 10
"""A condition that is in the way weighs more than another permit that allows as well."""
_NAMED = re.compile(r"policy `([^`]+)`")


@dataclass(frozen=True, slots=True)
class Seen:
    """The policies that one request satisfies, and those that fail on it."""

    satisfied: frozenset[str]
    failed: frozenset[str]

    def same(self, one: str, other: Seen, another: str) -> bool:
        """Whether one policy sees its request here as another does there."""
        return (one in self.satisfied) == (another in other.satisfied) and (
            (one in self.failed) == (another in other.failed)
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request in Cedar's form, whole: nothing is left out, because a mutant may read more than its policy did.

    There is one form for each hypothesis: whether a factor was proven for exactly this action, and whether it was
    approved.
    """

    request: Request
    hypotheses: tuple[Any, ...]
    entities: Any
    seen: dict[str, tuple[Seen, ...]] = field(default_factory=dict)
    """What the sieve has found out, by the name of the set of policies."""


class Sieve:
    """Asks the policies of one book, one by one, about requests."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._sets: dict[tuple[str, str, str], PolicySet] = {}

    @cached_property
    def atoms_of(self) -> Mapping[tuple[str, str], tuple[str, ...]]:
        """Policy and kind of condition → the names of its atoms."""
        found: dict[tuple[str, str], list[str]] = {}
        for policy in self.bench.book.policies.values():
            for kind, n, _ in _split(policy):
                found.setdefault((policy.id, kind), []).append(f"{policy.id} {kind} {n}")
        return {key: tuple(names) for key, names in found.items()}

    def prepare(self, request: Request) -> Prepared | None:
        """None for a request that cannot be put at all, whose answer is an error for every policy."""
        bench = self.bench
        if not bench.knows(request.action, request.thing.type):
            return None
        whole = bench.whole(request.action, request.thing.type, request.moment)
        principal = bench.principal(request)
        declared = whole.context.action.context.attributes
        hypotheses = product(*((False, True) if flag in declared else (False,) for flag in (STEP_UP, APPROVED)))
        try:
            entities = whole.resource.entities(bench.instance(request.thing))
            extra = bench.context(request, whole)
            contexts = [whole.context.build(principal, extra, step_up=one, approved=other) for one, other in hypotheses]
        except Unconvertible:
            return None
        document = [bench.engine.people.entity(principal), *entities]
        asked = {
            "principal": {"type": bench.engine.people.type_name, "id": str(principal.user_id)},
            "action": whole.action_uid,
            "resource": entities[0]["uid"],
        }
        requests = tuple({**asked, "context": orjson.dumps(context).decode()} for context in contexts)
        return Prepared(request, requests, cedar.Entities.from_json_str(orjson.dumps(document).decode(), bench.actions))

    def seen(self, prepared: Prepared) -> tuple[Seen, ...]:
        """How the policies of the book see a request, under each hypothesis; remembered."""
        return looked(prepared, "policies", self._fitting("policies", prepared.request))

    def atoms(self, prepared: Prepared) -> tuple[Seen, ...]:
        """How their conditions, one by one, see it."""
        return looked(prepared, "atoms", self._fitting("atoms", prepared.request))

    def _fitting(self, what: str, request: Request) -> PolicySet:
        """The policies, or their atoms, that can match this kind of request: a few instead of all for each question."""
        kind = (request.action, request.thing.type)
        known = self._sets.get((what, *kind))
        if known is None:
            fitting = [p for p in self.bench.book.policies.values() if self.bench.concerned(p.est, *kind)]
            found = (
                {policy.id: policy.est for policy in fitting}
                if what == "policies"
                else {f"{policy.id} {kind} {n}": est for policy in fitting for kind, n, est in _split(policy)}
            )
            known = self._sets[what, *kind] = permits(found)
        return known

    def satisfies(self, name: str, prepared: Prepared | None) -> bool:
        """Whether a policy is satisfied under some hypothesis."""
        return prepared is not None and any(name in seen.satisfied for seen in self.seen(prepared))


class Aim:
    """How far a request is from being one on which a single policy decides: what the search for such requests lowers.

    A permit decides where it is the only one satisfied and no forbid is; a forbid where it alone is, and some permit
    would have allowed. The distance counts the conditions that are still in the way.
    """

    def __init__(self, sieve: Sieve, policy: Policy, others: Sequence[Policy]) -> None:
        self._sieve, self._policy = sieve, policy
        self._forbids = [other.id for other in others if other.est["effect"] == "forbid" and other.id != policy.id]
        self._permits = [other.id for other in others if other.est["effect"] == "permit"]

    def distance(self, prepared: Prepared | None) -> int:
        """0 where the policy decides; under the hypothesis that is nearest."""
        if prepared is None:
            return FAR
        pairs = zip(self._sieve.seen(prepared), self._sieve.atoms(prepared), strict=True)
        return min(self._distance(seen, atoms) for seen, atoms in pairs)

    def _distance(self, seen: Seen, atoms: Seen) -> int:
        distance = WEIGHT * self._missing(self._policy.id, seen, atoms)
        distance += WEIGHT * sum(self._standing(forbid, seen, atoms) for forbid in self._forbids)
        if self._policy.est["effect"] == "forbid":
            return distance + WEIGHT * min((self._missing(permit, seen, atoms) for permit in self._permits), default=0)
        return distance + sum(permit in seen.satisfied for permit in self._permits if permit != self._policy.id)

    def _missing(self, name: str, seen: Seen, atoms: Seen) -> int:
        """How many of a policy's conditions do not hold."""
        if name in seen.satisfied:
            return 0
        return max(1, sum(atom not in atoms.satisfied for atom in self._sieve.atoms_of.get((name, "when"), ())))

    def _standing(self, name: str, seen: Seen, atoms: Seen) -> int:
        """How much keeps a forbid from giving way."""
        if name not in seen.satisfied and name not in seen.failed:
            return 0
        return 1 + sum(atom not in atoms.satisfied for atom in self._sieve.atoms_of.get((name, "unless"), ()))


def _split(policy: Policy) -> list[tuple[str, int, Est]]:
    """The conditions of a policy one by one, each as a policy with its scope.

    Kind `when` are those that must hold for it to be satisfied, `unless` those that must hold for it to give way.
    """
    atoms: list[tuple[str, Est]] = [("when", {**policy.est, "conditions": []})]
    for condition in policy.est["conditions"]:
        atoms += [
            (condition["kind"], {**policy.est, "conditions": [{"kind": "when", "body": body}]})
            for body in _conjuncts(condition["body"])
        ]
        if condition["kind"] == "unless":
            atoms.append(("when", {**policy.est, "conditions": [condition]}))
    return [(kind, n, est) for n, (kind, est) in enumerate(atoms)]


def _conjuncts(body: Any) -> list[Any]:
    if isinstance(body, dict) and set(body) == {"&&"}:
        return [*_conjuncts(body["&&"]["left"]), *_conjuncts(body["&&"]["right"])]
    return [body]


def permits(policies: Mapping[str, Est]) -> PolicySet:
    """Policies as permits, a forbid too, so that the reasons of an answer are those that are satisfied.

    Raises:
        ValueError: when Cedar does not take one of them as a policy.
    """
    return policy_set({name: {**est, "effect": "permit"} for name, est in policies.items()})


def looked(prepared: Prepared, name: str, policies: PolicySet) -> tuple[Seen, ...]:
    """How a set of policies sees a request; remembered under the set's name."""
    seen = prepared.seen.get(name)
    if seen is None:
        seen = prepared.seen[name] = look(prepared, policies)
    return seen


def look(prepared: Prepared, policies: PolicySet) -> tuple[Seen, ...]:
    """How a set of policies sees a request."""
    answers = cedar.is_authorized_batch(list(prepared.hypotheses), policies, prepared.entities, None, False)
    return tuple(map(_read, answers))


def _read(answer: str) -> Seen:
    diagnostics = orjson.loads(answer)["diagnostics"]
    failed = {name for text in diagnostics["errors"] for name in _NAMED.findall(text)}
    return Seen(frozenset(diagnostics["reason"]), frozenset(failed))
