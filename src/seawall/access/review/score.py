"""The mutation score: of all mistakes that could be made in these policies, how many would the tests notice?

Each mutant is first put to the table tests. One that they let live is put to the generated boundary requests; a request
on which it decides otherwise is the test that is missing, and is shown. A mutant that no request tells apart either may
be equivalent; it still counts as living, because nobody has shown that it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from seawall.access.may import READ
from seawall.access.policies import Policy, PolicyBook
from seawall.access.review.bench import Bench, Outcome, Request, reading
from seawall.access.review.boundary import Space, Vector, boundary
from seawall.access.review.mutants import Mutant, mutants
from seawall.access.review.satisfied import Prepared, Seen, Sieve, look, permits
from seawall.access.review.tables import Case

Also = Callable[[Outcome, Outcome, Request], bool]
"""What else must hold of a request and its two outcomes."""
Progress = Callable[[int, int], None]
"""Told how much of how much is done."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One generated request with what the policies make of it."""

    space: Space
    vector: Vector
    prepared: Prepared | None
    outcome: Outcome

    @property
    def request(self) -> Request:
        return self.space.request(self.vector)


@dataclass(frozen=True, slots=True)
class Witness:
    """The smallest request that shows a difference: what sets it apart from the plainest one, by name."""

    action: str
    type: str
    differs: Mapping[str, Any]
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Survivor:
    """A mutant that the tests let live. `why` is the explanation in the tests' file, if there is one."""

    policy: str
    file: str
    mistake: str
    witness: Witness | None
    why: str = ""


@dataclass(frozen=True)
class Score:
    """What became of the mutants. `by_policy` has (killed, all) for each policy."""

    total: int
    killed: int
    survivors: tuple[Survivor, ...]
    by_policy: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        return self.killed / self.total if self.total else 0.0


class Pool:
    """The generated boundary requests of a set of policies, decided once."""

    def __init__(self, bench: Bench, *, known: Sequence[Bench] = ()) -> None:
        self.bench, self.sieve = bench, Sieve(bench)
        self._known = known
        self._groups: dict[tuple[str, str], list[Tried]] = {}

    def groups(self, kinds: Sequence[tuple[str, str]] | None = None) -> Iterator[tuple[tuple[str, str], list[Tried]]]:
        """Each action and type with its requests and their outcomes; made at the first time, kept for the next."""
        for kind in self.bench.kinds() if kinds is None else kinds:
            if kind not in self._groups:
                self._groups[kind] = list(self._tried(*kind))
            yield kind, self._groups[kind]

    def permits(self, name: str) -> bool:
        """Whether a policy of the book is a permit."""
        return bool(self.bench.book.policies[name].est["effect"] == "permit")

    def fails(self, name: str, request: Request) -> bool:
        """Whether a policy of the book fails on a request."""
        prepared = self.sieve.prepare(request)
        return prepared is not None and any(name in seen.failed for seen in self.sieve.seen(prepared))

    def _tried(self, action: str, type_name: str) -> Iterator[Tried]:
        space = Space(self.bench, action, type_name, self._known)
        for vector in boundary(space, self.sieve):
            request = space.request(vector)
            yield Tried(space, vector, self.sieve.prepare(request), self.bench.outcome(request))

    @property
    def size(self) -> int:
        """How many requests there are so far."""
        return sum(map(len, self._groups.values()))

    def __iter__(self) -> Iterator[Tried]:
        for _, tried in self.groups():
            yield from tried


@dataclass(frozen=True, slots=True)
class _Row:
    """A table case, prepared; `reads` when the answer depends on whether the object may be read."""

    case: Case
    prepared: Prepared | None
    reads: Prepared | None


