"""Bare: FastAPI and SQLAlchemy's ORM as most apps use it, a hand-written WHERE, no protection at all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, FastAPI, HTTPException
from models import OrderLine
from sqlalchemy import select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from bench.apps.shape import LineOut, OrderOut

TENANT = UUID(os.environ["BENCH_TENANT"])
engine = create_async_engine(
    make_url(os.environ["BENCH_OWNER_URL"]).set(drivername="postgresql+asyncpg"), pool_size=8, max_overflow=0
)
Session = async_sessionmaker(engine, expire_on_commit=False)
app = FastAPI()


class Base(DeclarativeBase):
    pass


class Order(Base):
    """The restaurant's, with where it goes in plain text."""

    __tablename__ = "orders"
    __table_args__ = {"schema": "bare"}  # noqa: RUF012
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


async def database() -> AsyncIterator[AsyncSession]:
    async with Session() as session, session.begin():
        yield session


@app.get("/api/orders/{order_id}")
async def read(order_id: UUID, session: Annotated[AsyncSession, Depends(database)]) -> OrderOut:
    order = await session.scalar(select(Order).where(Order.tenant_id == TENANT, Order.id == order_id))
    if order is None:
        raise HTTPException(404)
    lines = await session.scalars(
        select(OrderLine).where(OrderLine.tenant_id == TENANT, OrderLine.order_id == order_id).order_by(OrderLine.name)
    )
    out = OrderOut.model_validate(order)
    out.lines = [LineOut.model_validate(line) for line in lines]
    return out
