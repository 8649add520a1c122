"""The walls around the app's tables: raised after every migration, checked at every start.

A table gets them by existing: no model, migration or prompt has to ask. What cannot be walled (no `tenant_id`, a key
that does not carry it, a policy that is not the canonical one) is refused with the line that mends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, MetaData, text

from seawall.core.errors import Refused
from seawall.store.roles import APP, BREAKGLASS, WORKER

APP_SCHEMA: Final = "app"
POLICY: Final = "tenant_wall"
BREAK_GLASS_POLICY: Final = "break_glass_wall"
WITNESS: Final = "break_glass_witness"
"""A second condition for the break-glass role alone: the row's audit event is written before the row is given."""
WITNESSED: Final = """
CASE
    WHEN (NOT (tenant_id IS DISTINCT FROM seawall.tenant_id())) THEN seawall.witness(tableoid, %)
    ELSE false
END"""
"""How PostgreSQL prints it. The tenant is asked for again with each row, as the wall does not: a statement that changes
the context in its middle would read one tenant's rows, and leave their events with another."""
GLOBAL_MARK: Final = "@seawall:global"
"""In a table's comment: rows that belong to no tenant, read-only to the app."""
CANONICAL: Final = "(tenant_id = ( SELECT seawall.tenant_id() AS tenant_id))"
"""How PostgreSQL prints the policy. `(SELECT …)` makes it an init plan: evaluated once a query, not once a row."""

FAULTS_SQL: Final = f"""
WITH walled AS (
    SELECT c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.relowner, a.attnum, a.attnotnull,
           coalesce(obj_description(c.oid, 'pg_class'), '') LIKE '%{GLOBAL_MARK}%' AS is_global
    FROM pg_class c
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND NOT a.attisdropped
    WHERE c.relnamespace = to_regnamespace('{APP_SCHEMA}') AND c.relkind IN ('r', 'p')
)
SELECT relname::text AS name, 'has no tenant_id' AS fault FROM walled WHERE attnum IS NULL AND NOT is_global
UNION ALL SELECT relname, 'has a tenant_id that may be NULL' FROM walled WHERE attnum IS NOT NULL AND NOT attnotnull
UNION ALL SELECT relname, 'has no row-level security' FROM walled WHERE attnum IS NOT NULL AND NOT relrowsecurity
UNION ALL SELECT relname, 'does not FORCE row-level security' FROM walled
    WHERE attnum IS NOT NULL AND NOT relforcerowsecurity
UNION ALL SELECT w.relname, 'has no policy {POLICY}' FROM walled w
    WHERE w.attnum IS NOT NULL
      AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = w.oid AND p.polname = '{POLICY}')
UNION ALL SELECT w.relname, 'shows rows under break-glass without a witness' FROM walled w
    WHERE w.attnum IS NOT NULL AND has_table_privilege('{BREAKGLASS}', w.oid, 'SELECT')
      AND NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = w.oid AND p.polname = '{WITNESS}'
                      AND NOT p.polpermissive AND pg_get_expr(p.polqual, p.polrelid) LIKE '{WITNESSED}')
UNION ALL SELECT w.relname, 'can be changed under break-glass' FROM walled w
    WHERE has_table_privilege('{BREAKGLASS}', w.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')
UNION ALL SELECT w.relname, 'has the policy ' || p.polname || ', which is not the canonical one'
    FROM walled w JOIN pg_policy p ON p.polrelid = w.oid
    WHERE p.polpermissive AND (pg_get_expr(p.polqual, p.polrelid) IS DISTINCT FROM '{CANONICAL}'
        OR coalesce(pg_get_expr(p.polwithcheck, p.polrelid), '{CANONICAL}') <> '{CANONICAL}' OR p.polcmd <> '*')
UNION ALL SELECT w.relname, 'has the key ' || i.indexrelid::regclass || ' without tenant_id'
    FROM walled w JOIN pg_index i ON i.indrelid = w.oid
    -- an exclusion constraint tells of other rows as a key does; behind the first indnkeyatts stand INCLUDEd columns
    WHERE (i.indisunique OR i.indisexclusion) AND w.attnum IS NOT NULL
      AND NOT w.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
UNION ALL SELECT w.relname, 'has the foreign key ' || k.conname || ' without tenant_id'
    FROM walled w JOIN pg_constraint k ON k.conrelid = w.oid AND k.contype = 'f'
    JOIN pg_attribute far ON far.attrelid = k.confrelid AND far.attname = 'tenant_id' AND NOT far.attisdropped
    WHERE NOT EXISTS (SELECT FROM unnest(k.conkey, k.confkey) AS pair (near_key, far_key)
                      WHERE pair.near_key = w.attnum AND pair.far_key = far.attnum)
UNION ALL SELECT c.relname, 'is a view that runs with its owner''s rights'
    FROM pg_class c
    WHERE c.relnamespace = to_regnamespace('{APP_SCHEMA}') AND c.relkind = 'v'
      AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)
UNION ALL SELECT c.relname, 'is a materialised view or foreign table, which row-level security cannot guard'
    FROM pg_class c WHERE c.relnamespace = to_regnamespace('{APP_SCHEMA}') AND c.relkind IN ('m', 'f')
ORDER BY 1, 2
"""  # noqa: S608 - only constants of this file go in


