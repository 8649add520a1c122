"""Assembled: the same protection put together from what people use today.

A SQLAlchemy session table, slowapi's limiter, casbin's enforcer, `set_config` for row-level security, an audit row a
request.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import casbin
from fastapi import Depends, FastAPI, HTTPException, Request
from slowapi import Limiter
from sqlalchemy import ForeignKey, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

from bench.apps.shape import LineOut, OrderOut

URL = make_url(os.environ["BENCH_ASSEMBLED_URL"]).set(drivername="postgresql+asyncpg")
CASBIN_MODEL = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = role, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.act == p.act && p.role in r.sub.roles && r.sub.tenant == r.obj.tenant \
  && (p.role == 'owner' || r.obj.venue in r.sub.venues)
"""


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    __table_args__ = {"schema": "assembled"}  # noqa: RUF012
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    roles: Mapped[list[str]] = mapped_column(JSONB)
    venues: Mapped[list[str]] = mapped_column(JSONB)


class UserSession(Base):
    __tablename__ = "sessions"
    __table_args__ = {"schema": "assembled"}  # noqa: RUF012
    token_hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("assembled.users.id"))
    expires_at: Mapped[datetime]
    user: Mapped[User] = relationship()


class Order(Base):
    __tablename__ = "orders"
    __table_args__ = {"schema": "assembled"}  # noqa: RUF012
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    venue_id: Mapped[UUID]
    number: Mapped[int | None]
    status: Mapped[str]
    total_minor: Mapped[int]
    currency: Mapped[str]
    created_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    courier_id: Mapped[UUID | None]
    recipient: Mapped[str]
    address: Mapped[str]
    phone: Mapped[str]
    payment_provider: Mapped[str | None]
    card_last4: Mapped[str | None]
    paid_at: Mapped[datetime | None]
    paid_minor: Mapped[int]
    refunded_minor: Mapped[int]


class OrderLine(Base):
    __tablename__ = "order_lines"
    __table_args__ = {"schema": "assembled"}  # noqa: RUF012
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[UUID] = mapped_column(primary_key=True)
    order_id: Mapped[UUID]
    dish_id: Mapped[UUID]
    name: Mapped[str]
    price_minor: Mapped[int]
    quantity: Mapped[int]


class AuditRow(Base):
    __tablename__ = "audit"
    __table_args__ = {"schema": "assembled"}  # noqa: RUF012
    id: Mapped[UUID] = mapped_column(primary_key=True)
    tenant_id: Mapped[UUID]
    user_id: Mapped[UUID]
    event: Mapped[dict[str, Any]] = mapped_column(JSONB)


engine = create_async_engine(URL, pool_size=8, max_overflow=0)
Session = async_sessionmaker(engine, expire_on_commit=False)
limiter = Limiter(key_func=lambda request: request.cookies.get("sid", ""))
enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=CASBIN_MODEL))
for role in ("owner", "manager"):
    for action in ("read", "read_address", "read_payment"):
        enforcer.add_policy(role, action)


class Subject:
    def __init__(self, user: User) -> None:
        self.tenant, self.roles, self.venues = str(user.tenant_id), user.roles, user.venues


class Thing:
    def __init__(self, order: Order) -> None:
        self.tenant, self.venue = str(order.tenant_id), str(order.venue_id)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.limiter = limiter
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.middleware("http")
async def headers(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers["Strict-Transport-Security"] = "max-age=63072000"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    return response


async def database() -> AsyncIterator[AsyncSession]:
    async with Session() as session, session.begin():
        yield session


Database = Annotated[AsyncSession, Depends(database)]


async def current_user(request: Request, session: Database) -> User:
    hashed = hashlib.sha256(request.cookies.get("sid", "").encode()).digest()
    found = await session.scalar(
        select(UserSession).where(UserSession.token_hash == hashed).options(joinedload(UserSession.user))
    )
    if found is None or found.expires_at < datetime.now(UTC):
        raise HTTPException(401)
    await session.execute(text("SELECT set_config('app.tenant_id', :t, true)"), {"t": str(found.user.tenant_id)})
    return found.user


@app.get("/api/orders/{order_id}")
@limiter.limit("1000000/minute")
async def read(
    request: Request, order_id: UUID, session: Database, user: Annotated[User, Depends(current_user)]
) -> OrderOut:
    order = await session.scalar(select(Order).where(Order.id == order_id))
    if order is None:
        raise HTTPException(404)
    subject, thing = Subject(user), Thing(order)
    # the same three decisions as the restaurant's route: the order, its address, its payment
    if not all(enforcer.enforce(subject, thing, action) for action in ("read", "read_address", "read_payment")):
        raise HTTPException(403)
    session.add(
        AuditRow(
            id=uuid.uuid4(), tenant_id=user.tenant_id, user_id=user.id, event={"action": "read", "order": str(order_id)}
        )
    )
    lines = await session.scalars(select(OrderLine).where(OrderLine.order_id == order_id).order_by(OrderLine.name))
    out = OrderOut.model_validate(order)
    out.lines = [LineOut.model_validate(line) for line in lines]
    return out
