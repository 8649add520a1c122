"""The app's database role can do its work and nothing else.

Why
    Row-level security does not bind the owner of a table unless forced, never binds a superuser or a BYPASSRLS role,
    and TRUNCATE, triggers and foreign-key checks go round it. An app that connects as the owner of its tables — the
    default of most templates — has no second wall: one SQL injection reads, drops or rewrites everything.

How it is attacked
    The catalogue is asked what the app's role owns, inherits and may do, and the server as whom the running app is
    connected: never as an owner of tables or as somebody whom row-level security does not bind. Then the role itself
    connects, shows that it can read and write the rows of its tenant, and tries to leave its bounds: create, alter,
    truncate and drop tables, disable triggers and policies, become another role, read and write files, run programs,
    and read or change the sessions, the signing keys and whatever else the app names as protected. Every refusal must
    be PostgreSQL's 42501.

How to fix
    Let the app connect as `seawall_app` and only `seawall migrate` as `seawall_migrator`;
    `seawall migrate --print-roles` prints the statements. Grant nothing by hand beyond SELECT, INSERT,
    UPDATE and DELETE on tenant tables.
"""

from __future__ import annotations

import asyncpg

from seawall_check.control import Control
from seawall_check.controls._database import Relation, fullest, live_context, look_for, rows_of, under
from seawall_check.controls.tenancy._catalogue import RIGHTS
from seawall_check.probes.database import NAME, attempt, identifier
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="tenancy/least-db-role",
    title="The app's database role can do its work and nothing else",
    refs=("ASVS 13.2.2",),
)

REFUSED = "42501"
"""insufficient_privilege."""
OTHER_ROLES = """
SELECT rolname::text FROM pg_roles
WHERE rolname <> $1 AND rolname !~ '^pg_' AND (rolsuper OR rolbypassrls OR rolcreaterole OR oid IN (
    SELECT relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ($2)
    UNION SELECT nspowner FROM pg_namespace WHERE nspname = ANY ($2)))
ORDER BY 1
"""
CONNECTED = """
SELECT a.usename::text AS name, bool_or(r.rolsuper OR r.rolbypassrls OR r.rolcreaterole OR EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relowner = r.oid AND n.nspname = ANY ($1))) AS mighty
FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
WHERE a.datname = current_database() AND a.backend_type = 'client backend' AND a.application_name <> $2
GROUP BY 1 ORDER BY 1
"""


async def check(target: Target, trial: Trial) -> None:
    one, other = target.two_tenants()
    async with target.db_owner() as owner, target.db_app() as app:
        await look_for(target, trial, owner, RIGHTS)
        table = await fullest(target, owner, one, other)
        context = await live_context(target, target.who(tenant=one.id)[0])
        await _works(target, trial, app, table, context)
        access = target.database
        roles = [row[0] for row in await owner.fetch(OTHER_ROLES, access.app_role, list(access.app_schemas))]
        for what, statement in _statements(target, table, roles).items():
            async with under(target, app, context):
                state, _ = await attempt(app, statement)
            trial.refuse(what, state or "accepted", ok=state == REFUSED, expected="42501 insufficient_privilege")
        await _without_row_security(target, trial, app, table)
        await _connected(target, trial, owner)


async def _connected(target: Target, trial: Trial, owner: asyncpg.Connection) -> None:
    """What target.json says of the app's role is worth nothing when the app connects as another."""
    await (await target.client(target.personas[0])).get(target.sign_in.me)
    found = await owner.fetch(CONNECTED, list(target.database.app_schemas), NAME)
    names = [row["name"] for row in found]
    told = ", ".join(names) or "nobody"
    role = target.database.app_role
    trial.allow(f"the running app is connected as {role}", told, ok=role in names, expected=role, of="connected")
    mighty = [row["name"] for row in found if row["mighty"]]
    trial.refuse(
        "it is connected as an owner of tables, or as somebody whom row-level security does not bind",
        ", ".join(mighty) or f"as {told} only",
        ok=not mighty,
        expected="never",
        of="connected",
    )


