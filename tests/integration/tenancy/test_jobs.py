"""SQL injection in a job: the role that works claims no other tenant's job, and the role that claims reads nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.integration.tenancy.conftest import Group
from tests.support.databases import ScratchDatabase

from seawall.core.ids import token_hash
from seawall.store.jobs import enqueue
from seawall.store.roles import DISPATCHER

CLAIM = "(SELECT context FROM seawall.claim('{receipt.send}', 600))"
THEIRS = "SELECT attempts FROM seawall.jobs WHERE tenant_id = $1"
HELD = """
SELECT 'right on ' || c.oid::regclass AS held FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_|^information_schema$' AND CASE c.relkind
      WHEN 'S' THEN has_sequence_privilege($1, c.oid, 'SELECT, UPDATE, USAGE')
      WHEN 'i' THEN false
      ELSE has_table_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
           OR has_any_column_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES') END
UNION ALL
SELECT 'execute ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_|^information_schema$' AND has_function_privilege($1, p.oid, 'EXECUTE')
UNION ALL
SELECT r.held || ' ' || n.nspname FROM pg_namespace n, (VALUES ('USAGE'), ('CREATE')) AS r (held)
WHERE n.nspname !~ '^pg_|^information_schema$' AND has_schema_privilege($1, n.oid, r.held)
UNION ALL
SELECT r.held || ' of the database' FROM (VALUES ('CONNECT'), ('CREATE'), ('TEMP')) AS r (held)
WHERE has_database_privilege($1, current_database(), r.held)
UNION ALL
SELECT 'member of ' || o.rolname FROM pg_roles o WHERE o.rolname <> $1 AND pg_has_role($1, o.oid, 'MEMBER')
"""
"""Whatever a role may do that PostgreSQL does not let everybody do."""


async def ordered(group: Group, kind: str) -> None:
    principal = await group.shop.database.admit(token_hash(group.token))
    assert principal is not None
    lease = await group.shop.database.begin(principal)
    await enqueue(lease, kind, {})
    await lease.commit()


@pytest.fixture
async def groups(shop: ScratchDatabase) -> AsyncIterator[tuple[Group, Group]]:
    """The attacker's, whose job runs what they injected, and another one, whose job waits."""
    mine, other = await Group.made(shop, 2), await Group.made(shop, 2)
    await ordered(other, "receipt.send")
    await ordered(mine, "label.print")
    yield mine, other
    await shop.owner.execute("DELETE FROM seawall.jobs")


@pytest.mark.parametrize(
    "injected",
    [
        f"SELECT note FROM app.orders, set_config('seawall.ctx', {CLAIM}, true) AS c",
        f"SELECT {CLAIM}",
        "SELECT payload::text FROM seawall.jobs",
        "SELECT seawall.mint(tenant, NULL, NULL, 'job') FROM (SELECT uuidv7() AS tenant) AS t",
        f"SELECT set_config('role', '{DISPATCHER}', true)",
        f"SELECT set_config('session_authorization', '{DISPATCHER}', true)",
    ],
)
async def test_what_is_injected_into_a_job_takes_no_other_tenants_job(
    shop: ScratchDatabase, groups: tuple[Group, Group], injected: str
) -> None:
    mine, other = groups
    async with shop.jobs(size=1) as jobs:

        async def glued_together(text: str) -> set[str]:
            async with jobs.claimed(["label.print"], claim_s=1) as claimed:
                assert claimed is not None
                _, lease = claimed
                rows = await lease.fetch(f"SELECT note FROM app.orders WHERE note = '' UNION ALL {text}")
                return {row["note"] for row in rows}

        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await glued_together(injected)
        assert await shop.owner.fetchval(THEIRS, other.tenant) == 0
        # such an injection works, and this is all that it gets
        await shop.owner.execute("UPDATE seawall.jobs SET claimed_until = NULL")
        assert await glued_together("SELECT note FROM app.orders") == {f"note of {mine.tenant}"}
        async with jobs.claimed(["receipt.send"]) as claimed:
            assert claimed is not None, "their job waited for those who may claim it"


async def test_who_claims_can_do_nothing_else(shop: ScratchDatabase) -> None:
    held = {row["held"] for row in await shop.owner.fetch(HELD, DISPATCHER)}
    assert held == {"CONNECT of the database", "USAGE seawall", "execute seawall.claim(text[],integer)"}


async def test_who_claims_can_make_nothing_of_a_context(shop: ScratchDatabase, groups: tuple[Group, Group]) -> None:
    assert len(groups) == 2
    dispatcher = await shop.connect(DISPATCHER)
    try:
        job = await dispatcher.fetchrow("SELECT * FROM seawall.claim('{receipt.send}', 30)")
        await dispatcher.execute("SELECT set_config('seawall.ctx', $1, false)", job["context"])
        for statement in (
            "SELECT note FROM app.orders",
            "INSERT INTO app.venues (name) VALUES ('mine')",
            "SELECT payload FROM seawall.jobs",
            "SELECT seawall.tenant_id()",
            "SELECT seawall.verify(current_setting('seawall.ctx'))",
            "SELECT seawall.enqueue('receipt.send', '{}')",
            "SELECT seawall.audit_append('{}')",
            f"SELECT seawall.finish('{job['id']}', {job['attempt']})",
            "SET ROLE seawall_worker",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await dispatcher.execute(statement)
    finally:
        await dispatcher.close()
