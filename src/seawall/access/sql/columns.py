"""Columns as Cedar values: which can be compared in SQL with the meaning that they have in Cedar, and how.

Only types whose every comparison means the same on both sides are known here. A type that SQLAlchemy or PostgreSQL
compares in a way of its own (`citext`, blank-padded `char`, an encrypting decorator) is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.sql.elements import ColumnElement

from seawall.access.schema import CedarType, EntityRef, Scalar, SetOf
from seawall.access.sql.cells import (
    MOMENT_MAX_MS,
    MOMENT_MIN_MS,
    Cell,
    RowEntity,
    RowMoment,
    RowSet,
    Sql,
    Truth,
    both,
    either,
    no,
)
from seawall.access.sql.known import LONG_MAX, LONG_MIN, Members, Ref
from seawall.access.values import DECIMAL_LIMIT

# all are counted as 64 bits wide: a model often says Integer where the migration says bigint
_LONGS = frozenset({sa.SmallInteger, sa.SMALLINT, sa.Integer, sa.INTEGER, sa.BigInteger, sa.BIGINT})
_TEXTS = frozenset({sa.String, sa.Text, sa.Unicode, sa.UnicodeText, sa.VARCHAR, sa.TEXT})
_BOOLS = frozenset({sa.Boolean, sa.BOOLEAN})
_MOMENTS = frozenset({sa.DateTime, sa.DATETIME, sa.TIMESTAMP, postgresql.TIMESTAMP})
_DECIMALS = frozenset({sa.Numeric, sa.NUMERIC, sa.DECIMAL})
_UUIDS = frozenset({sa.Uuid, sa.UUID})
_ARRAYS = frozenset({sa.ARRAY, postgresql.ARRAY})
DECIMAL_PLACES, DECIMAL_DIGITS = 4, 14


class Unsupported(Exception):
    """A part of a policy that has no equal in SQL. The text names the construct."""


def column_cell(column: Sql, kind: CedarType, err: Truth, entity_at: Any = None) -> Cell:
    """A column as a value of a Cedar type.

    Raises:
        Unsupported: the column's type is not compared as Cedar does.
    """
    type_: Any = column.type
    if isinstance(kind, EntityRef) and _names(type_):
        return Cell(RowEntity(kind.type, column, entity_at), err)
    if isinstance(kind, SetOf) and type(type_) in _ARRAYS and _element(kind.element, type_):
        item = bind_type(type_.item_type)
        of = kind.element.type if isinstance(kind.element, EntityRef) else ""
        return Cell(RowSet(sa.cast(column, postgresql.ARRAY(item)), item, of), err)
    cell = _scalar(column, kind.name, err) if isinstance(kind, Scalar) else None
    if cell is None:
        raise Unsupported(f"{column.key}, a column of type {type(type_).__name__}, as {kind}")
    return cell


def _scalar(column: Sql, name: str, err: Truth) -> Cell | None:
    type_ = type(column.type)
    if name == "String":
        text = _text(column)
        return None if text is None else Cell(text, err)
    if name == "Bool" and type_ in _BOOLS:
        return Cell(both(no(err), column), err)
    if name == "datetime" and type_ in _MOMENTS:
        return Cell(RowMoment(column), err, MOMENT_MIN_MS, MOMENT_MAX_MS)
    same = (name == "Long" and type_ in _LONGS) or (name == "decimal" and type_ in _DECIMALS)
    return Cell(column, err) if same else None


def _names(type_: Any) -> bool:
    return (
        (type(type_) in _UUIDS and type_.as_uuid) or type(type_) in _LONGS or (type(type_) in _TEXTS and _plain(type_))
    )


def _plain(type_: Any) -> bool:
    return getattr(type_, "collation", None) is None


def _text(column: Sql) -> Sql | None:
    type_: Any = column.type
    if type(type_) in _TEXTS:
        # a collation of its own may call two different texts equal
        return column if _plain(type_) else sa.collate(column, "C")
    if type(type_) is sa.Enum:
        if type_.enum_class is None:
            return sa.cast(column, sa.Text)
        members = {member: sa.literal(member.value, sa.Text()) for member in type_.enum_class}
        return sa.case(members, value=column)
    return None


def _element(kind: CedarType, array: Any) -> bool:
    item = array.item_type
    if array.dimensions not in (None, 1):
        return False
    if isinstance(kind, EntityRef):
        return bool(_names(item))
    allowed: dict[str, Any] = {"Long": _LONGS, "String": _TEXTS, "Bool": _BOOLS}
    return isinstance(kind, Scalar) and type(item) in allowed.get(kind.name, ()) and _plain(item)


def guard(column: Sql, kind: CedarType, *, required: bool) -> Truth:
    """Where an attribute could not be made of this column, so that the decision on the object would fail."""
    type_: Any = column.type
    guards: list[Truth] = []
    if isinstance(kind, Scalar) and kind.name == "decimal":
        whole = (type_.precision or DECIMAL_DIGITS + 99) - (type_.scale or 0)
        if type_.scale is None or type_.scale > DECIMAL_PLACES:
            guards.append(column == sa.func.round(column, DECIMAL_PLACES))
        if type_.precision is None or whole > DECIMAL_DIGITS:
            guards.append(sa.func.abs(column) <= sa.literal(DECIMAL_LIMIT, sa.Numeric()))
    if isinstance(kind, Scalar) and kind.name == "datetime":
        guards.append(sa.func.isfinite(column))  # the driver gives ±infinity without a time zone
    if isinstance(kind, SetOf):
        guards.append(sa.func.array_position(column, sa.null()).is_(None))
        guards.append(sa.func.coalesce(sa.func.array_ndims(column), 1) == 1)
    if required:
        return both(column.is_not(None), *guards)
    return either(column.is_(None), both(*guards)) if guards else True


# Known values beside columns ------------------------------------------------------------------------------------------


def bound(value: Any, kind: CedarType | None) -> Sql:
    """A known scalar as a parameter."""
    name = kind.name if isinstance(kind, Scalar) else ""
    if name == "decimal":
        return sa.literal(Decimal(value) / 10_000, sa.Numeric())
    types: dict[str, Any] = {"String": sa.Text(), "Bool": sa.Boolean()}
    return sa.literal(value, types.get(name, sa.BigInteger()))


def bind_type(type_: Any) -> Any:
    """The type of parameters beside a column: never narrower than what a policy may write."""
    if type(type_) in _LONGS:
        return sa.BigInteger()
    return sa.Text() if type(type_) in _TEXTS else type_


def identities(refs: Iterable[Ref], type_name: str, type_: Any) -> list[Any]:
    """The ids of the entities of one type that a column can hold. The others equal no row."""
    kept = refs.converted.get((type_name, type(type_))) if isinstance(refs, Members) else None
    if kept is None:
        found = (_identity(ref.id, type_) for ref in refs if ref.type == type_name)
        kept = [one for one in found if one is not None]
        if isinstance(refs, Members):
            refs.converted[type_name, type(type_)] = kept
    return kept


def _identity(text: str, type_: Any) -> Any:
    try:
        if type(type_) in _UUIDS:
            uuid = UUID(text)
            return uuid if str(uuid) == text else None  # Cedar compares the text
        if type(type_) in _LONGS:
            return int(text) if str(int(text)) == text and LONG_MIN <= int(text) <= LONG_MAX else None
    except ValueError:
        return None
    return text if storable(text) else None


def storable(value: Any) -> bool:
    """Whether a column could hold this: PostgreSQL has no text with NUL, and no row equals one."""
    return not isinstance(value, str) or "\0" not in value


def one_of(column: Sql, values: list[Any], type_: Any = None) -> Truth:
    """Whether a column is one of some known values."""
    if not values:
        return False
    type_ = bind_type(column.type if type_ is None else type_)
    if len(values) == 1:
        return column == sa.literal(values[0], type_)
    # one array and not a list of parameters, so that the statement's text does not depend on how many there are
    return column == sa.any_(array(values, type_))


def array(values: list[Any], type_: Any) -> ColumnElement[Any]:
    return sa.literal(values, postgresql.ARRAY(type_))
