"""What the access tests share: a small shop's models and policies, people, and a runtime that needs no database."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
from fastapi import FastAPI
from sqlalchemy import DateTime, Numeric
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column
from starlette.requests import Request
from starlette.responses import JSONResponse

from seawall.access import Engine, read_policies
from seawall.core.errors import Problem, StepUpRequired
from seawall.core.scope import PASSAGE_KEY, Assurance, Membership, Passage, Principal, SessionToken
from seawall.core.stepup import Intent
from seawall.store.models import Tenanted, object_id, refers_to

ALPHA, BETA = UUID(int=0xA), UUID(int=0xB)
NORTH, SOUTH = UUID(int=0x101), UUID(int=0x102)
ADA, BOB = UUID(int=0xADA), UUID(int=0xB0B)

SCHEMA = """
entity Tenant;
entity Role;
entity Venue = { tenant: Tenant };
entity User in [Role] = { tenant: Tenant, manager_at: Set<Venue>, courier_at: Set<Venue>, tenant_roles: Set<String> };
type Auth = { aal: Long, age_s: Long };
type Ctx = { now: datetime, auth: Auth, step_up: Bool };
entity Parcel = {
  tenant: Tenant, venue: Venue, status: String, total_minor: Long, currency: String, courier?: User, rushed: Bool,
  made_at: datetime, weight_kg?: decimal
};
action change;
action "read" appliesTo { principal: [User], resource: [Parcel, Venue], context: Ctx };
action "read_payment" appliesTo { principal: [User], resource: [Parcel], context: Ctx };
action "refund" in [change] appliesTo { principal: [User], resource: [Parcel], context: {
  now: datetime, auth: Auth, step_up: Bool, amount_minor: Long, currency: String, refunded_minor: Long } };
action "cancel" in [change] appliesTo { principal: [User], resource: [Parcel], context: Ctx };
action "manage_team" appliesTo { principal: [User], resource: [Tenant], context: Ctx };
"""

POLICIES = """
@id("wall.tenant") @title("Nobody reaches into another tenant")
forbid (principal, action, resource) when { resource has tenant && resource.tenant != principal.tenant };

@id("parcel.read.manager") @title("Managers read their venue's parcels")
permit (principal in Role::"manager", action == Action::"read", resource is Parcel)
when { principal.manager_at.contains(resource.venue) };

@id("parcel.read.courier") @title("Couriers read the parcels that they carry")
permit (principal in Role::"courier", action == Action::"read", resource is Parcel)
when { resource has courier && resource.courier == principal };

@id("parcel.payment.manager") @title("Managers see payments")
permit (principal in Role::"manager", action == Action::"read_payment", resource is Parcel)
when { principal.manager_at.contains(resource.venue) };

@id("parcel.refund.small") @title("Managers refund up to 100 a day")
permit (principal in Role::"manager", action == Action::"refund", resource is Parcel)
when { principal.manager_at.contains(resource.venue) && context.currency == resource.currency
  && context.amount_minor > 0 && context.refunded_minor + context.amount_minor <= 10000 };

@id("parcel.refund.large") @title("Managers refund more with a second factor") @step_up("aal=2,max_age_s=300")
permit (principal in Role::"manager", action == Action::"refund", resource is Parcel)
when { principal.manager_at.contains(resource.venue) && context.currency == resource.currency
  && context.amount_minor > 0 && context.refunded_minor + context.amount_minor <= resource.total_minor
  && context.step_up };

@id("parcel.change.closed") @title("Nothing changes once delivered")
forbid (principal, action in Action::"change", resource is Parcel) when { resource.status == "delivered" };

