"""Approvals on a real PostgreSQL: four eyes, once, in time, and whatever a crash or a colleague does meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.support.databases import ScratchDatabase

from seawall.access.approvals import OPEN_MAX, Approvals, may_answer
from seawall.access.asked import Request
from seawall.access.obligations import ApprovalObligation
from seawall.core.errors import Conflict, Forbidden, NotFound, TooLarge, TooMany
from seawall.core.ids import token_hash
from seawall.core.master import FixedMaster
from seawall.core.scope import Principal
from seawall.core.stepup import Intent, Resume

MASTER = FixedMaster("k" * 43)
BY_OWNER = ApprovalObligation(frozenset({"owner"}), 3_600)
INTENT = Intent("refund", 'Order::"1"', {"amount_minor": 150_000}, "Refund $1,500.00", Resume("/orders/1", {}))


@dataclass
class Office:
    """A tenant with a manager who asks and an owner who answers."""

    scratch: ScratchDatabase
    approvals: Approvals
    manager: Principal
    owner: Principal
    owner_id: UUID

    async def signed_in(self, role: str, tenant: UUID, *scope: object) -> Principal:
        user = await self.scratch.person(tenant, role, *scope)  # type: ignore[arg-type]
        principal = await self.scratch.database.admit(token_hash(await self.scratch.session(user, tenant)))
        assert principal is not None
        return principal

    async def asked(self, intent: Intent = INTENT) -> Request:
        denied = await self.approvals.draft(self.manager, intent, BY_OWNER)
        draft = UUID(str(denied.extra["access_request"]["binding_token"]))  # type: ignore[index]
        return await self.approvals.ask(self.manager, draft, "they were unwell", trace_id="")

    async def approved(self, intent: Intent = INTENT) -> Request:
        asked = await self.asked(intent)
        return await self.approvals.decide(self.owner, asked.id, "approved", "as agreed", trace_id="")

    async def use(self, intent: Intent = INTENT, *, commit: bool = True, who: Principal | None = None) -> bool:
        lease = await self.scratch.database.begin(who or self.manager)
        used = await self.approvals.consume(lease, intent, BY_OWNER, anywhere=False)
        await (lease.commit() if commit else lease.rollback())
        return used is not None


@pytest.fixture
async def office(scratch: ScratchDatabase) -> Office:
    tenant = await scratch.tenant()
    made = Office(scratch, Approvals(lambda: scratch.database, MASTER), None, None, None)  # type: ignore[arg-type]
    made.manager = await made.signed_in("manager", tenant)
    made.owner = await made.signed_in("owner", tenant)
    made.owner_id = made.owner.user_id
    return made


async def test_once_for_exactly_that_and_a_rollback_gives_it_back(office: Office) -> None:
    approved = await office.approved()
    assert approved.state == "approved"
    for other in (
        replace(INTENT, params={"amount_minor": 150_001}), replace(INTENT, resource='Order::"2"'),
        replace(INTENT, action="pay"), replace(INTENT, summary="Refund $1,500.00, of which less is left"),
    ):  # fmt: skip
        assert not await office.use(other)
    assert not await office.use(who=office.owner)
    assert await office.use(commit=False)
    assert await office.use()
    assert not await office.use()
    assert (await office.approvals.find(office.manager, approved.id, own=True)).state == "used"
    steps = await office.scratch.owner.fetch(
        "SELECT body ->> 'step' AS step FROM seawall.audit_events WHERE kind = 'access.approval' ORDER BY id"
    )
    assert [row["step"] for row in steps] == ["asked", "approved", "consumed"]


async def test_what_a_browser_would_send_again_is_its_own_and_is_forgotten_when_used(office: Office) -> None:
    for path in ("//evil.example/x", "/\\evil.example", "https://evil.example/"):
        denied = await office.approvals.draft(
            office.manager, replace(INTENT, resource=path, resume=Resume(path, {"amount": "1"})), BY_OWNER
        )
        draft = UUID(str(denied.extra["access_request"]["binding_token"]))  # type: ignore[index]
        assert (await office.approvals.find(office.manager, draft, own=True)).resume is None
    approved = await office.approved()
    assert approved.resume == {"path": "/orders/1", "fields": {}, "method": "post"}
    assert await office.use()
    assert (await office.approvals.find(office.manager, approved.id, own=True)).resume is None


async def test_of_many_at_once_one_wins(office: Office) -> None:
    await office.approved()
    assert sum(await asyncio.gather(*(office.use() for _ in range(8)))) == 1


async def test_who_dies_in_the_middle_has_used_nothing(office: Office) -> None:
    await office.approved()
    lease = await office.scratch.database.begin(office.manager)
    assert await office.approvals.consume(lease, INTENT, BY_OWNER, anywhere=False) is not None
    await office.scratch.owner.execute("SELECT pg_terminate_backend($1)", lease.connection.get_server_pid())
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)):
        await lease.commit()
    assert await office.use()


@pytest.mark.parametrize(
    "ending",
    [
        "UPDATE seawall.approval_requests SET expires_at = now()",
        "UPDATE seawall.users SET disabled_at = now() WHERE id = '{owner}'",
        "UPDATE seawall.memberships SET role = 'courier' WHERE user_id = '{owner}'",
        "UPDATE seawall.memberships SET expires_at = now() WHERE user_id = '{owner}'",
        "UPDATE seawall.memberships SET scope_type = 'Venue', scope_id = uuidv7() WHERE user_id = '{owner}'",
    ],
)
async def test_whatever_makes_it_void_makes_it_void_at_once(office: Office, ending: str) -> None:
    await office.approved()
    async with office.scratch.owner.transaction():
        await office.scratch.owner.execute("SET LOCAL session_replication_role = replica")
        await office.scratch.owner.execute(ending.format(owner=office.owner_id))
    assert not await office.use()


async def test_withdrawn_or_refused_after_all(office: Office) -> None:
    withdrawn = await office.approved()
    await office.approvals.withdraw(office.manager, withdrawn.id, trace_id="")
    refused = await office.approved()
    assert refused.id != withdrawn.id
    await office.approvals.decide(office.owner, refused.id, "refused", "too much", trace_id="")
    assert not await office.use()
    for request in (withdrawn, refused):
        with pytest.raises(Conflict):
            await office.approvals.decide(office.owner, request.id, "approved", "again", trace_id="")
        with pytest.raises(Conflict):
            await office.approvals.withdraw(office.manager, request.id, trace_id="")


async def test_decided_by_two_at_once_it_is_decided_once(office: Office) -> None:
    asked = await office.asked()
    other = await office.signed_in("owner", office.owner.tenant_id)
    answers = await asyncio.gather(
        office.approvals.decide(office.owner, asked.id, "approved", "yes", trace_id=""),
        office.approvals.decide(other, asked.id, "approved", "yes", trace_id=""),
        return_exceptions=True,
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Conflict", "Request"]


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE seawall.approval_requests SET roles = '{manager}' WHERE id = $1",
        "UPDATE seawall.approval_requests SET reason = 'another' WHERE id = $1",
        "UPDATE seawall.approval_requests SET asked_at = now() - interval '1 hour' WHERE id = $1",
        "UPDATE seawall.approval_requests SET summary = 'another' WHERE id = $1",
        "INSERT INTO seawall.approval_requests (tenant_id, requester_id, digest, action, resource, body, summary,"
        " roles, lifetime_s, expires_at, asked_at, reason, decision, decided_by, decided_at)"
        " SELECT tenant_id, requester_id, digest, action, resource, body, summary, roles, lifetime_s,"
        " expires_at, asked_at, reason, 'approved', uuidv7(), now() FROM seawall.approval_requests WHERE id = $1",
    ],
    ids=["other roles", "another reason", "asked earlier", "another sentence", "begun as approved"],
)
async def test_what_is_asked_does_not_change(office: Office, forged: str) -> None:
    asked = await office.asked()
    async with office.scratch.database.identity() as identity:
        with pytest.raises(asyncpg.CheckViolationError, match="seawall: "):
            await identity.execute(forged, asked.id)


async def test_whoever_approved_holds_a_role_that_was_asked_for(office: Office) -> None:
    """Whatever roles the caller names, who injects a statement included."""
    await office.approved()
    async with office.scratch.owner.transaction():
        await office.scratch.owner.execute("SET LOCAL session_replication_role = replica")
        await office.scratch.owner.execute(
            "INSERT INTO seawall.memberships (tenant_id, user_id, role) VALUES ($1, $2, 'courier')",
            office.owner.tenant_id, office.owner_id,
        )  # fmt: skip
    lease = await office.scratch.database.begin(office.manager)
    others = replace(BY_OWNER, roles=frozenset({"courier"}))
    assert await office.approvals.consume(lease, INTENT, others, anywhere=True) is None
    await lease.rollback()
    assert await office.use()


async def test_four_eyes_in_the_code_and_in_the_database(office: Office) -> None:
    asked = await office.asked()
    with pytest.raises(NotFound):
        await office.approvals.decide(office.manager, asked.id, "approved", "my own", trace_id="")
    with pytest.raises(Forbidden, match="themselves"):
        may_answer(office.manager, asked, anywhere=True)
    async with office.scratch.database.identity() as identity:
        with pytest.raises(asyncpg.CheckViolationError, match="decided_by_another"):
            await identity.execute(
                "UPDATE seawall.approval_requests SET decision = 'approved', decided_by = requester_id,"
                " decided_at = now() WHERE id = $1",
                asked.id,
            )
    async with office.scratch.database.as_app() as app:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await app.execute("UPDATE seawall.approval_requests SET decision = 'approved'")


async def test_a_settled_one_is_not_rewritten_and_no_decision_goes_unrecorded(office: Office) -> None:
    approved = await office.approved()
    owner, where = office.scratch.owner, "WHERE id = $1"
    for change in (
        "body = '{}'",
        "summary = 'x'",
        "reason = NULL",
        "consumed_at = now()",
        "expires_at = now() + interval '1 day'",
        "decision = NULL",
        "digest = sha256('x')",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(f"UPDATE seawall.approval_requests SET {change} {where}", approved.id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="without its audit event"):
        await owner.execute(
            f"UPDATE seawall.approval_requests SET consumed_at = now(), body = NULL {where}", approved.id
        )


async def test_nobody_of_another_tenant_finds_it(office: Office) -> None:
    asked = await office.asked()
    stranger = await office.signed_in("owner", await office.scratch.tenant())
    assert await office.approvals.asked_of(stranger) == []
    for own in (True, False):
        with pytest.raises(NotFound):
            await office.approvals.find(stranger, asked.id, own=own)
    with pytest.raises(NotFound):
        await office.approvals.decide(stranger, asked.id, "approved", "mine now", trace_id="")
    with pytest.raises(NotFound):
        await office.approvals.find(office.owner, uuid4(), own=False)
    assert [one.id for one in await office.approvals.asked_of(office.owner)] == [asked.id]


async def test_asking_is_bounded_and_asking_twice_is_asking_once(office: Office) -> None:
    first, second = await office.asked(), await office.asked()
    assert first.id == second.id
    for number in range(OPEN_MAX - 1):
        await office.asked(replace(INTENT, resource=f'Order::"n{number}"'))
    with pytest.raises(TooMany):
        await office.asked(replace(INTENT, resource='Order::"one too many"'))
    with pytest.raises(TooLarge):
        await office.approvals.draft(office.manager, replace(INTENT, params={"text": "x" * 40_000}), BY_OWNER)
    for number in range(30):
        await office.approvals.draft(office.manager, replace(INTENT, resource=f'Order::"d{number}"'), BY_OWNER)
    drafts = await office.scratch.owner.fetchval(
        "SELECT count(*) FROM seawall.approval_requests WHERE asked_at IS NULL"
    )
    assert drafts == 20
    assert len(await office.approvals.mine(office.manager)) == OPEN_MAX


async def test_a_draft_is_for_whom_it_was_denied_and_not_for_ever(office: Office) -> None:
    denied = await office.approvals.draft(office.manager, INTENT, BY_OWNER)
    draft = UUID(str(denied.extra["access_request"]["binding_token"]))  # type: ignore[index]
    with pytest.raises(NotFound):
        await office.approvals.ask(office.owner, draft, "give it to me", trace_id="")
    with pytest.raises(NotFound):
        await office.approvals.find(office.owner, draft, own=False)
    await office.scratch.owner.execute("UPDATE seawall.approval_requests SET expires_at = now()")
    with pytest.raises(Conflict, match="no longer"):
        await office.approvals.ask(office.manager, draft, "late", trace_id="")


async def test_the_owner_of_one_venue_is_not_the_owner(office: Office) -> None:
    asked = await office.asked()
    partial = await office.signed_in("owner", office.owner.tenant_id, "Venue", uuid4())
    with pytest.raises(Forbidden):
        may_answer(partial, asked, anywhere=False)
    may_answer(partial, asked, anywhere=True)