async def _works(target: Target, trial: Trial, app: asyncpg.Connection, table: Relation, context: str) -> None:
    tenant = target.two_tenants()[0]
    column = identifier(target.database.tenant_column)
    role = await app.fetchval("SELECT current_user")
    named = target.database.app_role
    trial.expect("ask who the app connects as", expected=named, observed=role, ok=role == named)
    async with under(target, app, context):
        count = await rows_of(target, app, table, tenant.id)
        trial.allow(f"read rows of {table}", f"{count} rows", ok=count > 0, expected="own rows")
        state, _ = await attempt(app, f"UPDATE {table.sql} SET {column} = {column}")
        trial.allow(f"update rows of {table}", state or "done", ok=not state, expected="done")


def _statements(target: Target, table: Relation, roles: list[str]) -> dict[str, str]:
    schema, column = identifier(table.schema), identifier(target.database.tenant_column)
    tried = {
        "create a table": f"CREATE TABLE {schema}.intruder (id integer)",
        "create a temporary table": "CREATE TEMP TABLE intruder (id integer)",
        "create a schema": "CREATE SCHEMA intruder",
        "create a function": f"CREATE FUNCTION {schema}.intruder() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "create a view": f"CREATE VIEW {schema}.intruder AS SELECT * FROM {table.sql}",
        "create a trigger": f"CREATE TRIGGER intruder BEFORE INSERT ON {table.sql}"
        " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "create a role": "CREATE ROLE intruder LOGIN",
        "create a publication": f"CREATE PUBLICATION intruder FOR TABLE {table.sql}",
        f"truncate {table}": f"TRUNCATE {table.sql} CASCADE",
        f"drop {table}": f"DROP TABLE {table.sql} CASCADE",
        f"alter {table}": f"ALTER TABLE {table.sql} ADD COLUMN intruder integer",
        f"drop the tenant column of {table}": f"ALTER TABLE {table.sql} DROP COLUMN {column} CASCADE",
        f"disable row-level security of {table}": f"ALTER TABLE {table.sql} DISABLE ROW LEVEL SECURITY",
        f"disable the triggers of {table}": f"ALTER TABLE {table.sql} DISABLE TRIGGER ALL",
        f"add a policy to {table}": f"CREATE POLICY intruder ON {table.sql} USING (true)",
        "switch triggers and foreign keys off": "SET session_replication_role = replica",
        "read a file of the server": "SELECT pg_read_file('PG_VERSION')",
        "write a file of the server": "COPY (SELECT 1) TO '/dev/null'",
        "run a program on the server": "COPY (SELECT 1) TO PROGRAM 'true'",
        "switch the server's log of statements off": "SET log_statement = 'none'",
        "give itself another right": f"ALTER ROLE {identifier(target.database.app_role)} BYPASSRLS",
    }
    for role in roles:
        tried[f"become {role}"] = f"SET ROLE {identifier(role)}"
    for name in dict.fromkeys((*target.database.protected, target.database.audit_table)):
        relation = ".".join(identifier(part) for part in name.split("."))
        tried[f"read {name}"] = f"SELECT * FROM {relation}"
        tried[f"delete from {name}"] = f"DELETE FROM {relation}"
        tried[f"insert into {name}"] = f"INSERT INTO {relation} DEFAULT VALUES"
    return tried


async def _without_row_security(target: Target, trial: Trial, app: asyncpg.Connection, table: Relation) -> None:
    """`row_security = off` may be set by anybody; it must turn the filter into an error, not off."""
    async with under(target, app, None):
        await app.execute("SET LOCAL row_security = off")
        state, rows = await attempt(app, f"SELECT count(*) FROM {table.sql}")
    observed = state or f"{rows[0][0]} rows"
    trial.refuse(f"read {table} with row_security = off", observed, ok=state == REFUSED, expected="42501")
