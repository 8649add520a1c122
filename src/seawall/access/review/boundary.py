"""Made-up requests at the boundaries of a set of policies, from its own literals.

For each action on each type the values that matter are the dimensions. Random vectors find requests that satisfy each
policy; every request that differs from one of those in a single dimension is tried too, because that is where a dropped
condition or a shifted limit shows. Seeded: two runs try the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

from seawall.access.context import AUTH, BUILT_IN
from seawall.access.entities import PRINCIPAL, ROLE, ROLE_AT, TENANT
from seawall.access.expressions import chains
from seawall.access.review.bench import NOON, Bench, Person, Request, Scoped
from seawall.access.review.literals import Chain, Literals, literals_of, roles_of
from seawall.access.review.made import Thing
from seawall.access.review.near import Path, holder, reached
from seawall.access.review.satisfied import WEIGHT, Aim, Sieve
from seawall.access.schema import CedarType, EntityRef, Record, Scalar, SetOf

DRAWN = 60
WANTED = 3
"""Vectors for each policy."""
STEPS_MAX = 24
PAIRS_TRIED_MAX = 200
PAIRS_KEPT = 12
VALUES_MAX = 24
"""Of one dimension; literals come first."""
TICK = timedelta(milliseconds=1)
CENT = Decimal("0.0001")

Vector = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Dimension:
    """One thing that may differ between requests. The first value is the plainest."""

    name: str
    values: tuple[Any, ...]
    plain: int = 0


class Space:
    """All requests of one action on one type, as vectors of choices."""

    def __init__(self, bench: Bench, action: str, type_name: str, known: Iterable[Bench] = ()) -> None:
        """`known`: benches of other revisions, whose literals matter as well."""
        self.bench, self.action, self.type_name = bench, action, type_name
        benches = [bench, *known]
        self._policies = [
            policy.est for one in benches if one.knows(action, type_name) for policy in _slice(one, action, type_name)
        ]
        self._everything = [policy.est for one in benches for policy in one.book.policies.values()]
        self._literals = literals_of(self._policies)
        self._read = self._mentioned(benches)
        self._near = reached(bench.schema, bench.schema.qualified(type_name), self._policies)
        self.dimensions = tuple(d for d in self._dimensions() if len(d.values) > 1)

    def _mentioned(self, benches: list[Bench]) -> frozenset[str]:
        read: frozenset[str] = frozenset()
        for one in benches:
            if one.knows(self.action, self.type_name):
                read |= one.ruling(self.action, self.type_name).slice.mentions.attributes
        return read

    # What may differ ---------------------------------------------------------------------------------------------

    def _dimensions(self) -> Iterator[Dimension]:
        schema = self.bench.schema
        roles = roles_of(self._everything, schema.qualified(ROLE))
        yield Dimension("role", (None, *roles))
        if len(roles) > 1:
            yield Dimension("second role", (None, *roles))
        for name, attribute in schema.entities[schema.qualified(PRINCIPAL)].attributes.items():
            if name.endswith(ROLE_AT) and isinstance(attribute.type, SetOf):
                kind = self.bench.short(str(attribute.type.element))
                yield Dimension(f"principal.{name}", ((), (f"{kind}-1",), (f"{kind}-2",)))
        yield Dimension("tenant", ("home", "away"))
        yield from self._auth()
        yield from self._attributes(schema.qualified(self.type_name), (), self._read)
        for path, type_name in self._near.items():
            yield from self._attributes(type_name, path, self._read_near(path, type_name))
        yield Dimension("resource is me", (False, True) if self.type_name == PRINCIPAL else (False,))
        for name, attribute in sorted(schema.actions[self.action].context.attributes.items()):
            if name not in BUILT_IN:
                values = self._values(attribute.type, ("context", (name,)))
                yield Dimension(f"context.{name}", values if attribute.required else (None, *values))

    def _attributes(self, type_name: str, path: Path, read: Collection[str]) -> Iterator[Dimension]:
        """Those of the object (`()`) or of a row near it; what nothing reads is left at its plainest."""
        for name, attribute in sorted(self.bench.schema.entities[type_name].attributes.items()):
            if attribute.type == EntityRef(self.bench.schema.qualified(TENANT)):
                continue  # the dimension `tenant`
            if name in read or (attribute.required and not path):
                values = self._values(attribute.type, ("resource", (*path, name)))
                wanted = values if name in read else values[:1]
                yield Dimension(_said(path, name), wanted if attribute.required else (None, *wanted))

    def _read_near(self, path: Path, type_name: str) -> frozenset[str]:
        """What is read of the row there, and what leads on from it to others."""
        entity, depth = self.bench.schema.entities[type_name], len(path)
        read = {
            chain[depth]
            for policy in self._policies
            for variable, chain in chains(policy)
            if variable == "resource" and len(chain) > depth and chain[:depth] == path
        }
        read |= {further[depth] for further in self._near if len(further) > depth and further[:depth] == path}
        return frozenset(read | {holder(entity, parent) for parent in entity.parents})

    def _auth(self) -> Iterator[Dimension]:
        aal, age = ("context", (AUTH, "aal")), ("context", (AUTH, "age_s"))
        if aal in self._literals:
            yield Dimension("aal", (1, 2, 3))
        if age in self._literals:
            yield Dimension("age_s", tuple(n for n in _near(self._literals[age].numbers) if n >= 0))

    def _values(self, kind: CedarType, path: Chain) -> tuple[Any, ...]:
        found = self._literals.get(path, Literals())
        if isinstance(kind, EntityRef):
            short = self.bench.short(kind.type)
            named = tuple(name for type_name, name in sorted(found.entities) if type_name == kind.type)
            return ("me", "somebody", *named) if short == PRINCIPAL else (f"{short}-1", f"{short}-2", *named)
        if isinstance(kind, SetOf):
            single = self._values(kind.element, path)[:VALUES_MAX]
            return ((), *((one,) for one in single), single)
        if isinstance(kind, Record):
            return self._records(kind, path)
        return scalars(kind, found)[:VALUES_MAX]

    def _records(self, kind: Record, path: Chain) -> tuple[Any, ...]:
        fields = {n: self._values(a.type, (path[0], (*path[1], n))) for n, a in kind.attributes.items()}
        plain = {name: values[0] for name, values in fields.items()}
        others = [{**plain, name: value} for name, values in fields.items() for value in values[1:]]
        return (plain, *others[:VALUES_MAX])

    # Vectors and requests ----------------------------------------------------------------------------------------

    def request(self, vector: Vector) -> Request:
        chosen = {d.name: d.values[i] for d, i in zip(self.dimensions, vector, strict=True)}
        return self._request(chosen)

    def _request(self, chosen: Mapping[str, Any]) -> Request:
        roles = [chosen.get("role"), chosen.get("second role")]
        scoped = tuple(
            Scoped(name.removeprefix("principal.").removesuffix(ROLE_AT), kind, one)
            for name, values in chosen.items()
            if name.startswith("principal.")
            for one in values
            for kind in [one.rpartition("-")[0]]
        )
        person = Person(
            roles=tuple(dict.fromkeys(role for role in roles if role)),
            scoped=scoped,
            aal=chosen.get("aal", 1),
            age_s=chosen.get("age_s", 0),
        )
        return Request(person, self.action, self._thing(chosen), self._context(chosen))

    def _thing(self, chosen: Mapping[str, Any]) -> Thing:
        tenant = chosen.get("tenant", "home")
        if self.type_name == TENANT:
            return Thing(TENANT, tenant)
        # The ids of venues are `Venue-1` and `Venue-2`, so that roles held for one object meet the object itself.
        name = "me" if chosen.get("resource is me") else f"{self.type_name}-1"
        return self._made(self.bench.schema.qualified(self.type_name), name, (), chosen)

    def _made(self, type_name: str, name: str, path: Path, chosen: Mapping[str, Any]) -> Thing:
        """The object (`()`) or a row near it, with what is near that."""
        attributes: dict[str, Any] = {}
        for part, attribute in self.bench.schema.entities[type_name].attributes.items():
            said, step = _said(path, part), (*path, part)
            if attribute.type == EntityRef(self.bench.schema.qualified(TENANT)):
                attributes[part] = chosen.get("tenant", "home")
            elif said in chosen:
                attributes[part] = chosen[said]
            elif attribute.required:
                attributes[part] = self._values(attribute.type, ("resource", step))[0]
            if step in self._near and attributes.get(part) is not None:
                attributes[part] = self._made(self._near[step], attributes[part], step, chosen)
        return Thing(self.bench.short(type_name), name, attributes)

    def _context(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        declared = self.bench.schema.actions[self.action].context.attributes
        context = {n.removeprefix("context."): v for n, v in chosen.items() if n.startswith("context.")}
        for name, attribute in declared.items():
            if attribute.required and name not in context and name not in BUILT_IN:
                context[name] = self._values(attribute.type, ("context", (name,)))[0]
        return {name: value for name, value in context.items() if value is not None}

    def draw(self, rng: random.Random) -> Vector:
        """A random vector; half of its choices are among the two plainest values, or nothing would ever agree."""
        return tuple(
            rng.randrange(min(2, len(d.values))) if rng.random() < 0.5 else rng.randrange(len(d.values))
            for d in self.dimensions
        )

    def neighbours(self, vector: Vector) -> Iterator[Vector]:
        """Every vector that differs in one dimension."""
        for at, dimension in enumerate(self.dimensions):
            for value in range(len(dimension.values)):
                if value != vector[at]:
                    yield (*vector[:at], value, *vector[at + 1 :])

    def smallest(self, vector: Vector, holds: Callable[[Request], bool]) -> tuple[Vector, Request]:
        """The plainest vector near this one for which `holds` still: choices go back to the first."""
        for at in range(len(vector)):
            for value in range(vector[at]):
                candidate = (*vector[:at], value, *vector[at + 1 :])
                if holds(self.request(candidate)):
                    vector = candidate
                    break
        return vector, self.request(vector)

    def said(self, vector: Vector) -> dict[str, Any]:
        """What sets a request apart: the dimensions that are not at their plainest, by name."""
        said = {d.name: d.values[i] for d, i in zip(self.dimensions, vector, strict=True) if i}
        roles = [role for role in (said.pop("role", None), said.pop("second role", None)) if role is not None]
        return {**({"roles": tuple(dict.fromkeys(roles))} if roles else {}), **said}


def boundary(space: Space, sieve: Sieve, *, seed: int = 1, only: Collection[str] = ()) -> list[Vector]:
    """The vectors of a space that are worth trying, each once; near where each policy (or those in `only`) decides."""
    rng = random.Random(f"{seed}/{space.action}/{space.type_name}")  # noqa: S311 - repeatable, not secret
    search = _Search(space, sieve, rng, only)
    plain = tuple(0 for _ in space.dimensions)
    kept: dict[Vector, None] = dict.fromkeys([plain, *space.neighbours(plain)])
    for vector in search.decisive():
        kept[vector] = None
        near = list(space.neighbours(vector))
        kept.update(dict.fromkeys(near))
        for _ in range(min(PAIRS_KEPT, len(near))):
            kept[rng.choice(list(space.neighbours(rng.choice(near))))] = None
    kept.update(dict.fromkeys(search.drawn))
    return list(kept)


class _Search:
    """Looks for vectors on which each policy is the one that decides."""

    def __init__(self, space: Space, sieve: Sieve, rng: random.Random, only: Collection[str]) -> None:
        self._space, self._sieve, self._rng = space, sieve, rng
        policies = _slice(space.bench, space.action, space.type_name)
        self._aims = [Aim(sieve, policy, policies) for policy in policies if not only or policy.id in only]
        self.drawn = list(dict.fromkeys(space.draw(rng) for _ in range(DRAWN)))

    def decisive(self) -> list[Vector]:
        """A few vectors for each policy, on which it decides; or the nearest to that, where there are none."""
        prepared = {vector: self._sieve.prepare(self._space.request(vector)) for vector in self.drawn}
        found: dict[Vector, None] = {}
        for aim in self._aims:
            ranked = sorted((aim.distance(prepared[vector]), n) for n, vector in enumerate(self.drawn))
            for distance, number in ranked[:WANTED]:
                found[self._descended(aim, self.drawn[number], distance)] = None
        return list(found)

    def _descended(self, aim: Aim, vector: Vector, distance: int) -> Vector:
        """Step by step to a vector that is nearer: one choice away, or two where two things must change at once."""
        for _ in range(STEPS_MAX):
            nearer = None if distance == 0 else self._nearer(aim, vector, distance)
            if nearer is None:
                break
            distance, vector = nearer
        return vector

    def _nearer(self, aim: Aim, vector: Vector, distance: int) -> tuple[int, Vector] | None:
        near = list(self._space.neighbours(vector))
        self._rng.shuffle(near)
        # where only other permits are in the way, two values often move together, such as an amount and what was paid
        further = self._two_away(near) if distance < WEIGHT else iter(())
        for candidate in chain(near, further):
            there = aim.distance(self._sieve.prepare(self._space.request(candidate)))
            if there < distance:
                return there, candidate
        return None

    def _two_away(self, near: list[Vector]) -> Iterator[Vector]:
        for _ in range(PAIRS_TRIED_MAX):
            yield self._rng.choice(list(self._space.neighbours(self._rng.choice(near))))


def _said(path: Path, name: str) -> str:
    return ".".join(("resource", *path, name))


def _slice(bench: Bench, action: str, type_name: str) -> list[Any]:
    return [bench.book.policies[name] for name in sorted(bench.ruling(action, type_name).slice.ids)]


def scalars(kind: Scalar, found: Literals) -> tuple[Any, ...]:
    """The values of a scalar that matter beside these literals; the plainest first."""
    if kind.name == "Bool":
        return (False, True)
    if kind.name == "Long":
        return _near(found.numbers)
    if kind.name == "String":
        return (*sorted(found.strings), "another") if found.strings else ("another", "yet another")
    if kind.name == "decimal":
        values = {Decimal(0)} | {d + step for d in found.decimals for step in (-CENT, Decimal(0), CENT)}
        return tuple(sorted(values, key=abs))
    spans = {timedelta()} | {span for one in found.durations for span in (one, -one)}
    moments: set[datetime] = {NOON + span + step for span in spans for step in (-TICK, timedelta(), TICK)}
    return tuple(sorted(moments, key=lambda moment: abs(moment - NOON)))


def _near(numbers: set[int]) -> tuple[int, ...]:
    values = {0, 1} | {n + step for n in numbers for step in (-1, 0, 1)}
    return tuple(sorted(values, key=abs))