@dataclass(frozen=True)
class Fault:
    """A table and what is wrong with its wall."""

    table: str
    fault: str


def raise_walls(connection: Connection, metadata: MetaData | None) -> None:
    """Wall every table of the app's schema. Run as the owner, after the app's migrations, in their transaction.

    Raises:
        Refused: naming the first table that cannot be walled and all that is wrong with it.
    """
    tables = connection.execute(
        text(
            "SELECT c.relname, EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id'"
            "  AND NOT a.attisdropped) AS tenanted,"
            " EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = :policy) AS has_policy,"
            " (SELECT string_agg(quote_ident(a.attname) || '::text', ' || '','' || ' ORDER BY a.attnum)"
            "  FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])"
            "  WHERE i.indrelid = c.oid AND i.indisprimary AND a.attname <> 'tenant_id') AS row_id"
            " FROM pg_class c WHERE c.relnamespace = to_regnamespace(:schema) AND c.relkind IN ('r', 'p')"
        ),
        {"policy": POLICY, "schema": APP_SCHEMA},
    ).all()
    for name, tenanted, has_policy, row_id in tables:
        for statement in _wall_statements(quoted(name), tenanted=tenanted, has_policy=has_policy):
            connection.execute(text(statement))
        if tenanted:
            for statement in _witness_statements(quoted(name), row_id or "'?'"):
                connection.exec_driver_sql(statement)
    for name, kind in _audited_tables(metadata).items():
        for statement in _audit_statements(quoted(name), kind):
            connection.execute(text(statement))
    faults = [Fault(*row) for row in connection.execute(text(FAULTS_SQL)).all()]
    if faults:
        raise refusal(faults)


def refusal(faults: list[Fault]) -> Refused:
    """The error for tables outside the walls."""
    listed = "\n".join(f"  - app.{f.table} {f.fault}" for f in faults)
    return Refused(
        f"these tables stand outside the tenant wall:\n{listed}",
        why="a row that the database does not guard is a row that one forgotten WHERE gives to another tenant",
        fix="derive the model from Tenanted, link with refers_to(...), put tenant_id into every key; `seawall migrate`",
    )


def quoted(name: str) -> str:
    """A table of the app's schema, quoted for DDL, which takes no parameters."""
    return f'{APP_SCHEMA}."' + name.replace('"', '""') + '"'


def _wall_statements(table: str, *, tenanted: bool, has_policy: bool) -> list[str]:
    if not tenanted:
        return [f"GRANT SELECT ON {table} TO {APP}, {WORKER}, {BREAKGLASS}"]
    statements = [
        f"ALTER TABLE {table} ALTER COLUMN tenant_id SET DEFAULT seawall.tenant_id()",
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"REVOKE ALL ON {table} FROM PUBLIC, {APP}, {WORKER}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {APP}, {WORKER}",
    ]
    if not has_policy:
        wall = "tenant_id = (SELECT seawall.tenant_id())"
        statements.append(f"CREATE POLICY {POLICY} ON {table} TO {APP}, {WORKER} USING ({wall}) WITH CHECK ({wall})")
    return statements


def _witness_statements(table: str, row_id: str) -> list[str]:
    """What the break-glass role has: the same wall, nothing but SELECT, and a witness of every row."""
    wall = "tenant_id = (SELECT seawall.tenant_id())"
    own = "tenant_id IS NOT DISTINCT FROM seawall.tenant_id()"
    seen = f"CASE WHEN {own} THEN seawall.witness(tableoid, {row_id}) ELSE false END"
    return [
        f"REVOKE ALL ON {table} FROM {BREAKGLASS}",
        f"DROP POLICY IF EXISTS {BREAK_GLASS_POLICY} ON {table}",
        f"CREATE POLICY {BREAK_GLASS_POLICY} ON {table} TO {BREAKGLASS} USING ({wall}) WITH CHECK ({wall})",
        f"DROP POLICY IF EXISTS {WITNESS} ON {table}",
        f"CREATE POLICY {WITNESS} ON {table} AS RESTRICTIVE FOR SELECT TO {BREAKGLASS} USING ({seen})",
        f"GRANT SELECT ON {table} TO {BREAKGLASS}",
    ]


def _audited_tables(metadata: MetaData | None) -> dict[str, str]:
    """Tables whose model says `__audited__`: the kind of event their change must come with, or '' for any."""
    if metadata is None:
        return {}
    return {table.name: table.info["audited"] for table in metadata.tables.values() if "audited" in table.info}


def _audit_statements(table: str, kind: str) -> list[str]:
    literal = "'" + kind.replace("'", "''") + "'"
    return [
        f"DROP TRIGGER IF EXISTS audited ON {table}",
        f"CREATE CONSTRAINT TRIGGER audited AFTER INSERT OR UPDATE OR DELETE ON {table} DEFERRABLE INITIALLY DEFERRED"
        f" FOR EACH ROW EXECUTE FUNCTION seawall.require_audit({literal})",
    ]
