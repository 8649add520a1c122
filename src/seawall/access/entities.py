"""Rows and people as Cedar entities: mappings compiled once, checked at boot.

An attribute is filled from the column of the same name; an attribute that names an entity from the column `<name>_id`;
a parent from the foreign key that leads to it. Rows that policies read beside the object come along (`relations.py`).
Nothing is guessed: an attribute that no column can fill refuses to start.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
import sqlalchemy as sa
from cedarpy import _internal as cedar
from sqlalchemy.orm import Mapper

from seawall.access.policies import SCHEMA_FILE
from seawall.access.relations import Relations
from seawall.access.schema import CedarSchema, EntityRef, EntityType, Scalar, SetOf
from seawall.access.sql.known import Env, Pairs, Ref, decoded
from seawall.access.values import Convert, Unconvertible, converter, entity_json, unfit
from seawall.core.errors import Refused
from seawall.core.scope import Membership, Principal, Tenant
from seawall.store.loader import Keys, identity_of, near_row

PRINCIPAL = "User"
ROLE = "Role"
TENANT = "Tenant"
TENANT_ROLES = "tenant_roles"
ROLE_AT = "_at"
PEOPLE_KEPT_MAX = 2_048
"""People whose part of the entities is kept parsed."""
MEMBERSHIPS_KEPT_MAX = 100_000
"""Memberships that these may have together: somebody with ten thousand weighs as much as ten thousand with one."""


@dataclass(frozen=True, slots=True)
class Field:
    """One attribute of an object: the ORM attribute that fills it, and how."""

    name: str
    key: str
    convert: Convert
    required: bool


@dataclass(frozen=True, slots=True)
class Parent:
    """One type that an object is `in`, and the ORM attribute with the parent's id."""

    key: str
    type_name: str


class ResourceMap:
    """How objects of one model become entities of one Cedar type, and the rows near them entities of theirs."""

    def __init__(
        self,
        type_name: str,
        identity: Callable[[Any], Any],
        fields: tuple[Field, ...],
        parents: tuple[Parent, ...] = (),
        near: Mapping[Keys, NearMap] = MappingProxyType({}),
    ) -> None:
        self.type_name = type_name
        self.identity = identity
        self.fields = fields
        self.parents = parents
        self.near = near

    def only(self, names: frozenset[str], near: Mapping[Keys, NearMap] = MappingProxyType({})) -> ResourceMap:
        """The same mapping for a slice that can read no other attributes and no other rows than these."""
        fields = tuple(f for f in self.fields if f.name in names)
        return ResourceMap(self.type_name, self.identity, fields, self.parents, near)

    def uid(self, instance: Any) -> dict[str, str]:
        return {"type": self.type_name, "id": str(self.identity(instance))}

    def entity(self, instance: Any) -> dict[str, Any]:
        """One entity in Cedar's JSON form.

        Raises:
            Unconvertible: when a value is missing or of another type than the schema says.
        """
        attributes: dict[str, Any] = {}
        for field in self.fields:
            value = getattr(instance, field.key)
            if value is not None:
                attributes[field.name] = field.convert(value)
            elif field.required:
                raise Unconvertible(f"{self.type_name}.{field.name} is missing")
        parents = [
            {"type": parent.type_name, "id": str(identity)}
            for parent in self.parents
            if (identity := getattr(instance, parent.key)) is not None
        ]
        return {"uid": self.uid(instance), "attrs": attributes, "parents": parents}

    def entities(self, instance: Any) -> list[dict[str, Any]]:
        """The object's entity, first, and those of the rows near it.

        Raises:
            Unconvertible: as `entity`, and when a row near it is not at hand, as with an object that no `may()` loaded.
        """
        entities = [self.entity(instance)]
        rows: dict[Keys, Any] = {(): instance}
        for keys, near in self.near.items():
            before = rows[keys[:-1]]
            at = None if before is None else getattr(before, keys[-1])
            rows[keys] = None if at is None else near_row(instance, keys, near.model, at)
            if rows[keys] is not None:
                entities.append(near.map.entity(rows[keys]))
            elif at is not None:
                raise Unconvertible(f"{self.type_name}.{'.'.join(keys)} is not loaded")
        return entities


