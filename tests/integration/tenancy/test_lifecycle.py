"""Suspending, exporting and erasing tenants of the restaurant app, on a real database."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
from tests.integration.tenancy.conftest import Group
from tests.support.databases import ScratchDatabase

from seawall.core.errors import Refused
from seawall.core.ids import token_hash
from seawall.store.jobs import Jobs
from seawall.store.operator import as_operator
from seawall.store.roles import DISPATCHER, MIGRATOR, WORKER
from seawall.tenancy import lifecycle
from seawall.tenancy.erase import Erasure
from seawall.tenancy.export import Export
from seawall.tenancy.tables import tenant_tables


@asynccontextmanager
async def office(shop: ScratchDatabase) -> AsyncIterator[tuple[asyncpg.Connection, Jobs]]:
    async with shop.jobs() as jobs, as_operator(shop.url(MIGRATOR)) as owner:
        yield owner, jobs


async def test_suspension_reaches_sessions_contexts_and_jobs_at_once(shop: ScratchDatabase) -> None:
    one, other = await Group.made(shop), await Group.made(shop)
    before = await shop.database.admit(token_hash(one.token))
    assert before is not None
    running = await shop.database.begin(before)
    assert len(await running.fetch("SELECT 1 FROM app.orders")) == 40
    async with office(shop) as (owner, _):
        tenant = await lifecycle.find(owner, one.slug)
        await lifecycle.suspend(owner, tenant)
        await lifecycle.suspend(owner, tenant)  # twice is once
        assert await shop.database.admit(token_hash(one.token)) is None
        for lease in (running, await shop.database.begin(before)):  # a context that is out, in a transaction and anew
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="suspended"):
                await lease.fetch("SELECT 1 FROM app.orders")
            await lease.rollback()
        await other.add()
        await lifecycle.resume(owner, tenant)
        await one.add()
        states = {tenant.slug: tenant.state for tenant in await lifecycle.tenants(owner)}
        assert (states[one.slug], states[other.slug]) == ("live", "live")
    kinds = await shop.owner.fetch(
        "SELECT body ->> 'change' AS change FROM seawall.audit_events"
        " WHERE kind = 'tenancy.lifecycle' AND tenant_id = $1 ORDER BY id",
        one.tenant,
    )
    assert [row["change"] for row in kinds] == ["suspended", "resumed"]


async def test_an_export_is_all_of_one_tenant_and_nothing_of_another(shop: ScratchDatabase, tmp_path: Path) -> None:
    one, other = await Group.made(shop, 1_200), await Group.made(shop)
    path = tmp_path / "one.zip"
    async with office(shop) as (owner, jobs):
        await lifecycle.suspend(
            owner, await lifecycle.find(owner, one.slug)
        )  # a suspended tenant can still be exported
        assert await Export(owner, jobs, await lifecycle.find(owner, str(one.tenant))).run(path) == 1_201
        with pytest.raises(Refused, match="exists"):
            await Export(owner, jobs, await lifecycle.find(owner, one.slug)).run(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.glob(".*part")) == []
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        for name, said in manifest["files"].items():
            content = archive.read(name)
            assert (content.count(b"\n"), hashlib.sha256(content).hexdigest()) == (said["rows"], said["sha256"])
        assert manifest["files"]["tables/orders.jsonl"]["rows"] == 1_200
        everything = b"".join(archive.read(name) for name in archive.namelist())
    assert str(one.user).encode() in everything
    for foreign in (other.tenant, other.user):
        assert str(foreign).encode() not in everything


async def test_erasing_takes_rows_people_and_sessions_and_leaves_the_others(shop: ScratchDatabase) -> None:
    one, other = await Group.made(shop, 12_000), await Group.made(shop)
    destroyed: list[UUID] = []

    async def destroy(tenant: UUID) -> None:
        assert await one.rows() > 0, "keys go before rows"
        destroyed.append(tenant)

    async with office(shop) as (owner, jobs):
        tenant = await lifecycle.find(owner, one.slug)
        erased = await Erasure(owner, jobs, tenant, grace_s=0, destroy=(destroy,)).run()
        assert (erased, destroyed) == (12_001, [one.tenant])
        with pytest.raises(Refused, match="no tenant"):
            await lifecycle.find(owner, one.slug)
    tables = await shop.owner.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE a.attname = 'tenant_id' AND c.relkind = 'r' AND n.nspname IN ('app', 'seawall')"
    )
    for row in tables:
        if row["name"] != "seawall.audit_events":  # what happened stays known, by ids that lead nowhere now
            left = await shop.owner.fetchval(f"SELECT count(*) FROM {row['name']} WHERE tenant_id = $1", one.tenant)
            assert left == 0, row["name"]
    users = await shop.owner.fetch("SELECT id FROM seawall.users WHERE id = ANY ($1)", [one.user, other.user])
    assert ([row["id"] for row in users], await other.rows()) == ([other.user], 41)


async def test_erasing_while_requests_run(shop: ScratchDatabase) -> None:
    one, other = await Group.made(shop), await Group.made(shop)
    stop = asyncio.Event()
    written = 0

    async def write(group: Group) -> None:
        nonlocal written
        while not stop.is_set():
            try:
                await group.add(5)
                written += 1
            except (PermissionError, asyncpg.InsufficientPrivilegeError):
                await asyncio.sleep(0.01)

    writers = [asyncio.create_task(write(group)) for group in (one, one, other)]
    await asyncio.sleep(0.2)
    async with office(shop) as (owner, jobs):
        await Erasure(owner, jobs, await lifecycle.find(owner, one.slug), grace_s=1).run()
    before = written
    await asyncio.sleep(0.2)
    stop.set()
    await asyncio.gather(*writers)
    assert await one.rows() == 0
    assert written > before, "the other tenant goes on writing"


async def test_a_request_that_wrote_before_and_commits_late_leaves_nothing(shop: ScratchDatabase) -> None:
    """It waits for somebody outside; row-level security is not asked again when it commits."""
    one = await Group.made(shop, 2)
    principal = await shop.database.admit(token_hash(one.token))
    assert principal is not None
    lease = await shop.database.begin(principal)
    await lease.fetch("INSERT INTO app.venues (name) VALUES ('late')")

    async def wait_outside() -> None:
        await asyncio.sleep(1.5)
        await lease.commit()

    async with office(shop) as (owner, jobs):
        erasure = Erasure(owner, jobs, await lifecycle.find(owner, one.slug), grace_s=0.2)
        await asyncio.gather(wait_outside(), erasure.run())
    assert await one.rows() == 0


async def test_there_is_no_way_back_from_erasing(shop: ScratchDatabase) -> None:
    one = await Group.made(shop)
    async with office(shop) as (owner, jobs):
        tenant = await lifecycle.find(owner, one.slug)
        await Erasure(owner, jobs, tenant, grace_s=0)._begin()
        with pytest.raises(Refused, match="being erased"):
            await lifecycle.resume(owner, tenant)
        assert (await lifecycle.find(owner, one.slug)).state == "erasing"
        assert await Erasure(owner, jobs, tenant, grace_s=0).run() == 41


async def test_killed_in_the_middle_it_goes_on(shop: ScratchDatabase, tmp_path: Path) -> None:
    one, other = await Group.made(shop, 30_000), await Group.made(shop)
    (tmp_path / "seawall.toml").write_text("[app]\nname = 'shop'\n")
    (tmp_path / "app.py").write_text("")  # an operator's command imports the app's models
    environment = os.environ | {
        "SEAWALL_DATABASE__MIGRATOR_URL": shop.url(MIGRATOR),
        "SEAWALL_DATABASE__DISPATCHER_URL": shop.url(DISPATCHER),
        "SEAWALL_DATABASE__WORKER_URL": shop.url(WORKER),
        "SEAWALL_DATABASE__URL": shop.url("seawall_app"),
    }
    command = [sys.executable, "-m", "seawall", "tenant", "erase", one.slug, "--yes", "--grace-s", "0"]
    process = await asyncio.create_subprocess_exec(
        *command, "--app", str(tmp_path), env=environment, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    said = b""
    while b"rows so far" not in said:
        line = await process.stderr.readline()
        assert line, said.decode()  # it has ended
        said += line
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert 0 < await one.rows() < 30_001
    again = await asyncio.create_subprocess_exec(*command, "--app", str(tmp_path), env=environment)
    assert await again.wait() == 0
    assert (await one.rows(), await other.rows()) == (0, 41)


async def test_an_app_can_order_no_such_job(shop: ScratchDatabase) -> None:
    one = await Group.made(shop)
    principal = await shop.database.admit(token_hash(one.token))
    assert principal is not None
    lease = await shop.database.begin(principal)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="not an app's kind"):
        await lease.fetch("SELECT seawall.enqueue('seawall.tenant-erase.x', '{}')")
    await lease.rollback()


async def test_who_may_operate(shop: ScratchDatabase) -> None:
    for role in ("seawall_app", "seawall_identity", WORKER, DISPATCHER):
        with pytest.raises(Refused, match="may not become"):
            async with as_operator(shop.url(role)):
                raise AssertionError
    with pytest.raises(Refused, match="does not let"):
        async with as_operator("postgresql://nobody@127.0.0.1:1/none"):
            raise AssertionError


async def test_children_go_before_parents_and_circles_are_refused(shop: ScratchDatabase) -> None:
    names = [table.name for table in await tenant_tables(shop.owner)]
    assert names.index("orders") < names.index("venues")
    await shop.owner.execute(
        "ALTER TABLE app.venues ADD COLUMN best uuid,"
        " ADD FOREIGN KEY (tenant_id, best) REFERENCES app.orders (tenant_id, id)"
    )
    with pytest.raises(Refused, match="circle"):
        await tenant_tables(shop.owner)
