"""Who is calling, on whose behalf, and what was decided: the values that travel with one request.

`Passage` is the one mutable object of a request. The outermost wall (`seawall.web`) makes it; admission fills in the
principal; access records the decision; the wall refuses to answer without one and commits or rolls back.
Handlers never see it: they get a `Scope`, which offers only what a decided request may do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from seawall.core.errors import NotSignedIn, SecondFactorRequired
from seawall.core.events import Event

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from starlette.requests import Request
    from starlette.responses import Response

    from seawall.core.sealing import TenantKeys
    from seawall.core.stepup import StepUps

T = TypeVar("T")

PASSAGE_KEY = "seawall.passage"
"""The key of the `Passage` in the ASGI scope."""


BREAK_GLASS_ROLE = "breakglass"
"""The only role that policies know platform staff by. Nobody is a member under it: the database refuses one."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A role within the tenant, either tenant-wide (`scope_id is None`) or for one object such as a venue."""

    role: str
    scope_type: str | None = None
    scope_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """The caller's own tenant, as the thing acted on: `may(Tenant, "manage_team")`. Its id comes from the session."""

    id: UUID


@dataclass(frozen=True, slots=True)
class Assurance:
    """How sure we are of the person: `aal` per NIST SP 800-63B (1 = one factor, 2 = two), and since when."""

    aal: int
    authenticated_at: datetime
    second_factor_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Trail:
    """Where a session comes from: its sign-in's values, which never change, and what was noticed since.

    `origin` is `platform network country asn`, each possibly empty, as `seawall.sessions.origin` writes them.
    """

    origin: str
    strayed: tuple[str, ...] = ()
    away_network: bytes | None = None
    away_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """A person admitted by the database. Only `store` makes one, from a live session.

    `context` is the signed, expiring tenant context that only the database can mint; it goes into `BEGIN` and nowhere
    else. It is empty when the person holds a privileged role and this session has proved one factor only: such a
    session has no tenant.
    """

    user_id: UUID
    tenant_id: UUID
    session_id: UUID
    memberships: tuple[Membership, ...]
    assurance: Assurance
    context: str = field(repr=False)
    break_glass: UUID | None = None
    """The grant under which platform staff read in a tenant that is not theirs; None for everybody else."""
    trail: Trail | None = field(default=None, repr=False)

    @property
    def roles(self) -> frozenset[str]:
        """The names of all roles held, whatever their scope."""
        return frozenset(m.role for m in self.memberships)

    @property
    def owes_second_factor(self) -> bool:
        """Whether this session may do nothing but enrol or prove a factor. `Passage.require_actor` is what enforces
        it.
        """
        return not self.context


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision that covers a request. A response without one never leaves."""

    how: str
    """`public`, `self-service`, `policy`; or `refusal`: decided that nothing happens, set by who renders it."""
    why: str
    action: str = ""
    policies: tuple[str, ...] = ()


class Credential(Protocol):
    """What a request proved itself with: a session cookie, or an access token. Identity's part of the wall finds it."""

    async def admit(self, runtime: Runtime) -> Principal | None:
        """ONE round trip: the live person behind it, or None.

        Raises:
            Problem: the credential is there, but must not be used like this (a token without its proof).
        """
        ...


@dataclass(frozen=True, slots=True)
class SessionToken:
    """A browser's session cookie, of which only the SHA-256 travels."""

    token_hash: bytes = field(repr=False)

    async def admit(self, runtime: Runtime) -> Principal | None:
        return await runtime.admit(self.token_hash)


@dataclass(frozen=True, slots=True)
class GrantUse:
    """One use of a verified access token: what the database still has to say yes to.

    `secret` is derived from the grant's id by the app's key; `subject` is what its client knows the person by; `proof`
    is the SHA-256 that stands for the DPoP proof, None where the route takes a bearer token.
    """

    secret: bytes = field(repr=False)
    token_id: UUID
    epoch: int
    kid: str
    generation: int
    subject: str
    proof: bytes | None = None


class Transaction(Protocol):
    """One tenant-scoped database transaction: its `BEGIN` carried the signed context. Implemented by `store.Lease`."""

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        """All rows of one parameterised statement."""
        ...

    async def fetchrow(self, sql: str, *args: Any) -> Any | None:
        """The first row or None."""
        ...

    def adopt(self, instance: T) -> T:
        """Take in an object that was loaded by raw SQL, so that the ORM session sees it as its own.

        Gives the object itself, or the one that the transaction already has of the same row.
        """
        ...

    async def session(self) -> AsyncSession:
        """The ORM session that rides on this transaction; opened at the first call."""
        ...

    async def keys(self, envelopes: Iterable[bytes] = ()) -> TenantKeys | None:
        """The tenant's keys for sealed columns, asked for anew when one of these envelopes names a version that is not
        known yet. They may be locked. None where the app has no keyring.
        """
        ...


class Query(Protocol[T]):
    """A prepared query. Implemented by `store.Prepared`."""

    async def run(self, transaction: Transaction, values: dict[str, Any]) -> list[T]: ...


