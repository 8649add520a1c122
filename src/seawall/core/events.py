"""Audit events: one typed class for each thing worth remembering.

Fields hold identifiers, enumerations and numbers, never free text, names, addresses, tokens or codes: an audit log that
collects personal data becomes the leak (ASVS 16.2.5). `seawall.audit` stores them; headings only create them.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

Outcome = Literal["success", "refused", "failure"]


class Event(BaseModel):
    """What every event shares. Time, id, tenant, actor and session are stamped by the database, not by the caller."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str]

    outcome: Outcome = "success"
    trace_id: str = ""


class SignIn(Event):
    """A sign-in that succeeded, or was refused. `reason` is a code such as `state-mismatch`."""

    kind = "identity.sign-in"
    provider: str
    reason: str = ""
    user_id: str = ""
    session_id: str = ""


class SignOut(Event):
    kind = "identity.sign-out"
    user_id: str
    sessions_ended: int
    everywhere: bool = False


class ClientGrant(Event):
    """A person let an API client in, or it lost that: `granted`, `revoked` (with all its tokens), or one token of it.

    `reason` is a code such as `refresh-reuse`, `code-replay`, `wrong-key` or `client`.
    """

    kind = "identity.client-grant"
    user_id: str
    client_id: str
    grant_id: str
    step: Literal["granted", "denied", "revoked", "token-revoked", "refused"]
    reason: str = ""


class ProviderLogout(Event):
    """A provider ended sessions that it had vouched for (back-channel logout). `reason` says why it was refused."""

    kind = "identity.provider-logout"
    provider: str
    sessions_ended: int = 0
    reason: str = ""


class Link(Event):
    """An account at one more provider was linked to a person, or taken from them."""

    kind = "identity.link"
    user_id: str
    provider: str
    change: Literal["linked", "unlinked"]


class FactorChange(Event):
    """A second factor was enrolled or removed, or recovery codes were made anew."""

    kind = "identity.factor"
    user_id: str
    factor: Literal["totp", "passkey", "recovery-codes"]
    change: Literal["enrolled", "removed", "renewed"]
    passkey: str = ""


class FactorReset(Event):
    """An operator took every second factor of a person away. Why, and by which ticket, is in `factor_resets`."""

    kind = "identity.factor-reset"
    user_id: str
    reset_id: str
    passkeys: int
    totp: bool
    recovery_codes: int
    sessions_ended: int


class FactorProof(Event):
    """A second factor was proved for a session, or tried in vain. `reason` is a code such as `challenge`."""

    kind = "identity.factor-proof"
    user_id: str
    factor: Literal["code", "otp", "recovery", "passkey"]
    reason: str = ""


class FactorAlert(Event):
    """Something about a factor that its owner must look at: a counter that went backwards means that a copy exists."""

    kind = "identity.factor-alert"
    outcome: Outcome = "refused"
    user_id: str
    passkey: str
    alert: Literal["cloned-counter"]


class Device(Event):
    """A session was bound to a key of its browser, a proof did not bind it, or one by another key ended it."""

    kind = "identity.device"
    user_id: str
    session_id: str
    step: Literal["bound", "refused", "revoked"]
    reason: str = ""


class Risk(Event):
    """How unusual a sign-in is, or a request of a session compared with its sign-in. `reasons` are codes."""

    kind = "identity.risk"
    user_id: str
    session_id: str
    at: Literal["sign-in", "request"]
    score: int
    reasons: tuple[str, ...] = ()
    effect: Literal["none", "notify", "step-up"] = "none"


class StepUp(Event):
    """A step-up was asked for, satisfied, or failed. `digest` is the SHA-256 of the canonical action."""

    kind = "identity.step-up"
    user_id: str
    challenge_id: str
    action: str
    digest: str
    step: Literal["challenged", "approved", "failed", "consumed"]


