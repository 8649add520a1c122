"""Loading objects with compiled SQL on the raw connection, as ORM instances.

The ORM costs more than the database for reading one row by its key. So the statement is compiled once, runs on asyncpg,
and its row becomes an instance in the state of one that the ORM loaded; the ORM session opens only when a handler asks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.orm import ColumnProperty, Mapper
from sqlalchemy.sql.elements import ColumnElement

from seawall.core.errors import Refused
from seawall.core.scope import Transaction
from seawall.core.sealing import TenantKeys
from seawall.store.sealed import KEYS, SealedType

M = TypeVar("M")
Process = Callable[[Any], Any]

TENANT_KEY = "tenant_id"
_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]
_NUMERIC_OID, _FLOAT8_OID = 1700, 701


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


def compiled(statement: sa.Select[Any]) -> Statement:
    """A statement for asyncpg. `IN` lists are expanded, so one compiled with values fits those values only."""
    result: Any = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    return Statement(
        sql=str(result),
        names=tuple(result.positiontup or ()),
        processors=dict(result._bind_processors),
        values=dict(result.params),
    )


class Loader(Generic[M]):
    """Reads objects of one model.

    Raises:
        Refused: for a model that is not one tenanted table with one key of its own.
    """

    def __init__(self, model: type[M]) -> None:
        self.model = model
        self._mapper: Mapper[Any] = sa.inspect(model)
        self.identity_key, self.identity_type = identity_of(model)
        self._properties = [p for p in self._mapper.column_attrs if _plain(p)]
        self.columns: list[ColumnElement[Any]] = [p.columns[0] for p in self._properties]
        self._readers = [(p.key, _reader(p.columns[0])) for p in self._properties]
        self._sealed = [n for n, column in enumerate(self.columns) if isinstance(column.type, SealedType)]
        self.identity_column: ColumnElement[Any] = self._mapper.column_attrs[self.identity_key].columns[0]
        self.tenant_column: ColumnElement[Any] = self._mapper.column_attrs[TENANT_KEY].columns[0]
        self._order = [self._mapper.get_property_by_column(c).key for c in self._mapper.primary_key]
        by_key = sa.select(*self.columns).where(
            self.tenant_column == sa.bindparam("tenant", type_=self.tenant_column.type),
            self.identity_column == sa.bindparam("identity", type_=self.identity_column.type),
        )
        self._read = compiled(by_key)
        # NO KEY UPDATE: what is decided on must not change under the decision, but foreign keys may still be checked.
        self._lock = compiled(by_key.with_for_update(key_share=True))

    async def load(self, transaction: Transaction, tenant_id: UUID, identity: Any, *, lock: bool) -> M | None:
        """The object, or None when the tenant has no such one. Row-level security decides too, and first."""
        statement = self._lock if lock else self._read
        if self._sealed:
            await transaction.keys()
        row = await transaction.fetchrow(statement.sql, *statement.arguments(tenant=tenant_id, identity=identity))
        return None if row is None else (await self._instances(transaction, [row]))[0]

    async def fetch(self, transaction: Transaction, sql: str, arguments: Sequence[Any]) -> list[M]:
        """Rows of a statement that selects `columns`, in order, as detached instances: as if the ORM had loaded them.

        Sealed columns stay sealed until somebody reads them.
        """
        # Keys before rows: when a rotation comes in between, the rows are of a newer version, which can be asked for,
        # and never of a retired one.
        if self._sealed:
            await transaction.keys()
        return await self._instances(transaction, await transaction.fetch(sql, *arguments))

    async def _instances(self, transaction: Transaction, rows: Sequence[Sequence[Any]]) -> list[M]:
        if not self._sealed:
            return [self._instance(row, None) for row in rows]
        keys = await transaction.keys(row[place] for row in rows for place in self._sealed if row[place] is not None)
        return [self._instance(row, keys) for row in rows]

    def _instance(self, row: Sequence[Any], keys: TenantKeys | None) -> M:
        instance: Any = self._mapper.class_manager.new_instance()
        values = instance.__dict__
        for (key, read), value in zip(self._readers, row, strict=True):
            values[key] = value if read is None or value is None else read(value)
        state = instance._sa_instance_state
        state.key = self._mapper.identity_key_from_primary_key(tuple(values[key] for key in self._order))
        state._commit_all(values)
        if keys is not None:
            state.info[KEYS] = keys
        loaded: M = instance
        return loaded


def identity_of(model: type[Any]) -> tuple[str, type]:
    """The key and Python type of a model's identity within its tenant.

    Raises:
        Refused: when the model is no tenanted table, or its key is not `tenant_id` and exactly one more column.
    """
    mapper: Mapper[Any] = sa.inspect(model, raiseerr=False)
    keys: list[str] = [] if mapper is None else [mapper.get_property_by_column(c).key for c in mapper.primary_key]
    own = [key for key in keys if key != TENANT_KEY]
    if len(own) != 1 or len(keys) != 2:
        raise Refused(
            f"{model.__name__} is not a tenanted model with one id",
            why="an object is authorised by its tenant and its id, and row-level security guards it",
            fix=f"class {model.__name__}(Tenanted): with one `primary_key=True` column",
        )
    if mapper.inherits is not None or len(mapper.tables) != 1:
        raise Refused(
            f"{model.__name__} is spread over several tables",
            why="the object that is decided on is one locked row",
            fix="map it to one table",
        )
    return own[0], mapper.column_attrs[own[0]].columns[0].type.python_type


def _plain(prop: ColumnProperty[Any]) -> bool:
    """A column of the table itself, loaded eagerly."""
    return not prop.deferred and isinstance(prop.columns[0], sa.Column)


def _reader(column: ColumnElement[Any]) -> Process | None:
    kind: Any = column.type
    oid = None
    if isinstance(kind, sa.Numeric):
        oid = _FLOAT8_OID if isinstance(kind, sa.Float) else _NUMERIC_OID
    reader: Process | None = kind.dialect_impl(_DIALECT).result_processor(_DIALECT, oid)
    return reader
