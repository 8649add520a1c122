"""Moving what is sealed under an older master secret under the newest, row by row, while people use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from seawall.core.errors import Refused
from seawall.core.master_seal import Seal, Unsealable, head_of
from seawall.core.rotation import Progress

BATCH_ROWS = 100


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """Where sealed values are.

    Args:
        table: one of ours.
        owner: the columns that each value is bound to, in this order; they name one row, and hold ids or bytes.
        column: the sealed one. Where it is NULL there is nothing to move.
    """

    table: str
    seal: Seal
    owner: tuple[str, ...] = ("user_id",)
    column: str = "sealed"


def owner_of(values: Sequence[UUID | bytes]) -> bytes:
    """What a sealed value is bound to: ids and digests, each of a fixed length, so they cannot run into one another."""
    return b"".join(value.bytes if isinstance(value, UUID) else value for value in values)


class Resealer:
    """Reseals the rows of some columns. Each batch is a transaction, so that it may be killed at any time.

    Args:
        identity: a transaction as `seawall_identity`.
        columns: what to look through.
    """

    def __init__(
        self, identity: Callable[[], AbstractAsyncContextManager[Any]], columns: Sequence[SealedColumn]
    ) -> None:
        self._identity = identity
        self._columns = tuple(columns)

    async def __call__(self, version: int, progress: Progress) -> None:
        """Return when nothing is under a version older than this.

        Raises:
            Refused: something does not open; it would be lost if the old version were retired.
        """
        for column in self._columns:
            moved = 0
            while count := await self._batch(column, version):
                moved += count
                progress(f"{column.table}: {moved} resealed")

    async def _batch(self, column: SealedColumn, version: int) -> int:
        table, name, owner = column.table, column.column, ", ".join(column.owner)
        places = ", ".join(f"${n}" for n in range(2, 2 + len(column.owner)))
        async with self._identity() as tx:
            rows = await tx.fetch(
                f"SELECT {name}, {owner} FROM {table} WHERE {name} < $1"  # noqa: S608 - names of our own tables
                f" ORDER BY {owner} LIMIT {BATCH_ROWS} FOR UPDATE",
                head_of(version),
            )
            for sealed, *values in rows:
                try:
                    plain = column.seal.open(sealed, owner_of(values))
                except Unsealable:
                    named = zip(column.owner, values, strict=True)
                    which = ", ".join(f"{one} {value}" for one, value in named if isinstance(value, UUID))
                    raise Refused(
                        f"a value in {table} does not open, of {which}",
                        why="it was altered, or is under a key that is gone already",
                        fix="look into it, delete that row (the person enrols or asks again), and run `seawall rotate`"
                        " again",
                    ) from None
                await tx.execute(
                    f"UPDATE {table} SET {name} = $1 WHERE ({owner}) = ({places})",  # noqa: S608
                    column.seal.seal(plain, owner_of(values)),
                    *values,
                )
        return len(rows)
