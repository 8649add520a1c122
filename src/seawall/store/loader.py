"""Loading objects with compiled SQL on the raw connection, as ORM instances.

The ORM costs more than the database for reading one row by its key. So the statement is compiled once, runs on asyncpg,
and its row becomes an instance in the state of one that the ORM loaded; the ORM session opens only when a handler asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import ColumnProperty, Mapper, object_session
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.selectable import FromClause

from seawall.core.errors import Refused
from seawall.core.scope import Transaction
from seawall.core.sealing import TenantKeys
from seawall.store.sealed import Cell, SealedType
from seawall.store.statements import DIALECT, Process, Statement, compiled

__all__ = ["Keys", "Loader", "Near", "Process", "Statement", "compiled", "identity_of", "near_row"]

M = TypeVar("M")
TENANT_KEY = "tenant_id"
_NEAR = "_seawall_near"
"""Where an instance keeps the rows that were loaded with it. Not a mapped name, so the ORM leaves it alone."""
_NUMERIC_OID, _FLOAT8_OID = 1700, 701

Keys = tuple[str, ...]
"""The foreign keys followed from an object, as ORM attributes: `()` is the object, `("deal_id", "team_id")` its deal's
team."""


@dataclass(frozen=True, slots=True)
class Near:
    """A row that is loaded together with the object that points at it."""

    keys: Keys
    model: type[Any]


class _Rows:
    """Reads the columns of one model and makes instances of them."""

    def __init__(self, model: type[Any], table: FromClause | None = None) -> None:
        self._mapper: Mapper[Any] = sa.inspect(model)
        self.identity_key, self.identity_type = identity_of(model)
        self.table: FromClause = self._mapper.local_table if table is None else table
        properties = [p for p in self._mapper.column_attrs if _plain(p)]
        self.columns = [self.table.c[_own(p).key] for p in properties]
        self._readers = [(p.key, _reader(p.columns[0])) for p in properties]
        self._order = [self._mapper.get_property_by_column(c).key for c in self._mapper.primary_key]
        self.sealed = [number for number, column in enumerate(self.columns) if isinstance(column.type, SealedType)]
        self._sealed_keys = [properties[number].key for number in self.sealed]

    def column(self, key: str) -> ColumnElement[Any]:
        """The column behind an ORM attribute."""
        return self.table.c[_own(self._mapper.column_attrs[key]).key]

    @property
    def identity(self) -> ColumnElement[Any]:
        return self.column(self.identity_key)

    @property
    def tenant(self) -> ColumnElement[Any]:
        return self.column(TENANT_KEY)

    def values(self, row: Sequence[Any]) -> dict[str, Any]:
        return {
            key: value if read is None or value is None else read(value)
            for (key, read), value in zip(self._readers, row, strict=True)
        }

    def instance(self, row: Sequence[Any], keys: TenantKeys | None) -> Any:
        instance: Any = self._mapper.class_manager.new_instance()
        values = self.values(row)
        for key in self._sealed_keys:
            if values[key] is not None:
                values[key] = Cell(values[key], keys)
        instance.__dict__.update(values)
        state = instance._sa_instance_state
        state.key = self._mapper.identity_key_from_primary_key(tuple(values[key] for key in self._order))
        state._commit_all(instance.__dict__)
        return instance

    def by_key(self) -> sa.Select[Any]:
        return sa.select(*self.columns).where(
            self.tenant == sa.bindparam("tenant", type_=self.tenant.type),
            self.identity == sa.bindparam("identity", type_=self.identity.type),
        )


class Loader(Generic[M]):
    """Reads objects of one model, and the rows near them.

    Args:
        model: a `Tenanted` model.
        near: rows that come along, each after the one that points at it.

    Raises:
        Refused: for a model that is not one tenanted table with one key of its own.
    """

    def __init__(self, model: type[M], near: Sequence[Near] = ()) -> None:
        self.model = model
        self._rows = _Rows(model)
        self.near = tuple(near)
        self._nearby = {
            one.keys: _Rows(one.model, sa.inspect(one.model).local_table.alias("_".join(one.keys))) for one in near
        }
        self.identity_key, self.identity_type = self._rows.identity_key, self._rows.identity_type
        self.columns: list[ColumnElement[Any]] = [
            column for rows in (self._rows, *self._nearby.values()) for column in rows.columns
        ]
        self._sealed = [n for n, column in enumerate(self.columns) if isinstance(column.type, SealedType)]
        self.identity_column, self.tenant_column = self._rows.identity, self._rows.tenant
        self._read = compiled(
            self.select().where(
                self.tenant_column == sa.bindparam("tenant", type_=self.tenant_column.type),
                self.identity_column == sa.bindparam("identity", type_=self.identity_column.type),
            )
        )
        # NO KEY UPDATE: what is decided on must not change under the decision, but foreign keys may still be checked.
        self._lock = compiled(self._rows.by_key().with_for_update(key_share=True))
        # The rows near it are only held: two orders of one venue may change at the same time.
        self._hold = {keys: compiled(rows.by_key().with_for_update(read=True)) for keys, rows in self._nearby.items()}

    def column(self, keys: Keys, key: str) -> ColumnElement[Any]:
        """The column behind an ORM attribute of the object (`()`) or of a row near it."""
        return (self._nearby[keys] if keys else self._rows).column(key)

    def identity(self, keys: Keys) -> ColumnElement[Any]:
        """The column with the identity of the object (`()`) or of a row near it."""
        return self._nearby[keys].identity if keys else self.identity_column

    def joined(self, keys: Sequence[Keys] | None = None) -> FromClause:
        """The object's table with those of the rows near it, of all by default. No row is lost or doubled by it."""
        source: FromClause = self._rows.table
        for one in self.near:
            if keys is None or one.keys in keys:
                rows = self._nearby[one.keys]
                points_at = self.column(one.keys[:-1], one.keys[-1]) == rows.identity
                source = source.outerjoin(rows.table, sa.and_(rows.tenant == self.tenant_column, points_at))
        return source

    def select(self) -> sa.Select[Any]:
        """Everything that `instance` reads."""
        return sa.select(*self.columns).select_from(self.joined())

    async def load(self, transaction: Transaction, tenant_id: UUID, identity: Any, *, lock: bool) -> M | None:
        """The object, or None when the tenant has no such one. Row-level security decides too, and first."""
        statement = self._lock if lock else self._read
        if self._sealed:
            await transaction.keys()
        row = await transaction.fetchrow(statement.sql, *statement.arguments(tenant=tenant_id, identity=identity))
        if row is None:
            return None
        return await self._held(transaction, tenant_id, row) if lock else (await self._instances(transaction, [row]))[0]

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

    async def _held(self, transaction: Transaction, tenant_id: UUID, row: Sequence[Any]) -> M:
        # An outer join cannot be locked, and after waiting for a lock it would still show the rows of before.
        found: dict[Keys, Any] = {(): await self._one(transaction, self._rows, row)}
        for one in self.near:
            before = found[one.keys[:-1]]
            at = None if before is None else getattr(before, one.keys[-1])
            near = None
            if at is not None:
                hold = self._hold[one.keys]
                near = await transaction.fetchrow(hold.sql, *hold.arguments(tenant=tenant_id, identity=at))
            found[one.keys] = None if near is None else await self._one(transaction, self._nearby[one.keys], near)
        return self._together(found)

    async def _one(self, transaction: Transaction, rows: _Rows, row: Sequence[Any]) -> Any:
        keys = None
        if rows.sealed:
            keys = await transaction.keys(row[place] for place in rows.sealed if row[place] is not None)
        return rows.instance(row, keys)

    def _instance(self, row: Sequence[Any], keys: TenantKeys | None) -> M:
        own = len(self._rows.columns)
        found: dict[Keys, Any] = {(): self._rows.instance(row[:own], keys)}
        at = own
        for place, rows in self._nearby.items():
            part = row[at : at + len(rows.columns)]
            at += len(rows.columns)
            found[place] = None if rows.values(part)[rows.identity_key] is None else rows.instance(part, keys)
        return self._together(found)

    def _together(self, found: dict[Keys, Any]) -> M:
        instance: M = found.pop(())
        if self.near:
            instance.__dict__[_NEAR] = found
        return instance


