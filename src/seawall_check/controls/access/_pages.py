"""The pages of the app that show one object: what is refused to somebody as JSON is refused as a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2

from seawall_check.document import Persona
from seawall_check.probes.http import Operation, pages
from seawall_check.target import Target
from seawall_check.trial import Trial

PAGES_MAX = 20
OTHERS_MAX = 3
ID_LENGTH_MIN = 8
HIDDEN = {401, 403, 404}


@dataclass
class Walker:
    """One persona, the pages that links lead them to, and what they may not read."""

    target: Target
    trial: Trial
    persona: Persona
    client: httpx2.AsyncClient
    readers: dict[str, Operation]
    """By path parameter: the route that reads one such object."""
    hidden: dict[str, list[str]] = field(default_factory=dict)

    async def attack(self) -> None:
        tried: set[str] = set()
        async for url, shown in pages(self.client, "/", PAGES_MAX):
            for name, own in self._named(url):
                shape = url.replace(own, f"{{{name}}}").partition("?")[0]
                if shape in tried or shown.status_code != 200:
                    continue
                others = await self._not_readable(name)
                if others:
                    tried.add(shape)
                    await self._swap(url, own, shape, others)

    def _named(self, url: str) -> Iterator[tuple[str, str]]:
        """The persona's own objects that an address names."""
        for name, ids in self.persona.objects.items():
            if name in self.readers:
                yield from ((name, one) for one in ids if len(one) >= ID_LENGTH_MIN and one in url)

    async def _not_readable(self, name: str) -> list[str]:
        """Objects of the persona's own tenant, and one of another, that the route which reads one refuses to them."""
        if name not in self.hidden:
            known = list(self.target.tenant(self.persona.tenant).objects.get(name, ()))
            foreign = [one for tenant in self.target.tenants for one in tenant.objects.get(name, ())[-1:]]
            found: list[str] = []
            for one in dict.fromkeys([*foreign, *known]):
                if one not in self.persona.objects.get(name, ()) and len(found) < OTHERS_MAX:
                    answer = await self.readers[name].send(self.client, {name: one})
                    found += [one] if answer.status_code in HIDDEN else []
            self.hidden[name] = found
        return self.hidden[name]

    async def _swap(self, url: str, own: str, shape: str, others: list[str]) -> None:
        html = {"Accept": "text/html"}
        of = f"{self.persona.name}: page {shape}"
        self.trial.allow(f"{of}, of their own", await self.client.get(url, headers=html), of=of)
        for other in others:
            answer = await self.client.get(url.replace(own, other), headers=html)
            self.trial.refuse(f"{of}, of what they may not read ({other})", answer, statuses=HIDDEN, of=of)


async def walk(target: Target, trial: Trial) -> None:
    """As one persona of each role of each tenant."""
    readers: dict[str, Operation] = {}
    for operation in sorted(target.operations, key=lambda one: len(one.path)):
        if operation.method == "GET" and len(operation.path_names) == 1 and operation.path.endswith("}"):
            readers.setdefault(operation.path_names[0], operation)
    seen: set[tuple[str, str]] = set()
    for persona in target.personas:
        if (persona.tenant, persona.role) not in seen and readers:
            seen.add((persona.tenant, persona.role))
            await Walker(target, trial, persona, await target.client(persona), readers).attack()
