"""Audit events: in the change's own transaction, by the verified actor, appended only, and never silently lost."""

from __future__ import annotations

import asyncio
import json

import asyncpg
import pytest
from tests.support.databases import ScratchDatabase

from seawall import audit
from seawall.audit.batch import WAITING_MAX, ReadBatch
from seawall.core.events import Decision, Refund, SignIn
from seawall.core.ids import token_hash
from seawall.core.scope import Principal

AUDITED = """
CREATE TABLE app.refunds (tenant_id uuid NOT NULL DEFAULT seawall.tenant_id(), id uuid NOT NULL DEFAULT uuidv7(),
                          PRIMARY KEY (tenant_id, id));
GRANT SELECT, INSERT, UPDATE, DELETE ON app.refunds TO seawall_app;
CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON app.refunds DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION seawall.require_audit('payments.refund');
"""
REFUND = Refund(payment="p1", amount_minor=5000, currency="USD", trace_id="t" * 32)


async def _principal(scratch: ScratchDatabase) -> Principal:
    tenant = await scratch.tenant()
    user = await scratch.person(tenant, "owner")
    principal = await scratch.database.admit(token_hash(await scratch.session(user, tenant)))
    assert principal is not None
    return principal


async def _events(scratch: ScratchDatabase, kind: str) -> list[asyncpg.Record]:
    return await scratch.owner.fetch("SELECT * FROM seawall.audit_events WHERE kind = $1 ORDER BY id", kind)


async def test_an_event_names_the_verified_actor(scratch: ScratchDatabase) -> None:
    principal = await _principal(scratch)
    lease = await scratch.database.begin(principal)
    await audit.append(lease, [REFUND])
    await lease.commit()
    [event] = await _events(scratch, "payments.refund")
    assert (event["tenant_id"], event["user_id"], event["session_id"], event["outcome"]) == (
        principal.tenant_id, principal.user_id, principal.session_id, "success",
    )  # fmt: skip
    body = json.loads(event["body"])
    assert body == {"payment": "p1", "amount_minor": 5000, "currency": "USD", "approval": "", "trace_id": "t" * 32}


async def test_an_event_dies_with_its_transaction(scratch: ScratchDatabase) -> None:
    lease = await scratch.database.begin(await _principal(scratch))
    await audit.append(lease, [REFUND])
    await lease.rollback()
    assert await _events(scratch, "payments.refund") == []


async def test_an_audited_table_does_not_commit_without_its_event(scratch: ScratchDatabase) -> None:
    await scratch.owner.execute(AUDITED)
    principal = await _principal(scratch)

    async def refund(*events: Refund | Decision) -> None:
        lease = await scratch.database.begin(principal)
        await lease.fetchrow("INSERT INTO app.refunds DEFAULT VALUES")
        await audit.append(lease, events)
        await lease.commit()

    await refund(REFUND)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="without its audit event"):
        await refund()
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="without its audit event"):
        await refund(Decision(action="refund", resource="x", effect="allow"))
    assert await scratch.owner.fetchval("SELECT count(*) FROM app.refunds") == 1


async def test_many_writers_do_not_wait_for_each_other(scratch: ScratchDatabase) -> None:
    principal = await _principal(scratch)
    first = await scratch.database.begin(principal)
    await audit.append(first, [REFUND])  # not committed: a chain or a counter would make everyone wait here

    async def another() -> None:
        lease = await scratch.database.begin(principal)
        await audit.append(lease, [REFUND])
        await lease.commit()

    await asyncio.wait_for(asyncio.gather(*(another() for _ in range(20))), timeout=10)
    await first.commit()
    assert len(await _events(scratch, "payments.refund")) == 21


@pytest.mark.parametrize(
    "event", ["not json", "{}", '{"kind":"x","outcome":"success"}', '{"kind":"a.b","outcome":"maybe"}']
)
async def test_a_malformed_event_is_refused(scratch: ScratchDatabase, event: str) -> None:
    lease = await scratch.database.begin(await _principal(scratch))
    with pytest.raises(asyncpg.PostgresError):
        await lease.fetchrow("SELECT seawall.audit_append($1)", [event])
    await lease.rollback()


async def test_identity_writes_before_there_is_a_context(scratch: ScratchDatabase) -> None:
    async with scratch.database.identity() as connection:
        await audit.append_as(connection, [SignIn(provider="dev", outcome="refused", reason="state-mismatch")])
    [event] = await _events(scratch, "identity.sign-in")
    assert event["tenant_id"] is None
    assert json.loads(event["body"])["reason"] == "state-mismatch"


async def test_reads_are_written_in_batches_with_their_own_context(scratch: ScratchDatabase) -> None:
    one, two = await _principal(scratch), await _principal(scratch)
    batch = ReadBatch(scratch.database)
    for principal in (one, two, one):
        batch.note(principal.context, Decision(action="read", resource="Order", effect="allow"))
    await batch.flush()
    found = await _events(scratch, "access.decision")
    assert [event["tenant_id"] for event in found] == [one.tenant_id, two.tenant_id, one.tenant_id]


async def test_a_lost_batch_is_counted_and_reported(scratch: ScratchDatabase) -> None:
    principal = await _principal(scratch)
    batch = ReadBatch(scratch.database)
    forged = principal.context[:-1] + ("0" if principal.context[-1] != "0" else "1")
    batch.note(forged, Decision(action="read", resource="Order", effect="allow"))
    batch.note(principal.context, Decision(action="read", resource="Order", effect="allow"))
    await batch.flush()
    assert await _events(scratch, "access.decision") == []
    [loss] = await _events(scratch, "audit.lost-reads")
    assert json.loads(loss["body"])["count"] == 2
    assert batch.lost == 0, "reported once, not again and again"


async def test_the_batch_is_bounded(scratch: ScratchDatabase) -> None:
    batch = ReadBatch(scratch.database)
    event = Decision(action="read", resource="Order", effect="allow")
    for _ in range(WAITING_MAX + 7):
        batch.note("x", event)
    assert batch.lost == 7
