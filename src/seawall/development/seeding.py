"""`Sow`: fill a development database with tenants, people and rows.

    async def seed(sow: Sow) -> None:
        tenant = await sow.tenant("harbour", "Harbour Kitchen")
        maria = await sow.person(tenant, "Maria", "maria@harbour.example", "owner")
        [venue] = await sow.add(tenant, [Venue(name="Quay")])
        await sow.person(tenant, "Ben", "ben@harbour.example", "manager", scope=venue)
        sow.expose(tenant, venue_id=[venue.id])

Rows go in as the app's role under a context that the database minted for that tenant, so a seed cannot do what the app
could not. People get accounts at the development provider, which exists in development only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

from seawall import audit, identity
from seawall.core.events import Event, Grant
from seawall.store.database import Database

DEVELOPMENT_PASSWORD = "development"  # noqa: S105 - of accounts that exist only at the development provider


@dataclass(frozen=True)
class Persona:
    """Somebody the judge may sign in as, and the objects that they may act on."""

    name: str
    tenant_id: UUID
    user_id: UUID
    role: str
    login: str
    password: str
    objects: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class SownTenant:
    id: UUID
    name: str
    slug: str
    objects: dict[str, list[str]] = field(default_factory=dict)


class Sow:
    """Puts the first rows into a database. `owner` is a superuser's connection, `database` the app's pools."""

    def __init__(self, owner: asyncpg.Connection, database: Database) -> None:
        self._owner = owner
        self._database = database
        self.tenants: dict[UUID, SownTenant] = {}
        self.personas: dict[str, Persona] = {}
        self._people: dict[UUID, Persona] = {}
        self.staff: list[Persona] = []

    async def tenant(self, slug: str, name: str) -> UUID:
        """A tenant; gives its id."""
        tenant_id: UUID = await self._owner.fetchval(
            "INSERT INTO seawall.tenants (slug, name) VALUES ($1, $2) RETURNING id", slug, name
        )
        self.tenants[tenant_id] = SownTenant(tenant_id, name, slug)
        return tenant_id

    async def person(
        self,
        tenant_id: UUID,
        name: str,
        email: str,
        role: str,
        *,
        scope: Any = None,
        password: str = DEVELOPMENT_PASSWORD,
    ) -> UUID:
        """A person with a role, tenant-wide or for one object (`scope`, such as a `Venue`), and a development
        account.
        """
        scope_type = type(scope).__name__ if scope is not None else None
        scope_id = scope.id if scope is not None else None
        async with self._owner.transaction():
            user_id: UUID = await self._owner.fetchval(
                "INSERT INTO seawall.users (email, name) VALUES (lower($1), $2) RETURNING id", email, name
            )
            await self._owner.execute(
                "INSERT INTO seawall.memberships (tenant_id, user_id, role, scope_type, scope_id)"
                " VALUES ($1, $2, $3, $4, $5)",
                tenant_id, user_id, role, scope_type, scope_id,
            )  # fmt: skip
            grant = Grant(
                user_id=str(user_id), role=role, scope_type=scope_type or "", scope_id=str(scope_id or ""),
                change="granted",
            )  # fmt: skip
            await audit.append_as(self._owner, [grant], tenant_id=tenant_id)
            await identity.add_development_account(self._owner, user_id, email=email, password=password)
        self._people[user_id] = Persona(name, tenant_id, user_id, role, email, password)
        return user_id

    async def staff_person(self, name: str, email: str, *, password: str = DEVELOPMENT_PASSWORD) -> UUID:
        """Somebody of the platform's own staff, who may ask for break-glass; with a development account."""
        async with self._owner.transaction():
            user_id: UUID = await self._owner.fetchval("SELECT seawall.add_staff($1, $2)", email, name)
            tenant_id = await self._owner.fetchval("SELECT id FROM seawall.tenants WHERE slug = 'seawall-staff'")
            await identity.add_development_account(self._owner, user_id, email=email, password=password)
        self.staff.append(Persona(name, tenant_id, user_id, "platform_staff", email, password))
        return user_id

    async def add(self, tenant_id: UUID, rows: Iterable[Any], *, events: Sequence[Event] = ()) -> list[Any]:
        """Insert ORM objects as that tenant; gives them back with their ids. `events` are for audited tables."""
        context = await self._owner.fetchval("SELECT seawall.mint($1, NULL, NULL, 'seed')", tenant_id)
        lease = await self._database.begin_with(context)
        try:
            session = await lease.session()
            added = list(rows)
            session.add_all(added)
            await lease.flush()
            await audit.append(lease, list(events))
        except BaseException:
            await lease.rollback()
            raise
        await lease.commit()
        return added

    def expose(self, tenant_id: UUID, **objects: Iterable[Any]) -> None:
        """Tell the judge about a tenant's objects, by the name of the path parameter that takes them."""
        known = self.tenants[tenant_id].objects
        for parameter, ids in objects.items():
            known.setdefault(parameter, []).extend(str(one) for one in ids)

    def persona(self, name: str, user_id: UUID, objects: dict[str, Iterable[Any]] | None = None) -> None:
        """Tell the judge that it may sign in as this person, and which objects they may act on."""
        known = self._people[user_id]
        self.personas[name] = Persona(
            name, known.tenant_id, user_id, known.role, known.login, known.password,
            {parameter: [str(one) for one in ids] for parameter, ids in (objects or {}).items()},
        )  # fmt: skip
