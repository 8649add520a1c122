"""`may_list()`: of many rows, only those that the same policies allow, filtered by the database.

Row-level security limits the rows to the tenant; the policies, compiled to SQL (`sql/`), choose among them. So a list
is one query with an index under it, counts and pages hold no hidden row, and no bound makes rows go missing.

Two implementations of one policy can differ, so what `all` and `page` give is asked of the engine again: every row in
development, a sample in production. A row that it denies never leaves: the request fails, an alert is raised,
and from then on every row of such lists is asked for as long as the process lives.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
import structlog
from fastapi import Depends, Request
from sqlalchemy.sql.elements import ColumnElement

from seawall.access.engine import Allow, Engine, Ruling
from seawall.access.may import REQUIREMENT_ATTR, Requirement, engine_of
from seawall.access.paging import OrderBy, Page, beyond, cursor_of, places, read_cursor
from seawall.access.record import ANY, allowed, decision_event, route_of
from seawall.core.decisions import DECISION_ATTR, passage_of
from seawall.core.errors import Refused
from seawall.core.scope import Passage, Principal, Scope
from seawall.store.statements import cached

log = structlog.get_logger("seawall.access")

M = TypeVar("M")
ROWS_DEFAULT = 100
ROWS_MAX = 1_000
PAGE_ROWS_DEFAULT = 50
COUNT_MAX = 100_000
SAMPLE_LISTS, SAMPLE_ROWS = 0.1, 3
"""The share of lists of which production asks the engine about some rows again, and how many."""
Where = ColumnElement[bool]


class Rows(list[M]):
    """Allowed objects. `complete` is False when there are more than the limit let through."""

    complete: bool = True


class Visible(Generic[M]):
    """The objects of one model that the caller may see. The value of a `may_list()` parameter."""

    def __init__(self, passage: Passage, principal: Principal, engine: Engine, model: type[M], action: str) -> None:
        """
        Raises:
            Refused: when the policies of this action cannot filter a list; the boot gate has seen that they can.
        """
        self._passage = passage
        self._principal = principal
        self._engine = engine
        self._model = model
        self._loader = engine.loader(model)
        self._ruling = engine.ruling(model, action)
        self._filter = engine.row_filter(model, action)
        self._context = self._ruling.context.build(principal, {}, step_up=False)
        self._where = self._filter.where(engine.known(principal, self._ruling, self._context))

    def select(self) -> sa.Select[tuple[M]]:
        """A query of the allowed objects, to be refined with `where`, `order_by`, `limit`, `join`, and run in
        `scope.session()`. Conditions are added to the filter; none takes it away.
        """
        return self._filtered(sa.select(self._model), self._filter.near)

    async def all(
        self, *where: Where, order_by: OrderBy | Sequence[OrderBy] = (), limit: int = ROWS_DEFAULT
    ) -> Rows[M]:
        """The allowed objects that meet every condition, in order; they are in the ORM session.

        Args:
            where: SQLAlchemy conditions on the model's columns.
            order_by: columns; the id breaks ties.
            limit: 1 to 1000.

        Raises:
            ValueError: for another limit.
        """
        order = [order_by] if isinstance(order_by, ColumnElement | sa.orm.InstrumentedAttribute) else list(order_by)
        found = await self._fetch(where, [*order, self._loader.identity_column], _limit(limit) + 1)
        rows: Rows[M] = Rows(found[:limit])
        rows.complete = len(found) <= limit
        return rows

    async def page(
        self,
        *where: Where,
        order_by: OrderBy | Sequence[OrderBy] = (),
        limit: int = PAGE_ROWS_DEFAULT,
        after: str | None = None,
    ) -> Page[M]:
        """One page of the allowed objects; its `next` is the cursor of the page after it.

        Args:
            where: as `all`; the same for every page.
            order_by: columns of the model and their `.desc()`; the id breaks ties.
            limit: 1 to 1000.
            after: the `next` of the page before, as the caller sends it back.

        Raises:
            BadRequest: the cursor is none of this order's.
            ValueError: for another limit or order.
        """
        order = places(self._model, order_by, self._loader.identity_key)
        begins = [beyond(order, read_cursor(order, after))] if after else []
        found = await self._fetch((*where, *begins), [place.ordered for place in order], _limit(limit) + 1)
        page: Page[M] = Page(found[:limit])
        page.next = cursor_of(order, page[-1]) if len(found) > limit else None
        return page

    async def count(self, *where: Where, at_most: int = COUNT_MAX) -> int:
        """How many allowed objects meet every condition. Counts no further than `at_most`."""
        if not 1 <= at_most <= COUNT_MAX:
            raise ValueError(f"at_most must be between 1 and {COUNT_MAX}")
        rows = self._filtered(sa.select(sa.literal_column("1")), self._filter.near).where(*where).limit(at_most)
        statement = cached(sa.select(sa.func.count()).select_from(rows.subquery()))
        transaction = await self._passage.begin()
        (row,) = await transaction.fetch(statement.sql, *statement.arguments())
        return int(row[0])

    def _filtered(self, query: sa.Select[Any], near: Any) -> sa.Select[Any]:
        tenant = self._loader.tenant_column == self._principal.tenant_id
        return query.select_from(self._loader.joined(near)).where(tenant, self._where)

    async def _fetch(self, where: Sequence[Where], order: Sequence[Any], limit: int) -> list[M]:
        query = self._filtered(sa.select(*self._loader.columns), None)
        statement = cached(query.where(*where).order_by(*order).limit(limit))
        transaction = await self._passage.begin()
        rows = await self._loader.fetch(transaction, statement.sql, statement.arguments())
        return [transaction.adopt(one) for one in self._agreed(rows)]

    def _agreed(self, found: list[M]) -> list[M]:
        """The same rows, when the engine allows those of them that it is asked about.

        Raises:
            RuntimeError: when it denies one.
        """
        asked = _sample(found) if self._engine.production and not self._filter.doubted else found
        if not asked:
            return found
        verdicts = self._engine.decide_in(self._context, self._principal, self._ruling, asked)
        denied = sum(not isinstance(verdict, Allow) for verdict in verdicts)
        if denied:
            self._filter.doubted = True
            action, resource_type = self._ruling.action, self._ruling.resource.type_name
            log.error("access.list-mismatch", alert=True, action=action, resource_type=resource_type, rows=denied)
            raise RuntimeError(f"the filter of {action} {resource_type} let through {denied} rows that policies deny")
        return found


def _sample(found: list[M]) -> list[M]:
    # which rows are asked about is no secret
    return random.sample(found, min(SAMPLE_ROWS, len(found))) if random.random() < SAMPLE_LISTS else []  # noqa: S311


def _limit(limit: int) -> int:
    if not 1 <= limit <= ROWS_MAX:
        raise ValueError(f"limit must be between 1 and {ROWS_MAX}")
    return limit


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
        check_listable(engine, model, action, route_of(request))
        event = _event(engine, passage, route_of(request), model, action)
        allowed(passage, principal, event, f"{action} {model.__name__}, row by row")
        return Visible(passage, principal, engine, model, action)

    decide.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request)]
    )
    setattr(decide, DECISION_ATTR, "may_list")
    setattr(decide, REQUIREMENT_ATTR, requirement)
    return Depends(decide)


def visible(scope: Scope, model: type[M], action: str) -> Visible[M]:
    """Further objects that the caller may see, in a handler whose own decision was on another: the dishes of a venue.

    Raises:
        Refused: when the policies of this action cannot filter a list.
    """
    passage = scope._passage
    engine = engine_of(passage)
    check_listable(engine, model, action, passage.path)
    event = _event(engine, passage, f"{passage.method} {passage.path}", model, action)
    passage.runtime.note_read(scope.principal, event)
    return Visible(passage, scope.principal, engine, model, action)


def _event(engine: Engine, passage: Passage, route: str, model: type[Any], action: str) -> Any:
    resource = f'{engine.ruling(model, action).resource.type_name}::"{ANY}"'
    return decision_event(passage, route, action=action, resource=resource, effect="allow", reason="rows-filtered")


def check_listable(engine: Engine, model: type[Any], action: str, where: str) -> Ruling:
    """Refuse an action that needs a body or facts, which a row of a list has not, or whose policies SQL cannot say.

    Raises:
        Refused: naming the route (`where`).
    """
    ruling = engine.ruling(model, action)
    if not ruling.context.complete:
        raise Refused(
            f"{where}: action {ruling.action!r} requires more context than a list of rows has",
            why="its policies would fail on every row, and the list would be empty",
            fix="list by an action whose context is now, auth and step_up only, such as read",
        )
    try:
        engine.row_filter(model, action)
    except Refused as refused:
        raise Refused(f"{where}: {refused.what}", why=refused.why, fix=refused.fix) from None
    return ruling
