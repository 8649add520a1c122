"""Moving what is sealed under an older master secret under the newest, row by row, while people use it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from seawall.core.errors import Refused
from seawall.core.rotation import Progress
from seawall.identity.sealing import Seal, Unsealable, head_of

BATCH_ROWS = 100


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """Where sealed values are: a table of ours whose rows belong to a person."""

    table: str
    seal: Seal
    owner: str = "user_id"
    column: str = "sealed"


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
        table, owner, name = column.table, column.owner, column.column
        async with self._identity() as tx:
            rows = await tx.fetch(
                f"SELECT {owner}, {name} FROM {table} WHERE {name} < $1"  # noqa: S608 - names of our own tables
                f" ORDER BY {owner} LIMIT {BATCH_ROWS} FOR UPDATE",
                head_of(version),
            )
            for person, sealed in rows:
                try:
                    plain = column.seal.open(sealed, person.bytes)
                except Unsealable:
                    raise Refused(
                        f"a value in {table} does not open, of {owner} {person}",
                        why="it was altered, or is under a key that is gone already",
                        fix="look into it, delete that row (the person enrols again), and run `seawall rotate` again",
                    ) from None
                renewed = column.seal.seal(plain, person.bytes)
                await tx.execute(f"UPDATE {table} SET {name} = $2 WHERE {owner} = $1", person, renewed)  # noqa: S608
        return len(rows)
