"""Cedar's 64-bit arithmetic in SQL: out of range is an error of the policy, never of the statement."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from seawall.access.sql.cells import (
    FAILED,
    MOMENT_MAX_MS,
    MOMENT_MIN_MS,
    Cell,
    RowMoment,
    Sql,
    Truth,
    both,
    either,
    moment_of,
    no,
)
from seawall.access.sql.known import DAY_MS, LONG_MAX, LONG_MIN, long

Operator = Callable[[Any, Any], Any]
COMPARE: dict[str, Operator] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq,
}  # fmt: skip
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "=="}
ARITHMETIC: dict[str, Operator] = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def number(cell: Cell, *, wide: bool = False, cast: bool = False) -> Sql:
    """A Long, datetime or duration as SQL: `bigint` (or smaller, unless `cast`), or `numeric` when `wide`."""
    if cell.known:
        return sa.literal(Decimal(cell.value), sa.Numeric()) if wide else sa.literal(cell.value, sa.BigInteger())
    value: Any = cell.value.ms if isinstance(cell.value, RowMoment) else cell.value
    if wide:
        return value if cell.wide else sa.cast(value, sa.Numeric)
    return sa.cast(value, sa.BigInteger) if cast and not isinstance(value.type, sa.BigInteger) else value


def arithmetic(sign: str, left: Cell, right: Cell) -> Cell:
    """`+`, `-`, `*`, with the error that Cedar has when the result is no 64-bit integer."""
    do = ARITHMETIC[sign]
    err = either(left.err, right.err)
    if err is True:
        return FAILED
    if left.known and right.known:
        try:
            return Cell(long(do(left.value, right.value)))
        except OverflowError:
            return FAILED
    ends = [do(a, b) for a in _ends(left) for b in _ends(right)]
    least, most = min(ends), max(ends)
    fits = least >= LONG_MIN and most <= LONG_MAX
    wide = left.wide or right.wide or not fits
    value = do(number(left, wide=wide, cast=True), number(right, wide=wide, cast=True))
    if fits:
        return Cell(value, err, least, most, wide)
    over = sa.or_(value < _numeric(LONG_MIN), value > _numeric(LONG_MAX))
    return Cell(value, either(err, over), max(least, LONG_MIN), min(most, LONG_MAX), wide=True)


def _ends(cell: Cell) -> tuple[int, int]:
    return (cell.value, cell.value) if cell.known else (cell.least, cell.most)


def _numeric(value: int) -> Sql:
    return sa.literal(Decimal(value), sa.Numeric())


def time_of_day(moment: Cell) -> Cell:
    """`toTime()`: milliseconds since midnight, UTC."""
    if moment.err is True:
        return FAILED
    if moment.known:
        return Cell(moment.value % DAY_MS)
    value = number(moment, wide=moment.wide, cast=True)
    day = _numeric(DAY_MS) if moment.wide else sa.literal(DAY_MS, sa.BigInteger())
    # SQL's remainder has the sign of the dividend
    return Cell(sa.func.mod(sa.func.mod(value, day) + day, day), moment.err, 0, DAY_MS - 1, moment.wide)


def date_of(moment: Cell) -> Cell:
    """`toDate()`: midnight, UTC."""
    return arithmetic("-", moment, time_of_day(moment))


def in_units(duration: Cell, unit_ms: int) -> Cell:
    """`toSeconds()` and its like: whole units, towards zero."""
    if duration.err is True:
        return FAILED
    if duration.known:
        whole = abs(duration.value) // unit_ms
        return Cell(whole if duration.value >= 0 else -whole)
    if unit_ms == 1:
        return duration
    value = sa.func.div(number(duration, wide=True), _numeric(unit_ms), type_=sa.Numeric())
    least, most = (-(-end // unit_ms) if end < 0 else end // unit_ms for end in (duration.least, duration.most))
    return Cell(value, duration.err, least, most, wide=True)


def compared(sign: str, left: Cell, right: Cell) -> Truth:
    """`<`, `<=`, `>`, `>=`, `==` of two numbers, of which neither surely errs."""
    if left.known and right.known:
        return bool(COMPARE[sign](left.value, right.value))
    if isinstance(left.value, RowMoment) and right.known:
        return _moment(sign, left.value, right.value)
    if isinstance(right.value, RowMoment) and left.known:
        return _moment(_TURNED[sign], right.value, left.value)
    wide = left.wide or right.wide
    truth: Truth = COMPARE[sign](number(left, wide=wide), number(right, wide=wide))
    return truth


def _moment(sign: str, moment: RowMoment, ms: int) -> Truth:
    """A column beside a known moment, as a range of microseconds: so an index on the column can serve it."""
    column = moment.column
    if not MOMENT_MIN_MS <= ms <= MOMENT_MAX_MS:
        return sign in ("<", "<=") if ms > 0 else sign in (">", ">=")
    at = moment_of(ms)
    at_most: Truth = True if ms == MOMENT_MAX_MS else column < moment_of(ms + 1)
    if sign in ("<", ">="):
        return column < at if sign == "<" else column >= at
    if sign == "==":
        return both(column >= at, at_most)
    return at_most if sign == "<=" else no(at_most)
