"""Each tenant's data is under keys of its own, which can be rotated and destroyed.

Why
    Row-level security decides who is *shown* a row. A stolen backup, a replica, a curious administrator or one wrong
    restore shows rows to whoever holds the files. With a key for each tenant, wrapped by a key that never leaves a
    vault, the database alone gives nothing away; a ciphertext put where it does not belong gives nothing away either;
    and destroying one tenant's keys erases that tenant everywhere, old backups included.

How it is attacked
    On a copy of the app with a database of its own. As the owner of the database, ciphertexts of sealed columns are
    moved to another row, another column and another tenant, cut off, doubled, replaced by plain text, and changed in
    every part; the request that shows the row must then be refused, show nothing of the other value, and leave an
    event. One tenant's wrapped key is put in place of another's. Then the operator's command rotates a tenant's keys
    while people read and write: no request may break, the row must have a new ciphertext, and the old one, put back,
    must be refused. Last, a tenant's keys are destroyed: its rows open no more, not even after its wrapped keys were
    restored from a backup, and the other tenant notices nothing.

How to fix
    Declare the column `Mapped[Sealed[str]]` and read it through its object. `seawall keys rotate` and `seawall keys
    destroy` do the rest, docs/guide/sealed-data.md.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections import Counter
from dataclasses import dataclass, field

import asyncpg
import httpx2

from seawall_check.control import Control
from seawall_check.controls._requests import first_allowed
from seawall_check.controls._sealed import Shown, changed, creating, envelope, run, shown_rows
from seawall_check.controls.audit._events import recorded
from seawall_check.document import Tenant
from seawall_check.errors import Unproven
from seawall_check.probes.database import attempt, identifier
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="tenancy/keys",
    title="Each tenant's data is under keys of its own, which can be rotated and destroyed",
    refs=("ASVS 11.1.1", "ASVS 11.3.2", "ASVS 14.2.4", "NIST SP 800-38D"),
    timeout_s=300.0,
)

REFUSED = "refused, nothing of the value shown"
HEARD_WITHIN_S = 5.0
READERS = 3
WRAPPED = re.compile(r"[a-z]+:v[0-9]+:[A-Za-z0-9+/=]{40,}")
"""What a transit engine gives: `vault:v1:…`."""


async def check(target: Target, trial: Trial) -> None:
    _ = target.sealed
    target.two_tenants()
    async with target.variant() as own, own.db_owner() as owner:  # keys are going to be destroyed
        one, other = own.two_tenants()
        mine, theirs = await shown_rows(own, owner, one), await shown_rows(own, owner, other)
        keys = _Keys(own, trial, owner, one, other, mine, theirs)
        await keys.are_wrapped()
        await keys.bind_ciphertexts()
        await keys.are_of_one_tenant()
        await keys.rotate_under_load()
        await keys.are_destroyed()


@dataclass
class _Keys:
    target: Target
    trial: Trial
    owner: asyncpg.Connection
    one: Tenant
    other: Tenant
    mine: list[Shown]
    theirs: list[Shown]
    columns: tuple[str, str] = field(init=False)

    def __post_init__(self) -> None:
        first, second, *_ = self.mine[0].values
        self.columns = (first, second)

    async def are_wrapped(self) -> None:
        """What the database has of keys is of no use without the vault, and the app's role cannot even list it."""
        rows = [dict(row) for row in await self.owner.fetch(self.target.sealed.keys_query)]
        if not rows:
            raise Unproven("the database has no wrapped key, although it has sealed values")
        bare = [row for row in rows if row["wrapped"] is not None and not WRAPPED.fullmatch(row["wrapped"])]
        self.trial.expect(
            "look at the stored keys", expected="each wrapped by the vault", ok=not bare,
            observed=f"{len(bare)} of {len(rows)} are not",
        )  # fmt: skip
        async with self.target.db_app() as app:
            state, found = await attempt(app, f"SELECT * FROM {self.target.sealed.keys_table}")
            observed = f"refused with {state}" if state else f"{len(found)} rows"
            self.trial.expect("list them as the app's role", expected="no row", observed=observed, ok=not found)

    async def bind_ciphertexts(self) -> None:
        row, column, second = self.mine[0], *self.columns
        right = await envelope(self.owner, row, column)
        of = f"{row.table}.{column}"
        await self._allowed(row, "show a row", of)
        elsewhere = {
            "another row's": (await envelope(self.owner, self.mine[1], column), self.mine[1].values.get(column, "")),
            "another column's": (await envelope(self.owner, row, second), row.values[second]),
            "another tenant's": (await envelope(self.owner, self.theirs[0], column), self.theirs[0].values[column]),
        }
        altered = {
            "with its last bit flipped": right[:-1] + bytes([right[-1] ^ 1]),
            "with a bit in its middle flipped": _flipped(right, len(right) // 2),
            "with another first byte": bytes([right[0] ^ 0x80]) + right[1:],
            **{f"with byte {place} raised": _flipped(right, place) for place in range(1, min(6, len(right)))},
            "cut off": right[:-1],
            "cut in half": right[: len(right) // 2],
            "doubled": right + right,
            "of the same length, at random": secrets.token_bytes(len(right)),
            "that is empty": b"",
            "that is plain text": b"canary in plain text",
        }
        for what, (value, secret) in elsewhere.items():
            await self._refused(row, column, value, f"put {what} ciphertext in its place", secret, of)
        for what, value in altered.items():
            await self._refused(row, column, value, f"put a ciphertext {what} in its place", "canary", of)
        await self._allowed(row, "show it again, put right", of)

    async def are_of_one_tenant(self) -> None:
        """Another tenant's wrapped key does not unwrap as this one's."""
        of = "the wrapped key"
        table, column = self.target.sealed.keys_table, identifier(self.target.database.tenant_column)
        await self._allowed(self.mine[0], "show a row under its own tenant's key", of)
        saved = await self._saved(self.one)
        swap = (
            f"UPDATE {table} AS k SET wrapped = f.wrapped FROM {table} AS f"
            f" WHERE k.{column}::text = $1 AND f.{column}::text = $2"
            " AND f.wrapped IS NOT NULL AND k.wrapped IS NOT NULL"
        )
        await self.owner.execute(swap, self.one.id, self.other.id)
        response = await self._until(self.mine[0], refused=True)
        self._judge_refusal(self.mine[0], response, "put another tenant's wrapped key in place of this one's", "", of)
        await self._restore(self.one, saved)
        response = await self._until(self.mine[0], refused=False)
        self.trial.allow("show it again, with the right key", response, of=of)

    async def rotate_under_load(self) -> None:
        row, column = self.mine[0], self.columns[0]
        old, before = await envelope(self.owner, row, column), (await self._live())[self.one.id]
        theirs = (await self._live())[self.other.id]
        done, seen = asyncio.Event(), Counter[int]()
        load = [asyncio.create_task(self._reads(rows, done, seen)) for rows in (self.mine, self.theirs)]
        load += [asyncio.create_task(self._writes(done, seen))]
        await asyncio.sleep(0.3)
        code, said = await run(self.target, self.target.sealed.rotate, self.one, "rotates a tenant's keys")
        await asyncio.sleep(0.3)
        done.set()
        await asyncio.gather(*load)
        self.trial.allow("rotate the keys of a tenant", f"exit code {code}", ok=code == 0, artifact=said, of="rotation")
        broken = {status: count for status, count in seen.items() if status >= 400}
        self.trial.expect(
            f"{sum(seen.values())} reads and writes meanwhile", expected="all answered below 400", ok=not broken,
            observed=f"{broken}" if broken else "all were",
        )  # fmt: skip
        await self._allowed(row, "show the row after it", "rotation")
        live = await self._live()
        new = live[self.one.id]
        self.trial.expect(
            "the tenant's keys after it", expected="one, another than before", observed=f"{len(new)} live",
            ok=len(new) == 1 and not new & before,
        )  # fmt: skip
        self.trial.expect(
            "the other tenant's keys", expected="as before", observed="as before" if live[self.other.id] == theirs
            else "changed", ok=live[self.other.id] == theirs,
        )  # fmt: skip
        now = await envelope(self.owner, row, column)
        self.trial.expect("the row's ciphertext", expected="a new one", observed="new" if now != old else "the old one",
                          ok=now != old)  # fmt: skip
        await self._refused(row, column, old, "put the ciphertext from before the rotation back", "", "rotation")

    async def are_destroyed(self) -> None:
        mine, theirs, of = self.mine[0], self.theirs[0], "destruction"
        await self._allowed(theirs, "show a row of the other tenant", of)
        backup = await self._saved(self.other)
        code, said = await run(self.target, self.target.sealed.destroy, self.other, "destroys a tenant's keys")
        self.trial.allow("destroy its keys", f"exit code {code}", ok=code == 0, artifact=said, of=of)
        response = await self._until(theirs, refused=True)
        secret = theirs.values[self.columns[0]]
        self._judge_refusal(theirs, response, "show the row again", secret, of, event=False)
        live = (await self._live()).get(self.other.id, set())
        self.trial.expect("its wrapped keys", expected="gone", observed=f"{len(live)} left", ok=not live)
        await self._restore(self.other, backup)
        await asyncio.sleep(1.5)
        response = await theirs.get()
        self._judge_refusal(theirs, response, "restore its wrapped keys from a backup", secret, of, event=False)
        await self._allowed(mine, "show a row of the first tenant", of)

    # -- what they share -----------------------------------------------------------------------------------------------

    async def _allowed(self, row: Shown, what: str, of: str) -> None:
        response = await row.get()
        same = row.of(response) == dict(row.values)
        observed = response if same or response.status_code >= 400 else "other values than before"
        self.trial.allow(f"{row.persona.name}: {what}", observed, ok=same, artifact=response, of=of)

    async def _refused(self, row: Shown, column: str, value: bytes, what: str, secret: str, of: str) -> None:  # noqa: PLR0917
        async with changed(self.owner, row, column, value):
            response = await row.get()
        await self._judge_with_event(row, response, what, secret, of)

    async def _judge_with_event(self, row: Shown, response: httpx2.Response, what: str, secret: str, of: str) -> None:
        self._judge_refusal(row, response, what, secret, of)
        trace, kind = response.headers.get("x-trace-id", ""), self.target.sealed.broken_kind
        events = await recorded(self.target, self.owner, trace, wait_s=2) if trace else []
        good = any(event.kind == kind and event.outcome == "failure" for event in events)
        observed = ", ".join(map(str, events)) or "nothing"
        self.trial.expect(f"{what}: the audit log", expected=f"{kind} failure", observed=observed, ok=good)

    def _judge_refusal(
        self, row: Shown, response: httpx2.Response, what: str, secret: str, of: str, *, event: bool = True
    ) -> None:
        leaks = bool(secret) and secret in response.text
        ok = response.status_code >= 400 and not leaks
        observed = "the other value is in the answer" if leaks else response
        self.trial.refuse(f"{row.persona.name}: {what}", observed, ok=ok, expected=REFUSED, artifact=response, of=of)

    async def _until(self, row: Shown, *, refused: bool) -> httpx2.Response:
        """The answer once it is what is waited for, or the last one."""
        deadline = asyncio.get_running_loop().time() + HEARD_WITHIN_S
        while True:
            response = await row.get()
            if (response.status_code >= 400) is refused or asyncio.get_running_loop().time() > deadline:
                return response
            await asyncio.sleep(0.1)

    async def _live(self) -> dict[str, set[str]]:
        live: dict[str, set[str]] = {self.one.id: set(), self.other.id: set()}
        for row in await self.owner.fetch(self.target.sealed.keys_query):
            if row["wrapped"] is not None:
                live.setdefault(row["tenant"], set()).add(row["wrapped"])
        return live

    async def _saved(self, tenant: Tenant) -> str:
        """The tenant's rows of the table of keys, as a backup holds them."""
        table, column = self.target.sealed.keys_table, identifier(self.target.database.tenant_column)
        sql = f"SELECT coalesce(jsonb_agg(to_jsonb(k)), '[]')::text FROM {table} AS k WHERE k.{column}::text = $1"
        saved: str = await self.owner.fetchval(sql, tenant.id)
        return saved

    async def _restore(self, tenant: Tenant, saved: str) -> None:
        table, column = self.target.sealed.keys_table, identifier(self.target.database.tenant_column)
        async with self.owner.transaction():
            await self.owner.execute(f"DELETE FROM {table} WHERE {column}::text = $1", tenant.id)
            await self.owner.execute(
                f"INSERT INTO {table} SELECT * FROM jsonb_populate_recordset(NULL::{table}, $1::text::jsonb)", saved
            )

    async def _reads(self, rows: list[Shown], done: asyncio.Event, seen: Counter[int]) -> None:
        while not done.is_set():
            for row in rows[:READERS]:
                response = await row.get()
                same = row.of(response) == dict(row.values)
                seen[response.status_code if same or response.status_code >= 400 else 599] += 1

    async def _writes(self, done: asyncio.Event, seen: Counter[int]) -> None:
        """New rows of the tenant whose keys are rotated, one after another."""
        people = self.target.who(tenant=self.one.id)
        for operation in creating(self.target, self.mine[0].table.columns):
            found = await first_allowed(self.target, operation, people)
            if found is None:
                continue
            call, _ = found
            while not done.is_set():
                client = await self.target.client(call.persona)
                seen[(await call.operation.send(client, call.values, body=call.body)).status_code] += 1
            return
        self.trial.unproven("no stated POST writes sealed values, so nothing was written while keys were rotated")


def _flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([(data[place] + 1) % 256]) + data[place + 1 :] if data else data