@dataclass(frozen=True, slots=True)
class NearMap:
    """How a row near an object becomes an entity."""

    model: type[Any]
    map: ResourceMap


def tenant_map(schema: CedarSchema) -> ResourceMap:
    """The caller's own tenant. It is known by its id alone."""
    name = schema.qualified(TENANT)
    entity = schema.entities.get(name)
    if entity is None or entity.attributes or entity.tags:
        raise Refused(
            f"{SCHEMA_FILE}: entity {name} must be declared, without attributes",
            why="every object belongs to a tenant, which policies know by its id alone",
            fix="write `entity Tenant;`",
        )
    return ResourceMap(name, _tenant_id, ())


def _tenant_id(tenant: Tenant) -> UUID:
    return tenant.id


def resource_map(model: type[Any], schema: CedarSchema, relations: Relations) -> ResourceMap:
    """Compile the mapping of a model.

    Raises:
        Refused: naming the attribute that no column can fill.
    """
    mapper: Mapper[Any] = sa.inspect(model)
    name = schema.qualified(model.__name__)
    entity = schema.entities.get(name)
    if entity is None:
        raise Refused(
            f"{SCHEMA_FILE}: there is no entity {name}",
            why=f"{model.__name__} is authorised by policies, which only know declared types",
            fix=f"declare `entity {model.__name__} = {{ tenant: Tenant, … }};`",
        )
    if entity.tags:
        raise Refused(
            f"{SCHEMA_FILE}: entity {name} has tags",
            why="rows have columns only; a policy that relied on it would never match",
            fix="use attributes instead",
        )
    fields = tuple(_field(mapper, entity, attribute) for attribute in sorted(entity.attributes))
    parents = tuple(Parent(key, parent) for key, parent, _ in relations.parents(model))
    return ResourceMap(name, attrgetter(identity_of(model)[0]), fields, parents)


def _field(mapper: Mapper[Any], entity: EntityType, name: str) -> Field:
    kind, required = entity.attributes[name].type, entity.attributes[name].required
    wanted = (f"{name}_id", name) if isinstance(kind, EntityRef) else (name,)
    key = next((key for key in wanted if key in mapper.column_attrs), None)
    where = f"{SCHEMA_FILE}: {entity.name}.{name}: {kind}"
    if key is None:
        raise Refused(
            f"{where}: {mapper.class_.__name__} has no column {wanted[0]}",
            why="an attribute that nothing fills would make every policy that reads it fail",
            fix=f"add the column, or take {name} out of the schema",
        )
    column = mapper.column_attrs[key].columns[0]
    reason = unfit(kind, _python_type(column))
    if reason is not None:
        raise Refused(
            f"{where}: the column {key} does not fit: {reason}",
            why="values of another type compare as different, silently",
            fix=f"give {name} the column's type in the schema",
        )
    if isinstance(column.type, sa.DateTime) and not column.type.timezone:
        raise Refused(
            f"{where}: the column {key} has no time zone",
            why="a moment without a zone is no moment, and every decision that reads it would fail",
            fix="write mapped_column(DateTime(timezone=True))",
        )
    if required and getattr(column, "nullable", True):
        raise Refused(
            f"{where}: the column {key} may be NULL",
            why="a row without it could not be decided on",
            fix=f"write `{name}?: {kind}` in the schema, or make the column NOT NULL",
        )
    return Field(name, key, converter(kind), required)


def _python_type(column: Any) -> Any:
    """The Python type of a column's values, sets as `list[element]`."""
    if isinstance(column.type, sa.ARRAY):
        return list[column.type.item_type.python_type]
    try:
        return column.type.python_type
    except NotImplementedError:
        return object


K = TypeVar("K")


