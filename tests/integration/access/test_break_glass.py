"""Break-glass at the database: who reads, what they leave behind, and when it is over."""

from __future__ import annotations

import asyncio
import textwrap
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy import MetaData
from tests.support.databases import ScratchDatabase, scratch_database

from seawall.access.break_glass import OPEN_MAX, Grant, Grants
from seawall.core.errors import Conflict, Forbidden, NotFound, TooMany, Unavailable
from seawall.core.ids import token_hash
from seawall.core.scope import Principal
from seawall.store.database import Database
from seawall.store.migrate import AppTables
from seawall.store.roles import APP, BREAKGLASS, IDENTITY
from seawall.store.staff import staff_list

REVISION = """
from alembic import op
revision = "0001"
down_revision = None


def upgrade():
    op.execute("CREATE TABLE app.things (tenant_id uuid NOT NULL, id uuid NOT NULL DEFAULT uuidv7(),"
               " name text NOT NULL, PRIMARY KEY (tenant_id, id))")
"""
THING = "INSERT INTO app.things (tenant_id, name) VALUES ($1, $2) RETURNING id"
STEPS = """
SELECT tenant_id, body ->> 'step' AS step FROM seawall.audit_events WHERE kind = 'access.break-glass' ORDER BY id
"""
READS = "SELECT body ->> 'row' AS row FROM seawall.audit_events WHERE kind = 'access.break-glass-read' ORDER BY id"


@dataclass
class Platform:
    """Two staff, two tenants with three things each."""

    scratch: ScratchDatabase
    database: Database
    grants: Grants
    ada: Principal
    ben: Principal
    tenants: list[UUID]
    things: dict[UUID, list[UUID]]

    async def requested(self, **more: object) -> Grant:
        slug = await self.scratch.owner.fetchval("SELECT slug FROM seawall.tenants WHERE id = $1", self.tenants[0])
        asked = {"reason": "they cannot see an order", "ticket": "OPS-1", "lifetime_s": 600, "slug": slug, **more}
        return await self.grants.request(self.ada, trace_id="", **asked)  # type: ignore[arg-type]

    async def granted(self) -> Grant:
        return await self.grants.decide(self.ben, await self.requested(), approve=True, trace_id="")

    async def entered(self, grant: Grant) -> Principal:
        inside = await self.database.enter_break_glass(self.ada, grant.id)
        assert inside is not None
        return inside

    async def is_over(self, grant: Grant, inside: Principal) -> None:
        """Whoever is in reads nothing more, and nobody gets in."""
        lease = await self.database.begin(inside)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await lease.fetch("SELECT * FROM app.things")
        with pytest.raises(asyncpg.InFailedSQLTransactionError):
            await lease.rollback()
        assert await self.database.enter_break_glass(self.ada, grant.id) is None

    async def read(self) -> list[str]:
        """The rows that the log says were read; from another connection, so committed ones only."""
        return [row["row"] for row in await self.scratch.owner.fetch(READS)]


@pytest.fixture
async def platform(embedded_directory: Path, tmp_path: Path) -> AsyncIterator[Platform]:
    (tmp_path / "0001_things.py").write_text(textwrap.dedent(REVISION))
    async with scratch_database(embedded_directory, AppTables(tmp_path, MetaData())) as scratch:
        database = await Database.open(
            scratch.url(APP), scratch.url(IDENTITY), break_glass_url=scratch.url(BREAKGLASS), size=2
        )
        tenants = [await scratch.tenant(), await scratch.tenant()]
        things = {one: [await scratch.owner.fetchval(THING, one, name) for name in "abc"] for one in tenants}
        people = []
        for name in ("ada", "ben"):
            user = await scratch.owner.fetchval("SELECT seawall.add_staff($1, $2)", f"{name}@platform.example", name)
            home = await scratch.owner.fetchval("SELECT id FROM seawall.tenants WHERE slug = 'seawall-staff'")
            principal = await database.admit(token_hash(await scratch.session(user, home, aal=2)))
            assert principal is not None
            people.append(principal)
        yield Platform(scratch, database, Grants(lambda: database), people[0], people[1], tenants, things)
        await database.close()


