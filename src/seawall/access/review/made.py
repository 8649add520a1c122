"""Made-up objects, and the rows near them, as Cedar entities: with the converters that rows go through."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType, SimpleNamespace
from typing import Any
from uuid import UUID

from seawall.access.entities import Field, NearMap, Parent, ResourceMap
from seawall.access.review.near import holder
from seawall.access.schema import CedarSchema, CedarType, EntityRef, Record, SetOf
from seawall.access.values import converter
from seawall.store.loader import Keys

_NAMES = UUID("7f1f6a2e-3f0b-4d0e-9b57-0d6f0a5e7c11")


@dataclass(frozen=True, slots=True)
class Thing:
    """What is acted on. Values are names for entities, else Python's own: int, str, bool, datetime, Decimal, list.

    An entity whose row policies read is a `Thing` itself instead of a name.
    """

    type: str
    name: str = "it"
    attributes: Mapping[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=65_536)
def identity(kind: str, name: str) -> UUID:
    """The id behind a name. The same name of another kind is another id."""
    return uuid.uuid5(_NAMES, f"{kind}/{name}")


def instance(schema: CedarSchema, thing: Thing) -> Any:
    """An object whose attributes are what a row's would be; `_near` are the rows that come along."""
    entity = schema.entities[schema.qualified(thing.type)]
    values: dict[str, Any] = dict.fromkeys(entity.attributes)
    near: list[Any] = []
    for name, value in thing.attributes.items():
        if name in entity.attributes:
            values[name] = given(entity.attributes[name].type, value)
            if isinstance(value, Thing):
                near.append(instance(schema, value))
    return SimpleNamespace(id=identity(thing.type, thing.name), _type=entity.name, _near=near, **values)


def given(kind: CedarType, value: Any) -> Any:
    """Names of entities become their ids; everything else stays what it is."""
    if value is None:
        return None
    if isinstance(value, Thing):
        return identity(value.type, value.name)
    if isinstance(kind, EntityRef):
        return identity(kind.type.rpartition("::")[2], value) if isinstance(value, str) else value
    if isinstance(kind, SetOf) and isinstance(value, list | tuple | set | frozenset):
        return [given(kind.element, item) for item in value]
    if isinstance(kind, Record) and isinstance(value, Mapping):
        return {
            name: given(kind.attributes[name].type, item) if name in kind.attributes else item
            for name, item in value.items()
        }
    return value


class MadeMap(ResourceMap):
    """How made-up objects of one type become entities. What is near one is what it brings along."""

    def __init__(self, schema: CedarSchema, type_name: str, names: frozenset[str] | None = None) -> None:
        """`names`: the attributes that can be read, on the object and near it; None means all.

        Raises:
            Refused: for a parent that no attribute names.
        """
        entity = schema.entities[type_name]
        fields = tuple(
            Field(name, name, converter(attribute.type), attribute.required)
            for name, attribute in sorted(entity.attributes.items())
            if names is None or name in names
        )
        parents = tuple(Parent(holder(entity, kind), kind) for kind in sorted(entity.parents))
        super().__init__(type_name, _id, fields, parents)
        self._schema, self._names = schema, names
        self._others: dict[str, MadeMap] = {}

    def only(self, names: frozenset[str], near: Mapping[Keys, NearMap] = MappingProxyType({})) -> MadeMap:
        return MadeMap(self._schema, self.type_name, names)

    def entities(self, instance: Any) -> list[dict[str, Any]]:
        found = {(self.type_name, str(instance.id)): self.entity(instance)}
        for near in instance._near:
            for entity in self._of(near._type).entities(near):
                found.setdefault((entity["uid"]["type"], entity["uid"]["id"]), entity)
        return list(found.values())

    def _of(self, type_name: str) -> MadeMap:
        if type_name not in self._others:
            self._others[type_name] = MadeMap(self._schema, type_name, self._names)
        return self._others[type_name]


def _id(instance: Any) -> Any:
    return instance.id