class Kept(Generic[K]):
    """What was made of people seen recently. Bounded by people, and by all that they hold together."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[UUID, UUID, tuple[Membership, ...]], K] = OrderedDict()
        self._weight = 0

    def of(self, principal: Principal, make: Callable[[Principal], K]) -> K:
        key = (principal.user_id, principal.tenant_id, principal.memberships)
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        made = self._kept[key] = make(principal)
        self._weight += len(principal.memberships)
        while len(self._kept) > 1 and (len(self._kept) > PEOPLE_KEPT_MAX or self._weight > MEMBERSHIPS_KEPT_MAX):
            (_, _, memberships), _ = self._kept.popitem(last=False)
            self._weight -= len(memberships)
        return made


class People:
    """The caller as Cedar entities, compiled from the `User` type of the schema and kept for people seen recently."""

    def __init__(self, schema: CedarSchema, *, actions: bool) -> None:
        """`actions`: whether some policy looks at `action` in its condition, so that actions must be known as entities.

        Raises:
            Refused: when `User` has an attribute that memberships cannot fill.
        """
        self.type_name = schema.qualified(PRINCIPAL)
        self._role = schema.qualified(ROLE)
        self._tenant = schema.qualified(TENANT)
        self._schema = schema.handle if actions else None
        self._scoped = self._compiled(schema)
        entity = schema.entities[self.type_name]
        self._attributes = entity.attributes
        self._tenant_roles = TENANT_ROLES in entity.attributes
        self._kept: Kept[cedar.Entities] = Kept()
        self._known: Kept[Env] = Kept()

    def _compiled(self, schema: CedarSchema) -> Mapping[str, tuple[str, str, str]]:
        """Attribute → (role, scope type as memberships say it, Cedar type)."""
        entity = schema.entities.get(self.type_name)
        if entity is None or entity.parents != {self._role} or "tenant" not in entity.attributes:
            raise Refused(
                f"{SCHEMA_FILE}: entity {PRINCIPAL} must be `entity User in [Role] = {{ tenant: Tenant, … }};`",
                why="a person's roles are their parents, and their tenant is compared with every object's",
                fix="declare it so",
            )
        scoped: dict[str, tuple[str, str, str]] = {}
        for name, attribute in entity.attributes.items():
            kind = attribute.type
            if name == "tenant" and kind == EntityRef(self._tenant):
                continue
            if name == TENANT_ROLES and kind == SetOf(Scalar("String")):
                continue
            if name.endswith(ROLE_AT) and isinstance(kind, SetOf) and isinstance(kind.element, EntityRef):
                target = kind.element.type
                scoped[name] = (name.removesuffix(ROLE_AT), target.rpartition("::")[2], target)
                continue
            raise Refused(
                f"{SCHEMA_FILE}: {self.type_name}.{name}: {kind} cannot be filled",
                why="what is known of a person is their tenant and their memberships",
                fix=f"use `<role>_at: Set<Venue>` or `{TENANT_ROLES}: Set<String>`, or pass the value as a fact",
            )
        return scoped

    def of(self, principal: Principal) -> cedar.Entities:
        """The caller's entities, parsed."""
        return self._kept.of(principal, self._parsed)

    def _parsed(self, principal: Principal) -> cedar.Entities:
        return cedar.Entities.from_json_str(orjson.dumps([self.entity(principal)]).decode(), self._schema)

    def known(self, principal: Principal, context: Pairs) -> Env:
        """The caller and the context, for a filter of rows."""
        return replace(self._known.of(principal, self._decoded), context=context)

    def _decoded(self, principal: Principal) -> Env:
        entity = self.entity(principal)
        types = self._attributes
        return Env(
            principal=Ref(**entity["uid"]),
            roles=frozenset(Ref(**parent) for parent in entity["parents"]),
            attributes={name: decoded(types[name].type, value) for name, value in entity["attrs"].items()},
            context=(),
        )

    def entity(self, principal: Principal) -> dict[str, Any]:
        """The caller in Cedar's JSON form. Every role held is a parent, whatever its scope; `<role>_at` says where."""
        attributes: dict[str, Any] = {"tenant": entity_json(self._tenant, principal.tenant_id)}
        for name, (role, scope_type, target) in self._scoped.items():
            attributes[name] = [
                entity_json(target, m.scope_id)
                for m in principal.memberships
                if m.role == role and m.scope_type == scope_type and m.scope_id is not None
            ]
        if self._tenant_roles:
            attributes[TENANT_ROLES] = sorted({m.role for m in principal.memberships if m.scope_id is None})
        return {
            "uid": {"type": self.type_name, "id": str(principal.user_id)},
            "attrs": attributes,
            "parents": [{"type": self._role, "id": role} for role in sorted(principal.roles)],
        }
