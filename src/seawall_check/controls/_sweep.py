"""Looking for a secret in every column of a database."""

from __future__ import annotations

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
    found = []
    for row in await db.fetch(COLUMNS):
        column = identifier(row["column"])
        value = column if row["type"] == "bytea" else f"convert_to({column}::text, 'UTF8')"
        table = f"{identifier(row['schema'])}.{identifier(row['name'])}"
        # identifiers come from the catalogue and are quoted; the needle is a parameter
        sql = f"SELECT EXISTS (SELECT FROM {table} WHERE position($1::bytea IN {value}) > 0)"
        if await db.fetchval(sql, needle):
            found.append(f"{row['schema']}.{row['name']}.{row['column']}")
    return found