class Decision(Event):
    """One authorization decision. `policies` are the `@id`s of the determining policies."""

    kind = "access.decision"
    action: str
    resource: str
    effect: Literal["allow", "deny", "step-up", "approval"]
    policies: tuple[str, ...] = ()
    reason: str = ""
    route: str = ""


class Approval(Event):
    """Somebody asked for another's approval, or it was decided, withdrawn or used. `digest` is of what exactly."""

    kind = "access.approval"
    request_id: str
    requester_id: str
    approver_id: str = ""
    action: str
    digest: str
    step: Literal["asked", "approved", "refused", "withdrawn", "consumed"]


class Notice(Event):
    """Something happened of which a policy says `@notify("…")`: for the tenant to look at."""

    kind = "access.notice"
    notice: str
    policy: str
    action: str
    resource: str


class BreakGlass(Event):
    """A step in the life of platform staff's grant to read in a tenant. Written into that tenant's log.

    What was read under it are events of the kind `access.break-glass-read`, which the database writes itself.
    """

    kind = "access.break-glass"
    grant_id: str
    staff_id: str
    step: Literal["requested", "approved", "refused", "entered", "ended"]


class Grant(Event):
    """A role given to or taken from a person."""

    kind = "access.grant"
    user_id: str
    role: str
    scope_type: str = ""
    scope_id: str = ""
    change: Literal["granted", "revoked"]


class Refund(Event):
    """Money given back. Integer minor units and an ISO 4217 code."""

    kind = "payments.refund"
    payment: str
    amount_minor: int
    currency: str
    approval: str = ""


class TenantChange(Event):
    """A step in a tenant's life, taken by an operator."""

    kind = "tenancy.lifecycle"
    tenant_id: str
    change: Literal["suspended", "resumed", "exported", "erasing", "erased"]
    rows: int = 0


class SubjectCopy(Event):
    """A copy of everything about a person was given out: to themself, or by an `operator` who has a `ticket` for it."""

    kind = "privacy.copy"
    user_id: str
    rows: int
    operator: str = ""
    ticket: str = ""


class Erasure(Event):
    """A person was erased in a tenant, by themself or by an `operator` who has a `ticket` for it. `gone` says that they
    belong to no other, so that their account is nobody's.
    """

    kind = "privacy.erasure"
    user_id: str
    rows: int
    gone: bool
    operator: str = ""
    ticket: str = ""


class LostReads(Event):
    """Reads whose events could not be written. A gap in the log must be in the log."""

    kind = "audit.lost-reads"
    outcome: Outcome = "failure"
    count: int


class TenantKeyChange(Event):
    """A tenant's keys changed. `version` is the data key's, or the key-encryption key's for `rewrapped`.

    `asked` is an operator's order to rotate. `destroyed` is committed with the change in the database, `shredded` right
    after the vault has deleted the key, so a destruction that was cut short shows as the one without the other.
    """

    kind = "privacy.tenant-key"
    tenant: str
    change: Literal["asked", "created", "rotated", "rewrapped", "retired", "destroyed", "shredded"]
    version: int = 0
    operator: str = ""


class SecretRotation(Event):
    """A secret of the app is renewed. Versions of it, never values; `operator` is who the vault says they are.

    `begun` (or `resumed`, after one that was killed) is written before anything changes and `finished` after the old
    one is refused, so a rotation that was cut short shows as the one without the other. `made` is a key that the app
    renewed by itself, in the transaction that did it.
    """

    kind = "secrets.rotation"
    what: str
    step: Literal["begun", "resumed", "finished", "made"]
    before: int = 0
    after: int = 0
    operator: str = ""


class Resealed(Event):
    """Rows of one table were sealed anew under a newer data key; nothing that they say has changed."""

    kind = "privacy.resealed"
    table: str
    rows: int
    version: int


class SealFailure(Event):
    """A sealed value did not open in its cell: it was altered or moved, or its key is not accepted any more."""

    kind = "privacy.seal"
    outcome: Outcome = "failure"
    column: str
    object_id: str
    reason: str
