"""A table's rows for an export, with sealed columns opened."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any
from uuid import UUID

import orjson

from seawall.core.sealing import TenantKeys
from seawall.core.vault import VaultUnavailable
from seawall.store.sealed import BLIND_SUFFIX, doors_of
from seawall.store.walls import quoted

PREFETCH_ROWS = 500


def opened_rows(models: Iterable[type[Any]]) -> Callable[[Any, Any], AsyncIterator[str]]:
    """Reads a table as JSON texts, a row each, within a lease of the tenant; what these models seal is in plain text.

    Raises (while reading):
        SealBroken, VaultUnavailable, KeyDestroyed: a value does not open. An export holds all, or there is none.
    """
    by_table: dict[str, type[Any]] = {model.__tablename__: model for model in models}

    async def rows(lease: Any, table: Any) -> AsyncIterator[str]:
        model = by_table.get(table.name)
        doors = doors_of(model) if model is not None else ()
        # bytea comes as text in JSON, so sealed columns are asked for beside it
        sealed = "".join(f', t."{door.column}" AS "sealed_{n}"' for n, door in enumerate(doors))
        sql = f"SELECT to_jsonb(t)::text AS row{sealed} FROM {quoted(table.name)} AS t ORDER BY {table.order or '1'}"  # noqa: S608
        keys: TenantKeys | None = await lease.keys() if doors else None
        async for found in lease.connection.cursor(sql, prefetch=PREFETCH_ROWS):
            if not doors:
                yield str(found["row"])
                continue
            if keys is None:
                raise VaultUnavailable()
            values = orjson.loads(found["row"])
            row_id = UUID(values[_identity(model)])
            for n, door in enumerate(doors):
                envelope = found[f"sealed_{n}"]
                values[door.column] = None if envelope is None else door.opened(keys, row_id, envelope)
                values.pop(f"{door.key}{BLIND_SUFFIX}", None)
            yield orjson.dumps(values, default=_json).decode()

    return rows


def _identity(model: Any) -> str:
    return next(str(column.name) for column in model.__table__.primary_key.columns if column.name != "tenant_id")


def _json(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError
