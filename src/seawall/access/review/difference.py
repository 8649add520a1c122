"""`seawall policy diff`: every decision that a change of policies flips, with the smallest request that shows it.

Both revisions decide the same requests: those at the boundaries of the policies that changed, made from the literals of
both, and the recorded ones. *Widened* means that somebody may do more than before, *narrowed* less.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from seawall.access.expressions import Est
from seawall.access.obligations import DESCRIPTIVE
from seawall.access.policies import PolicyBook, read_policies
from seawall.access.review.bench import Bench, Outcome, Request
from seawall.access.review.boundary import Space, boundary
from seawall.access.review.recorded import CORPUS_FILE, Recorded, read_corpus
from seawall.access.review.satisfied import Sieve
from seawall.access.review.score import Tried, Witness, smallest
from seawall.access.review.verify import Step, walls_of
from seawall.core.errors import Refused

Direction = Literal["widened", "narrowed", "changed"]
FAIL_ON = ("widened", "narrowed", "any", "never")
RANK: Mapping[str, int] = {"deny": 0, "allow": 2}
"""Everything else is an obligation: more than a denial, less than an allow."""


@dataclass(frozen=True, slots=True)
class Flip:
    """Requests that are decided otherwise, alike: the smallest of them, and how many there were."""

    direction: Direction
    witness: Witness
    count: int
    source: Literal["boundary", "recorded"]


@dataclass(frozen=True, slots=True)
class Group:
    """The flips that one policy made. `change` is `added`, `removed`, `changed`, or `schema` when none did."""

    policy: str
    change: str
    flips: tuple[Flip, ...]


@dataclass(frozen=True, slots=True)
class WallChange:
    """A wall that is no longer what it was: `removed` or `weakened`."""

    policy: str
    how: Literal["removed", "weakened"]
    witness: Witness | None


@dataclass(frozen=True)
class Difference:
    """What `seawall policy diff` found."""

    base: str
    groups: tuple[Group, ...]
    walls: tuple[WallChange, ...]
    silent: tuple[str, ...]
    """Policies that changed, though no request that was tried is decided otherwise."""
    changes: Mapping[str, str]
    requests: int
    replayed: int

    @property
    def counts(self) -> Mapping[str, int]:
        """How many kinds of flips there are in each direction."""
        flips = [flip.direction for group in self.groups for flip in group.flips]
        return {direction: flips.count(direction) for direction in ("widened", "narrowed", "changed")}

    def fails_on(self, what: str) -> bool:
        """Whether CI is to stop. A wall that was removed or weakened stops it whatever else is asked for.

        Raises:
            Refused: for another word than `widened`, `narrowed`, `any` or `never`.
        """
        if what not in FAIL_ON:
            raise Refused(
                f"--fail-on {what!r} is not known",
                why="a gate that is misspelt never closes",
                fix=f"use {', '.join(FAIL_ON)}",
            )
        if what == "never":
            return False
        if self.walls:
            return True
        return any(self.counts.values()) if what == "any" else bool(self.counts[what])

    def document(self) -> dict[str, Any]:
        """The difference as JSON has it."""
        return {
            "base": self.base,
            **self.counts,
            "changes": dict(self.changes),
            "walls": [asdict(wall) for wall in self.walls],
            "groups": [asdict(group) for group in self.groups],
            "silent": list(self.silent),
            "boundary_requests": self.requests,
            "recorded_decisions": self.replayed,
        }


def compare(before: Path, after: Path, *, base: str = "", step: Step = lambda *_: None) -> Difference:
    """Compare two folders of policies; the recorded decisions are those of the second.

    Raises:
        Refused: when either folder's policies do not hold together; those of `before` are named by `base`.
    """
    new = Bench(read_policies(after))
    try:
        old = Bench(read_policies(before))
    except Refused as refused:
        raise Refused(f"at {base or before}: {refused.what}", why=refused.why, fix=refused.fix) from None
    comparison = _Comparison(old, new, base or str(before))
    comparison.try_boundaries(step)
    comparison.replay(read_corpus(after / CORPUS_FILE), step)
    return comparison.result()


class _Comparison:
    """Two revisions at work."""

    def __init__(self, old: Bench, new: Bench, base: str) -> None:
        self.old, self.new, self.base = old, new, base
        self.changes = _changes(old.book, new.book)
        self._sieves = (Sieve(old), Sieve(new))
        self._found: dict[tuple[Any, ...], tuple[int, Tried | None, Witness | None]] = {}
        self._weakened: dict[str, Tried] = {}
        self._requests = self._replayed = 0

    # Trying --------------------------------------------------------------------------------------------------------

    def try_boundaries(self, step: Step) -> None:
        """Decide, by both, the requests at the boundaries of what changed."""
        kinds = sorted({*self.old.kinds(), *self.new.kinds()})
        for number, kind in enumerate(kinds, 1):
            if self._touched(*kind):
                for tried in self._made_up(*kind):
                    self._requests += 1
                    self._look(tried)
            step(f"{kind[0]} {kind[1]}", number, len(kinds))

    def _touched(self, action: str, type_name: str) -> bool:
        """Whether anything that this kind of request depends on has changed."""
        if not (self.old.knows(action, type_name) and self.new.knows(action, type_name)):
            return True
        one, other = (_shape(bench, action, type_name) for bench in (self.old, self.new))
        return one != other

    def _made_up(self, action: str, type_name: str) -> Iterator[Tried]:
        seen: set[Any] = set()
        for bench, sieve in zip((self.old, self.new), self._sieves, strict=True):
            if not bench.knows(action, type_name):
                continue
            other = self.new if bench is self.old else self.old
            space = Space(bench, action, type_name, [other])
            fitting = bench.ruling(action, type_name).slice.ids & self.changes.keys()
            for vector in boundary(space, sieve, only=fitting):
                said = repr(space.said(vector))
                if said not in seen:
                    seen.add(said)
                    request = space.request(vector)
                    yield Tried(space, vector, None, self.old.outcome(request))

    def _look(self, tried: Tried) -> None:
        request = tried.request
        was, becomes = tried.outcome, self.new.outcome(request)
        if was.effect != becomes.effect:
            self._note(was, becomes, request, tried=tried)
        for wall in walls_of(self.old.book):
            if wall.id in self.changes and wall.id not in self._weakened and self._gave_way(wall.id, request):
                self._weakened[wall.id] = tried

    def _gave_way(self, wall: str, request: Request) -> bool:
        """Whether the wall stood before this request, and no longer does."""
        stood = _stands(self._sieves[0], wall, request)
        return stood and not _stands(self._sieves[1], wall, request)

    def replay(self, recorded: Sequence[Recorded], step: Step) -> None:
        """Decide recorded requests by both."""
        for number, one in enumerate(recorded, 1):
            was, becomes = self.old.outcome(one.request), self.new.outcome(one.request)
            if was.effect != becomes.effect:
                witness = Witness(one.request.action, one.request.thing.type, one.said(), was.effect, becomes.effect)
                self._note(was, becomes, one.request, said=witness, n=one.count)
            step("recorded decisions", number, len(recorded))
        self._replayed = len(recorded)

    def _note(
        self,
        was: Outcome,
        becomes: Outcome,
        request: Request,
        *,
        tried: Tried | None = None,
        said: Witness | None = None,
        n: int = 1,
    ) -> None:
        for policy in self._responsible(was, becomes, request):
            source = "recorded" if tried is None else "boundary"
            key = (policy, request.action, request.thing.type, was.effect, becomes.effect, source)
            count, smaller, first = self._found.get(key, (0, tried, said))
            if tried is not None and smaller is not None and _size(tried) < _size(smaller):
                smaller = tried
            self._found[key] = (count + n, smaller, first)

    def _responsible(self, was: Outcome, becomes: Outcome, request: Request) -> list[str]:
        """The changed policies that determined either outcome; else those that could have, else the schema."""
        decided = [name for name in dict.fromkeys((*was.policies, *becomes.policies)) if name in self.changes]
        if decided:
            return decided
        fitting: set[str] = set()
        for bench in (self.old, self.new):
            if bench.knows(request.action, request.thing.type):
                fitting |= bench.ruling(request.action, request.thing.type).slice.ids & self.changes.keys()
        return sorted(fitting) or [""]

    def _by(self, policy: str, was: Outcome, becomes: Outcome, request: Request) -> bool:
        """Whether a request is one that this policy answers for."""
        return policy in self._responsible(was, becomes, request)

    # Telling -------------------------------------------------------------------------------------------------------

    def result(self) -> Difference:
        flips: dict[str, list[Flip]] = {}
        for (policy, _, _, was, becomes, source), (count, tried, said) in self._found.items():
            witness = said if tried is None else smallest(tried, self.old, self.new, partial(self._by, policy))
            if witness is not None:
                flips.setdefault(policy, []).append(Flip(_direction(was, becomes), witness, count, source))
        groups = [
            Group(policy, self.changes.get(policy, "schema"), tuple(sorted(found, key=_order)))
            for policy, found in sorted(flips.items())
        ]
        walls = tuple(self._walls())
        told = {group.policy for group in groups} | {wall.policy for wall in walls}
        silent = tuple(name for name in self.changes if name not in told)
        return Difference(self.base, tuple(groups), walls, silent, self.changes, self._requests, self._replayed)

    def _walls(self) -> Iterator[WallChange]:
        still = {wall.id for wall in walls_of(self.new.book)}
        for wall in walls_of(self.old.book):
            tried = self._weakened.get(wall.id)
            witness = self._hole(wall.id, tried) if tried is not None else None
            if wall.id not in still or self.new.book.policies[wall.id].est["effect"] != "forbid":
                yield WallChange(wall.id, "removed", witness)
            elif tried is not None:
                yield WallChange(wall.id, "weakened", witness)

    def _hole(self, wall: str, tried: Tried) -> Witness:
        """The plainest request that the wall no longer stops, with what becomes of it."""
        vector, request = tried.space.smallest(tried.vector, lambda request: self._gave_way(wall, request))
        said = tried.space.said(vector)
        outcomes = self.old.outcome(request).effect, self.new.outcome(request).effect
        return Witness(tried.space.action, tried.space.type_name, said, *outcomes)


def _changes(old: PolicyBook, new: PolicyBook) -> Mapping[str, str]:
    """Policy → `added`, `removed` or `changed`. Titles, owners and reasons do not count."""
    changes: dict[str, str] = {}
    for name in sorted({*old.policies, *new.policies}):
        if name not in old.policies:
            changes[name] = "added"
        elif name not in new.policies:
            changes[name] = "removed"
        elif _meaning(old.policies[name].est) != _meaning(new.policies[name].est):
            changes[name] = "changed"
    return changes


def _meaning(est: Est) -> dict[str, Any]:
    annotations = est.get("annotations", {})
    return {**est, "annotations": {name: text for name, text in annotations.items() if name not in DESCRIPTIVE}}


def _shape(bench: Bench, action: str, type_name: str) -> tuple[Any, ...]:
    """Everything that a kind of request depends on, as values to compare."""
    schema = bench.schema
    policies = {name: _meaning(bench.book.policies[name].est) for name in bench.ruling(action, type_name).slice.ids}
    people = schema.entities[bench.engine.people.type_name]
    near = [schema.entities[kind] for kind in bench.near(action, type_name).values()]
    return policies, schema.entities[schema.qualified(type_name)], near, people, schema.actions[action].context


def _stands(sieve: Sieve, wall: str, request: Request) -> bool:
    """Whether a wall stops a request: where it is satisfied, or fails, which stops everybody."""
    policy = sieve.bench.book.policies.get(wall)
    if policy is None or policy.est["effect"] != "forbid":
        return False
    prepared = sieve.prepare(request)
    return prepared is None or any(wall in seen.satisfied or wall in seen.failed for seen in sieve.seen(prepared))


def _direction(was: str, becomes: str) -> Direction:
    before, after = RANK.get(was, 1), RANK.get(becomes, 1)
    return "widened" if after > before else "narrowed" if after < before else "changed"


def _size(tried: Tried) -> int:
    return len(tried.space.said(tried.vector))


def _order(flip: Flip) -> tuple[int, str, str]:
    return ("widened", "changed", "narrowed").index(flip.direction), flip.witness.action, flip.witness.type
