"""Pages by key: the next page begins after the last row of this one, whatever was added or removed meanwhile.

A cursor holds that row's place in the order and nothing else. It may be changed by whoever holds it: it only says where
to begin among the rows that the filter lets through. Since it is part of an address, order by what callers may see.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import ColumnElement, UnaryExpression

from seawall.access.sql.columns import bind_type
from seawall.core.errors import BadRequest

M = TypeVar("M")
OrderBy = ColumnElement[Any] | InstrumentedAttribute[Any]
CURSOR_CHARS_MAX = 1_000
_LONG = 2**63


class Page(list[M], Generic[M]):
    """Some of the allowed objects, in order. `next` is the cursor of the page after it; None on the last."""

    next: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One column of an order."""

    key: str
    column: ColumnElement[Any]
    descending: bool

    @property
    def nullable(self) -> bool:
        return bool(getattr(self.column, "nullable", True))

    @property
    def ordered(self) -> ColumnElement[Any]:
        return self.column.desc() if self.descending else self.column.asc()

    def bound(self, value: Any) -> ColumnElement[Any]:
        return sa.literal(value, bind_type(self.column.type))

    def same(self, value: Any) -> ColumnElement[bool]:
        return self.column.is_(None) if value is None else self.column == self.bound(value)

    def later(self, value: Any) -> ColumnElement[bool]:
        """What comes after a value: NULLs come last, and first when descending, as in PostgreSQL."""
        if value is None:
            return self.column.is_not(None) if self.descending else sa.false()
        if self.descending:
            return self.column < self.bound(value)
        later = self.column > self.bound(value)
        return sa.or_(later, self.column.is_(None)) if self.nullable else later


def places(model: type[Any], order_by: OrderBy | Sequence[OrderBy], identity_key: str) -> list[Place]:
    """The columns of an order, with the id at its end, which makes it total.

    Raises:
        ValueError: for anything but columns of the model and their `.desc()`.
    """
    mapper = sa.inspect(model)
    given = [order_by] if isinstance(order_by, ColumnElement | InstrumentedAttribute) else list(order_by)
    found: list[Place] = []
    for one in given:
        descending = isinstance(one, UnaryExpression) and one.modifier is operators.desc_op
        plain = one.element if isinstance(one, UnaryExpression) and one.modifier in _DIRECTIONS else one
        key = next((key for key, column in mapper.columns.items() if _is(plain, column)), None)
        if key is None or mapper.columns[key].type.python_type not in _ORDERED:
            raise ValueError(f"a page is ordered by columns of {model.__name__}, not by {one}")
        found.append(Place(key, mapper.columns[key], descending))
    if identity_key not in {place.key for place in found}:
        # in the direction of the last column, so that one index serves both
        found.append(Place(identity_key, mapper.columns[identity_key], bool(found) and found[-1].descending))
    return found


_ORDERED = frozenset({UUID, datetime, Decimal, int, str, bool, float})
_DIRECTIONS = (operators.desc_op, operators.asc_op)


def _is(one: Any, column: sa.Column[Any]) -> bool:
    own = one.property.columns[0] if isinstance(one, InstrumentedAttribute) else one
    return isinstance(own, sa.Column) and own.shares_lineage(column)


def beyond(order: Sequence[Place], values: Sequence[Any]) -> ColumnElement[bool]:
    """The rows that come after the one with these values."""
    uniform = len({place.descending for place in order}) == 1 and not any(place.nullable for place in order)
    if uniform:
        # a comparison of rows is one range of an index; the same written out with OR is not
        columns = sa.tuple_(*(place.column for place in order))
        bounds = sa.tuple_(*(place.bound(value) for place, value in zip(order, values, strict=True)))
        return columns < bounds if order[0].descending else columns > bounds
    return sa.or_(
        *(
            sa.and_(
                *(one.same(value) for one, value in zip(order[:depth], values, strict=False)),
                place.later(values[depth]),
            )
            for depth, place in enumerate(order)
        )
    )


def cursor_of(order: Iterable[Place], instance: Any) -> str:
    """Where an object stands in an order.

    Raises:
        ValueError: when that is too long for an address.
    """
    values = [getattr(instance, place.key) for place in order]
    text = base64.urlsafe_b64encode(orjson.dumps(values, default=str)).decode().rstrip("=")
    if len(text) > CURSOR_CHARS_MAX:
        raise ValueError("the columns of this order are too long for a cursor")
    return text


def read_cursor(order: Sequence[Place], cursor: str) -> list[Any]:
    """The values in a cursor.

    Raises:
        BadRequest: when it is not one of this order.
    """
    try:
        if len(cursor) > CURSOR_CHARS_MAX:
            raise ValueError
        given = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not isinstance(given, list) or len(given) != len(order):
            raise ValueError
        return [_value(place, value) for place, value in zip(order, given, strict=True)]
    except (ValueError, TypeError, InvalidOperation, OverflowError, binascii.Error):
        raise BadRequest("The cursor is not one that this list gave.", code="bad-cursor") from None


def _value(place: Place, value: Any) -> Any:
    if value is None and place.nullable:
        return None
    kind = place.column.type.python_type
    if kind is UUID and isinstance(value, str):
        return UUID(value)
    if kind is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if (moment.tzinfo is None) == bool(getattr(place.column.type, "timezone", False)):
            raise ValueError
        return moment
    if kind is Decimal and isinstance(value, str):
        number = Decimal(value)
        if not number.is_finite():
            raise ValueError
        return number
    if isinstance(value, bool) and kind is not bool:
        raise ValueError
    if isinstance(value, int) and not -_LONG <= value < _LONG:
        raise ValueError
    if isinstance(value, str) and ("\0" in value or not issubclass(kind, str)):
        raise ValueError
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError
    if not isinstance(value, kind):
        raise ValueError
    return value
