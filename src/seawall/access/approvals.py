"""Approvals: somebody else says yes to exactly one action, and it is used once.

A denial for want of one leaves a *draft*. Its person says why, and it is a *request*; a holder of one of the roles that
the policy names decides it, with a reason. An approval is used up by a function of the database inside the business
transaction, like a step-up: a rollback gives it back, of two concurrent uses one gets it. It is worth nothing any more
when its time is over, when it was withdrawn or refused after all, when who gave it lost the role, or when the server
would say another sentence of what is approved than was read (`Intent.seen_digest`). Then everything else is decided
again.

What is asked for is sealed (`asked.Cells`). Its body goes when it is settled; whoever is denied next sweeps up the
bodies of those whose time is over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol
from uuid import UUID

import orjson

from seawall.access.asked import COLUMNS, FROM, Cells, Request
from seawall.access.obligations import ApprovalObligation
from seawall.audit import append_as
from seawall.core.clock import now
from seawall.core.errors import ApprovalRequired, Conflict, Forbidden, NotFound, TooLarge, TooMany
from seawall.core.events import Approval
from seawall.core.ids import new_uuid7
from seawall.core.master import MasterSecret
from seawall.core.scope import Assurance, Membership, Principal, Transaction
from seawall.core.stepup import Intent
from seawall.store.sealed_requests import RequestBroken

DRAFT_LIFETIME_S = 900
DRAFTS_MAX = 20
"""Drafts that one person may have; the oldest goes first, since nobody has asked for it."""
OPEN_MAX = 50
"""Requests that one person may have waiting; more are refused, so that none is lost."""
LISTED_MAX = 100
SWEEP_MAX = 100
PARAMS_BYTES_MAX = 32_768
SUMMARY_LENGTH_MAX = 500

_OWN_PATH = re.compile(r"/(?![/\\]).*", re.DOTALL)
"""`//host` and `/\\host` would send the person's form to another site."""

Step = Literal["asked", "approved", "refused", "withdrawn", "consumed"]


class IdentityDatabase(Protocol):
    """The part of `store.Database` that approvals use."""

    def identity(self) -> AbstractAsyncContextManager[Any]:
        """A transaction as `seawall_identity`; the app's own role can neither ask for nor give an approval."""
        ...


@dataclass(frozen=True, slots=True)
class Used:
    """An approval that was just used up, and who gave it, with the roles that they hold now."""

    id: UUID
    approver_id: UUID
    memberships: tuple[Membership, ...]

    def approver(self, requester: Principal) -> Principal:
        """Who approved, as policies know them. They have no session here, and no policy of theirs may ask for one."""
        unknown = Assurance(1, now())
        who = replace(requester, user_id=self.approver_id, memberships=self.memberships, assurance=unknown, context="")
        return replace(who, break_glass=None)


