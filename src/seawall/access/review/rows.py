"""Made-up rows of an app's models, and people who might look at them: for comparing lists with decisions.

The values are those that policies name and their neighbours (`literals.py`), as for made-up requests, and the edges of
each column's type. Seeded: the same seed, models and policies make the same rows.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from seawall.access.context import AUTH
from seawall.access.engine import Engine
from seawall.access.entities import PRINCIPAL, ROLE, ROLE_AT, Field, resource_map
from seawall.access.relations import Relations
from seawall.access.review.bench import NOON
from seawall.access.review.boundary import scalars
from seawall.access.review.literals import Literals, literals_of, roles_of
from seawall.access.schema import CedarType, EntityRef, Scalar, SetOf
from seawall.core.scope import Assurance, Membership, Principal
from seawall.store.loader import TENANT_KEY, identity_of
from seawall.store.statements import Statement, compiled

ROWS = 24
"""Of each model."""
PEOPLE = 5
MEMBERSHIPS_MAX = 3
ABSENT = 0.3
"""How often an optional value is missing."""
_INTEGERS = ((sa.SmallInteger, 15), (sa.BigInteger, 63), (sa.Integer, 31))


@dataclass(frozen=True, slots=True)
class Cell:
    """One column that policies may read, and the values that it is worth to have; the first is the plainest."""

    key: str
    attribute: str
    values: tuple[Any, ...]
    optional: bool
    many: bool
    entity: str = ""


class World:
    """The rows and the people of one tenant."""

    def __init__(self, engine: Engine, models: Sequence[type[Any]], tenant_id: UUID, seed: int) -> None:
        """
        Raises:
            Refused: when a model cannot be what the schema says of it.
        """
        self.engine, self.tenant_id = engine, tenant_id
        self.models = tuple(models)
        self._rng = random.Random(seed)  # noqa: S311 - repeatable, not secret
        self._relations = Relations(engine.schema)
        ests = [policy.est for policy in engine.book.policies.values()]
        self._roles = roles_of(ests, engine.schema.qualified(ROLE))
        self._literals = _by_name(literals_of(ests))
        self.users = tuple(self._uuid() for _ in range(PEOPLE))
        self.ids = {model: tuple(self._identity(model, n) for n in range(1, ROWS + 1)) for model in self.models}
        self.cells = {model: tuple(self._cells(model)) for model in self.models}

    # Rows ----------------------------------------------------------------------------------------------------------

    def rows(self, model: type[Any]) -> Iterator[Statement]:
        """An INSERT for each row of a model."""
        for identity in self.ids[model]:
            values = {cell.key: self._value(cell) for cell in self.cells[model]}
            yield inserted(model, {TENANT_KEY: self.tenant_id, identity_of(model)[0]: identity, **values})

    def _value(self, cell: Cell) -> Any:
        rng = self._rng
        if cell.optional and rng.random() < ABSENT:
            return None
        if cell.many:
            return rng.sample(cell.values, min(len(cell.values), rng.randrange(3)))
        # half of them among the two plainest values, or nothing would ever agree
        return rng.choice(cell.values[:2] if rng.random() < 0.5 else cell.values)

    def _cells(self, model: type[Any]) -> Iterator[Cell]:
        schema, own = self.engine.schema, identity_of(model)[0]
        entity = schema.entities[schema.qualified(model.__name__)]
        for field in resource_map(model, schema, self._relations).fields:
            if field.key in (TENANT_KEY, own):
                continue
            kind = entity.attributes[field.name].type
            column = sa.inspect(model).column_attrs[field.key].columns[0]
            if getattr(column, "computed", None) is not None:
                continue  # the database fills it
            yield self._cell(model, field, kind, column)

    def _cell(self, model: type[Any], field: Field, kind: CedarType, column: Any) -> Cell:
        many = isinstance(kind, SetOf)
        element: CedarType = kind.element if isinstance(kind, SetOf) else kind
        named = element.type if isinstance(element, EntityRef) else ""
        if isinstance(element, EntityRef):
            values = self._entities(model, field, element, column)
        elif isinstance(element, Scalar):
            values = self._scalars(field.name, element, column.type.item_type if many else column.type)
        else:
            values = ()
        return Cell(field.key, field.name, values, not field.required, many, named)

    def _entities(self, model: type[Any], field: Field, kind: EntityRef, column: Any) -> tuple[Any, ...]:
        schema = self.engine.schema
        if kind.type == schema.qualified(PRINCIPAL):
            return tuple(map(_as(column.type), self.users))
        target = self._relations.target(model, field.key)
        near = target or next((one for one in self.models if schema.qualified(one.__name__) == kind.type), None)
        if near in self.ids:
            return self.ids[near]
        named = sorted(name for type_name, name in self._of(field.name).entities if type_name == kind.type)
        return tuple(map(_as(column.type), (*self._known(column.type, named), self._uuid(), self._uuid())))

    def _known(self, kind: Any, names: Iterable[str]) -> Iterator[Any]:
        for name in names:
            try:
                yield _python(kind)(name)
            except ValueError:
                continue

    def _scalars(self, name: str, kind: Scalar, column: Any) -> tuple[Any, ...]:
        if isinstance(column, sa.Enum):
            return (*column.enum_class,) if column.enum_class else (*column.enums,)
        python = _python(column)
        if isinstance(python, type) and issubclass(python, enum.Enum):
            return tuple(python)
        return _fitting(kind, column, scalars(kind, self._of(name)))

    def _of(self, name: str) -> Literals:
        return self._literals.get(name, Literals())

    def _identity(self, model: type[Any], number: int) -> Any:
        kind = identity_of(model)[1]
        return self._uuid() if kind is UUID else kind(number)

    def _uuid(self) -> UUID:
        return UUID(int=self._rng.getrandbits(128), version=4)

    # People --------------------------------------------------------------------------------------------------------

    def person(self) -> Principal:
        """Somebody of this tenant, with any mixture of roles."""
        rng = self._rng
        held = {self._membership() for _ in range(rng.randrange(MEMBERSHIPS_MAX + 1))} - {None}
        ages = [age for age in scalars(Scalar("Long"), self._of("age_s")) if age >= 0]
        return Principal(
            user_id=rng.choice(self.users),
            tenant_id=self.tenant_id,
            session_id=self.users[0],
            memberships=tuple(sorted((one for one in held if one is not None), key=str)),
            assurance=Assurance(rng.choice((1, 2, 3)), NOON - timedelta(seconds=rng.choice(ages))),
            context="",
        )

    def _membership(self) -> Membership | None:
        schema = self.engine.schema
        places = {
            name.removesuffix(ROLE_AT): attribute.type.element
            for name, attribute in schema.entities[schema.qualified(PRINCIPAL)].attributes.items()
            if name.endswith(ROLE_AT) and isinstance(attribute.type, SetOf)
        }
        roles = sorted({*self._roles, *places})
        if not roles:
            return None
        role = self._rng.choice(roles)
        place = next((m for m in self.models if EntityRef(schema.qualified(m.__name__)) == places.get(role)), None)
        if place is None or self._rng.random() < 0.1:  # at times a role that belongs to a place, held nowhere
            return Membership(role)
        return Membership(role, place.__name__, self._rng.choice(self.ids[place][:4]))


def inserted(model: type[Any], values: Mapping[str, Any]) -> Statement:
    """An INSERT of one row, by ORM attributes."""
    mapper = sa.inspect(model)
    columns = {mapper.column_attrs[key].columns[0]: value for key, value in values.items()}
    return compiled(sa.insert(mapper.local_table).values(columns))


def _fitting(kind: Scalar, column: Any, found: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those that a column can hold, and the edges of its type."""
    if kind.name == "Long":
        bits = next((bits for sort, bits in _INTEGERS if isinstance(column, sort)), 63)
        return tuple(n for n in (*found, 2**bits - 1, -(2**bits)) if -(2**bits) <= n < 2**bits)
    if kind.name == "String":
        longest = getattr(column, "length", None)
        return tuple(dict.fromkeys(text[:longest] for text in (*found, "")))
    if kind.name == "decimal":
        whole = (column.precision or 15) - (column.scale or 0)
        return tuple(number for number in found if abs(number) < Decimal(10) ** min(whole, 14))
    if kind.name == "datetime":
        return (*found, NOON + timedelta(microseconds=999), NOON - timedelta(days=40_000))
    return found


def _by_name(literals: Mapping[Any, Literals]) -> Mapping[str, Literals]:
    """The literals of an attribute, from wherever it is read; those of `context.auth.age_s` under `age_s`."""
    found: dict[str, Literals] = {}
    for (variable, path), one in literals.items():
        if variable == "resource" or path[:1] == (AUTH,):
            found.setdefault(path[-1], Literals()).add(one)
    return found


def _python(kind: Any) -> Any:
    try:
        return kind.python_type
    except NotImplementedError:
        return str


def _as(kind: Any) -> Any:
    """From ids to what a column holds."""
    python = _python(kind.item_type if isinstance(kind, sa.ARRAY) else kind)
    if python is int:
        return lambda value: value if isinstance(value, int) else value.int % 10_000
    return (lambda value: value) if python is UUID else str
