"""A database that was in use is upgraded with its rows in it, and no function of before outlives it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from tests.support.databases import ScratchDatabase, new_name

from seawall.core.errors import Refused
from seawall.development.database import DevelopmentDatabase
from seawall.store import functions, migrate
from seawall.store.embedded import EmbeddedServer
from seawall.store.roles import DISPATCHER, LOGIN_ROLES, WORKER

VERSIONS = Path(migrate.__file__).parent / "migrations" / "versions"
REVISIONS = sorted(file.name[:4] for file in VERSIONS.glob("0*.py"))
DEFINER = "SECURITY DEFINER SET search_path = pg_catalog"
# Functions as they once were, each for what may go wrong with it: another signature, body, language, right or trigger.
BEFORE = f"""
SET check_function_bodies = off;
SET ROLE seawall_owner;
CREATE FUNCTION seawall.admit(hash bytea) RETURNS TABLE (user_id uuid, tenant_id uuid)
    LANGUAGE sql VOLATILE {DEFINER} AS 'SELECT user_id, tenant_id FROM seawall.sessions WHERE token_hash = hash';
CREATE FUNCTION seawall.access_token_is_live(grant_id uuid, token_id uuid, epoch integer, kid text) RETURNS boolean
    LANGUAGE sql STABLE {DEFINER} AS 'SELECT true';
CREATE FUNCTION seawall.admit_grant(secret bytea, token_id uuid, epoch integer, kid text, generation integer)
    RETURNS TABLE (user_id uuid, tenant_id uuid)
    LANGUAGE sql STABLE STRICT {DEFINER} AS 'SELECT user_id, tenant_id FROM seawall.sessions WHERE token_hash = secret';
CREATE FUNCTION seawall.tenant_id() RETURNS uuid
    LANGUAGE sql STABLE PARALLEL SAFE {DEFINER} AS $$ SELECT current_setting('seawall.ctx')::uuid $$;
CREATE FUNCTION seawall.enqueue(kind text, payload jsonb) RETURNS uuid
    LANGUAGE sql VOLATILE {DEFINER} AS 'INSERT INTO seawall.jobs (kind, payload) VALUES (kind, payload) RETURNING id';
CREATE FUNCTION seawall.audit_append_as(tenant uuid, person uuid, session uuid, events text[]) RETURNS void
    LANGUAGE sql VOLATILE {DEFINER} AS $$ INSERT INTO seawall.audit_events (tenant_id, kind, outcome, body)
    VALUES (tenant, 'access.grant', 'success', '{{}}') $$;
