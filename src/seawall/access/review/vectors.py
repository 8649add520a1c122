"""AuthZEN decision vectors as tests: `policies/tests/*.json`, in the form of the interoperability scenarios.

    {"evaluation": [
        {"request": {"subject": {"type": "user", "id": "mina"}, "action": {"name": "cook"},
                     "resource": {"type": "order", "id": "lunch"}}, "expected": true},
        {"request": {"subject": {"type": "user", "id": "mina"}, "action": {"name": "cook"},
                     "resource": {"type": "order"}}, "expected": {"results": [{"type": "order", "id": "lunch"}]}}],
     "evaluations": [{"request": {…, "evaluations": [{…}, {…}]}, "expected": [{"decision": true}, …]}]}

`restaurant.json` speaks of the people and objects of `restaurant.yaml`, by name. A search expects exactly its results
among them. As in the running app, properties in a request decide nothing, and an obligation is a `false`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from seawall.access.authzen.questions import Question, batch, question
from seawall.access.entities import PRINCIPAL, TENANT
from seawall.access.files import read_text
from seawall.access.review.bench import Bench, Person
from seawall.access.review.made import Thing
from seawall.core.errors import BadRequest, Refused

ALLOWED, NOT_ALLOWED = "allow", "not allow"
SOUGHT = ("subject", "action", "resource")
TOP = frozenset({"evaluation", "evaluations"})


class Named(Protocol):
    """The file with the people and the objects."""

    bench: Bench
    people: dict[str, Person]
    things: dict[str, Thing]

    def tenants(self) -> tuple[str, ...]: ...


Asked = tuple[int, str, str, str, str, Mapping[str, Any]]
"""Number, who, action, on, what is expected, the context."""


def read_vectors(path: Path, named: Named) -> Iterator[Asked]:
    """Every decision that a file of vectors expects, in its order: those of `evaluation`, then of `evaluations`.

    Raises:
        Refused: naming the vector that is not one. Nothing is skipped.
    """
    vectors = _Vectors(path.name, named)
    document = vectors.document(read_text(path))
    number = 0
    for kind in sorted(TOP & set(document)):
        for one in vectors.listed(document[kind], kind):
            number += 1
            yield from vectors.asked(number, one, many=kind == "evaluations")


class _Vectors:
    """One file of vectors."""

    def __init__(self, name: str, named: Named) -> None:
        self._name, self._named = name, named

    def document(self, text: str) -> Mapping[str, Any]:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            raise self._odd("it is not JSON") from None
        if not isinstance(document, dict) or not document or set(document) - TOP:
            raise self._odd("it is not an object with evaluation and evaluations only")
        return document

    def listed(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._odd(f"{where} is not a list")
        return value

    def asked(self, number: int, one: Any, *, many: bool) -> Iterator[Asked]:
        where = f"vector {number}"
        if not isinstance(one, dict) or not isinstance(one.get("request"), dict) or "expected" not in one:
            raise self._odd(f"{where} has no request, or expects nothing")
        request, expected = one["request"], one["expected"]
        if many:
            yield from self._batch(number, request, self.listed(expected, f"{where}: expected"), where)
        elif isinstance(expected, bool):
            yield self._one(number, self._question(request, where), ALLOWED if expected else NOT_ALLOWED, where)
        elif isinstance(expected, dict) and set(expected) == {"results"}:
            yield from self._search(number, request, self.listed(expected["results"], f"{where}: results"), where)
        else:
            raise self._odd(f"{where} expects neither true, false nor results")

    def _batch(self, number: int, request: Any, expected: list[Any], where: str) -> Iterator[Asked]:
        try:
            asked = batch(request)
        except BadRequest as error:
            raise self._odd(f"{where}: {error}") from None
        if asked is None or not expected or len(expected) > len(asked.questions):
            raise self._odd(f"{where} has not one question for each decision that it expects")
        if asked.semantic == "execute_all" and len(expected) != len(asked.questions):
            raise self._odd(f"{where} expects {len(expected)} decisions on {len(asked.questions)} questions")
        for one, answer in zip(asked.questions, expected, strict=False):  # another semantic stops at what settles it
            if isinstance(one, str) or not isinstance(answer, dict) or not isinstance(answer.get("decision"), bool):
                raise self._odd(f"{where} expects something else than decisions, or asks none: {one}")
            yield self._one(number, one, ALLOWED if answer["decision"] else NOT_ALLOWED, where)

    def _search(self, number: int, request: Any, results: list[Any], where: str) -> Iterator[Asked]:
        sought = [part for part in SOUGHT if not _identified(request.get(part))]
        if len(sought) != 1:
            raise self._odd(f"{where} does not leave out exactly one of subject.id, action and resource.id")
        (part,) = sought
        key = "name" if part == "action" else "id"
        expected = [str(one.get(key)) for one in results if isinstance(one, dict)]
        asked = self._question(request, where, seeks=part)
        candidates = self._candidates(part, asked, where)
        unknown = [name for name in expected if name not in candidates]
        if unknown or len(expected) != len(results):
            raise self._odd(f"{where} expects {unknown or results}, which is none of {', '.join(candidates)}")
        for name in candidates:
            who = name if part == "subject" else asked.subject.id
            action = name if part == "action" else asked.action
            on = name if part == "resource" else self._on(asked, where)
            yield number, who, action, on, ALLOWED if name in expected else NOT_ALLOWED, asked.context

    def _candidates(self, part: str, asked: Question, where: str) -> list[str]:
        bench, named = self._named.bench, self._named
        if part == "subject":
            return list(named.people)
        if part == "action":
            thing = named.things.get(self._on(asked, where))
            kind = TENANT if thing is None else thing.type
            return [action for action in sorted(bench.schema.actions) if bench.knows(action, kind)]
        if _same(asked.resource.type, TENANT):
            return list(named.tenants())
        return [name for name, thing in named.things.items() if _same(asked.resource.type, thing.type)]

    def _one(self, number: int, asked: Question, expect: str, where: str) -> Asked:
        return number, asked.subject.id, asked.action, self._on(asked, where), expect, asked.context

    def _on(self, asked: Question, where: str) -> str:
        """The object's name, whose type must be what the vector says."""
        thing = self._named.things.get(asked.resource.id)
        kind = TENANT if thing is None and asked.resource.id in self._named.tenants() else getattr(thing, "type", "")
        if not kind or not _same(asked.resource.type, kind):
            raise self._odd(f"{where}: there is no {asked.resource.type} {asked.resource.id!r} among the objects")
        return asked.resource.id

    def _question(self, request: Any, where: str, *, seeks: str = "") -> Question:
        try:
            asked = question(request, seeks=seeks)
        except BadRequest as error:
            raise self._odd(f"{where}: {error}") from None
        if not _same(asked.subject.type, PRINCIPAL) or (
            seeks != "subject" and asked.subject.id not in self._named.people
        ):
            raise self._odd(f"{where}: there is no {asked.subject.type} {asked.subject.id!r} among the principals")
        return asked

    def _odd(self, what: str) -> Refused:
        return Refused(
            f"{self._name}: {what}",
            why="a test that is not understood tests nothing",
            fix=f"name people and objects of {Path(self._name).stem}.yaml; see docs/guide/policies-as-code.md",
        )


def _identified(part: Any) -> bool:
    return isinstance(part, dict) and bool(part.get("id") or part.get("name"))


def _same(said: str, type_name: str) -> bool:
    """Types in questions are written as the decision point takes them: `order_line` is `OrderLine`."""
    return said.lower().replace("_", "") == type_name.lower()
