"""A part of a policy, compiled: its type, what it teaches about the rest, and how it is folded for one request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from seawall.access.schema import CedarType, Scalar
from seawall.access.sql.cells import Cell
from seawall.access.sql.known import Env

Path = tuple[str, ...]
"""`("resource", "deal", "owner")`."""
Facts = frozenset[Path]
"""Optional attributes of the row that are known to be there: a `has` before was true."""
NOTHING: Facts = frozenset()
BOOL, LONG, STRING = Scalar("Bool"), Scalar("Long"), Scalar("String")
MOMENT, DURATION, DECIMAL = Scalar("datetime"), Scalar("duration"), Scalar("decimal")


@dataclass(frozen=True, slots=True)
class Node:
    """
    Args:
        kind: the Cedar type; None for what the empty set holds.
        fold: the value for one request.
        then, otherwise: what is known where this Bool is true, and where it is false.
        path: the attributes from a variable, when it is such a path.
        cell: its value, when that is the same for every request.
        rows: whether its value depends on the row.
        listed: whether it is a set written out with members that do.
    """

    kind: CedarType | None
    fold: Callable[[Env], Cell]
    then: Facts = NOTHING
    otherwise: Facts = NOTHING
    path: Path | None = None
    cell: Cell | None = None
    rows: bool = True
    listed: bool = False

    @property
    def constant(self) -> bool | None:
        """The truth of a Bool that is the same for every request and row, and never errs."""
        sure = self.cell is not None and isinstance(self.cell.value, bool) and self.cell.err is False
        return bool(self.cell.value) if sure and self.cell and self.kind == BOOL else None


def fixed(kind: CedarType | None, cell: Cell, **more: Any) -> Node:
    """A node that is the same for every request."""
    return Node(kind, lambda env: cell, cell=cell, **{"rows": not cell.known, **more})


def made(kind: CedarType | None, parts: Sequence[Node], do: Callable[..., Cell], **more: Any) -> Node:
    """A node of others. When none of them depends on the request it is folded now, once for all."""
    rows = any(part.rows for part in parts)
    cells = [part.cell for part in parts if part.cell is not None]
    if len(cells) == len(parts):
        return Node(kind, _always(cell := do(*cells)), cell=cell, **{"rows": rows, **more})

    def fold(env: Env) -> Cell:
        return do(*[part.fold(env) for part in parts])

    return Node(kind, fold, **{"rows": rows, **more})


def settled_by(
    stop: bool, left: Node, right: Node, join: Callable[[Cell, Cell], Cell], *, then: Facts, otherwise: Facts
) -> Node:
    """`&&` and `||`: the right is not looked at where the left is `stop` for every row."""
    if left.cell is not None and right.cell is not None:
        return fixed(BOOL, join(left.cell, right.cell), then=then, otherwise=otherwise)

    def fold(env: Env) -> Cell:
        cell = left.fold(env)
        return cell if cell.value is stop and cell.err is False else join(cell, right.fold(env))

    return Node(BOOL, fold, then, otherwise, rows=left.rows or right.rows)


def _always(cell: Cell) -> Callable[[Env], Cell]:
    return lambda env: cell


def truth(value: bool) -> Node:
    return fixed(BOOL, Cell(value))
