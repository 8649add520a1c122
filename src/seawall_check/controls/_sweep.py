"""Looking for a secret in every column of a database."""

from __future__ import annotations

from collections.abc import Mapping

import asyncpg

from seawall_check.probes.database import identifier

COLUMNS = """
SELECT n.nspname AS schema, c.relname AS name, a.attname AS column, t.typname AS type
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
  AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
  AND t.typname IN ('text', 'varchar', 'bpchar', 'bytea', 'json', 'jsonb', '_text', '_varchar', 'name', 'xml')
"""


async def places_of(db: asyncpg.Connection, needle: bytes) -> list[str]:
    """Columns (`schema.table.column`) of which some value holds `needle`; text columns are searched as UTF-8."""
    return (await places_of_all(db, {"": needle})).get("", [])


async def places_of_all(db: asyncpg.Connection, needles: Mapping[str, bytes]) -> dict[str, list[str]]:
    """The same for several at once: name → columns of which some value holds its bytes."""
    found: dict[str, list[str]] = {}
    names = list(needles)
    for row in await db.fetch(COLUMNS):
        column = identifier(row["column"])
        value = column if row["type"] == "bytea" else f"convert_to({column}::text, 'UTF8')"
        table = f"{identifier(row['schema'])}.{identifier(row['name'])}"
        # identifiers come from the catalogue and are quoted; the needles are a parameter
        sql = (
            "SELECT w.number FROM unnest($1::bytea[]) WITH ORDINALITY AS w (value, number)"
            f" WHERE EXISTS (SELECT FROM {table} WHERE position(w.value IN {value}) > 0)"
        )
        for (number,) in await db.fetch(sql, list(needles.values())):
            found.setdefault(names[number - 1], []).append(f"{row['schema']}.{row['name']}.{row['column']}")
    return found
