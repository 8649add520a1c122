"""A list shows what its caller may read: no row more, and no row less.

Why
    "Show me the order" is checked on the order; "show me the orders" is a query that somebody wrote, and forgot a
    condition in. What it shows too much is a leak that no single request would give; what it shows too little is work
    that nobody does. Counts and pages tell of hidden rows too.

How it is attacked
    Every GET route that answers a list of objects is called by every persona of both tenants. Each listed object is
    then read by itself, and each object that the app says exists, of either tenant: what is listed must be readable,
    and where the list is the parent of the route that reads one, what is readable must be listed. Lists below an object
    and searches (POST routes that answer a list) must show nothing that cannot be read. Lists in pages (`Link:
    rel="next"`, RFC 8288) are walked in small steps: together they must be the same list in the same order, with
    `X-Total-Count` the number of its rows. A page that begins where a colleague's ended must show nothing new.

How to fix
    Take rows from `may_list(Model, "action")` only: `visible.all()`, `.page()`, `.count()`, or `.select()` for a query
    of your own. Never filter by hand what a policy says.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx2

from seawall_check.control import Control
from seawall_check.controls._requests import first_allowed, row
from seawall_check.document import Persona
from seawall_check.probes.http import Operation, resolve
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/list-filter",
    title="A list shows what its caller may read, no row more and no row less",
    refs=("ASVS 8.2.2",),
    timeout_s=240,
    exclusive=True,  # a row that another control changes between listing and reading would look like a leak
)

PAGES_MAX = 50
STEPS = 4
"""Pages that a list is walked in."""
TOLD_MAX = 3
AT_ONCE = 4
Read = dict[tuple[str, str], dict[str, bool]]
"""By persona and route: which objects it may read."""


@dataclass
class Listing:
    """A route that lists, the route that reads one of its objects, and whether it lists all that can be read."""

    operation: Operation
    reader: Operation
    whole: bool

    @property
    def name(self) -> str:
        return self.reader.path_names[0]


@dataclass
class Walk:
    """What a list gave: its rows over all pages, how many it said there are, and the address of its second page."""

    ids: list[str] = field(default_factory=list)
    totals: set[int] = field(default_factory=set)
    second: str = ""
    last: httpx2.Response | None = None
    ended: bool = True


async def check(target: Target, trial: Trial) -> None:
    lists = _lists(target)
    if not lists:
        trial.unproven("no route answers a list of objects that can be read one by one")
    partly = False
    read: Read = {}
    for listing in lists:
        known = [one for tenant in target.tenants for one in tenant.objects.get(listing.name, ())]
        seconds: dict[str, tuple[Persona, str]] = {}
        for persona in target.personas:
            if persona.role in row(target, listing.operation).get("allow", (persona.role,)):
                partly |= await _Attack(target, trial, listing, persona, seconds, read).made(known)
    for listing in _narrow(target):
        for persona in target.personas:
            await _Attack(target, trial, listing, persona, {}, read).shows_only_readable()
    if lists and not partly:
        trial.unproven(
            "no persona may read some of its tenant's objects and not others, so a filter makes no difference"
        )


def _lists(target: Target) -> list[Listing]:
    readers = [one for one in target.operations if one.method == "GET" and len(one.path_names) == 1]
    found: list[Listing] = []
    for operation in target.operations:
        if operation.method != "GET" or operation.path_names or not _of_objects(operation):
            continue
        under = [one for one in readers if one.path.startswith(f"{operation.path}/{{")]
        item = _item(operation)
        same = [one for one in readers if one.path.endswith("}") and item and _item_of(_answer(one), one) == item]
        near = sorted(under, key=lambda one: len(one.path)) or same
        if near:
            found.append(Listing(operation, near[0], whole=bool(under)))
    return found


def _narrow(target: Target) -> list[Listing]:
    """Lists of what belongs to one object, and searches, of objects that another route reads one by one."""
    readers = [one for one in target.operations if one.method == "GET" and len(one.path_names) == 1]
    found: list[Listing] = []
    for operation in target.operations:
        below = operation.method == "GET" and bool(operation.path_names)
        if (below or operation.method == "POST") and row(target, operation) and _of_objects(operation):
            item = _item(operation)
            same = [one for one in readers if one.path.endswith("}") and item and _item_of(_answer(one), one) >= item]
            found += [Listing(operation, same[0], whole=False)] if same else []
    return found


def _answer(operation: Operation) -> Any:
    content = operation.responses.get("200", {}).get("content", {})
    return content.get("application/json", {}).get("schema", {})


def _item(operation: Operation) -> frozenset[str]:
    return _item_of(resolve(_answer(operation), operation.document).get("items", {}), operation)


def _item_of(schema: Any, operation: Operation) -> frozenset[str]:
    """The members that every answer of this kind has, by which a list's items and a single object are known as one."""
    return frozenset(resolve(schema, operation.document).get("required", ()))


def _of_objects(operation: Operation) -> bool:
    schema = resolve(_answer(operation), operation.document)
    item = resolve(schema.get("items", {}), operation.document)
    return schema.get("type") == "array" and "id" in item.get("properties", {})


