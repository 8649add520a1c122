"""Whose personal data it is, and what a person can ask of it: a copy, and to be forgotten.

There is one map, and the models are it: a model with sealed columns says in `__subject__` which column names the person
they are about. So an export finds everything, an erasure misses nothing, and a table that says nothing does not start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa

from seawall.core.errors import Refused
from seawall.store.lease import Lease
from seawall.store.sealed import Door, doors_of, sealed_models

BATCH_ROWS = 500
EMPTY: dict[type, Any] = {str: "", bytes: b"", dict: {}, list: []}
"""What stands in a sealed column once its person is erased; in those of other types, NULL."""


@dataclass(frozen=True)
class Holding:
    """A model that holds personal data: the column that names the person, and the sealed ones about them."""

    model: type[Any]
    subject: str
    doors: tuple[Door, ...]

    def of(self, person: UUID) -> sa.Select[Any]:
        return sa.select(self.model).where(getattr(self.model, self.subject) == person)


def personal_map(models: Iterable[type[Any]] | None = None) -> list[Holding]:
    """Every model with sealed columns, as the map of personal data.

    Raises:
        Refused: one does not say whose data it holds, or cannot let go of it.
    """
    chosen = sealed_models if models is None else models
    return [_holding(model) for model in sorted(chosen, key=lambda one: one.__name__)]


def _holding(model: type[Any]) -> Holding:
    subject = getattr(model, "__subject__", None)
    mapper: Any = sa.inspect(model)
    column = mapper.column_attrs.get(subject).columns[0] if subject in mapper.column_attrs else None
    if column is None or not isinstance(column.type, sa.Uuid):
        raise Refused(
            f"{model.__name__} has sealed columns and does not say whose data they hold",
            why="a person who asks for a copy, or to be forgotten, must be found in every table",
            fix='__subject__ = "customer_id", the column with the id of the person; "id" if the row is the person',
        )
    for door in doors_of(model):
        sealed = mapper.column_attrs[door.key].columns[0]
        if not sealed.nullable and door.type.plain_type not in EMPTY:
            raise Refused(
                f"{model.__name__}.{door.key} cannot be empty, so its person cannot be erased",
                why="a row may have to stay when the person in it goes",
                fix=f"{door.key}: Mapped[Sealed[{door.type.plain_type.__name__}] | None]",
            )
    return Holding(model, str(subject), doors_of(model))


async def copy_of(lease: Lease, person: UUID, holdings: Iterable[Holding]) -> dict[str, list[dict[str, Any]]]:
    """Everything that the app's tables hold about a person, in plain text: table → rows.

    Raises:
        VaultUnavailable, KeyDestroyed: sealed columns cannot be opened.
    """
    session = await lease.session()
    copied: dict[str, list[dict[str, Any]]] = {}
    for holding in holdings:
        keys = [attribute.key for attribute in sa.inspect(holding.model).column_attrs]
        rows = (await session.scalars(holding.of(person))).all()
        copied[holding.model.__tablename__] = [
            {key: getattr(row, key) for key in keys if not key.endswith("_blind")} for row in rows
        ]
    return copied


def as_document(about: dict[str, Any], tables: dict[str, list[dict[str, Any]]]) -> bytes:
    """A person's copy as JSON: what Seawall knows `about` them, and the app's `tables` under `data`."""
    return orjson.dumps({**about, "data": tables}, option=orjson.OPT_INDENT_2, default=_json)


def _json(value: Any) -> Any:
    # asyncpg has a UUID of its own
    return value.hex() if isinstance(value, bytes) else str(value)


async def erase_in(lease: Lease, person: UUID, holdings: Iterable[Holding]) -> int:
    """Empty every sealed column about a person; gives how many rows were touched. The rows themselves stay.

    Nothing is deleted, because an order still happened; what it says about the person is gone, in the row and in its
    blind indexes. What backups hold is still sealed, and goes with them.
    """
    session = await lease.session()
    touched = 0
    for holding in holdings:
        for row in await session.scalars(holding.of(person)):
            for door in holding.doors:
                # Empty rather than NULL where there is such a thing: a placed order *has* an address, say its checks.
                empty = EMPTY.get(door.type.plain_type)
                if getattr(row, door.key) is not None:
                    setattr(row, door.key, None if empty is None else type(empty)())
            touched += 1
            if touched % BATCH_ROWS == 0:
                await session.flush()
    await session.flush()
    return touched
