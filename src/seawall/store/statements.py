"""Statements for the raw connection: SQLAlchemy writes them, asyncpg runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.util import LRUCache

Process = Callable[[Any], Any]

DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]
STATEMENTS_KEPT_MAX = 1_000
"""Shapes of statements whose SQL is kept. A shape varies with the conditions, never with their values."""
_kept: LRUCache[Any, Any] = LRUCache(STATEMENTS_KEPT_MAX)


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with `$n` parameters, and how to turn Python values into what the driver takes."""

    sql: str
    names: tuple[str, ...]
    processors: dict[str, Process]
    values: dict[str, Any]

    def arguments(self, **values: Any) -> list[Any]:
        given = {**self.values, **values}
        return [self.processors[name](given[name]) if name in self.processors else given[name] for name in self.names]


def compiled(statement: sa.Select[Any] | sa.Insert | sa.Update) -> Statement:
    """A statement for asyncpg. `IN` lists are expanded, so one compiled with values fits those values only."""
    return _written(statement.compile(dialect=DIALECT, compile_kwargs={"render_postcompile": True}))


def cached(statement: sa.Select[Any]) -> Statement:
    """The same for a statement that is built anew for each request: its text is written once for each shape.

    Writing the text costs more than the database takes for a page of rows.
    """
    key: Any = statement._generate_cache_key()
    if key is None:
        return compiled(statement)
    result = _kept.get(key.key)
    if result is None:
        result = statement.compile(dialect=DIALECT, cache_key=key)
        _kept[key.key] = result
    if result.post_compile_params or result.literal_execute_params:
        return compiled(statement)  # an IN list: its text varies with its length
    return _written(result, result.construct_params(extracted_parameters=key.bindparams))


def _written(result: Any, values: Mapping[str, Any] | None = None) -> Statement:
    return Statement(
        sql=str(result),
        names=tuple(result.positiontup or ()),
        processors=dict(result._bind_processors),
        values=dict(result.params if values is None else values),
    )
