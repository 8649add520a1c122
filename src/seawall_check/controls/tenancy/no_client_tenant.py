"""A tenant id that the client sends never selects data.

Why
    The commonest cross-tenant bug after the missing WHERE is the believed one: a tenant id read from a header, a query
    parameter, a field of the body, a cookie or the host name. Whoever can type another id reads another customer.

How it is attacked
    Every reading route is called as a person of one tenant, first plainly, then with the id and the name of the other
    tenant in some sixty places: headers that frameworks and proxies use, query parameters, cookies, the host, and
    claims of an access token that is rightly signed. The answer must be the plain one or a refusal, and never hold an
    id of the other tenant. Every changing route is called with the other tenant's id in the body and in those places,
    and a marker in its text: afterwards no row of the other tenant may hold the marker. The other way round is tried
    too.

How to fix
    Take the tenant from `scope.principal.tenant_id`, which the database read from the session; better, name it nowhere:
    the database fills and filters it. Give bodies `extra="forbid"` (`seawall.Body` does): then such a field is a 422.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import httpx2

from seawall_check.control import Control
from seawall_check.controls._database import tables
from seawall_check.controls._requests import Call, first_allowed, row, send, step_up_route
from seawall_check.controls.tenancy._claims import try_claims
from seawall_check.document import Tenant
from seawall_check.probes.database import identifier
from seawall_check.probes.http import Operation, with_canary
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="tenancy/no-client-tenant",
    title="A tenant id that the client sends never selects data",
    refs=("ASVS 8.3.1", "ASVS 8.4.1"),
)

NAMES = ("tenant", "tenant_id", "tenantId", "org", "org_id", "organization_id", "account_id", "workspace", "company_id")
HEADERS = (
    "X-Tenant-Id",
    "X-Tenant",
    "Tenant-Id",
    "X-Org-Id",
    "X-Organization-Id",
    "X-Account-Id",
    "X-Workspace-Id",
    "X-Forwarded-Host",
    "X-Original-Host",
    "X-Forwarded-User",
    "Forwarded",
    "X-Original-URL",
    "X-HTTP-Method-Override",
)
Place = dict[str, dict[str, str]]
AGAIN_MAX = 3
REFUSED = frozenset(range(400, 500))


async def check(target: Target, trial: Trial) -> None:
    one, other = target.two_tenants()
    for mine, theirs in ((one, other), (other, one)):
        swap = Swap(target, trial, mine, theirs)
        for operation in target.operations:
            if operation.method == "GET":
                await swap.read(operation)
            elif operation.body is not None and operation.name != step_up_route(target) and row(target, operation):
                await swap.write(operation)
        if not swap.reads:
            trial.unproven(f"no reading route answered anybody of {mine.name}")
        await swap.nothing_written()
        await try_claims(target, trial, mine, theirs, foreign=swap.foreign, names=NAMES)


@dataclass
class Swap:
    """One tenant's people naming the other tenant."""

    target: Target
    trial: Trial
    mine: Tenant
    theirs: Tenant
    marker: str = field(default_factory=lambda: f"nct{secrets.token_hex(6)}")
    reads: int = 0
    writes: int = 0

    @property
    def foreign(self) -> set[str]:
        """Ids that only the other tenant's answers may hold."""
        own = {value for values in self.mine.objects.values() for value in values}
        ids = {value for values in self.theirs.objects.values() for value in values if len(value) >= 8}
        return {self.theirs.id, *ids} - own

    async def read(self, operation: Operation) -> None:
        found = await first_allowed(self.target, operation, self.target.who(tenant=self.mine.id))
        if found is None:
            return
        call, plain = found
        self.reads += 1
        of = call.name
        self.trial.allow(f"{call.name}, plainly", plain, of=of)
        # An answer that differs between two plain calls can only be searched, not compared.
        stable = (await send(self.target, call)).text == plain.text
        places = self._places()
        wrong = [
            found for together in _groups(places) for found in await self._harm(call, places, together, stable=stable)
        ]
        observed = "; ".join(f"{place}: {response.status_code}" for place, response in wrong[:5])
        self.trial.refuse(
            f"{call.name}, naming {self.theirs.name} in {len(places)} places",
            observed or "every answer was the plain one, or a refusal",
            ok=not wrong,
            expected="the plain answer, or a refusal" if stable else "nothing of the other tenant",
            artifact=wrong[0][1] if wrong else None,
            of=of,
        )

    def _places(self) -> dict[str, Place]:
        """Where a tenant can be named: place → what the request gets."""
        them = self.theirs.id
        slug = self.theirs.slug or "".join(letter for letter in self.theirs.name.lower() if letter.isalnum())
        found: dict[str, Place] = {}
        for name in HEADERS:
            found[f"header {name}"] = {"headers": {name: f"host={them}" if name == "Forwarded" else them}}
        for name in NAMES:
            found[f"header {name.replace('_', '-')}"] = {"headers": {name.replace("_", "-"): them}}
            found[f"query {name}"] = {"query": {name: them}}
            found[f"cookie {name}"] = {"cookies": {name: them}}
            found[f"named header {name.replace('_', '-')}"] = {"headers": {name.replace("_", "-"): slug}}
            found[f"named query {name}"] = {"query": {name: slug}}
            found[f"named cookie {name}"] = {"cookies": {name: slug}}
        found |= {f"named header {name}": {"headers": {name: slug}} for name in HEADERS if "Tenant" in name}
        found["host"] = {"headers": {"Host": f"{slug}.example"}}
        return found

    async def _harm(
        self, call: Call, places: dict[str, Place], together: Sequence[str], *, stable: bool
    ) -> list[tuple[str, httpx2.Response]]:
        """The places where another tenant's name changed the answer, and that answer.

        Places are tried together: the plain answer means that each was ignored. Otherwise each half of them is tried.
        """
        parts = {part for place in together for part in places[place]}
        options = {part: _joined(places, together, part) for part in parts}
        response = await send(self.target, call, **options)
        if await self._plain(call, response, options, stable=stable):
            return []
        if half := len(together) // 2:
            one, other = together[:half], together[half:]
            return await self._harm(call, places, one, stable=stable) + await self._harm(
                call, places, other, stable=stable
            )
        return [] if response.status_code in REFUSED else [(together[0], response)]

    async def _plain(self, call: Call, response: httpx2.Response, options: Place, *, stable: bool) -> bool:
        """Whether an answer is the plain one, at a moment when nobody else changed what it shows."""
        # An app may echo what was sent, so that id is no proof in itself; another id of theirs is.
        if any(value in response.text for value in self.foreign - {self.theirs.id}):
            return False
        for _ in range(AGAIN_MAX):
            plain = await send(self.target, call)
            if response.status_code == plain.status_code and (not stable or response.text == plain.text):
                return True
            response = await send(self.target, call, **options)
        return False

    async def write(self, operation: Operation) -> None:
        found = await self._written(operation)
        if found is None:
            return
        call, plain = found
        self.writes += 1
        of = call.name
        self.trial.allow(f"{call.name}, plainly", plain, of=of)
        for name in NAMES:
            await send(self.target, call, body={**call.body, name: self.theirs.id})
        for together in _groups(places := self._places()):
            for part in {part for place in together for part in places[place]}:
                await send(self.target, call, **{part: _joined(places, together, part)})
        response = await send(self.target, call, body={**call.body, "tenant_id": self.theirs.id})
        named = any(value in response.text for value in self.foreign - {self.theirs.id})
        self.trial.refuse(
            f"{call.name}, with tenant_id of {self.theirs.name} in the body",
            response,
            ok=not named and response.status_code < 500,
            expected="a refusal, or nothing of the other tenant",
            of=of,
        )

    async def _written(self, operation: Operation) -> tuple[Call, httpx2.Response] | None:
        """The plain change, once, with the marker in its free text."""
        found = await first_allowed(self.target, operation, self.target.who(tenant=self.mine.id))
        if found is None:
            return None
        call, _ = found
        body, planted = with_canary(operation, call.body, self.marker)
        marked = Call(operation, call.persona, call.values, body)
        response = await send(self.target, marked)
        return (marked, response) if planted and response.status_code < 400 else None

    async def nothing_written(self) -> None:
        """No row of the other tenant holds the marker, and some row of this one does."""
        if not self.writes:
            return
        async with self.target.db_owner() as db:
            walled = await tables(self.target, db)
            column = identifier(self.target.database.tenant_column)
            counts = {self.mine.id: 0, self.theirs.id: 0}
            for table in walled:
                for tenant_id in counts:
                    sql = f"SELECT count(*) FROM {table.sql} t WHERE t.{column}::text = $1 AND strpos(t::text, $2) > 0"
                    counts[tenant_id] += await db.fetchval(sql, tenant_id, self.marker)
        of = f"written as {self.mine.name}"
        own, foreign = counts[self.mine.id], counts[self.theirs.id]
        self.trial.allow(
            f"find what was written as {self.mine.name}", f"{own} rows", ok=own > 0, expected="rows", of=of
        )
        self.trial.refuse(
            f"find it among the rows of {self.theirs.name}", f"{foreign} rows", ok=not foreign, expected="no row", of=of
        )


def _groups(places: Mapping[str, Place]) -> list[list[str]]:
    """Places that can be tried in one request: all of a kind, within which each name is used only once."""
    kinds: dict[str, list[str]] = {}
    for place in places:
        kinds.setdefault(place.partition(" ")[0], []).append(place)
    return list(kinds.values())


def _joined(places: Mapping[str, Place], together: Sequence[str], part: str) -> dict[str, str]:
    return {name: value for place in together for name, value in places[place].get(part, {}).items()}
