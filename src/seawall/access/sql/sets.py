"""Equality, sets and hierarchy: of values that rows hold, beside values that are known."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from seawall.access.schema import CedarType, EntityRef, Scalar, SetOf
from seawall.access.sql import numbers
from seawall.access.sql.cells import Cell, Listed, RowEntity, RowSet, Truth, both, either, false_in, no
from seawall.access.sql.columns import array, bind_type, bound, identities, one_of, storable
from seawall.access.sql.known import Ref

_NUMBERS = frozenset({"Long", "datetime", "duration"})


def equal(kind: CedarType | None, a: Cell, b: Cell) -> Truth:
    """`==` of two cells of one type, of which neither errs."""
    if a.known and b.known:
        return bool(a.value == b.value)
    if isinstance(kind, EntityRef):
        return same_entity(a.value, b.value)
    if isinstance(kind, SetOf):
        return both(contains_all(kind.element, a, b), contains_all(kind.element, b, a))
    if isinstance(kind, Scalar) and kind.name in _NUMBERS:
        return numbers.compared("==", a, b)
    if isinstance(kind, Scalar) and kind.name == "Bool":
        return either(both(a.value, b.value), both(no(a.value), no(b.value)))
    return _sides_equal(kind, a, b)


def _sides_equal(kind: CedarType | None, a: Cell, b: Cell) -> Truth:
    if not storable(a.value) or not storable(b.value):
        return False
    left = bound(a.value, kind) if a.known else a.value
    right = bound(b.value, kind) if b.known else b.value
    return left == right


def same_entity(a: Any, b: Any) -> Truth:
    if isinstance(a, Ref):
        a, b = b, a
    if isinstance(b, Ref):
        return a == b if isinstance(a, Ref) else one_of(a.id, identities([b], a.type, a.id.type))
    if a.type != b.type:
        return False
    if type(bind_type(a.id.type)) is not type(bind_type(b.id.type)):
        return sa.cast(a.id, sa.Text) == sa.cast(b.id, sa.Text)
    return a.id == b.id  # type: ignore[no-any-return]


def contains(element: CedarType | None, whole: Cell, one: Cell) -> Truth:
    """Whether a set holds a value."""
    if isinstance(whole.value, Listed):
        return either(*(equal(element, member, one) for member in whole.value.members))
    if whole.known and one.known:
        return one.value in whole.value
    if isinstance(whole.value, RowSet):
        return _holds(element, whole.value, one)
    if isinstance(element, EntityRef):
        return one_of(one.value.id, identities(whole.value, one.value.type, one.value.id.type))
    if isinstance(element, Scalar) and element.name in ("String", "Long"):
        type_: Any = sa.Text() if element.name == "String" else sa.BigInteger()
        return one_of(numbers.number(one) if element.name == "Long" else one.value, _plain(whole.value), type_)
    return either(*(equal(element, Cell(member), one) for member in sorted(whole.value)))


def _plain(values: Any) -> list[Any]:
    return [value for value in sorted(values) if storable(value)]


def _holds(element: CedarType | None, array_: RowSet, one: Cell) -> Truth:
    if one.known:
        values = _members(element, frozenset({one.value}), array_)
        return sa.literal(values[0], array_.item) == sa.any_(array_.column) if values else False
    value: Any = one.value.id if isinstance(one.value, RowEntity) else one.value
    return sa.cast(value, array_.item) == sa.any_(array_.column)


def _members(element: CedarType | None, values: frozenset[Any], like: RowSet) -> list[Any]:
    """The known values that an array could hold."""
    if isinstance(element, EntityRef):
        return identities(values, element.type, like.item)
    return _plain(values)


def contains_all(element: CedarType | None, whole: Cell, part: Cell) -> Truth:
    """Whether one set holds all of another."""
    if whole.known and part.known:
        return bool(part.value <= whole.value)
    if part.known:
        values = _members(element, part.value, whole.value)
        if len(values) < len(part.value):
            return False  # something that no row could hold
        return whole.value.column.bool_op("@>")(array(values, whole.value.item))  # type: ignore[no-any-return]
    if whole.known:
        return part.value.column.bool_op("<@")(array(_members(element, whole.value, part.value), part.value.item))  # type: ignore[no-any-return]
    return whole.value.column.bool_op("@>")(part.value.column)  # type: ignore[no-any-return]


def contains_any(element: CedarType | None, a: Cell, b: Cell) -> Truth:
    """Whether two sets share a member."""
    if a.known and b.known:
        return bool(a.value & b.value)
    if a.known:
        a, b = b, a
    if b.known:
        values = _members(element, b.value, a.value)
        return a.value.column.bool_op("&&")(array(values, a.value.item)) if values else False
    return a.value.column.bool_op("&&")(b.value.column)  # type: ignore[no-any-return]


def is_empty(cell: Cell) -> Truth:
    if cell.known:
        return not cell.value
    if isinstance(cell.value, Listed):
        return not cell.value.members
    return sa.func.cardinality(cell.value.column) == 0


def choice_of(kind: CedarType | None, met: Cell, then: Cell, otherwise: Cell) -> Cell:
    """`if … then … else …` of scalars, where the row decides."""
    unmet = false_in(met)
    err = either(met.err, both(met.value, then.err), both(unmet, otherwise.err))
    if isinstance(kind, Scalar) and kind.name in _NUMBERS:
        wide = then.wide or otherwise.wide
        sides = [numbers.number(one, wide=wide, cast=True) for one in (then, otherwise)]
        ends = [end for one in (then, otherwise) for end in ((one.value,) if one.known else (one.least, one.most))]
        return Cell(sa.case((met.value, sides[0]), else_=sides[1]), err, min(ends), max(ends), wide)
    sides = [bound(one.value, kind) if one.known else one.value for one in (then, otherwise)]
    return Cell(sa.case((met.value, sides[0]), else_=sides[1]), err)


# Hierarchy ------------------------------------------------------------------------------------------------------------


def known_in(mine: set[Ref], right: Cell) -> Truth:
    """Whether a known entity, with all that it is in, is in something."""
    if right.known:
        wanted = right.value if isinstance(right.value, frozenset) else {right.value}
        return not mine.isdisjoint(wanted)
    if isinstance(right.value, Listed):
        return either(*(known_in(mine, member) for member in right.value.members))
    if isinstance(right.value, RowEntity):
        return one_of(right.value.id, identities(sorted(mine), right.value.type, right.value.id.type))
    ids = identities(sorted(mine), right.value.type, right.value.item)
    return right.value.column.bool_op("&&")(array(ids, right.value.item)) if ids else False


def row_in(one: RowEntity, right: Cell) -> Truth:
    """Whether an entity that a row names is one of those on the right."""
    if right.known:
        wanted = right.value if isinstance(right.value, frozenset) else {right.value}
        return one_of(one.id, identities(wanted, one.type, one.id.type))
    if isinstance(right.value, Listed):
        return either(*(row_in(one, member) for member in right.value.members))
    if isinstance(right.value, RowEntity):
        return same_entity(one, right.value)
    return sa.cast(one.id, right.value.item) == sa.any_(right.value.column) if one.type == right.value.type else False


def sql_pattern(pattern: list[Any]) -> str:
    """Cedar's `like` pattern as SQL's, escaped by a backslash."""
    parts = ("%" if part == "Wildcard" else _escaped(part["Literal"]) for part in pattern)
    return "".join(parts)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