CREATE FUNCTION seawall.require_audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION seawall.forgotten() RETURNS trigger LANGUAGE plpgsql {DEFINER} AS 'BEGIN RETURN NEW; END';
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA seawall TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA seawall TO seawall_auditor WITH GRANT OPTION;
CREATE CONSTRAINT TRIGGER audited AFTER INSERT ON seawall.memberships
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION seawall.require_audit();
CREATE TRIGGER forgotten BEFORE UPDATE ON seawall.users FOR EACH ROW EXECUTE FUNCTION seawall.forgotten();
CREATE TABLE app.things (tenant_id uuid NOT NULL DEFAULT seawall.tenant_id());
CREATE POLICY tenant_wall ON app.things USING (tenant_id = (SELECT seawall.tenant_id()));
"""


@pytest.fixture
async def older(
    embedded_directory: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[ScratchDatabase]:
    """A database at an older revision, with functions of before."""
    upgrade = migrate.command.upgrade
    with EmbeddedServer(embedded_directory) as server:
        development = DevelopmentDatabase(server, new_name())
        await development.create()
        try:
            with monkeypatch.context() as patch:
                patch.setattr(migrate.command, "upgrade", lambda config, _: upgrade(config, request.param))
                patch.setattr(migrate, "write_functions", lambda _: None)
                await development.migrate(None)
            owner = await asyncpg.connect(development.owner_url)
            try:
                await owner.execute(BEFORE)
                await owner.execute("RESET ROLE; RESET check_function_bodies")
                none: Any = None
                yield ScratchDatabase(development, owner, none)
            finally:
                await owner.close()
        finally:
            await development.drop()


@pytest.mark.parametrize("older", REVISIONS, indirect=True)
async def test_an_upgrade_leaves_what_a_new_database_has(
    older: ScratchDatabase, shared_scratch: ScratchDatabase
) -> None:
    await older.person(await older.tenant(), "clerk")
    await older.development.migrate(None)
    upgraded, new = [
        sorted(row[0] for row in await one.owner.fetch(functions.STATE_SQL)) for one in (older, shared_scratch)
    ]
    assert upgraded == new
    assert len(new) > 50
    wall = await older.owner.fetchval(
        "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy WHERE polname = 'tenant_wall'"
    )
    assert wall == "(tenant_id = ( SELECT seawall.tenant_id() AS tenant_id))"
    assert await older.owner.fetchval("SELECT count(*) FROM seawall.context_keys") == 1


@pytest.mark.parametrize("older", ["0009"], indirect=True)
async def test_grants_of_before_have_a_name_for_their_person(older: ScratchDatabase) -> None:
    tenant = await older.tenant()
    people = [await older.person(tenant, "clerk") for _ in range(2)]
    for person in people:
        for client in ("cli", "cli", "night_reports"):
            token = await older.session(person, tenant, kind="client", client_id=client)
            assert token
    await older.owner.execute("INSERT INTO seawall.client_grants (id) SELECT id FROM seawall.sessions")
    await older.development.migrate(None)
    rows = await older.owner.fetch(
        "SELECT g.id, g.subject, s.user_id, s.client_id FROM seawall.client_grants g JOIN seawall.sessions s USING (id)"
    )
    names = {(row["user_id"], row["client_id"]): row["subject"] for row in rows}
    assert len(rows) == 6
    assert len(names) == len(set(names.values())) == 4
    assert all(row["subject"] == names[row["user_id"], row["client_id"]] for row in rows)
    assert all(name.startswith("p_") for name in names.values())
    again = "SELECT seawall.pseudonym_in($1, 'client.' || $3, $2)"
    assert [await older.owner.fetchval(again, tenant, *known) for known in names] == list(names.values())
    asked = "SELECT seawall.access_token_is_live($1, $2, 1, 'x', $3)"
    assert await older.owner.fetchval(asked, rows[0]["id"], uuid4(), rows[0]["subject"]) is False  # no such key


@pytest.mark.parametrize("older", ["0013"], indirect=True)
async def test_jobs_of_before_are_claimed_by_the_dispatcher_alone(older: ScratchDatabase) -> None:
    """A database of before does not let the new role in, and let the worker claim."""
    claim, name = "SELECT count(*) FROM seawall.claim('{mail}', 1)", older.development.name
    await older.owner.execute(f'REVOKE CONNECT ON DATABASE "{name}" FROM {DISPATCHER}')
    await older.owner.execute(
        "CREATE FUNCTION seawall.claim(kinds text[], lease_s integer) RETURNS TABLE (id uuid, kind text, payload jsonb,"
        " attempt integer, context text) LANGUAGE sql AS 'SELECT NULL::uuid, NULL, NULL::jsonb, 1, NULL';"
        f" ALTER FUNCTION seawall.claim(text[], integer) OWNER TO seawall_owner;"
        f" GRANT EXECUTE ON FUNCTION seawall.claim(text[], integer) TO {WORKER}"
    )
    await older.owner.execute(
        "INSERT INTO seawall.jobs (tenant_id, kind, payload) VALUES ($1, 'mail', '{}')", await older.tenant()
    )
    await older.development.migrate(None)
    dispatcher, worker = await older.connect(DISPATCHER), await older.connect(WORKER)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await worker.fetchval(claim)
        assert await dispatcher.fetchval(claim) == 1
    finally:
        await worker.close()
        await dispatcher.close()


async def test_a_role_that_is_missing_is_told(shared_scratch: ScratchDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "LOGIN_ROLES", (*LOGIN_ROLES, "seawall_newcomer"))
    with pytest.raises(Refused, match=r"the role seawall_newcomer(.|\n)*--print-roles"):
        await shared_scratch.development.migrate(None)


@pytest.mark.parametrize("older", ["0014"], indirect=True)
async def test_what_people_asked_for_before_it_was_sealed_is_gone(older: ScratchDatabase) -> None:
    owner, tenant = older.owner, await older.tenant()
    person, word = await older.person(tenant, "clerk"), f"word{uuid4().hex}"
    await older.session(person, tenant)
    body = f'{{"reason": "{word}"}}'
    await owner.execute(
        "INSERT INTO seawall.approval_requests (tenant_id, requester_id, digest, action, resource, params, summary,"
        " resume, roles, lifetime_s, expires_at, asked_at, reason)"
        " VALUES ($1, $2, sha256('x'), 'refund', 'Order', $3::text::jsonb, $4, $3::text::jsonb, '{owner}', 60, now(),"
        " now(), $4)",
        tenant, person, body, word,
    )  # fmt: skip
    await owner.execute(
        "INSERT INTO seawall.step_up_challenges (session_id, user_id, tenant_id, digest, action, resource, params,"
        " summary, resume, acr, max_age_s, expires_at)"
        " SELECT id, $1, $2, sha256('x'), 'refund', 'Order', $3::text::jsonb, $4, $3::text::jsonb, 'aal2', 60, now()"
        " FROM seawall.sessions",
        person, tenant, body, word,
    )  # fmt: skip
    await owner.execute("CHECKPOINT")
    assert await _in_files(older, word)
    await older.development.migrate(None)
    await owner.execute("CHECKPOINT")
    assert await _in_files(older, word) == []
    for table in ("approval_requests", "step_up_challenges"):
        assert await owner.fetchval(f"SELECT count(*) FROM seawall.{table}") == 0


async def _in_files(database: ScratchDatabase, word: str) -> list[str]:
    oid = await database.owner.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    folder = database.development.server.data / "base" / str(oid)
    return [path.name for path in folder.iterdir() if path.is_file() and word.encode() in path.read_bytes()]