class Approvals:
    """Requests and approvals on PostgreSQL.

    Args:
        master: what people ask for is sealed under it.
    """

    def __init__(self, database: Callable[[], IdentityDatabase], master: MasterSecret) -> None:
        self._database = database
        self._cells = Cells(master)
        self.sealed = [cell.column for cell in self._cells.all]

    async def consume(
        self, transaction: Transaction, intent: Intent, obligation: ApprovalObligation, *, anywhere: bool
    ) -> Used | None:
        """Use up the caller's live approval of exactly this intent, inside the business transaction.

        Args:
            anywhere: whether a role for one object counts as well; then the policies of `approve` must decide.

        Returns None when there is none that holds, or when whoever gave it lost the role.
        """
        row = await transaction.fetchrow(
            "SELECT * FROM seawall.consume_request($1, $2, $3)", intent.seen_digest, sorted(obligation.roles), anywhere
        )
        if row is None:
            return None
        return Used(row["id"], row["approver"], tuple(_membership(text) for text in row["memberships"]))

    async def draft(self, principal: Principal, intent: Intent, obligation: ApprovalObligation) -> ApprovalRequired:
        """Remember what was denied, and give the error to raise.

        Raises:
            TooLarge: what is asked for is too much for anybody to read.
        """
        resume = None
        if intent.resume is not None and _OWN_PATH.fullmatch(intent.resume.path):
            resume = {name: getattr(intent.resume, name) for name in ("path", "fields", "method")}
        if any(len(orjson.dumps(part)) > PARAMS_BYTES_MAX for part in (intent.params, resume)):
            raise TooLarge("This is too much for somebody to read and approve.")
        owner = (principal.tenant_id, new_uuid7(), intent.seen_digest)
        body = self._cells.body.seal({"params": intent.params, "resume": resume}, owner)
        summary = self._cells.summary.seal(intent.summary[:SUMMARY_LENGTH_MAX], owner)
        async with self._database().identity() as tx:
            await _sweep(tx, principal)
            row = await tx.fetchrow(
                """INSERT INTO seawall.approval_requests (tenant_id, id, digest, requester_id, action, resource, body,
                     summary, roles, lifetime_s, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, now() + make_interval(secs => $11))
                   RETURNING id, expires_at""",
                *owner,
                principal.user_id,
                intent.action,
                intent.resource,
                body,
                summary,
                sorted(obligation.roles),
                obligation.lifetime_s,
                DRAFT_LIFETIME_S,
            )
        expires = row["expires_at"].isoformat(timespec="seconds")
        return ApprovalRequired(str(row["id"]), roles=sorted(obligation.roles), expires_at=expires)

    async def ask(self, principal: Principal, draft_id: UUID, reason: str, *, trace_id: str) -> Request:
        """Make a request of a draft. Asking twice for the same gives the request that waits already.

        Raises:
            NotFound: there is no such draft of this person.
            TooMany: too many of theirs are waiting.
        """
        async with self._database().identity() as tx:
            # one at a time for one person: neither two requests for the same, nor more than the bound
            await tx.execute("SELECT FROM seawall.users WHERE id = $1 FOR NO KEY UPDATE", principal.user_id)
            draft = await self._find(tx, principal, draft_id, own=True)
            if draft.state != "draft":
                if draft.state in ("waiting", "approved"):
                    return draft
                raise Conflict("This can no longer be asked for. Try the action again.")
            waiting = await tx.fetch(
                """SELECT id, digest FROM seawall.approval_requests
                   WHERE requester_id = $1 AND tenant_id = $2 AND asked_at IS NOT NULL AND consumed_at IS NULL
                     AND (decision IS NULL OR decision = 'approved') AND expires_at > now()""",
                principal.user_id,
                principal.tenant_id,
            )
            for row in waiting:
                if row["digest"] == draft.digest:
                    with suppress(RequestBroken):  # nobody can answer it: this one takes its place
                        return await self._find(tx, principal, row["id"], own=True)
            if len(waiting) >= OPEN_MAX:
                raise TooMany(f"You have {OPEN_MAX} requests waiting. Withdraw one, or wait.", retry_after_s=600)
            await tx.execute(
                """UPDATE seawall.approval_requests SET asked_at = now(), reason = $2,
                     expires_at = now() + make_interval(secs => lifetime_s) WHERE id = $1""",
                draft.id,
                self._cells.reason.seal(reason, draft.owner),
            )
            await _record(tx, principal, draft, "asked", trace_id)
            return await self._find(tx, principal, draft.id, own=True)

    async def mine(self, principal: Principal) -> list[Request]:
        """What the caller asked for in this tenant, newest first."""
        async with self._database().identity() as tx:
            rows = await tx.fetch(
                f"SELECT {COLUMNS} {FROM} WHERE r.requester_id = $1 AND r.tenant_id = $2 AND r.asked_at IS NOT NULL"
                " ORDER BY r.id DESC LIMIT $3",
                principal.user_id,
                principal.tenant_id,
                LISTED_MAX,
            )
        return [self._cells.listed(row) for row in rows]

    async def asked_of(self, principal: Principal) -> list[Request]:
        """What waits in this tenant for a role that the caller holds, oldest first; and what they decided lately."""
        async with self._database().identity() as tx:
            rows = await tx.fetch(
                f"SELECT {COLUMNS} {FROM} WHERE r.tenant_id = $1 AND r.requester_id <> $2 AND r.asked_at IS NOT NULL"
                " AND ((r.decision IS NULL AND r.expires_at > now() AND r.roles && $3)"
                "      OR (r.decided_by = $2 AND r.decided_at > now() - interval '7 days'))"
                " ORDER BY r.decision IS NOT NULL, r.id LIMIT $4",
                principal.tenant_id,
                principal.user_id,
                sorted(principal.roles),
                LISTED_MAX,
            )
        return [self._cells.listed(row) for row in rows]

    async def find(self, principal: Principal, request_id: UUID, *, own: bool) -> Request:
        """One request of the caller's tenant: their own, or somebody else's.

        Raises:
            NotFound: there is none; another tenant's does not exist either.
        """
        async with self._database().identity() as tx:
            return await self._find(tx, principal, request_id, own=own)

    async def decide(
        self, principal: Principal, request_id: UUID, decision: Literal["approved", "refused"], reason: str, *,
        trace_id: str,
    ) -> Request:  # fmt: skip
        """Say yes or no. A yes may be turned into a no until it is used. Whether the caller may was decided before.

        Raises:
            NotFound: there is no such request of somebody else.
            Conflict: it was decided, withdrawn or used meanwhile, or is over.
        """
        return await self._settle(principal, request_id, decision, reason, trace_id=trace_id)

    async def withdraw(self, principal: Principal, request_id: UUID, *, trace_id: str) -> Request:
        """Take one's own request back, approved or not.

        Raises:
            NotFound, Conflict: as `decide`.
        """
        return await self._settle(principal, request_id, "withdrawn", None, trace_id=trace_id)

    async def _settle(
        self,
        principal: Principal,
        request_id: UUID,
        decision: Literal["approved", "refused", "withdrawn"],
        reason: str | None,
        *,
        trace_id: str,
    ) -> Request:
        own = decision == "withdrawn"
        async with self._database().identity() as tx:
            before = await self._find(tx, principal, request_id, own=own, lock=True)
            if not before.open or (decision == "approved" and before.decision == "approved"):
                raise Conflict(f"This request is {before.state}.")
            await tx.execute(
                """UPDATE seawall.approval_requests SET decision = $2, decided_by = $3, decided_at = now(),
                     decision_reason = $4, body = CASE WHEN $2 = 'approved' THEN body END,
                     expires_at = CASE WHEN $2 = 'approved' THEN now() + make_interval(secs => lifetime_s)
                                  ELSE expires_at END
                   WHERE id = $1""",
                before.id,
                decision,
                principal.user_id,
                None if reason is None else self._cells.decision_reason.seal(reason, before.owner),
            )
            await _record(tx, principal, before, decision, trace_id)
            return await self._find(tx, principal, before.id, own=own)

    async def _find(self, tx: Any, principal: Principal, request_id: UUID, *, own: bool, lock: bool = False) -> Request:
        whose = "r.requester_id = $3" if own else "r.requester_id <> $3 AND r.asked_at IS NOT NULL"
        row = await tx.fetchrow(
            f"SELECT {COLUMNS} {FROM} WHERE r.id = $1 AND r.tenant_id = $2 AND {whose}"
            + (" FOR NO KEY UPDATE OF r" if lock else ""),
            request_id,
            principal.tenant_id,
            principal.user_id,
        )
        if row is None:
            raise NotFound("There is no such request.")
        return self._cells.opened(row)


