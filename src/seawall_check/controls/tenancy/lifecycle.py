"""Tenants can be exported, suspended and erased; suspension is immediate.

Why
    A customer who leaves wants their data, then wants it gone; one who is under attack, or does not pay, must be shut
    out now and not when their sessions run out. Improvised at the prompt of a production database, each of these takes
    another tenant's rows with it sooner or later.
How it is attacked
    The operator's own commands are run on a scratch app. While a tenant is suspended, its live sessions, a new sign-in
    and a tenant context minted a moment before are tried; the other tenant must not notice. Its export is compared,
    table by table and column by column, with what the database holds, sealed values must be readable in it, and it is
    searched for the other tenant's people. Then it is erased while its people go on writing: afterwards no table may
    hold a row of it, nobody of it may sign in, and the other tenant's rows must be what they were.
How to fix
    Use `seawall tenant suspend | resume | export | erase`; keep rows of tenants in tables that derive from `Tenanted`,
    so that these commands find them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx2

from seawall_check.control import Control
from seawall_check.controls._database import Relation, fullest, live_context, rows_of, tables, under
from seawall_check.document import Persona, Tenant
from seawall_check.errors import Unproven
from seawall_check.probes.database import attempt, identifier
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="tenancy/lifecycle",
    title="Tenants can be exported, suspended and erased; suspension is immediate",
    refs=("ASVS 14.2.4",),
    timeout_s=240,
)

JSON = {"Accept": "application/json"}
OUT = {401, 403, 404}
Rows = list[dict[str, Any]]
ANYWHERE = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $1 AND NOT a.attisdropped
WHERE c.relkind = 'r' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND c.oid::regclass::text <> $2
"""


@dataclass(frozen=True)
class Scene:
    """A scratch app with somebody of each of two tenants signed in."""

    app: Target
    trial: Trial
    leaving: Tenant
    staying: Tenant
    theirs: Persona
    others: Persona

    async def command(self, name: str, **values: str) -> bool:
        """Run an operator's command on the tenant that leaves; records that it went well."""
        code, printed = await self.app.command(name, tenant=self.leaving.id, **values)
        said = f"exit code {code}"
        return self.trial.allow(f"`{name}` {self.leaving.name}", said, ok=code == 0, artifact=printed, of=name)

    async def me(self, who: Persona) -> httpx2.Response:
        return await (await self.app.client(who)).get(self.app.sign_in.me, headers=JSON)


async def check(target: Target, trial: Trial) -> None:
    if not target.document.commands.suspend:
        raise Unproven("target.json names no commands of an operator")
    async with target.variant() as app:
        staying, leaving = app.two_tenants()
        # An ordinary member: what is tried must not hang on a second factor.
        theirs, others = app.who(tenant=leaving.id)[-1], app.who(tenant=staying.id)[-1]
        scene = Scene(app, trial, leaving, staying, theirs, others)
        await _suspended(scene)
        await _exported(scene)
        await _erased(scene)


async def _suspended(scene: Scene) -> None:
    app, trial, who = scene.app, scene.trial, scene.theirs
    async with app.db_owner() as owner, app.db_app() as db:
        table = await fullest(app, owner, scene.leaving, scene.staying)
        context = await live_context(app, who)
        trial.allow(f"{who.name} before the suspension", await scene.me(who), of="suspend")
        seen = await _visible(scene, db, context, table)
        trial.allow(f"{table} under their context before it", seen, ok=seen.isdigit() and seen != "0", of="suspend")
        if not await scene.command("suspend"):
            return
        trial.refuse("their live session right after", await scene.me(who), statuses=OUT, of="suspend")
        seen = await _visible(scene, db, context, table)
        trial.refuse(f"{table} under the context from before", seen, ok=seen in {"42501", "0"}, of="suspend")
        signed_in, said = await _signs_in(scene, who)
        trial.refuse("a new sign-in of theirs", said, ok=not signed_in, expected="not signed in", of="suspend")
        other = await scene.me(scene.others)
        trial.expect(
            f"{scene.others.name} notices nothing", expected="200", observed=other.status_code, ok=other.is_success
        )
        if await scene.command("resume"):
            again, said = await _signs_in(scene, who)
            trial.expect(f"{who.name} signs in after the resumption", expected="signed in", observed=said, ok=again)


