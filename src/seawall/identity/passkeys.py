"""Passkeys of people: enrolling one, and what an assertion with one proves.

Three uses, one verification: to sign in (the challenge is bound to the browser's sign-in transaction), to prove the
second factor of a session, and to approve a step-up (the challenge commits to the exact action). In each, the challenge
is taken away in a transaction of its own before anything else is looked at.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from asyncpg import UniqueViolationError
from starlette.requests import Request

from seawall.audit import append_as
from seawall.core.decisions import passage_of
from seawall.core.errors import Conflict, Forbidden, Problem
from seawall.core.events import FactorAlert, FactorProof
from seawall.core.scope import Principal
from seawall.identity.ceremony import (
    Credential,
    NewPasskey,
    PasskeyProblem,
    RelyingParty,
    creation_options,
    parse,
    request_options,
    verify_assertion,
    verify_creation,
)
from seawall.identity.desk import Desk
from seawall.identity.factors import record
from seawall.identity.passkey_challenges import Binding, issue, take
from seawall.identity.stepup import Challenge

PASSKEYS_MAX = 20
"""Of one person."""
NAME_LENGTH_MAX = 60
LIMIT = "passkey"

log = structlog.get_logger("seawall.identity")


class PasskeyRefused(Forbidden):
    """Whatever did not hold: one answer. The audit event has the reason."""

    code = "passkey-refused"
    title = "That passkey was not accepted"


class TooManyPasskeys(Conflict):
    code = "too-many-passkeys"
    title = "There are enough passkeys"


@dataclass(frozen=True, slots=True)
class Passkey:
    """A row of `seawall.passkeys`."""

    id: UUID
    user_id: UUID
    public_key: bytes
    synced: bool

    @property
    def method(self) -> str:
        """RFC 8176: a key in hardware, or one whose copies are kept by software."""
        return "swk" if self.synced else "hwk"


def binding_of(principal: Principal, step_up: Challenge | None = None) -> Binding:
    """What an assertion of this session proves: the factor, or exactly one action."""
    if step_up is None:
        return Binding("prove", principal.session_id)
    return Binding("step-up", principal.session_id, step_up.id.bytes + step_up.digest)


class Passkeys:
    """What the routes do with passkeys."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def _party(self, request: Request) -> RelyingParty:
        return RelyingParty(self._desk.origin(request), self._desk.settings.app.name)

    # -- enrolling -------------------------------------------------------------------------------------------------

    async def enrolment_options(self, tx: Any, request: Request, principal: Principal) -> dict[str, Any]:
        """Options for a new passkey of the caller, whose gate the caller has passed in this transaction."""
        user_id = principal.user_id
        await tx.execute(
            "INSERT INTO seawall.passkey_handles (user_id, handle) VALUES ($1, $2) ON CONFLICT (user_id) DO NOTHING",
            user_id,
            secrets.token_bytes(32),
        )
        row = await tx.fetchrow(
            """SELECT u.email, h.handle FROM seawall.users u JOIN seawall.passkey_handles h ON h.user_id = u.id
               WHERE u.id = $1""",
            user_id,
        )
        return creation_options(
            self._party(request),
            handle=row["handle"],
            account=row["email"],
            challenge=await issue(tx, Binding("enrol", principal.session_id)),
            existing=await _descriptors(tx, user_id),
        )

    async def verified_new(self, request: Request, principal: Principal, given: Any) -> tuple[NewPasskey, list[str]]:
        """Verify a registration for the caller's own pending challenge, which is used up; gives its transports too.

        Raises:
            PasskeyRefused: it does not hold.
            TooMany: too many have not held.
        """
        async with self._attempt(request, principal):
            credential = parse(given)
            challenge = await self._taken(Binding("enrol", principal.session_id), credential)
            return verify_creation(self._party(request), credential, challenge), list(credential.transports)

    async def add(self, tx: Any, principal: Principal, new: NewPasskey, transports: list[str], name: str) -> UUID:
        """Store a verified passkey.

        Raises:
            TooManyPasskeys: the person has `PASSKEYS_MAX`.
            PasskeyRefused: the credential is known already, of whomever.
        """
        held = await tx.fetchval("SELECT count(*) FROM seawall.passkeys WHERE user_id = $1", principal.user_id)
        if held >= PASSKEYS_MAX:
            raise TooManyPasskeys("Remove one that you no longer use.")
        try:
            passkey_id: UUID = await tx.fetchval(
                """INSERT INTO seawall.passkeys
                     (user_id, credential_id, public_key, sign_count, name, aaguid, synced, transports)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id""",
                principal.user_id,
                new.credential_id,
                new.public_key,
                new.sign_count,
                name,
                new.aaguid,
                new.synced,
                transports,
            )
        except UniqueViolationError:
            raise PasskeyRefused("Use another authenticator.") from None
        return passkey_id

    # -- proving ---------------------------------------------------------------------------------------------------

    async def options(
        self, request: Request, principal: Principal, step_up: Challenge | None = None
    ) -> dict[str, Any] | None:
        """Options for an assertion with one of the caller's passkeys; None when they have none."""
        async with self._desk.db.identity() as tx:
            allowed = await _descriptors(tx, principal.user_id)
            if not allowed:
                return None
            challenge = await issue(tx, binding_of(principal, step_up))
        return request_options(self._party(request), challenge=challenge, allowed=allowed)

    def sign_in_options(self, request: Request, challenge: bytes) -> dict[str, Any]:
        """Options for signing in: the browser offers what it has for us."""
        return request_options(self._party(request), challenge=challenge, allowed=[])

    async def prove(self, request: Request, principal: Principal, given: Any, step_up: Challenge | None = None) -> str:
        """Verify an assertion of the caller for this purpose; gives its RFC 8176 method.

        Raises:
            PasskeyRefused: it does not hold.
            TooMany: too many have not held.
        """
        async with self._attempt(request, principal):
            credential = parse(given)
            challenge = await self._taken(binding_of(principal, step_up), credential)
            passkey = await self._verified(request, credential, challenge, owner=principal.user_id)
            return passkey.method

    async def prove_anybody(self, request: Request, given: Any, challenge: bytes) -> Passkey:
        """Verify an assertion of whoever signs in, for the challenge of their browser's transaction.

        Raises:
            PasskeyProblem: it does not hold.
        """
        credential = parse(given)
        # A discoverable credential says whose it is; §7.2 step 6 demands it where nobody is known before.
        if credential.user_handle is None:
            raise PasskeyProblem("user-handle")
        return await self._verified(request, credential, challenge)

    # -- inside ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _attempt(self, request: Request, principal: Principal) -> AsyncIterator[None]:
        """Count an attempt; one that fails becomes an event and the one answer. Nobody guesses a signature, so the
        limit is wide, and only bounds what can be written into the audit log.
        """
        limit = self._desk.person_limit(LIMIT, principal.user_id, request)
        await self._desk.throttle.take(limit)
        try:
            yield
        except PasskeyProblem as problem:
            raise await self._refused(request, principal, problem.reason) from None
        await self._desk.throttle.give_back(limit)

    async def _taken(self, binding: Binding, credential: Credential) -> bytes:
        async with self._desk.db.identity() as tx:
            challenge = await take(tx, binding, credential.challenge)
        if challenge is None:
            raise PasskeyProblem("challenge")
        return challenge

    async def _verified(
        self, request: Request, credential: Credential, challenge: bytes, *, owner: UUID | None = None
    ) -> Passkey:
        """The passkey behind the assertion, its counter moved on."""
        async with self._desk.db.identity() as tx:
            row = await tx.fetchrow(
                """SELECT p.id, p.user_id, p.public_key, p.synced, h.handle
                   FROM seawall.passkeys p JOIN seawall.passkey_handles h ON h.user_id = p.user_id
                   WHERE p.credential_id = $1""",
                credential.id,
            )
        # §7.2 step 6: the credential must be of whom we know, and what it says of its owner must be true.
        if row is None or (owner is not None and row["user_id"] != owner):
            raise PasskeyProblem("credential")
        if credential.user_handle is not None and credential.user_handle != row["handle"]:
            raise PasskeyProblem("user-handle")
        passkey = Passkey(row["id"], row["user_id"], row["public_key"], row["synced"])
        said = verify_assertion(self._party(request), credential, challenge, passkey.public_key)
        if said.synced != passkey.synced:
            raise PasskeyProblem("backup-flags")  # fixed for the life of a credential (WebAuthn §6.1.3)
        await self._count(request, passkey, said.sign_count)
        return passkey

    async def _count(self, request: Request, passkey: Passkey, sign_count: int) -> None:
        """Move the counter on, or raise the alarm: one that does not grow means that a copy of the key exists (§6.1.1).

        In one statement, so that of two assertions with the same count one is refused. Passkeys without a counter
        always say 0.
        """
        async with self._desk.db.identity() as tx:
            moved = await tx.fetchval(
                """UPDATE seawall.passkeys SET sign_count = $2, last_used_at = now()
                   WHERE id = $1 AND (sign_count < $2 OR (sign_count = 0 AND $2 = 0)) RETURNING 1""",
                passkey.id,
                sign_count,
            )
            if moved is None:
                known = await tx.fetchval("SELECT EXISTS (SELECT FROM seawall.passkeys WHERE id = $1)", passkey.id)
                if not known:
                    raise PasskeyProblem("credential")  # removed in this very moment
                trace_id = passage_of(request).trace_id
                alert = FactorAlert(
                    user_id=str(passkey.user_id), passkey=str(passkey.id), alert="cloned-counter", trace_id=trace_id
                )
                await tx.execute("UPDATE seawall.passkeys SET suspected_at = now() WHERE id = $1", passkey.id)
                await append_as(tx, [alert], user_id=passkey.user_id)
                log.warning("alert", alert="cloned-counter", passkey=str(passkey.id), trace_id=trace_id)
        if moved is None:
            raise PasskeyProblem("cloned-counter")

    async def _refused(self, request: Request, principal: Principal, reason: str) -> Problem:
        event = FactorProof(
            outcome="refused",
            user_id=str(principal.user_id),
            factor="passkey",
            reason=reason,
            trace_id=passage_of(request).trace_id,
        )
        async with self._desk.db.identity() as tx:
            await record(tx, principal, event)
        return PasskeyRefused("Start again; if it happens once more, use another factor.")


async def _descriptors(tx: Any, user_id: UUID) -> list[tuple[bytes, list[str]]]:
    rows = await tx.fetch(
        "SELECT credential_id, transports FROM seawall.passkeys WHERE user_id = $1 ORDER BY id", user_id
    )
    return [(row["credential_id"], list(row["transports"])) for row in rows]
