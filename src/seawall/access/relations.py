"""How objects point at one another: `resource.deal.owner` and `resource in Venue::"…"`, from foreign keys.

    entity Note in [Deal] = { tenant: Tenant, deal: Deal, … };
    entity Deal in [Team] = { tenant: Tenant, team: Team, owner: User };

An attribute that names an entity may be read through when its column `refers_to` that entity's table; a parent type is
the one column that refers to its table. What the policies of a model reach is loaded with the object, so the decision
on one object and the filter of a list see the same rows. People and tenants are no rows of the app: of them only the
caller and the id are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa

from seawall.access.expressions import Est, chains, memberships
from seawall.access.policies import SCHEMA_FILE
from seawall.access.schema import CedarSchema, EntityRef, EntityType
from seawall.core.errors import Refused
from seawall.store.loader import TENANT_KEY, Keys, Near
from seawall.store.models import REFERS_TO

NEAR_MAX = 8
"""Rows that one object may bring along."""
RESOURCE = "resource"


class Relations:
    """The foreign keys between models, as the Cedar schema names them."""

    def __init__(self, schema: CedarSchema) -> None:
        self._schema = schema
        self._alone = {schema.qualified(name) for name in ("User", "Tenant", "Role")}

    def type_of(self, model: type[Any]) -> str:
        return self._schema.qualified(model.__name__)

    def key(self, model: type[Any], attribute: str) -> str | None:
        """The ORM attribute that fills an attribute naming an entity; None when there is none."""
        columns = sa.inspect(model).column_attrs
        return next((key for key in (f"{attribute}_id", attribute) if key in columns), None)

    def target(self, model: type[Any], key: str) -> type[Any] | None:
        """The model that a foreign key refers to; None when it refers to no table of the app."""
        mapper = sa.inspect(model)
        table = mapper.column_attrs[key].columns[0].info.get(REFERS_TO)
        if table is None:
            return None
        far = [other for other in mapper.registry.mappers if getattr(other.local_table, "name", None) == table]
        return far[0].class_ if len(far) == 1 else None

    def parents(self, model: type[Any]) -> Iterator[tuple[str, str, type[Any] | None]]:
        """`(foreign key, parent type, its model)` for each type that objects of this model are `in`.

        Raises:
            Refused: naming the type that no one foreign key leads to.
        """
        name = self.type_of(model)
        targets = {key: self.target(model, key) for key in sa.inspect(model).column_attrs.keys()}  # noqa: SIM118
        for parent in sorted(self._entity(model).parents):
            if parent == self._schema.qualified("Tenant"):
                yield TENANT_KEY, parent, None
                continue
            keys = [key for key, far in targets.items() if far is not None and self.type_of(far) == parent]
            if len(keys) != 1 or parent == name:
                raise Refused(
                    f"{SCHEMA_FILE}: entity {name} in [{parent}]: {len(keys)} columns of {model.__name__} refer to it",
                    why="a parent is found by the one foreign key that leads to it, and a tree within one type has no "
                    "end that one query can reach",
                    fix=f"take {parent} out of the brackets and compare the attributes that you mean",
                )
            yield keys[0], parent, targets[keys[0]]

    def reach(self, model: type[Any], policies: Iterable[Est]) -> tuple[Near, ...]:
        """The rows that these policies read beside the object itself, each after the one that points at it.

        Raises:
            Refused: for more than `NEAR_MAX`, or a parent that cannot be found.
        """
        found: dict[Keys, type[Any]] = {}
        for policy in policies:
            for variable, path in chains(policy):
                if variable == RESOURCE:
                    self._walk(model, path[:-1], found)
            for path in memberships(policy):
                # what has no parents is known by its id, which the row before it holds
                end = self._walk(model, path if self._has_parents(model, path) else path[:-1], found)
                if end is not None:
                    self._climb(*end, found)
        if len(found) > NEAR_MAX:
            raise Refused(
                f"the policies on {model.__name__} read {len(found)} rows beside the object itself",
                why=f"they are loaded for every decision, and {NEAR_MAX} are the most",
                fix="keep what is decided on in columns of the object",
            )
        return tuple(Near(keys, found[keys]) for keys in sorted(found, key=lambda keys: (len(keys), keys)))

    def _walk(
        self, model: type[Any], path: tuple[str, ...], found: dict[Keys, type[Any]]
    ) -> tuple[Keys, type[Any]] | None:
        """Follow attributes, noting every row on the way; None where they leave the app's rows."""
        keys: Keys = ()
        at = model
        for name in path:
            attribute = self._entity(at).attributes.get(name)
            if attribute is None or not isinstance(attribute.type, EntityRef):
                return None
            key = self.key(at, name)
            far = None if key is None else self.target(at, key)
            if key is None or far is None or self.type_of(far) != attribute.type.type:
                if attribute.type.type in self._alone:
                    return None  # known by its id alone; `policies.py` has seen that no more is asked of it
                raise Refused(
                    f"a policy reads {self.type_of(at)}.{name}, but no foreign key of {at.__name__} leads to a row of "
                    f"{attribute.type}",
                    why="the row is loaded with the object, or the policy would always fail",
                    fix=f'{name}_id: Mapped[UUID] = refers_to("<table of {attribute.type}>")',
                )
            keys, at = (*keys, key), far
            found[keys] = far
        return keys, at

    def _entity(self, model: type[Any]) -> EntityType:
        name = self.type_of(model)
        entity = self._schema.entities.get(name)
        if entity is None:
            raise Refused(
                f"{SCHEMA_FILE}: there is no entity {name}",
                why=f"{model.__name__} is authorised by policies, which only know declared types",
                fix=f"declare `entity {model.__name__} = {{ tenant: Tenant, … }};`",
            )
        return entity

    def _has_parents(self, model: type[Any], path: tuple[str, ...]) -> bool:
        at = self._entity(model)
        for name in path:
            attribute = at.attributes.get(name)
            if attribute is None or not isinstance(attribute.type, EntityRef):
                return False
            at = self._schema.entities[attribute.type.type]
        return bool(at.parents)

    def _climb(self, keys: Keys, model: type[Any], found: dict[Keys, type[Any]]) -> None:
        """Note the rows that tell all ancestors of the row at `keys`; the highest need not be read."""
        for key, _parent, far in self.parents(model):
            if far is not None and self._entity(far).parents and len(keys) < NEAR_MAX:
                found[*keys, key] = far
                self._climb((*keys, key), far, found)
