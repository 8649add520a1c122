"""Recorded decisions, from the audit log to `policies/corpus.jsonl`, redacted on the way.

An event says who did what to which object; roles and attributes are read from the database as they are now. Names are
given anew on every line, so that two lines of one person cannot be told to be so, and equal lines are counted as one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from seawall.access.entities import PRINCIPAL, TENANT, Field, resource_map
from seawall.access.policies import PolicyBook, read_policies
from seawall.access.relations import Relations
from seawall.access.review.bench import Bench
from seawall.access.review.literals import Literals, literals_of
from seawall.access.review.verify import Step
from seawall.access.schema import CedarType, EntityRef, Scalar
from seawall.core.errors import Refused
from seawall.store.loader import Keys, Near, compiled, identity_of, near_row
from seawall.store.models import Tenanted

EVENTS = """
SELECT at, tenant_id, user_id, body ->> 'action' AS action, body ->> 'resource' AS resource, body ->> 'effect' AS effect
FROM seawall.audit_events
WHERE kind = 'access.decision' AND user_id IS NOT NULL AND tenant_id IS NOT NULL ORDER BY id DESC LIMIT $1"""
ROLES = """
SELECT role, scope_type, scope_id FROM seawall.memberships
WHERE tenant_id = $1 AND user_id = $2 AND (expires_at IS NULL OR expires_at > now())"""


class Connection(Protocol):
    """An asyncpg connection that may read everything: the owner's."""

    async def fetch(self, sql: str, *args: Any) -> list[Any]: ...


