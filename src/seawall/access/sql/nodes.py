"""A part of a policy, compiled: its type, what it teaches about the rest, and how it is folded for one request."""

from __future__ import annotations

from collections.abc import Callable
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


def truth(value: bool) -> Node:
    return fixed(BOOL, Cell(value))
