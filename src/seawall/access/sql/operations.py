"""Cedar's operators on compiled parts: what each takes, and how it is folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seawall.access.schema import Attribute, CedarType, EntityRef, Record, SetOf
from seawall.access.sql import numbers, sets
from seawall.access.sql.cells import FAILED, Cell, Listed, Truth, atom, either, negation
from seawall.access.sql.columns import Unsupported, bound, storable
from seawall.access.sql.known import like
from seawall.access.sql.nodes import BOOL, DECIMAL, DURATION, LONG, MOMENT, STRING, Node, made

UNITS_MS = {
    "toMilliseconds": 1, "toSeconds": 1_000, "toMinutes": 60_000, "toHours": 3_600_000, "toDays": 86_400_000,
}  # fmt: skip
DECIMALS = {"lessThan": "<", "lessThanOrEqual": "<=", "greaterThan": ">", "greaterThanOrEqual": ">="}
_ORDERED = (LONG, MOMENT, DURATION)


def must_be(node: Node, kind: CedarType) -> Node:
    """
    Raises:
        Unsupported: when it is of another type.
    """
    if node.kind != kind:
        raise Unsupported(f"{node.kind} where a {kind} is meant")
    return node


def _of_both(left: Node, right: Node, do: Callable[[Cell, Cell], Truth]) -> Node:
    """A Bool of two parts, which errs where either does."""

    def combined(a: Cell, b: Cell) -> Cell:
        err = either(a.err, b.err)
        return FAILED if err is True else atom(do(a, b), err)

    return made(BOOL, [left, right], combined)


# Comparisons ----------------------------------------------------------------------------------------------------------


def equal(left: Node, right: Node) -> Node:
    kinds = {type(left.kind), type(right.kind)}
    if len(kinds) > 1 or (not isinstance(left.kind, EntityRef | SetOf | Record) and left.kind != right.kind):
        raise Unsupported(f"== of {left.kind} and {right.kind}")
    if (left.rows or right.rows) and (isinstance(left.kind, Record) or left.listed or right.listed):
        raise Unsupported(f"== of {left.kind} that depends on the row")
    return _of_both(left, right, lambda a, b: sets.equal(left.kind, a, b))


def unequal(left: Node, right: Node) -> Node:
    return made(BOOL, [equal(left, right)], negation)


def ordered(sign: str, left: Node, right: Node) -> Node:
    if left.kind != right.kind or left.kind not in _ORDERED:
        raise Unsupported(f"{sign} of {left.kind} and {right.kind}")
    return _of_both(left, right, lambda a, b: numbers.compared(sign, a, b))


def decimals(sign: str, left: Node, right: Node) -> Node:
    must_be(left, DECIMAL)
    must_be(right, DECIMAL)

    def do(a: Cell, b: Cell) -> Truth:
        sides = (a.value, b.value) if a.known and b.known else (_decimal(a), _decimal(b))
        truth: Truth = numbers.COMPARE[sign](*sides)
        return truth

    return _of_both(left, right, do)


def _decimal(cell: Cell) -> Any:
    return bound(cell.value, DECIMAL) if cell.known else cell.value


def matches(left: Node, pattern: list[Any]) -> Node:
    """`like`."""
    must_be(left, STRING)

    def matched(cell: Cell) -> Cell:
        if cell.err is True or cell.known:
            return FAILED if cell.err is True else Cell(like(cell.value, pattern))
        if not all(storable(part["Literal"]) for part in pattern if part != "Wildcard"):
            return atom(False, cell.err)
        return atom(cell.value.like(sets.sql_pattern(pattern), escape="\\"), cell.err)

    return made(BOOL, [left], matched)


# Numbers --------------------------------------------------------------------------------------------------------------


def counted(sign: str, left: Node, right: Node) -> Node:
    must_be(left, LONG)
    must_be(right, LONG)
    return _arithmetic(sign, left, right, LONG)


def offset(moment: Node, by: Node) -> Node:
    return _arithmetic("+", must_be(moment, MOMENT), must_be(by, DURATION), MOMENT)


def since(moment: Node, other: Node) -> Node:
    return _arithmetic("-", must_be(moment, MOMENT), must_be(other, MOMENT), DURATION)


def _arithmetic(sign: str, left: Node, right: Node, kind: CedarType) -> Node:
    return made(kind, [left, right], lambda a, b: numbers.arithmetic(sign, a, b))


def converted(name: str, node: Node) -> Node:
    """`toDate()`, `toTime()`, and a duration in whole units."""
    if name in UNITS_MS:
        must_be(node, DURATION)
        return made(LONG, [node], lambda cell: numbers.in_units(cell, UNITS_MS[name]))
    must_be(node, MOMENT)
    if name == "toDate":
        return made(MOMENT, [node], numbers.date_of)
    return made(DURATION, [node], numbers.time_of_day)


def chosen(condition: Node, then: Node, otherwise: Node) -> Node:
    """`if … then … else …` of values that are no Bools."""
    if condition.rows and then.kind not in (LONG, STRING, MOMENT, DURATION, DECIMAL):
        raise Unsupported(f"if that gives {then.kind} depending on the row")

    def one(met: Cell, yes: Cell, other: Cell) -> Cell:
        if met.err is True:
            return FAILED
        if isinstance(met.value, bool) and met.err is False:
            return yes if met.value else other
        return sets.choice_of(then.kind, met, yes, other)

    return made(then.kind, [condition, then, otherwise], one, listed=then.listed or otherwise.listed)


# Sets and records -----------------------------------------------------------------------------------------------------


def set_of(members: Sequence[Node]) -> Node:
    kinds = {node.kind for node in members}
    if len(kinds) > 1:
        raise Unsupported("a set of several types")
    kind = SetOf(kinds.pop() if kinds else None)  # type: ignore[arg-type]  # the empty set's element has no type
    rows = any(node.rows for node in members)

    def together(*cells: Cell) -> Cell:
        err = either(*(cell.err for cell in cells))
        if err is True:
            return FAILED
        if all(cell.known for cell in cells):
            return Cell(frozenset(cell.value for cell in cells), err)
        return Cell(Listed(cells), err)

    return made(kind, members, together, listed=rows)


def record_of(members: Mapping[str, Node]) -> Node:
    if any(node.rows for node in members.values()):
        raise Unsupported("a record with attributes of the row")
    kind = Record({name: Attribute(node.kind) for name, node in members.items() if node.kind is not None})

    names = sorted(members)

    def together(*cells: Cell) -> Cell:
        failed = any(cell.err for cell in cells)
        return FAILED if failed else Cell(tuple((name, cell.value) for name, cell in zip(names, cells, strict=True)))

    return made(kind, [members[name] for name in names], together)


def of_sets(name: str, left: Node, right: Node) -> Node:
    """`contains`, `containsAll`, `containsAny`."""
    if not isinstance(left.kind, SetOf) or (name != "contains" and not isinstance(right.kind, SetOf)):
        raise Unsupported(f"{name}() of {left.kind} and {right.kind}")
    if name != "contains" and (left.listed or right.listed):
        raise Unsupported(f"{name}() of a set with attributes of the row")
    element = left.kind.element or (right.kind.element if isinstance(right.kind, SetOf) else right.kind)
    if isinstance(element, Record | SetOf) and (left.rows or right.rows):
        raise Unsupported(f"{name}() of {left.kind} that depends on the row")
    do = {"contains": sets.contains, "containsAll": sets.contains_all, "containsAny": sets.contains_any}[name]
    return _of_both(left, right, lambda a, b: do(element, a, b))


def is_empty(left: Node) -> Node:
    if not isinstance(left.kind, SetOf):
        raise Unsupported(f"isEmpty() of {left.kind}")

    return made(BOOL, [left], lambda cell: FAILED if cell.err is True else atom(sets.is_empty(cell), cell.err))