async def test_only_that_tenants_rows_and_every_one_is_witnessed(platform: Platform) -> None:
    inside = await platform.entered(await platform.granted())
    mine = {str(one) for one in platform.things[platform.tenants[0]]}
    lease = await platform.database.begin(inside)
    assert {str(row["id"]) for row in await lease.fetch("SELECT id FROM app.things")} == mine
    assert len(await lease.fetch("SELECT id, name FROM app.things WHERE name = 'a'")) == 1
    assert await platform.read() == [], "not before it is committed, and then not shown either"
    await lease.commit()
    assert sorted(await platform.read()) == sorted(mine), "once for each row and transaction"


async def test_a_count_is_a_look_too_and_a_refusal_keeps_the_events(platform: Platform) -> None:
    inside = await platform.entered(await platform.granted())
    lease = await platform.database.begin(inside)
    assert (await lease.fetchrow("SELECT count(*) FROM app.things"))[0] == 3
    await lease.rollback()
    assert len(await platform.read()) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO app.things (name) VALUES ('x')",
        "UPDATE app.things SET name = 'x'",
        "DELETE FROM app.things",
        "TRUNCATE app.things",
        "SELECT * FROM app.things FOR UPDATE",
        "SELECT * FROM seawall.sessions",
        "SELECT * FROM seawall.audit_events",
        "UPDATE seawall.break_glass_grants SET expires_at = now() + interval '1 year'",
        "SET ROLE seawall_app",
        "SELECT seawall.enqueue('x', '{}')",
        "SELECT seawall.consume_approval('x')",
        "SELECT * FROM seawall.enter_break_glass(current_setting('seawall.ctx'), uuidv7())",
    ],
)
async def test_it_can_do_nothing_but_read(platform: Platform, statement: str) -> None:
    inside = await platform.entered(await platform.granted())
    lease = await platform.database.begin(inside)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await lease.fetch(statement)
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await lease.rollback()


@pytest.mark.parametrize("failing", ["UPDATE app.things SET name = 'x'", "SELECT name::integer FROM app.things"])
async def test_what_was_read_before_a_failure_is_not_passed_over(platform: Platform, failing: str) -> None:
    """A failed statement takes the events with it, and PostgreSQL's COMMIT would say nothing of that: so whoever ends
    the request is told, and shows nothing (`web.outlet`). The words of an error may hold a row as well.
    """
    lease = await platform.database.begin(await platform.entered(await platform.granted()))
    assert len(await lease.fetch("SELECT name FROM app.things")) == 3
    with pytest.raises(asyncpg.PostgresError):
        await lease.fetch(failing)
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await lease.rollback()
    assert await platform.read() == []


async def test_there_is_no_way_back_to_a_savepoint(platform: Platform) -> None:
    lease = await platform.database.begin(await platform.entered(await platform.granted()))
    session = await lease.session()
    async with session.begin_nested():
        assert len((await session.scalars(sa.text("SELECT name FROM app.things WHERE name = 'a'"))).all()) == 1
    nested = await session.begin_nested()
    assert len((await session.scalars(sa.text("SELECT name FROM app.things"))).all()) == 3
    with pytest.raises(RuntimeError, match="savepoint"):
        await nested.rollback()
    with pytest.raises(RuntimeError, match="under break-glass"):
        _ = lease.connection
    await lease.rollback()
    assert len(await platform.read()) == 3


async def test_events_stay_with_the_tenant_whose_rows_they_are(platform: Platform) -> None:
    """Who holds two grants changes from one to the other in the middle of a statement."""
    slug = await platform.scratch.owner.fetchval("SELECT slug FROM seawall.tenants WHERE id = $1", platform.tenants[1])
    second = await platform.grants.decide(
        platform.ben, await platform.requested(slug=slug), approve=True, trace_id=""
    )  # fmt: skip
    first, other = await platform.entered(await platform.granted()), await platform.entered(second)
    lease = await platform.database.begin(first)
    changing = f"SELECT set_config('seawall.ctx', '{other.context}' || left(t.name, 0), true) AS context"
    rows = await lease.fetch(
        f"SELECT t.name FROM app.things t LEFT JOIN LATERAL ({changing}) x ON true WHERE x IS NOT NULL"
    )
    assert len(rows) == 1, "those before the change"
    await lease.rollback()
    told = "SELECT tenant_id FROM seawall.audit_events WHERE kind = 'access.break-glass-read'"
    assert {row["tenant_id"] for row in await platform.scratch.owner.fetch(told)} == {platform.tenants[0]}


