"""`prepared`: a query on one model, compiled once, run on the raw connection.

    LINES = prepared(OrderLine, OrderLine.order_id == bindparam("order_id"), order_by=OrderLine.name)

    lines = await scope.all(LINES, order_id=order.id)

For queries that every request runs: it skips the ORM's per-call work, which costs more than the database does, and
still gives objects that the ORM session knows. Row-level security is on it like on everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.elements import ColumnElement

from seawall.core.scope import Transaction
from seawall.store.loader import Loader, compiled

M = TypeVar("M")
ROWS_MAX = 1_000
OrderBy = ColumnElement[Any] | InstrumentedAttribute[Any]


class Prepared(Generic[M]):
    """A compiled query. Made by `prepared`; run by `Scope.all`."""

    def __init__(self, model: type[M], where: Sequence[Any], order_by: Sequence[OrderBy], limit: int) -> None:
        self._loader = Loader(model)
        statement = sa.select(*self._loader.columns).where(*where).order_by(*order_by).limit(limit)
        self._statement = compiled(statement)
        # a parameter left out would be bound as NULL, and quietly match nothing
        self._parameters = frozenset(name for name in self._statement.names if self._statement.values[name] is None)

    async def run(self, transaction: Transaction, values: dict[str, Any]) -> list[M]:
        """The objects, in order.

        Raises:
            KeyError: a parameter is missing, or is none of the query's.
        """
        if values.keys() != self._parameters:
            raise KeyError(f"the query takes {sorted(self._parameters)}, not {sorted(values)}")
        found = await self._loader.fetch(transaction, self._statement.sql, self._statement.arguments(**values))
        return [transaction.adopt(one) for one in found]


def prepared(
    model: type[M],
    *where: ColumnElement[bool],
    order_by: OrderBy | Sequence[OrderBy] = (),
    limit: int = ROWS_MAX,
) -> Prepared[M]:
    """Compile a query once, at import.

    Args:
        model: a `Tenanted` model.
        where: conditions; what varies is a `bindparam("name")`.
        order_by: one column or several.
        limit: rows at most.
    """
    columns = [order_by] if isinstance(order_by, ColumnElement | InstrumentedAttribute) else list(order_by)
    return Prepared(model, where, columns, limit)