@id("team.owner") @title("Owners manage the team")
permit (principal in Role::"owner", action == Action::"manage_team", resource is Tenant)
when { resource == principal.tenant };
"""


class Parcel(Tenanted):
    __tablename__ = "access_parcels"
    id: Mapped[UUID] = object_id()
    venue_id: Mapped[UUID] = refers_to("access_venues")
    status: Mapped[str]
    total_minor: Mapped[int]
    currency: Mapped[str]
    courier_id: Mapped[UUID | None]
    rushed: Mapped[bool]
    made_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    weight_kg: Mapped[Any] = mapped_column(Numeric(10, 3), nullable=True)
    notes: Mapped[dict[str, Any]] = mapped_column(postgresql.JSONB, server_default="{}")
    card_last4: Mapped[str | None]


class Venue(Tenanted):
    __tablename__ = "access_venues"
    id: Mapped[UUID] = object_id()
    name: Mapped[str]


def parcel(**values: Any) -> Parcel:
    """A parcel of tenant Alpha at the venue North."""
    return Parcel(
        **{
            "tenant_id": ALPHA,
            "id": uuid.uuid4(),
            "venue_id": NORTH,
            "status": "paid",
            "total_minor": 50_000,
            "currency": "USD",
            "courier_id": None,
            "rushed": False,
            "made_at": datetime(2026, 11, 20, tzinfo=UTC),
            "weight_kg": None,
            "notes": {},
            "card_last4": "4242",
            **values,
        }
    )


def person(
    *memberships: Membership, user_id: UUID = ADA, tenant_id: UUID = ALPHA, aal: int = 1, age_s: int = 10
) -> Principal:
    return Principal(
        user_id=user_id,
        tenant_id=tenant_id,
        session_id=UUID(int=3),
        memberships=memberships,
        assurance=Assurance(aal, datetime.now(UTC) - timedelta(seconds=age_s)),
        context="signed",
    )


MANAGER = person(Membership("manager", "Venue", NORTH))
COURIER = person(Membership("courier", "Venue", NORTH), user_id=BOB)
OWNER = person(Membership("owner"))


def write_policies(folder: Path, policies: str = POLICIES, schema: str = SCHEMA) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "schema.cedarschema").write_text(schema)
    (folder / "shop.cedar").write_text(policies)
    return folder


def engine_for(folder: Path, policies: str = POLICIES, schema: str = SCHEMA) -> Engine:
    return Engine(read_policies(write_policies(folder, policies, schema)))


class MemoryTransaction:
    """Answers the loader's statements from a list of parcels, as row-level security would: of one tenant only."""

    def __init__(self, rows: list[Parcel], principal: Principal) -> None:
        self.rows = [row for row in rows if row.tenant_id == principal.tenant_id]
        self.statements: list[str] = []
        self.adopted: list[Any] = []

    def _columns(self, row: Parcel) -> list[Any]:
        return [getattr(row, p.key) for p in Parcel.__mapper__.column_attrs]

    async def fetchrow(self, sql: str, *args: Any) -> Any | None:
        self.statements.append(sql)
        return next((self._columns(row) for row in self.rows if row.id in args and row.tenant_id in args), None)

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        self.statements.append(sql)
        return [self._columns(row) for row in self.rows]

    def adopt(self, instance: Any) -> Any:
        self.adopted.append(instance)
        return instance

    async def session(self) -> Any:
        raise AssertionError("no ORM session is needed here")


class MemoryStepUps:
    """Approvals as a set of digests."""

    def __init__(self) -> None:
        self.approved: set[bytes] = set()
        self.asked: list[tuple[Intent, str, int]] = []

    async def consume(self, transaction: Any, intent: Intent) -> str | None:
        if intent.digest in self.approved:
            self.approved.remove(intent.digest)
            return "approval-1"
        return None

    async def challenge(self, principal: Principal, intent: Intent, *, acr: str, max_age_s: int) -> StepUpRequired:
        self.asked.append((intent, acr, max_age_s))
        return StepUpRequired(f"challenge-{len(self.asked)}", acr=acr, max_age_s=max_age_s)


@dataclass
class MemoryRuntime:
    """What `app.py` wires, without a database."""

    engine: Engine
    rows: list[Parcel] = field(default_factory=list)
    people: dict[bytes, Principal] = field(default_factory=dict)
    step_ups: Any = field(default_factory=MemoryStepUps)
    reads: list[Any] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    transactions: list[MemoryTransaction] = field(default_factory=list)

    async def admit(self, token_hash: bytes, device_hash: bytes | None = None) -> Principal | None:
        return self.people.get(token_hash)

    async def begin(self, principal: Principal) -> Any:
        self.transactions.append(MemoryTransaction(self.rows, principal))
        return self.transactions[-1]

    def note_read(self, principal: Principal, event: Any) -> None:
        self.reads.append(event)


class SmallWall:
    """As little of the wall as these tests need: a passage, problems as JSON, and gate C."""

    def __init__(self, app: FastAPI, runtime: MemoryRuntime) -> None:
        self.app = app
        self.runtime = runtime

        @app.exception_handler(Problem)
        async def problem(request: Request, error: Problem) -> JSONResponse:
            body = {"code": error.problem_code, **error.extra}
            return JSONResponse(body, status_code=error.status, headers=error.headers)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope["headers"])
        passage = Passage(
            runtime=self.runtime,  # type: ignore[arg-type]
            trace_id="0" * 32,
            nonce="",
            method=scope["method"],
            path=scope["path"],
            wants_html=False,
            credential=SessionToken(headers[b"x-person"]) if b"x-person" in headers else None,
        )
        scope[PASSAGE_KEY] = passage

        async def gated(message: Any) -> None:
            if message["type"] == "http.response.start" and message["status"] < 400 and passage.decision is None:
                raise AssertionError("an undecided answer")
            await send(message)

        await self.app(scope, receive, gated)
        self.runtime.events += passage.events


def client_of(app: FastAPI, runtime: MemoryRuntime, **people: Principal) -> httpx2.AsyncClient:
    """A client of the app in this process; `headers={"X-Person": "manager"}` says who calls."""
    runtime.people = {name.encode(): who for name, who in people.items()}
    transport = httpx2.ASGITransport(app=SmallWall(app, runtime))  # type: ignore[arg-type]
    return httpx2.AsyncClient(transport=transport, base_url="https://shop.test")


def later(principal: Principal, **changes: Any) -> Principal:
    return replace(principal, **changes)
