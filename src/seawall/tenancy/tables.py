"""The tables that hold tenants' rows, in the order in which rows can be taken away."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from seawall.core.errors import Refused
from seawall.store.walls import APP_SCHEMA, quoted

_TABLES = """
SELECT c.relname::text AS name,
       (SELECT array_agg(a.attname::text ORDER BY k.place) FROM pg_index i
        CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisprimary) AS key,
       ARRAY(SELECT DISTINCT far.relname::text FROM pg_constraint f JOIN pg_class far ON far.oid = f.confrelid
             WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid
               AND far.relnamespace = c.relnamespace) AS refers_to
FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'tenant_id' AND NOT t.attisdropped
WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Table:
    """A tenant table of the app's schema."""

    name: str
    key: tuple[str, ...]
    refers_to: frozenset[str]

    @property
    def sql(self) -> str:
        return quoted(self.name)

    @property
    def order(self) -> str:
        """Its key as an ORDER BY list, so that an export is the same each time."""
        return ", ".join('"' + column.replace('"', '""') + '"' for column in self.key)


async def tenant_tables(connection: Any) -> list[Table]:
    """Every tenant table, those that refer to others first.

    Raises:
        Refused: tables refer to one another in a circle.
    """
    rows = await connection.fetch(_TABLES, APP_SCHEMA)
    waiting = {row["name"]: Table(row["name"], tuple(row["key"] or ()), frozenset(row["refers_to"])) for row in rows}
    ordered: list[Table] = []
    while waiting:
        pointed_at = {name for table in waiting.values() for name in table.refers_to}
        free = [name for name in waiting if name not in pointed_at]
        if not free:
            raise Refused(
                f"these tables refer to one another in a circle: {', '.join(sorted(waiting))}",
                why="their rows can neither be erased nor restored one table after the other",
                fix="take one of the foreign keys away, or put the relation into a table of its own",
            )
        ordered += [waiting.pop(name) for name in free]
    return ordered