class Runtime(Protocol):
    """What `app.py` wires together for the life of the process, as far as headings may know it."""

    @property
    def step_ups(self) -> StepUps: ...

    def render(self, request: Request, template: str, context: dict[str, Any], *, status: int = 200) -> Response:
        """An HTML page from a template, auto-escaped, with this response's nonce."""
        ...

    async def admit(self, token_hash: bytes, device_hash: bytes | None = None) -> Principal | None:
        """ONE round trip: the live session behind the token's SHA-256, or None.

        A session that is bound to a device is live only together with `device_hash`, the SHA-256 of its bound cookie.
        """
        ...

    async def admit_grant(self, use: GrantUse) -> Principal | None:
        """ONE round trip: the live grant behind a verified access token, or None.

        Raises:
            ProofReplayed: its proof was used before.
        """
        ...

    async def enter_break_glass(self, staff: Principal, grant_id: UUID) -> Principal | None:
        """A staff person in the tenant of their live grant, or None when it does not hold."""
        ...

    async def begin(self, principal: Principal) -> Transaction:
        """`BEGIN` and the context in one message. The wall ends it: commit below 400, else rollback."""
        ...

    async def commit(self, transaction: Transaction, events: list[Event]) -> None:
        """Flush the ORM, append the events in the same transaction, commit."""
        ...

    async def rollback(self, transaction: Transaction) -> None: ...

    async def record_refusals(self, principal: Principal | None, events: list[Event]) -> None:
        """Append events of a request that changed nothing, in a transaction of their own."""
        ...

    def note_read(self, principal: Principal, event: Event) -> None:
        """Put an ordinary allowed read into the bounded batch (≤ 1 s); never blocks, a lost batch is counted."""
        ...


@dataclass(slots=True)
class Passage:
    """One request on its way through the walls."""

    runtime: Runtime
    trace_id: str
    nonce: str
    """CSP nonce of this response."""
    method: str
    path: str
    wants_html: bool
    credential: Credential | None = None
    """Set by identity's part of the wall."""
    bearer: str = ""
    """Why this route takes tokens without a proof of possession; set by `bearer(…)` before the decision."""
    principal: Principal | None = None
    admitted: bool = False
    renewable: bool = False
    """The browser was just told to renew a credential: the same navigation, once more, may succeed."""
    decision: Decided | None = None
    transaction: Transaction | None = None
    events: list[Event] = field(default_factory=list)
    """Written in the request's transaction, or on their own if it changes nothing."""
    extra_cookies: list[str] = field(default_factory=list)

    async def admit(self) -> Principal | None:
        """The caller, admitted once a request; None when there is no live session."""
        if not self.admitted:
            self.admitted = True
            if self.credential is not None:
                self.principal = await self.credential.admit(self.runtime)
        return self.principal

    async def require_principal(self) -> Principal:
        """The caller, or `NotSignedIn`."""
        principal = await self.admit()
        if principal is None:
            raise NotSignedIn("There is no live session.")
        return principal

    async def require_actor(self) -> Principal:
        """The caller, who may act: signed in, and with the second factor that their role demands.

        Every way to do something goes through here: `may()`, `may_list()`, the caller of a body, the transaction.

        Raises:
            NotSignedIn, SecondFactorRequired.
        """
        principal = await self.require_principal()
        if principal.owes_second_factor:
            raise SecondFactorRequired
        return principal

    async def begin(self) -> Transaction:
        """The request's one transaction, begun at the first call. Access begins it to load the object it decides on."""
        if self.transaction is None:
            self.transaction = await self.runtime.begin(await self.require_actor())
        return self.transaction

    @property
    def token_hash(self) -> bytes | None:
        """SHA-256 of the session cookie, if that is what the request came with."""
        return self.credential.token_hash if isinstance(self.credential, SessionToken) else None

    @property
    def changes(self) -> bool:
        """Whether the method may change state (RFC 9110 §9.2.1: the safe methods do not)."""
        return self.method not in {"GET", "HEAD", "OPTIONS"}


class Scope:
    """What a handler may do within a decided request. Only access makes one, after its decision."""

    __slots__ = ("_passage", "principal")

    def __init__(self, passage: Passage, principal: Principal) -> None:
        if passage.decision is None:
            # Gate B: no database session exists without a decision.
            raise RuntimeError("a Scope without a decision")
        self._passage = passage
        self.principal = principal

    @property
    def trace_id(self) -> str:
        return self._passage.trace_id

    async def transaction(self) -> Transaction:
        """The request's transaction for raw, parameterised SQL."""
        return await self._passage.begin()

    async def session(self) -> AsyncSession:
        """The request's ORM session. Objects that `may()` loaded are already in it; do not commit: the wall does."""
        transaction = await self._passage.begin()
        return await transaction.session()

    async def all(self, query: Query[T], **values: Any) -> list[T]:
        """Run a `prepared` query with its parameters; the fast way to rows that every request reads."""
        return await query.run(await self._passage.begin(), values)

    def record(self, event: Event) -> None:
        """Add an audit event; it is written in the same transaction as the change."""
        self._passage.events.append(event.model_copy(update={"trace_id": self._passage.trace_id}))
