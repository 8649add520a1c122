"""Admission and the verified tenant context, attacked on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from tests.support.databases import ScratchDatabase

from seawall.core.errors import NotSignedIn
from seawall.core.ids import token_hash
from seawall.store.roles import APP, AUDITOR, DISPATCHER, IDENTITY, MIGRATOR, WORKER


async def _admitted(scratch: ScratchDatabase, **columns: object):
    tenant = await scratch.tenant()
    user = await scratch.person(tenant, "manager")
    token = await scratch.session(user, tenant, **columns)
    return tenant, user, token


async def test_a_live_session_is_admitted_with_roles_and_context(scratch: ScratchDatabase) -> None:
    tenant = await scratch.tenant()
    venue = uuid4()
    user = await scratch.person(tenant, "manager", "Venue", venue)
    token = await scratch.session(user, tenant, aal=2)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    assert (principal.tenant_id, principal.user_id, principal.assurance.aal) == (tenant, user, 2)
    assert [(m.role, m.scope_type, m.scope_id) for m in principal.memberships] == [("manager", "Venue", venue)]


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE seawall.sessions SET revoked_at = now()",
        "UPDATE seawall.sessions SET expires_at = now()",
        "UPDATE seawall.sessions SET last_seen_at = now() - interval '31 minutes'",
        "UPDATE seawall.users SET epoch = epoch + 1",
        "UPDATE seawall.users SET disabled_at = now()",
        "UPDATE seawall.tenants SET suspended_at = now()",
        "UPDATE seawall.memberships SET expires_at = now()",
    ],
)
async def test_whatever_ends_a_session_ends_it_on_the_next_request(scratch: ScratchDatabase, ending: str) -> None:
    _, _, token = await _admitted(scratch)
    assert await scratch.database.admit(token_hash(token)) is not None
    async with scratch.owner.transaction():
        await scratch.owner.execute(ending)
        await scratch.owner.execute(
            "SELECT seawall.audit_append_as(NULL, NULL, NULL, $1)", ['{"kind":"access.grant","outcome":"success"}']
        )
    assert await scratch.database.admit(token_hash(token)) is None


async def test_the_idle_clock_is_wound_coarsely(scratch: ScratchDatabase) -> None:
    _, _, token = await _admitted(scratch)
    first = await scratch.owner.fetchval("SELECT last_seen_at FROM seawall.sessions")
    await scratch.database.admit(token_hash(token))
    assert await scratch.owner.fetchval("SELECT last_seen_at FROM seawall.sessions") == first
    await scratch.owner.execute("UPDATE seawall.sessions SET last_seen_at = now() - interval '61 seconds'")
    await scratch.database.admit(token_hash(token))
    assert await scratch.owner.fetchval("SELECT now() - last_seen_at < interval '5 seconds' FROM seawall.sessions")


async def test_the_context_names_its_tenant_and_nobody_elses(scratch: ScratchDatabase) -> None:
    tenant, user, token = await _admitted(scratch)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    lease = await scratch.database.begin(principal)
    row = await lease.fetchrow("SELECT seawall.tenant_id(), seawall.user_id(), seawall.session_id()")
    await lease.rollback()
    assert tuple(row) == (tenant, user, principal.session_id)


async def _tenant_under(connection: asyncpg.Connection, context: str):
    async with connection.transaction():
        await connection.execute("SELECT set_config('seawall.ctx', $1, true)", context)
        return await connection.fetchval("SELECT seawall.tenant_id()")


async def test_a_context_cannot_be_forged_altered_or_outlived(scratch: ScratchDatabase) -> None:
    tenant, _, token = await _admitted(scratch)
    other = await scratch.tenant()
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    good = principal.context
    kid, _, person, session, kind, expiry, mac = good.split(".")
    connection = await scratch.connect(APP)
    try:
        assert await _tenant_under(connection, good) == tenant
        forged = {
            "another tenant": f"{kid}.{other}.{person}.{session}.{kind}.{expiry}.{mac}",
            "another person": f"{kid}.{tenant}.{uuid4()}.{session}.{kind}.{expiry}.{mac}",
            "a longer life": f"{kid}.{tenant}.{person}.{session}.{kind}.{int(expiry) + 9}.{mac}",
            "no mac": f"{kid}.{tenant}.{person}.{session}.{kind}.{expiry}.",
            "mac cut off": good.rsplit(".", 1)[0],
            "unknown key": f"99.{tenant}.{person}.{session}.{kind}.{expiry}.{mac}",
            "a huge key id": f"99999999999.{tenant}.{person}.{session}.{kind}.{expiry}.{mac}",
            "the tenant alone": str(other),
            "one part more": f"{good}.x",
            "upper-case mac": f"{kid}.{tenant}.{person}.{session}.{kind}.{expiry}.{mac.upper()}",
        }
        for what, context in forged.items():
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                assert await _tenant_under(connection, context) is None, what
        await scratch.owner.execute("UPDATE seawall.context_keys SET retired_at = now() - interval '3 minutes'")
        await scratch.owner.execute("SELECT seawall.new_context_key()")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await _tenant_under(connection, good)
    finally:
        await connection.close()


async def test_an_expired_context_is_refused(scratch: ScratchDatabase) -> None:
    await _admitted(scratch)
    said = await scratch.owner.fetchval(
        "SELECT concat_ws('.', kid, gen_random_uuid(), '', '', 'job', extract(epoch FROM now())::bigint - 1)"
        " FROM seawall.context_keys"
    )
    mac = await scratch.owner.fetchval(
        "SELECT encode(sha256(outer_pad || sha256(inner_pad || convert_to($1, 'UTF8'))), 'hex')"
        " FROM seawall.context_keys",
        said,
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="expired"):
        await _tenant_under(scratch.owner, f"{said}.{mac}")


async def test_a_lease_refuses_text_that_is_no_context(shared_scratch: ScratchDatabase) -> None:
    for text in ("", "x", "1'; DROP TABLE seawall.sessions; --", "1.'.'.'.a.1." + "0" * 64):
        with pytest.raises(NotSignedIn):
            await shared_scratch.database.begin_with(text)


async def test_a_pooled_connection_comes_back_empty(scratch: ScratchDatabase) -> None:
    _, _, token = await _admitted(scratch)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    for end in ("commit", "rollback"):
        lease = await scratch.database.begin(principal)
        await lease.fetch(f"SET seawall.ctx = '{principal.context}'")
        await lease.fetch("SET statement_timeout = 0")
        await lease.fetch("LISTEN somebody")
        await lease.fetchrow("SELECT pg_advisory_lock(1)")
        await getattr(lease, end)()
        async with scratch.database.as_app() as connection:
            assert await connection.fetchval("SELECT current_setting('seawall.ctx', true)") in (None, "")
            assert await connection.fetchval("SELECT seawall.tenant_id()") is None
            assert await connection.fetchval("SHOW statement_timeout") == "15s"
            assert await connection.fetch("SELECT pg_listening_channels()") == []
            # of this database: others of the cluster take such locks while they migrate
            locks = "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
            locks += " WHERE d.datname = current_database() AND l.locktype = 'advisory'"
            assert await connection.fetchval(locks) == 0


async def test_a_context_cannot_be_overheard(scratch: ScratchDatabase) -> None:
    """pg_stat_activity shows the statements of a role to everybody of that role; BEGIN carries the context."""
    _, _, token = await _admitted(scratch)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    lease = await scratch.database.begin(principal)
    listener = await scratch.connect(APP)
    try:
        shown = await listener.fetch("SELECT query FROM pg_stat_activity")
        assert not [row for row in shown if principal.context in (row["query"] or "")]
    finally:
        await listener.close()
        await lease.rollback()


async def test_a_swallowed_database_error_does_not_pass_as_a_commit(scratch: ScratchDatabase) -> None:
    _, _, token = await _admitted(scratch)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    lease = await scratch.database.begin(principal)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await lease.fetchrow("SELECT 1/0")
    with pytest.raises(asyncpg.InFailedSQLTransactionError):
        await lease.commit()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM seawall.sessions",
        "SELECT * FROM seawall.context_keys",
        "SELECT * FROM seawall.users",
        "SELECT * FROM seawall.audit_events",
        "UPDATE seawall.audit_events SET outcome = 'success'",
        "DELETE FROM seawall.audit_events",
        "TRUNCATE seawall.audit_events",
        "INSERT INTO seawall.memberships (tenant_id, user_id, role) VALUES (uuidv7(), uuidv7(), 'owner')",
        "SELECT seawall.mint(gen_random_uuid(), NULL, NULL, 'session')",
        "SELECT seawall.verify('x')",
        "SELECT seawall.new_context_key()",
        "SELECT * FROM seawall.approval_requests",
        "UPDATE seawall.approval_requests SET decision = 'approved'",
        "SELECT * FROM seawall.break_glass_grants",
        "SELECT * FROM seawall.factor_resets",
        "INSERT INTO seawall.staff (user_id) VALUES (uuidv7())",
        "SELECT seawall.add_staff('a@b.example', 'A')",
        "SELECT seawall.grant_holds(uuidv7(), uuidv7(), uuidv7())",
        "SELECT seawall.witness(1, 'x')",
        "SELECT * FROM seawall.break_glass_reads(uuidv7(), 1)",
        "SELECT seawall.audit_append_as(NULL, NULL, NULL, '{}')",
        "SELECT * FROM seawall.claim('{x}', 1)",
        "SET ROLE seawall_owner",
        "SET ROLE seawall_identity",
        "SET SESSION AUTHORIZATION seawall_owner",
        "CREATE TABLE app.mine (x int)",
        "CREATE TABLE public.mine (x int)",
        "CREATE TEMP TABLE mine (x int)",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "ALTER ROLE seawall_app BYPASSRLS",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "SET track_activities = on",
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_cancel_backend(1)",
        "SELECT lo_create(0)",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
async def test_the_app_role_is_refused(shared_scratch: ScratchDatabase, statement: str) -> None:
    connection = await shared_scratch.connect(APP)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_login_roles_are_plain(shared_scratch: ScratchDatabase) -> None:
    rows = await shared_scratch.owner.fetch(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY ($1)"
        " AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)",
        [APP, IDENTITY, WORKER, DISPATCHER, AUDITOR, MIGRATOR, "seawall_owner"],
    )
    assert rows == []


async def test_a_context_comes_only_with_a_job_that_is_claimed(scratch: ScratchDatabase) -> None:
    tenant, _, token = await _admitted(scratch)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    dispatcher, worker = await scratch.connect(DISPATCHER), await scratch.connect(WORKER)
    try:
        assert await dispatcher.fetch("SELECT * FROM seawall.claim('{mail}', 30)") == []
        lease = await scratch.database.begin(principal)
        await lease.fetchrow("SELECT seawall.enqueue('mail', '{}')")
        await lease.commit()
        job = await dispatcher.fetchrow("SELECT * FROM seawall.claim('{mail}', 30)")
        assert await _tenant_under(worker, job["context"]) == tenant
        assert await dispatcher.fetch("SELECT * FROM seawall.claim('{mail}', 30)") == [], (
            "a claimed job is claimed once"
        )
        async with worker.transaction():
            await worker.execute("SELECT set_config('seawall.ctx', $1, true)", job["context"])
            assert not await worker.fetchval("SELECT seawall.finish($1, $2)", job["id"], job["attempt"] + 1)
            assert await worker.fetchval("SELECT seawall.finish($1, $2)", job["id"], job["attempt"])
        for connection in (dispatcher, worker):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute("SELECT seawall.mint(gen_random_uuid(), NULL, NULL, 'job')")
    finally:
        await worker.close()
        await dispatcher.close()


async def test_many_at_once_are_admitted_within_the_pool(scratch: ScratchDatabase) -> None:
    _, _, token = await _admitted(scratch)
    admitted = await asyncio.gather(*(scratch.database.admit(token_hash(token)) for _ in range(100)))
    assert all(admitted)