async def _sweep(tx: Any, principal: Principal) -> None:
    """Take away drafts whose time is over, and the bodies of requests whose time is over, anybody's; and the caller's
    own drafts that are too many.
    """
    # SKIP LOCKED: two sweeps at once must not wait for each other's rows
    await tx.execute(
        """DELETE FROM seawall.approval_requests WHERE id IN (
             SELECT id FROM seawall.approval_requests
             WHERE body IS NOT NULL AND expires_at < now() AND asked_at IS NULL
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)""",
        SWEEP_MAX,
    )
    await tx.execute(
        """UPDATE seawall.approval_requests SET body = NULL WHERE id IN (
             SELECT id FROM seawall.approval_requests
             WHERE body IS NOT NULL AND expires_at < now() AND asked_at IS NOT NULL
             ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED)""",
        SWEEP_MAX,
    )
    await tx.execute(
        """DELETE FROM seawall.approval_requests WHERE id IN (
             SELECT id FROM seawall.approval_requests WHERE requester_id = $1 AND asked_at IS NULL
             ORDER BY id DESC OFFSET $2 FOR UPDATE SKIP LOCKED)""",
        principal.user_id,
        DRAFTS_MAX - 1,
    )


def may_answer(principal: Principal, request: Request, *, anywhere: bool) -> None:
    """Whether this person may decide this request, as far as roles say.

    Args:
        anywhere: whether a role for one object counts as well.

    Raises:
        Forbidden: it is their own, or they hold none of the roles.
    """
    if request.requester_id == principal.user_id:
        raise Forbidden("Nobody approves what they asked for themselves.", code="own-request")
    held = {m.role for m in principal.memberships if anywhere or m.scope_id is None}
    if held.isdisjoint(request.roles):
        raise Forbidden("Another role is asked for this.")


def _membership(text: str) -> Membership:
    role, scope_type, scope_id = (*text.split("|"), "", "")[:3]
    return Membership(role, scope_type, UUID(scope_id)) if scope_id else Membership(role)


async def _record(tx: Any, principal: Principal, request: Request, step: Step, trace_id: str) -> None:
    event = Approval(
        outcome="refused" if step == "refused" else "success",
        trace_id=trace_id,
        request_id=str(request.id),
        requester_id=str(request.requester_id),
        approver_id=str(principal.user_id) if step in ("approved", "refused") else "",
        action=request.action,
        digest=request.digest.hex(),
        step=step,
    )
    await append_as(
        tx, [event], tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id
    )