def near_row(instance: Any, keys: Keys, model: type[Any], identity: Any) -> Any | None:
    """The row near an object that has this identity, if it is at hand: in the object's session, or loaded with it.

    What the session knows is newer. What was loaded with the object counts only while the object still points at it.
    """
    mapper: Mapper[Any] = sa.inspect(model)
    session = object_session(instance)
    if session is not None:
        values = {TENANT_KEY: instance.tenant_id, identity_of(model)[0]: identity}
        order = [mapper.get_property_by_column(c).key for c in mapper.primary_key]
        known = session.identity_map.get(mapper.identity_key_from_primary_key(tuple(values[key] for key in order)))
        if known is not None and not sa.inspect(known).expired_attributes:
            return known
    row = instance.__dict__.get(_NEAR, {}).get(keys)
    return row if row is not None and getattr(row, identity_of(model)[0]) == identity else None


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


def _own(prop: ColumnProperty[Any]) -> sa.Column[Any]:
    column: Any = prop.columns[0]  # `_plain` or the mapping has seen that it is one of the table's
    own: sa.Column[Any] = column
    return own


def _plain(prop: ColumnProperty[Any]) -> bool:
    """A column of the table itself, loaded eagerly."""
    return not prop.deferred and isinstance(prop.columns[0], sa.Column)


def _reader(column: ColumnElement[Any]) -> Process | None:
    kind: Any = column.type
    oid = None
    if isinstance(kind, SealedType):
        return None  # the loader makes its cells, which carry the keys
    if isinstance(kind, sa.Numeric):
        oid = _FLOAT8_OID if isinstance(kind, sa.Float) else _NUMERIC_OID
    reader: Process | None = kind.dialect_impl(DIALECT).result_processor(DIALECT, oid)
    return reader