async def test_it_ends_within_an_open_transaction(platform: Platform) -> None:
    grant = await platform.granted()
    lease = await platform.database.begin(await platform.entered(grant))
    assert len(await lease.fetch("SELECT * FROM app.things")) == 3
    await platform.grants.end(platform.ben, grant, trace_id="")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="over"):
        await lease.fetch("SELECT * FROM app.things")
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await lease.rollback()
    assert await platform.database.enter_break_glass(platform.ada, grant.id) is None


async def test_contexts_are_for_one_role_each(platform: Platform) -> None:
    """What injected SQL could try: the grant's context where nobody witnesses, or one's own where nobody limits."""
    inside = await platform.entered(await platform.granted())
    for role, context in ((APP, inside.context), (BREAKGLASS, platform.ada.context)):
        connection = await platform.scratch.connect(role)
        async with connection.transaction():
            await connection.execute(f"SET LOCAL seawall.ctx = '{context}'")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="for another role"):
                await connection.fetch("SELECT * FROM app.things")
        await connection.close()
    bare = await platform.scratch.connect(BREAKGLASS)
    assert await bare.fetch("SELECT * FROM app.things") == []
    await bare.close()


async def test_only_its_own_person_with_a_second_factor_enters(platform: Platform) -> None:
    grant = await platform.requested()
    assert await platform.database.enter_break_glass(platform.ada, grant.id) is None
    with pytest.raises(Forbidden):
        await platform.grants.decide(platform.ada, grant, approve=True, trace_id="")
    grant = await platform.grants.decide(platform.ben, grant, approve=True, trace_id="")
    assert await platform.database.enter_break_glass(platform.ben, grant.id) is None
    owner = platform.scratch.owner
    assert await platform.database.enter_break_glass(platform.ada, grant.id) is not None
    await owner.execute("UPDATE seawall.sessions SET second_factor_at = now(), doubted_at = 'infinity'")
    assert await platform.database.enter_break_glass(platform.ada, grant.id) is None
    await owner.execute("UPDATE seawall.sessions SET doubted_at = NULL")
    assert await platform.database.enter_break_glass(platform.ada, grant.id) is not None
    await owner.execute("UPDATE seawall.sessions SET aal = 1")
    assert await platform.database.enter_break_glass(platform.ada, grant.id) is None


async def test_the_database_keeps_the_rules(platform: Platform) -> None:
    owner, grant = platform.scratch.owner, await platform.granted()
    for change in (
        "expires_at = decided_at + interval '5 hours'", "decided_by = staff_id", "ended_at = now()", "approved = false",
        "lifetime_s = 99999", "reason = 'x'", "ticket = 'two words'",
    ):  # fmt: skip
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(f"UPDATE seawall.break_glass_grants SET {change} WHERE id = $1", grant.id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="without its audit event"):
        await owner.execute(
            "UPDATE seawall.break_glass_grants SET ended_at = now(), ended_by = staff_id WHERE id = $1", grant.id
        )
    async with platform.database.identity() as identity:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await identity.execute("INSERT INTO seawall.staff (user_id) SELECT id FROM seawall.users LIMIT 1")


async def test_asking_deciding_and_ending(platform: Platform) -> None:
    manager = await platform.scratch.person(platform.tenants[0], "manager")
    theirs = await platform.database.admit(token_hash(await platform.scratch.session(manager, platform.tenants[0])))
    assert theirs is not None
    assert not await platform.grants.is_staff(theirs)
    with pytest.raises(NotFound):
        await platform.grants.request(theirs, slug="x", reason="r" * 10, ticket="T", lifetime_s=60, trace_id="")
    for slug in ("nowhere", "seawall-staff"):
        with pytest.raises(NotFound):
            await platform.requested(slug=slug)
    grant = await platform.granted()
    assert [one.id for one in await platform.grants.seen_by(theirs, staff=False)] == [grant.id]
    assert (await platform.grants.find(theirs, grant.id, staff=False)).state == "live"
    with pytest.raises(Conflict):
        await platform.grants.decide(platform.ben, grant, approve=False, trace_id="")
    assert (await platform.grants.end(theirs, grant, trace_id="")).state == "ended"
    with pytest.raises(Conflict):
        await platform.grants.end(theirs, grant, trace_id="")
    for _ in range(OPEN_MAX):
        await platform.requested()
    with pytest.raises(TooMany):
        await platform.requested()
    told = await platform.scratch.owner.fetch(STEPS)
    assert {row["tenant_id"] for row in told} == {platform.tenants[0]}
    assert [row["step"] for row in told][:3] == ["requested", "approved", "ended"]


