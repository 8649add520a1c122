"""Generated rows and people of the CRM, the awkward ones among them: missing values, edges of numbers and of time."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from seawall.core.scope import Assurance, Membership, Principal
from tests.support.crm.models import Account, Contact, Deal, Export, Note, Team

LONG_MAX = 2**63 - 1
STAGES = ("new", "won", "lost", "void")
REGIONS = ("EU", "US", "eu", "")
TEXTS = ("", "fyi: rain", "FYI: no", "fyi:", "50% off_", "a\\b*c", "naïve ☂")
DISCOUNTS = tuple(map(Decimal, ("0", "12.5", "12.4999", "12.50001", "-3.25", "99.9999")))
LONGS = (0, 1, -1, 2, 3, 50_000, 50_001, LONG_MAX, LONG_MAX - 1, -(2**63), -(2**63) + 1)


class Generated:
    """Rows of one tenant, parents before children, and who might look at them."""

    def __init__(self, rnd: random.Random, tenant_id: UUID, *, size: int = 12) -> None:
        self.rnd = rnd
        self.tenant_id = tenant_id
        self.users = [self._id() for _ in range(6)]
        self.teams = [self._team() for _ in range(4)]
        self.accounts = [self._account() for _ in range(size)]
        self.deals = [self._deal() for _ in range(size * 2)]
        self.contacts = [self._contact() for _ in range(size * 2)]
        self.notes = [self._note() for _ in range(size * 3)]
        self.exports = [self._export() for _ in range(size * 2)]
        self.rows = [self.teams, self.accounts, self.deals, self.contacts, self.notes, self.exports]

    def _id(self) -> UUID:
        return UUID(int=self.rnd.getrandbits(128), version=4)

    def _maybe(self, value: Any) -> Any:
        return value if self.rnd.random() < 0.7 else None

    def moment(self) -> datetime:
        now = datetime.now(UTC)
        steps = (
            timedelta(0), timedelta(days=7), timedelta(days=-7, microseconds=400), timedelta(days=1, seconds=-30),
            timedelta(days=-30, seconds=2), timedelta(days=400),
            timedelta(days=-20_700, microseconds=999), timedelta(hours=-3),
        )  # fmt: skip
        if self.rnd.random() < 0.05:
            ends = (
                datetime(1, 1, 1, tzinfo=UTC),
                datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
            )  # ±infinity to asyncpg
            return self.rnd.choice([*ends, ends[0] + timedelta(seconds=1), ends[1] - timedelta(microseconds=1)])
        return now + self.rnd.choice(steps) + timedelta(microseconds=self.rnd.randrange(2_000))

    def _team(self) -> Team:
        return Team(id=self._id(), region=self.rnd.choice(REGIONS), archived=self.rnd.random() < 0.3)

    def _account(self) -> Account:
        return Account(
            id=self._id(), team_id=self.rnd.choice(self.teams).id, owner_id=self.rnd.choice(self.users),
            name=self.rnd.choice(TEXTS), tier=self.rnd.randrange(5), suspended=self.rnd.random() < 0.25,
        )  # fmt: skip

    def _deal(self) -> Deal:
        shared = self.rnd.sample(self.users, self.rnd.randrange(3))
        return Deal(
            id=self._id(), account_id=self.rnd.choice(self.accounts).id, owner_id=self.rnd.choice(self.users),
            stage=self.rnd.choice(STAGES), amount_minor=self.rnd.choice(LONGS),
            discount=self._maybe(self.rnd.choice(DISCOUNTS)), shared_with=shared + shared[:1],
            closes_at=self._maybe(self.moment()),
        )  # fmt: skip

    def _contact(self) -> Contact:
        return Contact(
            id=self._id(), account_id=self._maybe(self.rnd.choice(self.accounts).id),
            owner_id=self.rnd.choice(self.users), region=self.rnd.choice(REGIONS),
            tags=self.rnd.sample(["private", "vip", "", "x"], self.rnd.randrange(3)),
            do_not_contact=self.rnd.random() < 0.3, last_seen=self._maybe(self.moment()),
        )  # fmt: skip

    def _note(self) -> Note:
        return Note(
            id=self._id(), deal_id=self.rnd.choice(self.deals).id, author_id=self.rnd.choice(self.users),
            confidential=self.rnd.random() < 0.4, words=self.rnd.choice([0, 1, 7, 200]), written_at=self.moment(),
            text=self.rnd.choice(TEXTS),
        )  # fmt: skip

    def _export(self) -> Export:
        who = self.rnd.choice(self.users)
        return Export(
            id=self._id(), team_id=self._maybe(self.rnd.choice(self.teams).id), requested_by_id=who,
            approved_by_id=self._maybe(self.rnd.choice([who, *self.users])), rows=self.rnd.choice(LONGS),
            rows_left=self._maybe(self.rnd.choice(LONGS)), ready=self.rnd.random() < 0.8, expires_at=self.moment(),
        )  # fmt: skip

    def person(self) -> Principal:
        """Somebody of this tenant, with any mixture of roles."""
        rnd = self.rnd
        held: set[Membership] = set()
        for _ in range(rnd.randrange(4)):
            role = rnd.choice(["rep", "lead", "guest", "admin", "auditor"])
            if role == "guest":
                held.add(Membership(role, "Deal", rnd.choice(self.deals).id))
            elif role in ("rep", "lead"):
                held.add(Membership(role, "Team", rnd.choice(self.teams).id))
            else:
                held.add(Membership(role))
        if rnd.random() < 0.1:
            held.add(Membership(rnd.choice(["rep", "lead"])))  # a role that belongs to a place, held nowhere
        moment = datetime.now(UTC) - timedelta(seconds=rnd.randrange(600))
        return Principal(
            user_id=rnd.choice(self.users), tenant_id=self.tenant_id, session_id=self._id(),
            memberships=tuple(sorted(held, key=str)), assurance=Assurance(rnd.choice([1, 2]), moment), context="",
        )  # fmt: skip
