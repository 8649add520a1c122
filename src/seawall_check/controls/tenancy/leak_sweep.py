"""What is one tenant's never appears in an answer to another.

Why
    Every single wall can hold and a tenant's data still leak: through a cache keyed by path, an error message that
    quotes the row, an export, a header, a log line. So the question is asked from the end: does anything come out?

How it is attacked
    Canary strings, which occur nowhere else, are planted in one tenant: through the API by its own people, and by
    copies of its rows with canaries in every text column (not of rows with sealed values, which open in their own row
    only). Its people see them, which fills the caches. Then every operation of the OpenAPI document and every page is
    called by every role of the other tenant and by nobody: plainly, with the ids of the first tenant in path and body,
    and broken in many ways. Every answer — headers and body — and the app's log are searched for canaries and for ids
    that the request itself did not send. Then the other way round.

How to fix
    The report names the request that leaked. Load objects only with `may()` and lists with `may_list()`; put the tenant
    into the key of every cache; log ids, never rows.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls._requests import row
from seawall_check.controls.tenancy._canaries import Planted, plant
from seawall_check.document import Persona, Tenant
from seawall_check.probes.http import Operation, filled, pages
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="tenancy/leak-sweep",
    title="What is one tenant's never appears in an answer to another",
    refs=("ASVS 8.4.1", "ASVS 16.5.1"),
)

AT_ONCE = 4
FOREIGN_IDS = 2
PAGES_MAX = 12
ID_LENGTH_MIN = 12
"""Shorter ids occur by chance."""
BROKEN_IDS = ("'\"<>%", "0", "../../etc/passwd", "00000000-0000-0000-0000-000000000000", "x" * 300)
BROKEN_BODIES: tuple[tuple[str, bytes], ...] = (
    ("application/json", b'{"'),
    ("application/json", b"[]"),
    ("application/json", b'{"a": 1, "a": null}'),
    ("application/json", b"\xff\xfe"),
    ("text/plain", b"{}"),
    ("application/x-www-form-urlencoded", b"%%%=&&"),
)


async def check(target: Target, trial: Trial) -> None:
    one, other = target.two_tenants()
    planted = {tenant.id: await plant(target, tenant, f"canary{secrets.token_hex(9)}") for tenant in (one, other)}
    for theirs, mine in ((one, other), (other, one)):
        await Sweep(target, trial, mine, theirs, planted[theirs.id]).run()
    await asyncio.sleep(0.1)  # a log line follows its answer
    log = target.log()
    lines = [line for line in log.splitlines() if any(found.canary in line for found in planted.values())]
    trial.refuse(
        "search the app's log for canaries",
        lines[0] if lines else f"none in {log.count(chr(10))} lines",
        ok=not lines,
        expected="none",
        of=f"canaries of {one.name}",
    )


@dataclass
class Sweep:
    """One tenant's people looking for the canaries of the other."""

    target: Target
    trial: Trial
    mine: Tenant
    theirs: Tenant
    planted: Planted
    leaks: list[tuple[str, httpx2.Response]] = field(default_factory=list)

    def __post_init__(self) -> None:
        own = {value for values in self.mine.objects.values() for value in values}
        ids = {value for values in self.theirs.objects.values() for value in values}
        ids.update(value for values in self.planted.ids.values() for value in values)
        self.foreign_ids = {value for value in ids - own if len(value) >= ID_LENGTH_MIN}
        self.slots = asyncio.Semaphore(AT_ONCE)

    @property
    def of(self) -> str:
        return f"canaries of {self.theirs.name}"

    async def run(self) -> None:
        await self._seen_by_their_own()
        # One persona a role; broken requests once, since they are refused before anybody looks at who sent them.
        roles: dict[str, Persona] = {}
        for persona in self.target.who(tenant=self.mine.id):
            roles.setdefault(persona.role, persona)
        personas = list(roles.values())
        for who in (*personas, None):
            await self._sweep(who, broken=who == personas[0])

    async def _seen_by_their_own(self) -> None:
        """The matching allow: a canary that nobody can see proves nothing."""
        seen = 0
        for persona in self.target.who(tenant=self.theirs.id):
            client = await self.target.client(persona)
            for operation in self.target.operations:
                if operation.method == "GET":
                    for values in self._values(operation, persona.objects | self.planted.ids):
                        seen += self.planted.canary in (await operation.send(client, values)).text
        planted = self.planted
        where = f"{planted.answers} calls, {planted.rows} rows, {planted.columns} columns"
        self.trial.allow(
            f"plant canaries in {self.theirs.name} ({where}) and read them as its people",
            f"in {seen} answers",
            ok=seen > 0,
            expected="seen by their own people",
            of=self.of,
        )

    async def _sweep(self, persona: Persona | None, *, broken: bool) -> None:
        client = await self.target.client(persona)
        who = persona.name if persona else "nobody"
        statuses: Counter[int] = Counter()
        found: list[tuple[str, httpx2.Response]] = []

        async def look(what: str, method: str, url: str, sent: Any, options: Mapping[str, Any]) -> None:
            async with self.slots:
                response = await client.request(method, url, **options)
            statuses[response.status_code] += 1
            if marks := self._marks(response, f"{url} {sent}"):
                found.append((f"{what} shows {marks}", response))

        requests = [*self._requests(persona, broken=broken)]
        await asyncio.gather(*(look(*request) for request in requests))
        async for url, response in self._pages(client, persona):
            statuses[response.status_code] += 1
            if marks := self._marks(response, url):
                found.append((f"page {url} shows {marks}", response))
        told = ", ".join(f"{count} × {status}" for status, count in sorted(statuses.items()))
        self.trial.refuse(
            f"look for {self.theirs.name} as {who} in {statuses.total()} answers ({told})",
            f"{len(found)} leaks: {found[0][0]}" if found else "nothing of theirs",
            ok=not found,
            expected="no canary, no id that was not sent",
            artifact=found[0][1] if found else None,
            of=self.of,
        )

    def _marks(self, response: httpx2.Response, sent: str) -> str:
        """What of the other tenant an answer holds, beyond what the request sent."""
        text = "\n".join((*(f"{name}: {value}" for name, value in response.headers.multi_items()), response.text))
        if self.planted.canary in text:
            return "a canary"
        ids = [value for value in self.foreign_ids if value in text and value not in sent]
        return f"the id {ids[0]}" if ids else ""

    def _requests(
        self, persona: Persona | None, *, broken: bool
    ) -> Iterator[tuple[str, str, str, Any, dict[str, Any]]]:
        own = dict(persona.objects) if persona else {}
        foreign = {name: [*self.planted.ids.get(name, ()), *ids] for name, ids in self.theirs.objects.items()}
        for operation in self.target.operations:
            body = row(self.target, operation).get("body", operation.sample_body())
            if operation.safe:
                for values in self._values(operation, own):
                    yield self._request("own ids", operation, values, None)
            if operation.path_names:
                for values in self._values(operation, foreign):
                    yield self._request("their ids", operation, values, filled(body, foreign))
            elif operation.safe:
                yield self._request("their ids in the query", operation, {}, None, query=_first(foreign))
            if own and not operation.safe and filled(body, foreign) != filled(body, {}):
                for values in self._values(operation, own):
                    yield self._request("their ids in the body", operation, values, filled(body, foreign))
            if broken:
                yield from self._broken(operation, _first(own) or _first(foreign))

    def _broken(
        self, operation: Operation, values: Mapping[str, str]
    ) -> Iterator[tuple[str, str, str, Any, dict[str, Any]]]:
        for bad in BROKEN_IDS if operation.path_names else ():
            yield self._request("broken ids", operation, dict.fromkeys(operation.path_names, bad), None)
        for content_type, content in BROKEN_BODIES if not operation.safe else ():
            options = {"content": content, "headers": {"Content-Type": content_type}}
            url = operation.url(values)
            yield f"broken body: {operation.name}", operation.method, url, content, options

    def _request(
        self,
        what: str,
        operation: Operation,
        values: Mapping[str, str],
        body: Any,
        query: Mapping[str, str] | None = None,
    ) -> tuple[str, str, str, Any, dict[str, Any]]:
        options = operation.options(body=body, query=query)
        return f"{what}: {operation.name}", operation.method, operation.url(values), (body, query), options

    def _values(self, operation: Operation, objects: Mapping[str, Any]) -> list[dict[str, str]]:
        """A few sets of path parameters out of these objects; one empty set for a path without any."""
        if not operation.path_names:
            return [{}]
        lists = [list(objects.get(name, ()))[:FOREIGN_IDS] for name in operation.path_names]
        return [
            dict(zip(operation.path_names, chosen, strict=True)) for chosen in zip(*map(_padded, lists), strict=True)
        ]

    async def _pages(
        self, client: httpx2.AsyncClient, persona: Persona | None
    ) -> AsyncIterator[tuple[str, httpx2.Response]]:
        """The HTML pages that this persona can walk to, and the same with the other tenant's ids."""
        walked = [found async for found in pages(client, "/", PAGES_MAX)]
        for url, response in walked:
            yield url, response
        swaps = {
            own: foreign[0]
            for name, ids in (persona.objects if persona else self.mine.objects).items()
            for own in ids
            if len(own) >= ID_LENGTH_MIN and (foreign := self.planted.ids.get(name) or self.theirs.objects.get(name))
        }
        for url, _ in walked:
            for own, foreign_id in swaps.items():
                if own in url:
                    swapped = url.replace(own, foreign_id)
                    yield swapped, await client.get(swapped, headers={"Accept": "text/html"})


def _first(objects: Mapping[str, Any]) -> dict[str, str]:
    return {name: ids[0] for name, ids in objects.items() if ids}


def _padded(values: list[str]) -> list[str]:
    """Always FOREIGN_IDS long, or empty."""
    return (values * FOREIGN_IDS)[:FOREIGN_IDS]