async def export(
    connection: Connection, folder: Path, target: Path, *, limit: int, step: Step = lambda *_: None
) -> int:
    """Write the newest `limit` recorded decisions of an app, whose models are imported; gives how many lines.

    Left out are decisions on actions with a context of their own (amounts, say), which the log lacks; lists; and
    objects that are no longer there.

    Raises:
        Refused: the file cannot be written, or the policies do not hold.
    """
    recording = _Recording(connection, read_policies(folder))
    events = await connection.fetch(EVENTS, limit)
    lines: Counter[str] = Counter()
    for number, event in enumerate(events, 1):
        line = await recording.line(event)
        if line is not None:
            lines[json.dumps(line, sort_keys=True)] += 1
        step("recorded decisions", number, len(events))
    text = "".join(json.dumps({**json.loads(line), "count": count}) + "\n" for line, count in sorted(lines.items()))
    temporary = target.with_name(f".{target.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(target)
    except OSError as error:
        raise Refused(
            f"{target} cannot be written: {error.strerror}",
            why="the file is written whole or not at all",
            fix="name another with --output",
        ) from None
    return len(lines)


class _Names:
    """Names on one line: `User-1` is who asks, the others by their order."""

    def __init__(self, person: UUID, tenant: UUID) -> None:
        self._given: dict[tuple[str, str], str] = {(PRINCIPAL, str(person)): f"{PRINCIPAL}-1"}
        self._given[TENANT, str(tenant)] = "home"

    def of(self, kind: str, identity: object) -> str:
        key = (kind, str(identity))
        if key not in self._given:
            count = sum(1 for known, _ in self._given if known == kind)
            self._given[key] = "away" if kind == TENANT else f"{kind}-{count + 1}"
        return self._given[key]


@dataclass(frozen=True, slots=True)
class _Read:
    """One object as it was read, and what is known of its decision."""

    row: Any
    near: Sequence[Near]
    at: datetime
    names: _Names


class _Reader:
    """The owner's connection as a loader wants it. It opens nothing that is sealed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        return await self._connection.fetch(sql, *args)

    async def keys(self, envelopes: Iterable[bytes] = ()) -> None:
        """None, as where the app has no keyring."""


class _Recording:
    """One export."""

    def __init__(self, connection: Connection, book: PolicyBook) -> None:
        self._connection, self._bench = connection, Bench(book)
        self._literals = literals_of(policy.est for policy in book.policies.values())
        self._models = {mapper.class_.__name__: mapper.class_ for mapper in Tenanted.registry.mappers}
        self._fields: dict[str, tuple[Field, ...]] = {}

    async def line(self, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """One decision without anything personal; None when it cannot be told."""
        bench, names = self._bench, _Names(event["user_id"], event["tenant_id"])
        qualified, _, rest = str(event["resource"]).partition('::"')
        type_name, identity = bench.short(qualified), rest.removesuffix('"')
        if not bench.knows(event["action"], type_name):
            return None
        if not bench.whole(event["action"], type_name).context.complete:
            return None
        attributes = await self._attributes(type_name, identity, event, names)
        if attributes is None:
            return None
        held = await self._connection.fetch(ROLES, event["tenant_id"], event["user_id"])
        scoped = [[row["role"], row["scope_type"], names.of(row["scope_type"], row["scope_id"])] for row in held
                  if row["scope_type"] is not None]  # fmt: skip
        return {
            "action": event["action"],
            "type": type_name,
            "name": names.of(type_name, identity),
            "effect": event["effect"],
            "person": {
                "name": f"{PRINCIPAL}-1",
                "tenant": "home",
                "roles": sorted({row["role"] for row in held if row["scope_type"] is None}),
                "scoped": sorted(scoped),
                "aal": 1,
                "age_s": 0,
            },
            "attributes": attributes,
            "context": {},
        }

    async def _attributes(
        self, type_name: str, identity: str, event: Mapping[str, Any], names: _Names
    ) -> dict[str, Any] | None:
        if type_name == TENANT:
            return {}
        model = self._models.get(type_name)
        if model is None:
            return None
        try:
            wanted = identity_of(model)[1](identity)
        except (ValueError, TypeError):
            return None
        loader = self._bench.engine.loader(model)
        query = loader.select().where(loader.tenant_column == event["tenant_id"], loader.identity_column == wanted)
        statement = compiled(query)
        reader: Any = _Reader(self._connection)
        rows = await loader.fetch(reader, statement.sql, statement.arguments())
        if not rows:
            return None
        return self._told(_Read(rows[0], loader.near, event["at"], names), rows[0], (), ())

    def _told(self, read: _Read, row: Any, keys: Keys, path: tuple[str, ...]) -> dict[str, Any]:
        """The attributes of an object (`()`) or of a row near it, which comes along where policies read one."""
        type_name = type(row).__name__
        declared = self._bench.schema.entities[self._bench.schema.qualified(type_name)].attributes
        told: dict[str, Any] = {}
        for field in self._fields_of(type_name, type(row)):
            value, step, said = getattr(row, field.key), (*keys, field.key), (*path, field.name)
            if value is None:
                continue
            told[field.name] = self._redacted(declared[field.name].type, value, ("resource", said), read.at, read.names)
            near = next((one for one in read.near if one.keys == step), None)
            far = None if near is None else near_row(read.row, step, near.model, value)
            if far is not None:
                inner = self._told(read, far, step, said)
                told[field.name] = {"is": type(far).__name__, "name": told[field.name], "attributes": inner}
        return told

    def _fields_of(self, type_name: str, model: type[Any]) -> tuple[Field, ...]:
        if type_name not in self._fields:
            self._fields[type_name] = resource_map(model, self._bench.schema, Relations(self._bench.schema)).fields
        return self._fields[type_name]

    def _redacted(self, kind: CedarType, value: Any, path: Any, at: datetime, names: _Names) -> Any:
        if isinstance(kind, EntityRef):
            return names.of(self._bench.short(kind.type), value)
        if isinstance(value, Iterable) and not isinstance(value, str | bytes):
            element: CedarType = getattr(kind, "element", Scalar("String"))
            return [self._redacted(element, item, path, at, names) for item in value]
        if isinstance(value, datetime):
            return {"ms": round((value - at).total_seconds() * 1000)}
        if isinstance(value, Decimal):
            return {"decimal": str(value)}
        if isinstance(value, bool | int):
            return value
        text = str(getattr(value, "value", value))
        return text if text in self._literals.get(path, Literals()).strings else "another"
