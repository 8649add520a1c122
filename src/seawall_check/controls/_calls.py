"""Calls that are expected to succeed, made from the OpenAPI document and the app's own `[check.routes]`, and how to
recognise what should never be in an answer."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from seawall_check.document import Persona
from seawall_check.probes.http import Operation, is_free_string, resolve
from seawall_check.target import Target

PLACEHOLDER = re.compile(r"\{(\w+)\}")

_LEAKS = (
    ("a stack trace", r"Traceback \(most recent|File \"[^\"]+\", line \d+|\bat [\w.$]+\([\w]+\.\w+:\d+\)"),
    ("a source path", r"/site-packages/|(?:/home|/root|/usr/lib|/opt|/tmp|/srv|/app)/[\w.-]+/|\b\w+\.py\b"),
    ("SQL", r"\b(?:SELECT\s+.{1,80}\s+FROM|INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM)\b"),
    ("a library's name", r"(?i)\b(?:asyncpg|sqlalchemy|psycopg|pydantic|starlette|fastapi|uvicorn|jinja2?|orjson)\b"),
    (
        "a database error",
        r"(?i)sqlstate|syntax error at or near|relation \"|invalid byte sequence|violates \w+ (?:key )?c",
    ),
    ("an exception's name", r"\b\w+(?:Error|Exception)\b(?!<)"),
)
LEAKS = tuple((what, re.compile(pattern)) for what, pattern in _LEAKS)


@dataclass(frozen=True)
class Call:
    """One operation as someone who may do it would call it."""

    operation: Operation
    persona: Persona
    values: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    stated: bool = False
    """Whether `[check.routes]` says that this persona may do it."""
    sealed: frozenset[str] = frozenset()
    """Members that the app encrypts before it stores them, so that nobody finds their text in the database."""

    async def send(
        self, client: httpx2.AsyncClient, *, body: Any = None, values: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """Send it, with another body or other path values when given."""
        values = {**self.values, **(values or {})}
        return await self.operation.send(client, values, body=self.body if body is None else body, **more)

    def free_strings(self) -> tuple[str, ...]:
        """The top-level members of the body that take any text."""
        op = self.operation
        if op.body is None or not isinstance(self.body, dict):
            return ()
        members = resolve(op.body, op.document).get("properties", {})
        return tuple(name for name, schema in members.items() if is_free_string(schema, op.document))

    def found_strings(self) -> tuple[str, ...]:
        """Those of them whose text can be found in the database again."""
        return tuple(name for name in self.free_strings() if name not in self.sealed)


def calls(target: Target) -> Iterator[Call]:
    """A call for each operation of the document, as the first persona that the app's author allows it to."""
    rows = target.expectations.get("routes", {})
    columns = target.document.sealed.columns if target.document.sealed is not None else ()
    sealed = frozenset(column.rpartition(".")[2] for column in columns)
    for operation in target.operations:
        row = rows.get(operation.name, {})
        personas = [p for role in row.get("allow", ()) for p in target.who(role=role)] or list(target.personas)
        if not personas:
            continue
        persona = personas[0]
        known = {**_first(target.tenant(persona.tenant).objects), **_first(persona.objects)}
        values = {name: known[name] for name in operation.path_names if name in known}
        body = _filled(row["body"], known) if "body" in row else operation.sample_body()
        yield Call(operation, persona, values, body, stated=bool(row), sealed=sealed)


def reads(target: Target) -> list[Call]:
    """The safe calls that the app's author says succeed."""
    return [call for call in calls(target) if call.operation.safe and call.stated]


def writes(target: Target) -> list[Call]:
    """Changes that take free text; no money, no step-up."""
    step_up = target.expectations.get("step_up", {}).get("route", "")
    return [
        call
        for call in calls(target)
        if not call.operation.safe and call.stated and call.free_strings() and call.operation.name != step_up
    ]


def _first(objects: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {name: ids[0] for name, ids in objects.items() if ids}


def _filled(body: Any, known: Mapping[str, str]) -> Any:
    """`{dish_id}` in an expected body stands for an object of the persona or tenant."""
    if isinstance(body, dict):
        return {name: _filled(value, known) for name, value in body.items()}
    if isinstance(body, list):
        return [_filled(value, known) for value in body]
    if isinstance(body, str):
        return PLACEHOLDER.sub(lambda found: known.get(found[1], found[0]), body)
    return body


def mark() -> str:
    """A fresh word that occurs nowhere else."""
    return f"mark{secrets.token_hex(6)}"


def leaks(text: str) -> list[str]:
    """What an answer gives away about the inside, in words; empty when nothing."""
    return [f"{what}: {found[0][:80]!r}" for what, pattern in LEAKS if (found := pattern.search(text))]


async def rows_with(target: Target, text: str) -> int:
    """How many rows of the app's tables hold `text`, whatever the column: the database's word on what was changed."""
    count = 0
    async with target.db_owner() as db:
        tables = await db.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables WHERE schemaname = ANY($1)",
            list(target.database.app_schemas),
        )
        for table in tables:
            # The name comes quoted by format('%I') from the catalogue itself.
            sql = f"SELECT count(*) FROM {table['name']} AS t WHERE strpos(t::text, $1) > 0"
            count += await db.fetchval(sql, text)
    return count


async def pages(
    target: Target, client: httpx2.AsyncClient, *, start: str = "/", at_most: int = 25
) -> list[httpx2.Response]:
    """The HTML pages that links lead to from `start`, as this client sees them; never signs out."""
    from seawall_check.sign_in import Page

    waiting, seen = [start], {start}
    found: list[httpx2.Response] = []
    while waiting and len(found) < at_most:
        response = await client.get(waiting.pop(0), headers={"Accept": "text/html"}, follow_redirects=True)
        if "html" not in response.headers.get("content-type", ""):
            continue
        found.append(response)
        for link in Page(response.text).links:
            path = link.partition("#")[0]
            own = path.startswith("/") and not path.startswith(("//", "/auth/", "/dev-provider"))
            if own and path not in seen:
                seen.add(path)
                waiting.append(path)
    return found