class Mutation:
    """Measures one set of policies."""

    def __init__(self, pool: Pool, cases: Sequence[Case], survivors: Mapping[tuple[str, str], str]) -> None:
        self._pool, self._bench, self._sieve = pool, pool.bench, pool.sieve
        self._explained = survivors
        self._rows = [self._row(case) for case in cases]

    def _row(self, case: Case) -> _Row:
        reads = self._sieve.prepare(reading(case.request)) if case.expect in ("403", "404") else None
        return _Row(case, self._sieve.prepare(case.request), reads)

    def measured(self, progress: Progress | None = None) -> Score:
        """Try every mutant of every policy."""
        policies = self._bench.book.policies
        todo = {policy.id: _fit(mutants(policy)) for policy in policies.values()}
        total, done = sum(map(len, todo.values())), 0
        survivors: list[Survivor] = []
        by_policy: dict[str, tuple[int, int]] = {}
        for name, fitting in todo.items():
            views = _Views(self._sieve, name, fitting)
            living = [m for m in fitting if not self._killed(_Trial(m, self._bench, views))]
            by_policy[name] = (len(fitting) - len(living), len(fitting))
            for mutant in living:
                survivors.append(self._survivor(_Trial(mutant, self._bench, views)))
            done += len(fitting)
            if progress is not None:
                progress(done, total)
        return Score(total, total - len(survivors), tuple(survivors), by_policy)

    def _killed(self, trial: _Trial) -> bool:
        for row in self._rows:
            request = row.case.request
            kinds = [(request.action, request.thing.type), (READ, request.thing.type)]
            if not any(trial.concerns(kind) for kind in kinds[: 1 if row.reads is None else 2]):
                continue
            if trial.differs(row.prepared) or trial.differs(row.reads):
                visible = row.reads is None or trial.bench.visible(request)
                if not row.case.met(trial.bench.outcome(request), visible):
                    return True
        return False

    def _survivor(self, trial: _Trial) -> Survivor:
        mutant = trial.mutant
        file = self._bench.book.policies[mutant.policy].file
        why = self._explained.get((mutant.policy, mutant.mistake), "")
        return Survivor(mutant.policy, file, mutant.mistake, self._witness(trial), why)

    def _witness(self, trial: _Trial) -> Witness | None:
        kinds = [kind for kind in self._bench.kinds() if trial.concerns(kind)]
        for _, group in self._pool.groups(kinds):
            for tried in group:
                if trial.differs(tried.prepared) and trial.bench.outcome(tried.request).effect != tried.outcome.effect:
                    return smallest(tried, self._bench, trial.bench)
        return self._sought(trial)

    def _sought(self, trial: _Trial) -> Witness | None:
        """Look where the mutant decides: a wider scope reaches actions whose own policies look at other attributes."""
        name = trial.mutant.policy
        if trial.mutant.est is None:
            return None
        sieve = Sieve(trial.bench)
        for kind in self._bench.kinds():
            if not trial.concerns(kind):
                continue
            space = Space(trial.bench, *kind, [self._bench])
            for vector in boundary(space, sieve, only={name}):
                request = space.request(vector)
                outcome = self._bench.outcome(request)
                if trial.bench.outcome(request).effect != outcome.effect:
                    return smallest(Tried(space, vector, None, outcome), self._bench, trial.bench)
        return None


def smallest(tried: Tried, before: Bench, after: Bench, also: Also = lambda *_: True) -> Witness:
    """The plainest request near this one on which the same two benches differ in the same way, and `also` holds."""
    was, becomes = before.outcome(tried.request).effect, after.outcome(tried.request).effect

    def same(request: Request) -> bool:
        one = before.outcome(request)
        if one.effect != was:
            return False
        other = after.outcome(request)
        return other.effect == becomes and also(one, other, request)

    vector, _ = tried.space.smallest(tried.vector, same)
    return Witness(tried.space.action, tried.space.type_name, tried.space.said(vector), was, becomes)


def plainest(tried: Tried, bench: Bench, holds: Callable[[Request], bool]) -> Witness:
    """The plainest request near this one of which something still holds."""
    vector, request = tried.space.smallest(tried.vector, holds)
    effect = bench.outcome(request).effect
    return Witness(tried.space.action, tried.space.type_name, tried.space.said(vector), effect, effect)


class _Views:
    """How all mutants of one policy see a request, in one evaluation."""

    def __init__(self, sieve: Sieve, policy: str, fitting: Sequence[Mutant]) -> None:
        self.sieve, self.policy = sieve, policy
        self.names = {id(mutant): f"m{n}" for n, mutant in enumerate(fitting)}
        self._set = permits({self.names[id(m)]: m.est for m in fitting if m.est is not None})
        self._seen: dict[int, tuple[Prepared, tuple[Seen, ...]]] = {}

    def seen(self, prepared: Prepared) -> tuple[Seen, ...]:
        known = self._seen.get(id(prepared))  # it is kept beside, so that its id is nobody else's
        if known is None:
            known = self._seen[id(prepared)] = (prepared, look(prepared, self._set))
        return known[1]


class _Trial:
    """One mutant in its book, with the views that say where to look."""

    def __init__(self, mutant: Mutant, bench: Bench, views: _Views) -> None:
        self.mutant, self._views = mutant, views
        policies = dict(bench.book.policies)
        original = policies.pop(mutant.policy)
        self._flipped = mutant.est is None or mutant.est["effect"] != original.est["effect"]
        if mutant.est is not None:
            policies[mutant.policy] = Policy(original.id, original.file, mutant.est)
        self._scopes = [original.est] if mutant.est is None else [original.est, mutant.est]
        self._concerns: dict[tuple[str, str], bool] = {}
        self.bench = bench.over(PolicyBook(bench.schema, policies))

    def concerns(self, kind: tuple[str, str]) -> bool:
        """Whether policy or mutant can match this kind of request at all."""
        known = self._concerns.get(kind)
        if known is None:
            known = self._concerns[kind] = any(self.bench.concerned(est, *kind) for est in self._scopes)
        return known

    def differs(self, prepared: Prepared | None) -> bool:
        """Whether the mutant could decide otherwise: where it sees the request differently, or means the opposite."""
        if prepared is None:
            return False
        name = self.mutant.policy
        before = self._views.sieve.seen(prepared)
        if self._flipped:
            return any(name in seen.satisfied or name in seen.failed for seen in before)
        mine = self._views.names[id(self.mutant)]
        after = self._views.seen(prepared)
        return not all(one.same(name, other, mine) for one, other in zip(before, after, strict=True))


def _fit(found: Iterator[Mutant]) -> list[Mutant]:
    """The mutants that Cedar takes as policies."""
    fitting: list[Mutant] = []
    for mutant in found:
        try:
            permits({"it": mutant.est} if mutant.est is not None else {})
        except ValueError:
            continue
        fitting.append(mutant)
    return fitting