async def _visible(scene: Scene, db: asyncpg.Connection, context: str, table: Relation) -> str:
    """How many rows a context opens, or the SQLSTATE with which it is refused."""
    async with under(scene.app, db, context):
        state, rows = await attempt(db, f"SELECT count(*) FROM {table.sql}")
    return state or str(rows[0][0])


async def _signs_in(scene: Scene, who: Persona) -> tuple[bool, str]:
    try:
        await scene.app.fresh(who)
    except Unproven as reason:
        return False, str(reason)
    return True, "signed in"


async def _exported(scene: Scene) -> None:
    app, trial = scene.app, scene.trial
    with tempfile.TemporaryDirectory(prefix="seawall-check-") as folder:
        path = Path(folder, "export.zip")
        if not await scene.command("export", file=str(path)):
            return
        async with app.db_owner() as owner:
            wanted = {table.name: await _stored(scene, owner, table) for table in await tables(app, owner)}
        found, everything = await asyncio.to_thread(_read, path)
    for name, rows in wanted.items():
        _compared(app, trial, name, rows, found.get(name))
    foreign = [who.name for who in app.who(tenant=scene.staying.id) if who.user_id and who.user_id in everything]
    own = [who.name for who in app.who(tenant=scene.leaving.id) if who.user_id and who.user_id in everything]
    of = "export-of"
    trial.allow("the export names people of the tenant", ", ".join(own) or "nobody", ok=bool(own), of=of)
    told = ", ".join(foreign) or "nobody"
    trial.refuse(f"people of {scene.staying.name} in it", told, ok=not foreign, expected="nobody", of=of)
    strays = everything.count(scene.staying.id)
    trial.refuse(f"rows of {scene.staying.name} in it", strays, ok=not strays, expected="none", of=of)


async def _stored(scene: Scene, owner: asyncpg.Connection, table: Relation) -> Rows:
    """The tenant's rows as the database has them."""
    column = identifier(scene.app.database.tenant_column)
    sql = f"SELECT to_jsonb(t)::text FROM {table.sql} AS t WHERE t.{column}::text = $1"
    return [json.loads(row[0]) for row in await owner.fetch(sql, scene.leaving.id)]


def _compared(app: Target, trial: Trial, name: str, rows: Rows, exported: Rows | None) -> None:
    """One table of the export. What is sealed has to be opened; its blind index is no data of the tenant's."""
    count, told = f"{len(rows)} rows", "no file" if exported is None else f"{len(exported)} rows"
    if not trial.expect(f"the export of {name}", expected=count, observed=told, ok=told == count) or exported is None:
        return
    names = app.document.sealed.columns if app.document.sealed is not None else ()
    sealed = {one.rpartition(".")[2] for one in names if one.split(".")[1] == name}
    plain = [_without(row, sealed) for row in rows]
    lacking = [row for row in plain if not any(row.items() <= other.items() for other in exported)]
    told = f"{len(lacking)} are not" if lacking else "every one"
    trial.expect(f"each row of {name} with every column", expected="every one", observed=told, ok=not lacking)
    for column in sorted(sealed):
        kept = sum(row.get(column) is not None for row in rows)
        texts = [str(one[column]) for one in exported if one.get(column) is not None]
        opened = sum(not text.startswith("\\x") for text in texts)
        trial.expect(
            f"sealed values of {name}.{column}",
            expected=f"{kept} opened",
            observed=f"{opened} opened",
            ok=opened == kept,
        )


def _without(row: Mapping[str, Any], sealed: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not any(name.startswith(one) for one in sealed)}


