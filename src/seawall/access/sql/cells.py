"""What an expression becomes when a filter is folded: a `Cell`, with its value and the condition under which it errs.

Cedar has two truths and errors; SQL has three truths. A cell keeps them apart: `err` is never NULL, and a Bool's value
is true only where it does not err. So `NOT` means what it says, and no NULL is taken for a no. A value may be NULL
where a `has` before it was false: there, the rules of `&&`, `||` and `if` below never look at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import ColumnElement

from seawall.access.sql.known import LONG_MAX, LONG_MIN
from seawall.store.loader import Keys

Sql = ColumnElement[Any]
Truth = bool | Sql
MOMENT_MIN_MS, MOMENT_MAX_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999, which Python and so every loaded row can hold."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment_of(ms: int) -> Sql:
    """Milliseconds since 1970 as a `timestamptz`."""
    return sa.literal(_EPOCH + timedelta(milliseconds=ms), sa.DateTime(timezone=True))


@dataclass(frozen=True, slots=True)
class RowEntity:
    """An entity that a row names: the object itself, a row near it, or one of which only the id is known.

    Args:
        id: the column with its id.
        at: where its own row is, when that is loaded.
        perhaps: whether there may be none where nothing errs: a parent of a row that is not there.
    """

    type: str
    id: Sql
    at: Keys | None = None
    perhaps: bool = False


@dataclass(frozen=True, slots=True)
class RowMoment:
    """A `timestamptz` column, which counts microseconds where Cedar counts milliseconds."""

    column: Sql

    @property
    def ms(self) -> Sql:
        # ±infinity, which `guard` leaves out, must not fail the statement that comes upon it first
        finite = sa.func.least(sa.func.greatest(self.column, moment_of(MOMENT_MIN_MS)), moment_of(MOMENT_MAX_MS))
        return sa.cast(sa.func.floor(sa.extract("epoch", finite) * 1000), sa.BigInteger)


@dataclass(frozen=True, slots=True)
class RowSet:
    """An array column: its values as `item`, and the type of the entities that they name, if they do."""

    column: Sql
    item: sa.types.TypeEngine[Any]
    type: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A set written out in a policy with members that depend on the row."""

    members: tuple[Cell, ...]


_OF_ROWS = (ColumnElement, RowEntity, RowMoment, RowSet, Listed)


@dataclass(frozen=True, slots=True)
class Cell:
    """One folded expression.

    Args:
        value: a known value, SQL, or one of the row values above.
        err: where evaluating it fails.
        least, most: bounds of a number that a row holds.
        wide: whether the number may not fit into a `bigint` where it errs, so that SQL must count in `numeric`.
    """

    value: Any
    err: Truth = False
    least: int = LONG_MIN
    most: int = LONG_MAX
    wide: bool = False

    @property
    def known(self) -> bool:
        return not isinstance(self.value, _OF_ROWS)


FAILED = Cell(False, True)


def no(truth: Truth) -> Truth:
    return not truth if isinstance(truth, bool) else sa.not_(truth)


def both(*truths: Truth) -> Truth:
    """And. In the order given, because the first may say where the next must not be looked at."""
    kept: list[Any] = [truth for truth in truths if truth is not True]
    if any(truth is False for truth in kept):
        return False
    return True if not kept else kept[0] if len(kept) == 1 else sa.and_(*kept)


def either(*truths: Truth) -> Truth:
    kept: list[Any] = [truth for truth in truths if truth is not False]
    if any(truth is True for truth in kept):
        return True
    return False if not kept else kept[0] if len(kept) == 1 else sa.or_(*kept)


def atom(truth: Truth, err: Truth, **bounds: Any) -> Cell:
    """A Bool, false where it errs."""
    return Cell(both(no(err), truth), err, **bounds)


def false_in(cell: Cell) -> Truth:
    """Where a Bool is false, and does not err."""
    return both(no(cell.err), no(cell.value))


def negation(cell: Cell) -> Cell:
    return Cell(false_in(cell), cell.err)


def conjunction(left: Cell, right: Cell) -> Cell:
    return Cell(both(left.value, right.value), either(left.err, both(left.value, right.err)))


def disjunction(left: Cell, right: Cell) -> Cell:
    # where the left errs, it is not true, and the right is not looked at
    left_false = no(left.value)
    return Cell(either(left.value, both(no(left.err), right.value)), either(left.err, both(left_false, right.err)))


def choice(condition: Cell, then: Cell, otherwise: Cell) -> Cell:
    """`if … then … else …` of Bools."""
    if isinstance(condition.value, bool) and condition.err is False:
        return then if condition.value else otherwise
    unmet = false_in(condition)
    return Cell(
        either(both(condition.value, then.value), both(unmet, otherwise.value)),
        either(condition.err, both(condition.value, then.err), both(unmet, otherwise.err)),
    )
