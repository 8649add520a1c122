"""What the CRM remembers."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

from sqlalchemy import ARRAY, BigInteger, DateTime, Numeric, Text, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from seawall.store.models import Tenanted, object_id, refers_to

Moment = Annotated[datetime, mapped_column(DateTime(timezone=True))]


class Team(Tenanted):
    __tablename__ = "crm_teams"
    id: Mapped[UUID] = object_id()
    region: Mapped[str]
    archived: Mapped[bool]


class Account(Tenanted):
    __tablename__ = "crm_accounts"
    id: Mapped[UUID] = object_id()
    team_id: Mapped[UUID] = refers_to("crm_teams")
    owner_id: Mapped[UUID]
    name: Mapped[str]
    tier: Mapped[int]
    suspended: Mapped[bool]


class Contact(Tenanted):
    __tablename__ = "crm_contacts"
    id: Mapped[UUID] = object_id()
    account_id: Mapped[UUID | None] = refers_to("crm_accounts", nullable=True)
    owner_id: Mapped[UUID]
    region: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))
    do_not_contact: Mapped[bool]
    last_seen: Mapped[Moment | None]


class Deal(Tenanted):
    __tablename__ = "crm_deals"
    id: Mapped[UUID] = object_id()
    account_id: Mapped[UUID] = refers_to("crm_accounts")
    owner_id: Mapped[UUID]
    stage: Mapped[str]
    amount_minor: Mapped[int] = mapped_column(BigInteger)
    discount: Mapped[Decimal | None] = mapped_column(Numeric(10, 6))
    shared_with: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    closes_at: Mapped[Moment | None]


class Note(Tenanted):
    __tablename__ = "crm_notes"
    id: Mapped[UUID] = object_id()
    deal_id: Mapped[UUID] = refers_to("crm_deals")
    author_id: Mapped[UUID]
    confidential: Mapped[bool]
    words: Mapped[int]
    written_at: Mapped[Moment]
    text: Mapped[str]


class Export(Tenanted):
    __tablename__ = "crm_exports"
    id: Mapped[UUID] = object_id()
    team_id: Mapped[UUID | None] = refers_to("crm_teams", nullable=True)
    requested_by_id: Mapped[UUID]
    approved_by_id: Mapped[UUID | None]
    rows: Mapped[int] = mapped_column(BigInteger)
    rows_left: Mapped[int | None] = mapped_column(BigInteger)
    ready: Mapped[bool]
    expires_at: Mapped[Moment]


MODELS = (Team, Account, Contact, Deal, Note, Export)
