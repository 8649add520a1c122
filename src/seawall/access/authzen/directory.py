"""Whom and what a question names, found by its id among what the server knows. What callers say about it is ignored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa

from seawall.access.engine import Engine
from seawall.access.entities import PRINCIPAL, TENANT
from seawall.access.may import Requirement
from seawall.core.clock import now
from seawall.core.scope import Assurance, Membership, Passage, Principal, Scope, Tenant
from seawall.store.loader import Loader, compiled
from seawall.store.models import Tenanted

PAGE_ROWS = 200
SCAN_ROWS_MAX = 2_000
"""Rows that one search may look at."""
NEVER = timedelta(days=365)
"""How long ago somebody who is not here proved who they are: no policy takes that for fresh."""


class Member(Protocol):
    """A person of the tenant, as far as a decision needs them."""

    @property
    def user_id(self) -> UUID: ...
    @property
    def memberships(self) -> tuple[Membership, ...]: ...


class Members(Protocol):
    """Who belongs to the caller's tenant. Identity's `People`."""

    async def members(self, scope: Scope) -> Sequence[Member]: ...


class Directory(Protocol):
    """Where a decision point looks names up."""

    async def subject(self, type_name: str, identity: str) -> Principal | None:
        """The person, or None when there is none of this id whom this caller may ask about."""
        ...

    async def resource(self, type_name: str, identity: str) -> Any | None:
        """The object, or None when there is none."""
        ...

    def model(self, type_name: str) -> type[Any] | None:
        """The class of a type's objects, or None when no policy knows it."""
        ...

    async def subjects(self, type_name: str) -> Sequence[Principal]:
        """Everybody of a type, in a stable order."""
        ...

    def resources(self, type_name: str, after: str) -> AsyncIterator[tuple[str, Any]]:
        """The objects of a type with their ids, in a stable order, from behind `after`; bounded."""
        ...

    def requirement(self, model: type[Any], action: str) -> Requirement | None:
        """What the app's route for this action declares."""
        ...

    async def facts(self, requirement: Requirement, instance: Any, body: Any, principal: Principal) -> dict[str, Any]:
        """What the server finds out for this action, as the route's own `facts` do."""
        ...


class TenantDirectory:
    """The caller's own tenant, behind row-level security."""

    def __init__(self, passage: Passage, principal: Principal, engine: Engine, members: Members) -> None:
        self._passage, self._principal, self._engine, self._members = passage, principal, engine, members
        self._known: list[Principal] | None = None

    # People ---------------------------------------------------------------------------------------------------------

    async def subject(self, type_name: str, identity: str) -> Principal | None:
        if type_name.lower() != PRINCIPAL.lower():
            return None
        if identity == str(self._principal.user_id):
            return self._principal
        return next((one for one in await self.subjects(type_name) if str(one.user_id) == identity), None)

    async def subjects(self, type_name: str) -> Sequence[Principal]:
        if type_name.lower() != PRINCIPAL.lower():
            return ()
        if self._known is None:
            scope = _LookingUp(self._passage, self._principal)
            found = await self._members.members(scope)
            self._known = sorted((self._somebody(one) for one in found), key=lambda one: str(one.user_id))
        return self._known

    def _somebody(self, member: Member) -> Principal:
        """A person of the tenant who is not here: they have proved nothing lately, and get no context of their own."""
        if member.user_id == self._principal.user_id:
            return self._principal
        return Principal(
            user_id=member.user_id,
            tenant_id=self._principal.tenant_id,
            session_id=self._principal.session_id,
            memberships=member.memberships,
            assurance=Assurance(1, now() - NEVER),
            context="",
        )

    # Objects --------------------------------------------------------------------------------------------------------

    def model(self, type_name: str) -> type[Any] | None:
        """`Order` or `order`; a class of the app that the schema knows."""
        if type_name.lower() == TENANT.lower():
            return Tenant
        for mapper in Tenanted.registry.mappers:
            model = mapper.class_
            if model.__name__.lower() == type_name.lower().replace("_", "") and self._known_type(model):
                return model
        return None

    def _known_type(self, model: type[Any]) -> bool:
        return self._engine.schema.qualified(model.__name__) in self._engine.schema.entities

    async def resource(self, type_name: str, identity: str) -> Any | None:
        model = self.model(type_name)
        if model is None:
            return None
        if model is Tenant:
            own = self._principal.tenant_id
            return Tenant(own) if identity == str(own) else None
        loader = self._engine.loader(model)
        key = _key(loader, identity)
        if key is None:
            return None
        transaction = await self._passage.begin()
        return await loader.load(transaction, self._principal.tenant_id, key, lock=False)

    async def resources(self, type_name: str, after: str) -> AsyncIterator[tuple[str, Any]]:
        model = self.model(type_name)
        if model is None:
            return
        if model is Tenant:
            own = self._principal.tenant_id
            if not after:
                yield str(own), Tenant(own)
            return
        loader = self._engine.loader(model)
        key = _key(loader, after) if after else None
        if after and key is None:
            return
        transaction = await self._passage.begin()
        for _ in range(0, SCAN_ROWS_MAX, PAGE_ROWS):
            found = await loader.fetch(transaction, *_following(loader, self._principal.tenant_id, key))
            for instance in found:
                key = getattr(instance, loader.identity_key)
                yield str(key), instance
            if len(found) < PAGE_ROWS:
                return

    # What the app's routes declare -------------------------------------------------------------------------------

    def requirement(self, model: type[Any], action: str) -> Requirement | None:
        found: Requirement | None = self._engine.requirements.get((model, action))
        return found

    async def facts(self, requirement: Requirement, instance: Any, body: Any, principal: Principal) -> dict[str, Any]:
        if requirement.facts is None:
            return {}
        return dict(await requirement.facts(instance, body, _LookingUp(self._passage, principal)))


class _LookingUp(Scope):
    """The scope of what only looks up: who belongs here, and an action's facts."""

    __slots__ = ()

    def __init__(self, passage: Passage, principal: Principal) -> None:
        # not super(): the question has been decided on, but nothing is done under that decision
        self._passage = passage
        self.principal = principal


def _key(loader: Loader[Any], identity: str) -> Any | None:
    """An id of the type that the model has, or None when it cannot be one."""
    kind = loader.identity_type
    try:
        return kind(identity)
    except (ValueError, TypeError, OverflowError):
        return None


def _following(loader: Loader[Any], tenant_id: UUID, key: Any | None) -> tuple[str, list[Any]]:
    """SQL and arguments of the next rows after a key."""
    statement = sa.select(*loader.columns).where(loader.tenant_column == tenant_id)
    if key is not None:
        statement = statement.where(loader.identity_column > key)
    page = compiled(statement.order_by(loader.identity_column).limit(PAGE_ROWS))
    return page.sql, page.arguments()
