"""What all four answer: the order as the restaurant shows it to a manager."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class LineOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    dish_id: UUID
    name: str
    price_minor: int
    quantity: int


class OrderOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    venue_id: UUID
    number: int | None
    status: str
    total_minor: int
    currency: str
    created_at: datetime
    delivered_at: datetime | None
    courier_id: UUID | None
    recipient: str
    address: str
    phone: str
    payment_provider: str | None
    card_last4: str | None
    paid_at: datetime | None
    paid_minor: int
    refunded_minor: int
    lines: list[LineOut] = []


COLUMNS = tuple(name for name in OrderOut.model_fields if name != "lines")
LINE_COLUMNS = tuple(LineOut.model_fields)
