"""Marked values of the kinds that must never be written down, and where they are looked for."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx2

from seawall_check.controls._calls import Call, calls
from seawall_check.probes.http import resolve
from seawall_check.target import Target


def _digits(count: int) -> str:
    return "".join(str(secrets.randbelow(10)) for _ in range(count))


def card_number() -> str:
    """A card number that nobody has: a test prefix, random digits and the check digit (Luhn)."""
    body = "400000" + _digits(9)
    total = 0
    for index, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 - index % 2)
        total += doubled - 9 if doubled > 9 else doubled
    return body + str(-total % 10)


@dataclass(frozen=True)
class Marks:
    """One value of each kind, which occurs nowhere else."""

    name: str
    mail: str
    phone: str
    card: str
    token: str

    @classmethod
    def fresh(cls) -> Marks:
        letters = "".join(secrets.choice("bcdfghklmnprstvz") + secrets.choice("aeiou") for _ in range(5))
        return cls(
            name=letters.capitalize(),
            mail=f"{letters}{_digits(4)}@marked.example",
            phone=f"+1 555 {_digits(3)} {_digits(4)}",
            card=card_number(),
            token=secrets.token_urlsafe(32),
        )

    @property
    def text(self) -> str:
        """All of them in one sentence, as somebody may type it into any field."""
        return f"{self.name} {self.mail} {self.phone} {self.card} {self.token}"

    def within(self, text: str) -> list[str]:
        """The kinds that a text holds, however numbers are set apart, in any case, and in the form that addresses have:
        a log that shows `a%40b.example` shows an address.
        """
        text += unquote(text) if "%" in text else ""
        close, lower = text.replace(" ", "").replace("-", "").replace("+", ""), text.lower()
        found = [kind for kind in ("name", "mail") if getattr(self, kind).lower() in lower]
        found += ["token"] if self.token in text else []
        found += [kind for kind in ("phone", "card") if getattr(self, kind).replace(" ", "").lstrip("+") in close]
        return found


@dataclass(frozen=True)
class Sent:
    """A request with marks in it."""

    where: str
    call: Call
    options: Mapping[str, Any]


def sweep(target: Target, marks: Marks) -> Iterator[Sent]:
    """Marks through every operation: in the path, the query, headers, and every text of the body, plain and broken."""
    for call in calls(target):
        operation = call.operation
        yield Sent("query", call, {"query": {"q": marks.text, "token": marks.token, "email": marks.mail}})
        headers = {"User-Agent": marks.text, "X-Forwarded-For": marks.phone, "Referer": f"https://{marks.mail}/"}
        yield Sent("headers", call, {"headers": headers})
        yield Sent("authorization", call, {"headers": {"Authorization": f"Bearer {marks.token}"}})
        for name in operation.path_names:
            yield Sent(f"path {name}", call, {"values": {name: marks.mail}})
        if operation.body is not None:
            yield Sent("body", call, {"body": filled(call, marks)})
            yield Sent("body of unknown fields", call, {"body": {marks.name: marks.text, "card": marks.card}})


def filled(call: Call, marks: Marks) -> Any:
    """The operation's body with marks in every text, those of a fixed form included: they are refused with the value
    at hand."""
    members = resolve(call.operation.body or {}, call.operation.document).get("properties", {})
    body = dict(call.body) if isinstance(call.body, Mapping) else {}
    for name, schema in members.items():
        if resolve(schema, call.operation.document).get("type", "string") == "string":
            body[name] = marks.text
    return body


async def send(target: Target, sent: Sent) -> httpx2.Response:
    client = await target.client(sent.call.persona)
    return await sent.call.send(client, **sent.options)


async def audit_text(target: Target) -> str:
    """The whole audit log as text. Raises Unproven when the app names none."""
    async with target.db_owner() as db:
        rows = await db.fetch(target.database.audit_query) if target.database.audit_query else []
    return "\n".join(str(dict(row)) for row in rows)