def _read(path: Path) -> tuple[dict[str, Rows], str]:
    """The rows that each file of the archive has, by the file's stem, and all of its text."""
    found, parts = dict[str, Rows](), []
    with contextlib.suppress(OSError, zipfile.BadZipFile, ValueError), zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            text = archive.read(name).decode()
            parts.append(text)
            if name.endswith(".jsonl"):
                rows = [json.loads(line) for line in text.splitlines()]
                found[Path(name).stem] = [row for row in rows if isinstance(row, dict)]
    return found, "".join(parts)


async def _erased(scene: Scene) -> None:
    app, trial = scene.app, scene.trial
    async with app.db_owner() as owner, app.db_app() as db:
        before = await _counts(scene, owner, scene.staying)
        had = sum((await _counts(scene, owner, scene.leaving)).values())
        trial.allow("the tenant has rows", f"{had} rows", ok=had > 0, of="erase")
        context, stop = await live_context(app, scene.theirs), asyncio.Event()
        table = await fullest(app, owner, scene.leaving)
        writing = asyncio.ensure_future(_write(scene, db, context, table, stop))
        done = await scene.command("erase")
        stop.set()
        written, refused = await writing
        if not done:
            return
        trial.expect(
            "their people go on writing meanwhile, until they are shut out",
            expected="some writes before, refusals after",
            observed=f"{written} done, {refused} refused",
            ok=written > 0 and refused > 0,
        )
        left = {name: count for name, count in (await _everywhere(scene, owner, scene.leaving)).items() if count}
        told = ", ".join(f"{count} in {name}" for name, count in left.items()) or "none"
        trial.refuse("rows of the erased tenant in any table", told, ok=not left, expected="none", of="erase")
        signed_in, said = await _signs_in(scene, scene.theirs)
        trial.refuse("a sign-in of their people", said, ok=not signed_in, expected="not signed in", of="erase")
        after = await _counts(scene, owner, scene.staying)
        lost = [name for name, count in before.items() if after.get(name) != count]
        trial.expect(
            f"the rows of {scene.staying.name} are what they were",
            expected=f"{sum(before.values())} rows",
            observed=f"{sum(after.values())} rows{', changed: ' + ', '.join(lost) if lost else ''}",
            ok=not lost,
        )


async def _write(
    scene: Scene, db: asyncpg.Connection, context: str, table: Relation, stop: asyncio.Event
) -> tuple[int, int]:
    """Touch rows of the tenant in short transactions, as requests of its people would; gives done and refused."""
    column, done, refused = identifier(scene.app.database.tenant_column), 0, 0
    while not stop.is_set():
        try:
            async with db.transaction():
                await db.execute("SELECT set_config($1, $2, true)", scene.app.database.context_setting, context)
                await db.execute(f"SELECT 1 FROM {table.sql} FOR UPDATE")
                await db.execute(f"UPDATE {table.sql} SET {column} = {column}")
            done += 1
        except asyncpg.InsufficientPrivilegeError as error:
            # A table whose changes need an event refuses this one for its own reason; it was written nevertheless.
            done, refused = (done + 1, refused) if "audit event" in str(error) else (done, refused + 1)
        await asyncio.sleep(0.02)
    return done, refused


async def _counts(scene: Scene, owner: asyncpg.Connection, tenant: Tenant) -> dict[str, int]:
    return {str(one): await rows_of(scene.app, owner, one, tenant.id) for one in await tables(scene.app, owner)}


async def _everywhere(scene: Scene, owner: asyncpg.Connection, tenant: Tenant) -> dict[str, int]:
    """Rows of a tenant in every table of the database but the audit log, the app's schemas and all others."""
    access = scene.app.database
    column = identifier(access.tenant_column)
    names = [row[0] for row in await owner.fetch(ANYWHERE, access.tenant_column, access.audit_table)]
    return {
        name: await owner.fetchval(f"SELECT count(*) FROM {name} WHERE {column}::text = $1", tenant.id)
        for name in names
    }
