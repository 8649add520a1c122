"""The platform's own staff: who may ask for break-glass. The running app can read this list, and nobody can change it
but the owner of the tables, which is what the migrator becomes.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from seawall.core.errors import Refused
from seawall.store.operator import as_operator

_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s]+[.][^@\s.]+")


@dataclass(frozen=True, slots=True)
class StaffMember:
    email: str
    name: str
    added_at: datetime
    removed_at: datetime | None


@asynccontextmanager
async def staff_list(migrator_url: str) -> AsyncIterator[StaffList]:
    """The list, in the hands of the operator.

    Raises:
        Refused: the database does not answer, or has no such list.
    """
    async with as_operator(migrator_url) as owner:
        if await owner.fetchval("SELECT to_regclass('seawall.staff') IS NULL"):
            raise Refused(
                "the database has no list of staff",
                why="it comes with a migration that has not run",
                fix="run `seawall migrate`, or start the app with `seawall dev` once",
            )
        yield StaffList(owner)


@dataclass(frozen=True)
class StaffList:
    """Who is staff, and who was."""

    owner: asyncpg.Connection
    """As the owner of Seawall's schema."""

    async def add(self, email: str, name: str) -> UUID:
        """Put somebody on the list; harmless when they are on it.

        Raises:
            Refused: they work for a tenant, or the address is none.
        """
        try:
            if _ADDRESS.fullmatch(email) is None or not name.strip():
                raise asyncpg.CheckViolationError("no address or no name")
            person: UUID = await self.owner.fetchval("SELECT seawall.add_staff($1, $2)", email, name)
        except asyncpg.CheckViolationError as error:
            if "works for a tenant" in str(error):
                raise Refused(
                    f"{email} already works for a tenant",
                    why="staff who are also somebody's members could be both sides of one approval",
                    fix="give them another address",
                ) from None
            raise Refused(
                f"{email!r} is not an address, or the name is empty or longer than 200 characters",
                why="people sign in by an address that their provider has verified",
                fix='seawall staff add ada@platform.example "Ada Quinn"',
            ) from None
        return person

    async def has_account(self, person: UUID) -> bool:
        """Whether they have an account at the development provider."""
        found = await self.owner.fetchval("SELECT count(*) FROM seawall.dev_accounts WHERE user_id = $1", person)
        return bool(found)

    async def remove(self, email: str) -> bool:
        """Take somebody off the list: their sessions and grants end at once. False when they were not on it."""
        return await self.owner.fetchval("SELECT seawall.remove_staff($1)", email) is not None

    async def members(self) -> list[StaffMember]:
        """Everybody who is or was on it, oldest first."""
        rows = await self.owner.fetch(
            "SELECT u.email, u.name, s.added_at, s.removed_at FROM seawall.staff s"
            " JOIN seawall.users u ON u.id = s.user_id ORDER BY s.added_at, u.email"
        )
        return [StaffMember(**dict(row)) for row in rows]