@dataclass
class _Attack:
    """One persona at one list. `seconds` are the addresses of the second pages that others were given, by tenant."""

    target: Target
    trial: Trial
    listing: Listing
    persona: Persona
    seconds: dict[str, tuple[Persona, str]]
    read: Read

    @property
    def of(self) -> str:
        return f"{self.persona.name}: {self.listing.operation.name}"

    async def made(self, known: Sequence[str]) -> bool:
        """List and read. Gives whether the persona may read some of its tenant's objects, and not others."""
        listing, client = self.listing, await self.target.client(self.persona)
        walk = await _walked(client, listing.operation.url())
        answered = walk.last is not None and walk.last.status_code == 200
        if not self.trial.expect(self.of, expected="an answer", observed=walk.last, ok=answered, artifact=walk.last):
            return False
        readable = await self._readable(client, list(dict.fromkeys([*walk.ids, *known])))
        hidden = [one for one in walk.ids if not readable[one]]
        self._told("each row read by itself", "every row may be read", hidden, walk)
        if listing.whole and walk.ended:
            missing = [one for one, can in readable.items() if can and one not in walk.ids]
            self._told("everything that can be read", "every one is listed", missing, walk)
        doubled = [one for one in dict.fromkeys(walk.ids) if walk.ids.count(one) > 1]
        self._told("row by row", "no row twice", doubled, walk)
        await self._in_pages(client, walk)
        own = self.target.tenant(self.persona.tenant).objects.get(listing.name, ())
        return 0 < sum(readable[one] for one in own) < len(own)

    async def shows_only_readable(self) -> None:
        """Call the list as stated, with the persona's own objects, and read what it shows."""
        found = await first_allowed(self.target, self.listing.operation, [self.persona])
        if found is None or found[1].status_code != 200:
            return
        walk = Walk([str(one.get("id")) for one in found[1].json()], last=found[1])
        readable = await self._readable(await self.target.client(self.persona), walk.ids)
        self._told("each row read by itself", "every row may be read", [i for i in walk.ids if not readable[i]], walk)

    async def _readable(self, client: httpx2.AsyncClient, ids: list[str]) -> dict[str, bool]:
        """Which of these may be read one by one; asked once for each persona, whatever lists hold them."""
        reader, name = self.listing.reader, self.listing.name
        known = self.read.setdefault((self.persona.name, reader.name), {})
        unknown = [one for one in ids if one not in known]
        for at in range(0, len(unknown), AT_ONCE):
            some = unknown[at : at + AT_ONCE]
            answers = await asyncio.gather(*(reader.send(client, {name: one}) for one in some))
            known |= {one: answer.status_code < 400 for one, answer in zip(some, answers, strict=True)}
        return {one: known[one] for one in ids}

    def _told(self, attempt: str, expected: str, wrong: list[str], walk: Walk) -> None:
        some = ", ".join(wrong[:TOLD_MAX])
        observed = f"not so for {len(wrong)} of {len(walk.ids)}: {some}" if wrong else f"so for {len(walk.ids)} rows"
        what = f"{self.of}, {attempt}"
        self.trial.expect(what, expected=expected, observed=observed, ok=not wrong, artifact=walk.last)

    async def _in_pages(self, client: httpx2.AsyncClient, walk: Walk) -> None:
        operation, count = self.listing.operation, len(walk.ids)
        if walk.totals:
            said = ", ".join(map(str, sorted(walk.totals)))
            right = walk.totals == {count} or not walk.ended
            self.trial.expect(f"{self.of}, counted", expected=str(count), observed=said, ok=right, artifact=walk.last)
        if not any(one.get("name") == "limit" for one in operation.query):
            return
        step = max(1, count // STEPS)
        small = await _walked(client, f"{operation.url()}?limit={step}")
        same = small.ids == walk.ids and small.totals <= {count}
        self.trial.expect(
            f"{self.of}, {step} at a time",
            expected="the same rows in the same order, counted alike",
            observed="the same" if same else f"{len(small.ids)} rows, counted {sorted(small.totals)}",
            ok=same or not walk.ended,
            artifact=small.last,
        )
        for other, second in self.seconds.values():
            begun = await _walked(client, second)
            new = [one for one in begun.ids if one not in walk.ids]
            self._told(f"from where {other.name}'s first page ended", "nothing but its own rows", new, begun)
        if small.second:
            self.seconds.setdefault(self.persona.tenant, (self.persona, small.second))


async def _walked(client: httpx2.AsyncClient, url: str) -> Walk:
    """All pages from an address on."""
    walk, at = Walk(), url
    for _ in range(PAGES_MAX):
        answer = walk.last = await client.get(at, headers={"Accept": "application/json"})
        if answer.status_code != 200:
            break
        walk.ids += [str(one.get("id")) for one in answer.json()]
        if "x-total-count" in answer.headers:
            walk.totals.add(int(answer.headers["x-total-count"]))
        at = answer.links.get("next", {}).get("url", "")
        walk.second = walk.second or at
        if not at:
            return walk
    walk.ended = False
    return walk