async def test_approved_by_many_at_once_it_is_approved_once(platform: Platform) -> None:
    grant = await platform.requested()
    answers = await asyncio.gather(
        *(platform.grants.decide(platform.ben, grant, approve=True, trace_id="") for _ in range(6)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in answers) == ["Conflict"] * 5 + ["Grant"]


async def test_without_a_url_of_its_role_nobody_reads(platform: Platform) -> None:
    inside = await platform.entered(await platform.granted())
    with pytest.raises(Unavailable, match="BREAK_GLASS_URL"):
        await platform.scratch.database.begin(inside)


async def test_who_is_removed_is_out_at_once(platform: Platform) -> None:
    from seawall.core.errors import Refused
    from seawall.store.roles import MIGRATOR

    grant = await platform.granted()
    inside = await platform.entered(grant)
    async with staff_list(platform.scratch.url(MIGRATOR)) as staff:
        assert await staff.remove("ada@platform.example")
        assert not await staff.remove("ada@platform.example")
        with pytest.raises(Refused, match="is not an address"):
            await staff.add("nonsense", "N")
        assert [(one.name, one.removed_at is None) for one in await staff.members()] == [("ada", False), ("ben", True)]
    await platform.is_over(grant, inside)


@pytest.mark.parametrize(
    "ending",
    [
        "SELECT seawall.remove_staff('ben@platform.example')",
        "UPDATE seawall.users SET disabled_at = now() WHERE email = 'ben@platform.example'",
    ],
    ids=["removed", "disabled"],
)
async def test_a_grant_ends_with_whoever_approved_it(platform: Platform, ending: str) -> None:
    grant = await platform.granted()
    inside = await platform.entered(grant)
    await platform.scratch.owner.execute(ending)
    await platform.is_over(grant, inside)


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE seawall.sessions SET revoked_at = now()",
        "UPDATE seawall.sessions SET expires_at = now()",
        "UPDATE seawall.users SET epoch = epoch + 1",
    ],
    ids=["revoked", "expired", "epoch"],
)
async def test_an_ended_session_enters_nothing(platform: Platform, ending: str) -> None:
    """Though its context, a minute long, is still good."""
    grant = await platform.granted()
    await platform.scratch.owner.execute(ending)
    assert await platform.database.enter_break_glass(platform.ada, grant.id) is None


@pytest.mark.prove
async def test_the_drill(platform: Platform, capsys: pytest.CaptureFixture[str]) -> None:
    """Rehearsed: a grant of two seconds is read under all the time, in one transaction, until the database says no."""
    grant, owner = await platform.granted(), platform.scratch.owner
    await owner.execute("SET session_replication_role = replica")
    soon = "UPDATE seawall.break_glass_grants SET expires_at = clock_timestamp() + interval '2 seconds' WHERE id = $1"
    await owner.execute(soon, grant.id)
    await owner.execute("RESET session_replication_role")
    lease = await platform.database.begin(await platform.entered(grant))
    begun, reads = time.monotonic(), [0.0]

    async def read_until_refused() -> None:
        while reads[-1] < 20:
            await lease.fetch("SELECT * FROM app.things")
            reads.append(time.monotonic() - begun)
            await asyncio.sleep(0.01)

    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="over"):
        await read_until_refused()
    stopped_s = time.monotonic() - begun
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await lease.rollback()
    with capsys.disabled():
        print(
            f"\nbreak-glass drill: {len(reads) - 1} reads in one transaction; the last at {reads[-1]:.2f} s, "
            f"refused at {stopped_s:.2f} s of a grant of 2.00 s"
        )
    assert reads[-1] < 2.1
    assert stopped_s < 2.6
