"""Recorded decisions, redacted: `policies/corpus.jsonl`, one JSON object a line.

    {"action": "refund", "type": "Order", "name": "Order-3", "count": 12, "effect": "allow",
     "person": {"name": "User-1", "tenant": "home", "roles": ["owner"], "scoped": [["manager", "Venue", "Venue-2"]],
                "aal": 1, "age_s": 40},
     "attributes": {"venue": "Venue-2", "status": "another", "delivered_at": {"ms": -86400000}}, "context": {}}

A row near the object stands in the place of its name: `"deal": {"is": "Deal", "name": "Deal-3", "attributes": {…}}`.
Ids are numbers within the file, text that no policy names is `another`, a time is how many milliseconds it is from the
request's: nothing personal is left, and the file can be kept beside the policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from seawall.access.files import read_text
from seawall.access.review.bench import NOON, Person, Request, Scoped
from seawall.access.review.made import Thing
from seawall.core.errors import Refused

CORPUS_FILE = "corpus.jsonl"
NEAR = frozenset({"is", "name", "attributes"})
"""A row near the object, instead of its name."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One recorded decision. `effect` is what was decided then; `count` how often the like was."""

    request: Request
    effect: str
    count: int = 1

    def said(self) -> dict[str, Any]:
        """The request in words, for a witness."""
        who = self.request.person
        said: dict[str, Any] = {"roles": who.roles, "tenant": who.tenant}
        said |= {f"principal.{held.role}_at": held.name for held in who.scoped}
        said |= dict(_said("resource", self.request.thing))
        return said | {f"context.{name}": value for name, value in self.request.context.items()}


def read_corpus(path: Path) -> list[Recorded]:
    """The recorded decisions of a file; none when there is no file.

    Raises:
        Refused: naming the line that is not one.
    """
    if not path.is_file():
        return []
    recorded: list[Recorded] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            recorded.append(_read(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
            raise Refused(
                f"{path.name}: line {number} is not a recorded decision",
                why="a decision that is not replayed is a flip that nobody sees",
                fix="write the file again with `seawall policy corpus`",
            ) from None
    return recorded


def _read(line: Mapping[str, Any]) -> Recorded:
    about = line["person"]
    person = Person(
        name=str(about["name"]),
        tenant=str(about["tenant"]),
        roles=tuple(map(str, about["roles"])),
        scoped=tuple(Scoped(*map(str, held)) for held in about["scoped"]),
        aal=int(about["aal"]),
        age_s=int(about["age_s"]),
    )
    thing = Thing(str(line["type"]), str(line["name"]), {k: _value(v) for k, v in line["attributes"].items()})
    context = {name: _value(value) for name, value in line["context"].items()}
    return Recorded(Request(person, str(line["action"]), thing, context), str(line["effect"]), int(line["count"]))


def _said(where: str, thing: Thing) -> Iterator[tuple[str, Any]]:
    for name, value in thing.attributes.items():
        yield f"{where}.{name}", value.name if isinstance(value, Thing) else value
        if isinstance(value, Thing):
            yield from _said(f"{where}.{name}", value)


def _value(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == NEAR:
        return Thing(
            str(value["is"]), str(value["name"]), {name: _value(item) for name, item in value["attributes"].items()}
        )
    if isinstance(value, dict) and set(value) == {"ms"}:
        return NOON + timedelta(milliseconds=value["ms"])
    if isinstance(value, dict) and set(value) == {"decimal"}:
        return Decimal(value["decimal"])
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value
