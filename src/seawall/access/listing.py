"""`may_list()`: of many rows, only those that the same policies allow.

Row-level security limits the rows to the tenant; Cedar then decides on each. The scan is bounded, and a list that the
bound cut short says so (`complete`), because a filter that silently drops rows is a wrong answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
import structlog
from fastapi import Depends, Request
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.elements import ColumnElement

from seawall.access.engine import Allow, Ruling
from seawall.access.may import REQUIREMENT_ATTR, Requirement, engine_of
from seawall.access.record import ANY, allowed, decision_event, route_of
from seawall.core.decisions import DECISION_ATTR, passage_of
from seawall.core.errors import Refused
from seawall.core.scope import Passage, Principal
from seawall.store.loader import Loader, compiled

log = structlog.get_logger("seawall.access")

M = TypeVar("M")
OrderBy = ColumnElement[Any] | InstrumentedAttribute[Any]
ROWS_DEFAULT = 100
ROWS_MAX = 1_000
PAGE_ROWS = 250
SCAN_ROWS_MAX = 5_000
"""Rows that one list may look at to find the allowed ones."""


class Rows(list[M]):
    """Allowed objects. `complete` is False when the scan's bound was reached before the end of the table."""

    complete: bool = True


class Visible(Generic[M]):
    """The objects of one model that the caller may see. The value of a `may_list()` parameter."""

    def __init__(self, passage: Passage, principal: Principal, loader: Loader[M], ruling: Ruling) -> None:
        self._passage = passage
        self._principal = principal
        self._loader = loader
        self._ruling = ruling

    async def all(
        self,
        *where: ColumnElement[bool],
        order_by: OrderBy | Sequence[OrderBy] = (),
        limit: int = ROWS_DEFAULT,
    ) -> Rows[M]:
        """The allowed objects that meet every condition, in order; they are in the ORM session.

        Args:
            where: SQLAlchemy conditions on the model's columns.
            order_by: columns; the id breaks ties.
            limit: 1 to 1000.

        Raises:
            ValueError: for another limit.
        """
        if not 1 <= limit <= ROWS_MAX:
            raise ValueError(f"limit must be between 1 and {ROWS_MAX}")
        order = [order_by] if isinstance(order_by, ColumnElement | InstrumentedAttribute) else list(order_by)
        loader = self._loader
        statement = (
            sa.select(*loader.columns)
            .where(loader.tenant_column == self._principal.tenant_id, *where)
            .order_by(*order, loader.identity_column)
        )
        rows: Rows[M] = Rows()
        transaction = await self._passage.begin()
        for offset in range(0, SCAN_ROWS_MAX, PAGE_ROWS):
            page = compiled(statement.limit(PAGE_ROWS).offset(offset))
            found = await loader.fetch(transaction, page.sql, page.arguments())
            for instance in self._allowed(found):
                if len(rows) == limit:
                    return rows
                transaction.adopt(instance)
                rows.append(instance)
            if len(found) < PAGE_ROWS:
                return rows
        rows.complete = False
        log.warning("access.list-cut-short", resource_type=self._ruling.resource.type_name, scanned=SCAN_ROWS_MAX)
        return rows

    def _allowed(self, instances: list[M]) -> list[M]:
        if not instances:
            return []
        verdicts = engine_of(self._passage).decide_all(self._principal, self._ruling, instances)
        return [i for i, verdict in zip(instances, verdicts, strict=True) if isinstance(verdict, Allow)]


def may_list(model: type[M], action: str) -> Any:
    """Declare that a route lists objects. The parameter is a `Visible[Model]`.

    Args:
        model: a `Tenanted` model.
        action: an action of the Cedar schema whose context needs nothing beside `now`, `auth` and `step_up`.

    Raises:
        NotSignedIn, SecondFactorRequired: at the request.
    """
    requirement = Requirement(model, action, listing=True)

    async def decide(request: Request) -> Visible[M]:
        passage = passage_of(request)
        principal = await passage.require_actor()
        engine = engine_of(passage)
        ruling = engine.ruling(model, action)
        check_listable(ruling, route_of(request))
        event = decision_event(
            passage,
            route_of(request),
            action=action,
            resource=f'{ruling.resource.type_name}::"{ANY}"',
            effect="allow",
            reason="rows-filtered",
        )
        allowed(passage, principal, event, f"{action} {ruling.resource.type_name}, row by row")
        return Visible(passage, principal, engine.loader(model), ruling)

    decide.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)]
    )
    setattr(decide, DECISION_ATTR, "may_list")
    setattr(decide, REQUIREMENT_ATTR, requirement)
    return Depends(decide)


def check_listable(ruling: Ruling, where: str) -> None:
    """Refuse an action that needs a body or facts: a row of a list has neither.

    Raises:
        Refused: naming the route (`where`).
    """
    if not ruling.context.complete:
        raise Refused(
            f"{where}: action {ruling.action!r} requires more context than a list of rows has",
            why="its policies would fail on every row, and the list would be empty",
            fix="list by an action whose context is now, auth and step_up only, such as read",
        )
