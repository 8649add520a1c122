"""Table tests: `policies/tests/*.yaml`, which people who write no code can read and review.

now: 2026-01-15T12:00:00Z
walls: [wall.tenant]
principals:
  olivia: {roles: [owner]}
  mina: {manager_at: [quayside]}
objects:
  lunch: {is: Order, venue: quayside, customer: ava, status: paid, currency: USD, paid_minor: 20000, refunded_minor: 0}
tests:
  - why: owners, and managers in their venue, run orders
    action: [cook, assign_courier]
    on: lunch
    only: [olivia, mina]               # everybody else of the principals must be refused
  - why: above $100 a second factor
    who: mina
    action: refund
    on: lunch
    with: {amount_minor: 10001, currency: USD, refunded_today_minor: 0}
    expect: step-up
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import chain
from pathlib import Path
from typing import Any

from seawall.access.entities import PRINCIPAL, ROLE_AT, TENANT
from seawall.access.review.bench import NOON, Bench, Outcome, Person, Request, Scoped
from seawall.access.review.literals import duration
from seawall.access.review.made import Thing
from seawall.access.review.reading import read_yaml
from seawall.access.review.vectors import NOT_ALLOWED, read_vectors
from seawall.access.schema import CedarType, EntityRef, Record, Scalar, SetOf
from seawall.core.errors import Refused

TESTS_FOLDER = "tests"
CASES_MAX = 20_000
REFUSED = ("deny", "403", "404")
TOP = frozenset({"now", "walls", "tenant", "principals", "objects", "tests", "survivors"})
ROW = frozenset({"why", "who", "only", "action", "on", "with", "given", "as", "expect"})
PERSON = frozenset({"roles", "tenant", "aal", "age_s"})


@dataclass(frozen=True, slots=True)
class Case:
    """One expectation: one person, one action, one object."""

    file: str
    row: int
    why: str
    who: str
    on: str
    request: Request
    expect: str

    def met(self, outcome: Outcome, visible: bool) -> bool:
        """Whether what happened is what was expected. `deny` is a refusal of either kind."""
        if self.expect == "deny":
            return outcome.effect == "deny"
        if self.expect in REFUSED:
            return outcome.effect == "deny" and visible == (self.expect == "403")
        if self.expect == NOT_ALLOWED:
            return outcome.effect != "allow"
        return outcome.effect == self.expect


@dataclass(frozen=True, slots=True)
class Table:
    """All tests of a folder. `survivors` are mutants that are known to live: (policy, mistake) → why."""

    cases: tuple[Case, ...] = ()
    walls: Mapping[str, str] = field(default_factory=dict)
    survivors: Mapping[tuple[str, str], str] = field(default_factory=dict)
    files: tuple[str, ...] = ()


def read_tables(folder: Path, bench: Bench) -> Table:
    """Every `tests/*.yaml` of a policies folder, and the vectors beside it (`tests/*.json`).

    Raises:
        Refused: naming the file and the row that cannot be understood. Nothing is skipped.
    """
    cases: list[Case] = []
    walls: dict[str, str] = {}
    survivors: dict[tuple[str, str], str] = {}
    tests = folder / TESTS_FOLDER
    files, vectors = sorted(tests.glob("*.y*ml")), sorted(tests.glob("*.json"))
    for path in files:
        reader = File(path.name, read_yaml(path), bench)
        walls.update(dict.fromkeys(reader.walls(), path.name))
        survivors.update(reader.survivors())
        found = [reader.cases(), *(reader.vectors(one) for one in vectors if one.stem == path.stem)]
        for case in chain.from_iterable(found):
            cases.append(case)
            if len(cases) > CASES_MAX:
                raise Refused(
                    f"{path.name}: more than {CASES_MAX} cases",
                    why="tests that nobody can read are not reviewed",
                    fix="name fewer people or actions in a row",
                )
    alone = {path.stem for path in vectors} - {path.stem for path in files}
    if alone:
        name = min(alone)
        raise Refused(
            f"{name}.json has no {name}.yaml beside it",
            why="vectors speak of people and objects that such a file describes; without it they test nothing",
            fix=f"write {name}.yaml with principals and objects",
        )
    return Table(tuple(cases), walls, survivors, tuple(path.name for path in (*files, *vectors)))


class File:
    """One file of tests."""

    def __init__(self, name: str, document: Any, bench: Bench) -> None:
        self.name, self.bench = name, bench
        self.document = self._mapping(document, "the file")
        self._only(self.document, TOP, "the file")
        self.moment = self._moment(self.document.get("now", NOON))
        self.tenant = str(self.document.get("tenant", "home"))
        given = self._mapping(self.document.get("principals", {}), "principals")
        self.people = {str(name): self._person(str(name), about) for name, about in given.items()}
        objects = self._mapping(self.document.get("objects", {}), "objects")
        self._objects = {str(name): self._mapping(about, f"object {name}") for name, about in objects.items()}
        self.things: dict[str, Thing] = {}
        self._making: list[str] = []
        for one in self._objects:
            self._object(one)

    def _odd(self, what: str, fix: str = "see docs/guide/policies-as-code.md") -> Refused:
        return Refused(f"{self.name}: {what}", why="a test that is not understood tests nothing", fix=fix)

    def _mapping(self, value: Any, where: str) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise self._odd(f"{where} is not a mapping of names to values")
        return value

    def _only(self, value: Mapping[str, Any], known: frozenset[str], where: str) -> None:
        for key in value:
            if key not in known:
                raise self._odd(f"{where} has the unknown key {key!r}", f"use {', '.join(sorted(known))}")

    def _moment(self, value: Any) -> datetime:
        if not isinstance(value, datetime):
            raise self._odd(f"now: {value!r} is not a time", "now: 2026-01-15T12:00:00Z")
        return value if value.tzinfo else value.replace(tzinfo=UTC)

    def walls(self) -> list[str]:
        walls = self.document.get("walls", [])
        if not isinstance(walls, list) or not all(isinstance(wall, str) for wall in walls):
            raise self._odd("walls is not a list of policy ids", "walls: [wall.tenant]")
        return walls

    def survivors(self) -> Iterator[tuple[tuple[str, str], str]]:
        for row in self._list(self.document.get("survivors", []), "survivors"):
            if not isinstance(row, Mapping) or {"policy", "mistake", "why"} != set(row):
                raise self._odd("a survivor needs policy, mistake and why", "copy policy and mistake from the report")
            yield (str(row["policy"]), str(row["mistake"])), str(row["why"])

    def _list(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._odd(f"{where} is not a list")
        return value

    # People and objects ------------------------------------------------------------------------------------------

    def _person(self, name: str, about: Any) -> Person:
        about = self._mapping(about if about is not None else {}, f"principal {name}")
        entity = self.bench.schema.entities[self.bench.schema.qualified(PRINCIPAL)]
        places = {n: a.type for n, a in entity.attributes.items() if n.endswith(ROLE_AT) and isinstance(a.type, SetOf)}
        self._only(about, PERSON | frozenset(places), f"principal {name}")
        scoped = tuple(
            Scoped(place.removesuffix(ROLE_AT), self.bench.short(str(kind.element)), str(one))
            for place, kind in places.items()
            for one in self._list(about.get(place, []), f"principal {name}: {place}")
        )
        numbers = {key: about.get(key, plain) for key, plain in (("aal", 1), ("age_s", 0))}
        if not all(type(number) is int and number >= 0 for number in numbers.values()):
            raise self._odd(f"principal {name}: aal and age_s are whole numbers")
        roles = tuple(map(str, self._list(about.get("roles", []), f"principal {name}: roles")))
        return Person(name, str(about.get("tenant", self.tenant)), roles, scoped, **numbers)

    def _object(self, name: str) -> Thing:
        """An object of the file, after those that it names."""
        if name not in self.things:
            if name in self._making:
                raise self._odd(f"object {name} is near itself: {' → '.join([*self._making, name])}")
            self._making.append(name)
            self.things[name] = self._thing(name, self._objects[name])
            self._making.pop()
        return self.things[name]

    def _thing(self, name: str, about: Mapping[str, Any]) -> Thing:
        kind = str(about.get("is", ""))
        entity = self.bench.schema.entities.get(self.bench.schema.qualified(kind))
        if entity is None:
            raise self._odd(f"object {name} is a {kind or 'nothing'}, which the schema does not know", "is: Order")
        attributes: dict[str, Any] = {}
        for key, value in about.items():
            if key == "is":
                continue
            if key not in entity.attributes:
                raise self._odd(f"object {name}: {kind} has no attribute {key!r}")
            attributes[key] = self._value(entity.attributes[key].type, value, f"object {name}.{key}")
        for key, attribute in entity.attributes.items():
            if key not in attributes and attribute.type == EntityRef(self.bench.schema.qualified(TENANT)):
                attributes[key] = self.tenant
            elif key not in attributes and attribute.required:
                raise self._odd(f"object {name} needs {key}: {attribute.type}")
        return Thing(kind, name, attributes)

    def _entity(self, kind: EntityRef, value: Any) -> Any:
        """A name; or the object of that name, so that its row comes along for policies that read it."""
        named = self._objects.get(value, {}) if isinstance(value, str) else {}
        return self._object(value) if self.bench.schema.qualified(str(named.get("is", ""))) == kind.type else value

    def _value(self, kind: CedarType, value: Any, where: str) -> Any:
        if isinstance(kind, Scalar) and kind.name == "datetime":
            return self._time(value, where)
        if isinstance(kind, Scalar) and kind.name == "decimal":
            try:
                return Decimal(str(value))
            except InvalidOperation:
                raise self._odd(f"{where}: {value!r} is not a decimal") from None
        if isinstance(kind, SetOf):
            return [self._value(kind.element, item, where) for item in self._list(value, where)]
        if isinstance(kind, Record):
            known = kind.attributes
            self._only(self._mapping(value, where), frozenset(known), where)
            return {name: self._value(known[name].type, item, f"{where}.{name}") for name, item in value.items()}
        wanted: type = {"Long": int, "Bool": bool}.get(getattr(kind, "name", ""), str)
        if isinstance(kind, EntityRef):
            value = self._entity(kind, value)
            wanted = type(value) if isinstance(value, Thing) else str
        if value is not None and type(value) is not wanted:
            raise self._odd(f"{where}: {value!r} is not a {kind}")
        return value

    def _time(self, value: Any, where: str) -> datetime | None:
        """A time, or how long before (`24h ago`) or after (`in 24h`) the file's `now`."""
        if isinstance(value, str):
            span = duration(value.removesuffix(" ago").removeprefix("in ").replace(" ", ""))
            if span is not None and (value.endswith(" ago") or value.startswith("in ")):
                return self.moment + (-span if value.endswith(" ago") else span)
        elif value is None:
            return None
        elif isinstance(value, datetime):
            return self._moment(value)
        raise self._odd(f"{where}: {value!r} is not a time", f"{where}: 24h ago")

    # Rows ----------------------------------------------------------------------------------------------------------

    def cases(self) -> Iterator[Case]:
        for number, row in enumerate(self._list(self.document.get("tests", []), "tests"), 1):
            where = f"test {number}"
            self._only(self._mapping(row, where), ROW, where)
            why = row.get("why")
            if not isinstance(why, str) or not why.strip():
                raise self._odd(f"{where} does not say why", "why: what a customer would be told")
            for who, expect in self._expected(row, where):
                for action in self._names(row.get("action"), f"{where}: action"):
                    for on in self._names(row.get("on"), f"{where}: on"):
                        yield self.case(number, row, who, action, on, expect)

    def vectors(self, path: Path) -> Iterator[Case]:
        """The decisions that a file of AuthZEN vectors expects of the people and objects of this one."""
        reader = copy.copy(self)
        reader.name = path.name
        for number, who, action, on, expect, context in read_vectors(path, self):
            row = {"why": "an AuthZEN vector", "with": context}
            yield reader.case(number, row, who, action, on, expect)

    def _expected(self, row: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
        expect = str(row.get("expect", "allow" if "only" in row else ""))
        if ("who" in row) == ("only" in row):
            raise self._odd(f"{where} needs either who or only", "who: mina · or · only: [olivia, mina]")
        if not expect:
            raise self._odd(f"{where} expects nothing", "expect: allow, deny, 403, 404 or step-up")
        if "only" in row:
            if expect in REFUSED:
                raise self._odd(f"{where}: only with {expect}", "say who is refused with who")
            chosen = [] if row["only"] == [] else self._names(row["only"], f"{where}: only")
            for who in chosen:
                self._known(who, where)
            yield from ((who, expect if who in chosen else "deny") for who in self.people)
            return
        for who in self._names(row["who"], f"{where}: who"):
            self._known(who, where)
            yield who, expect

    def _known(self, who: str, where: str) -> None:
        if who not in self.people:
            raise self._odd(f"{where}: there is no principal {who!r}", f"use {', '.join(self.people)}")

    def _names(self, value: Any, where: str) -> list[str]:
        names = value if isinstance(value, list) else [value]
        if not names or not all(isinstance(name, str) for name in names):
            raise self._odd(f"{where} is not a name or a list of names")
        return names

    def case(  # noqa: PLR0917
        self, number: int, row: Mapping[str, Any], who: str, action: str, on: str, expect: str
    ) -> Case:
        """One test: `row` says why it is, and may hold `with`, `given` and `as`.

        Raises:
            Refused: when it names what is not there, or leaves out what is needed.
        """
        where = f"test {number}"
        thing = self.things.get(on) or (Thing(TENANT, on) if on in self.tenants() else None)
        if thing is None:
            raise self._odd(f"{where}: there is no object {on!r}", f"use {', '.join([*self.things, *self.tenants()])}")
        if not self.bench.knows(action, thing.type):
            raise self._odd(f"{where}: the schema has no action {action!r} on {thing.type}")
        if "given" in row:
            changed = self._mapping(row["given"], f"{where}: given")
            merged = {"is": thing.type, **thing.attributes, **changed}
            thing = self._thing(on, {name: value for name, value in merged.items() if value is not None})
        person = self.people[who]
        if "as" in row:
            about = self._mapping(row["as"], f"{where}: as")
            self._only(about, frozenset({"aal", "age_s"}), f"{where}: as")
            person = Person(person.name, person.tenant, person.roles, person.scoped, **about)
        self._check_near(thing, on, action, where)
        context = self._context(row, action, thing.type, where)
        return Case(
            self.name, number, row["why"], who, on, Request(person, action, thing, context, self.moment), expect
        )

    def _check_near(self, thing: Thing, on: str, action: str, where: str) -> None:
        """Refuse a row that policies read and nobody described: they would fail on it, where the app has the row."""
        for path, type_name in self.bench.near(action, thing.type).items():
            at: Any = thing
            for name in path:
                at = at.attributes.get(name) if isinstance(at, Thing) else None
            if at is not None and not isinstance(at, Thing):
                raise self._odd(
                    f"{where}: {on}.{'.'.join(path)} is {at!r}, which is not among the objects, and policies of "
                    f"{action} read that {self.bench.short(type_name)}",
                    f"objects: {{{at}: {{is: {self.bench.short(type_name)}, …}}}}",
                )

    def tenants(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([self.tenant, *(person.tenant for person in self.people.values())]))

    def _context(self, row: Mapping[str, Any], action: str, type_name: str, where: str) -> dict[str, Any]:
        given = self._mapping(row.get("with", {}), f"{where}: with")
        declared = self.bench.whole(action, type_name).context.extra
        self._only(given, frozenset(declared), f"{where}: with")
        for name, attribute in declared.items():
            if attribute.required and name not in given:
                raise self._odd(f"{where}: {action} needs {name}: {attribute.type}", f"with: {{{name}: …}}")
        return {name: self._value(declared[name].type, value, f"{where}.{name}") for name, value in given.items()}
