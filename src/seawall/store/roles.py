"""Database roles: who may do what, so that a break-in at one place is not a break-in everywhere.

    seawall_owner      NOLOGIN; owns every table and function, bypasses nothing (row-level security is FORCEd)
    seawall_migrator   may become the owner; used by `seawall migrate` only, never by the running app
    seawall_app        reads and writes rows of the tenant that the signed context names; owns nothing, creates nothing
    seawall_identity   the only role that reads and writes sessions and accounts; used by the identity package only
    seawall_worker     does a job, in the tenant whose context it is handed; can claim none
    seawall_dispatcher claims jobs, and gets their contexts with them; reads no row of anything
    seawall_auditor    reads the audit events, nothing else
    seawall_breakglass reads rows of the one tenant that a live break-glass grant names; each leaves its audit event

The statements need a superuser or a role with CREATEROLE, once a cluster: the embedded server runs them by itself, and
`seawall migrate --print-roles` prints them for everybody else.
"""

from __future__ import annotations

from typing import Final

import asyncpg

OWNER: Final = "seawall_owner"
MIGRATOR: Final = "seawall_migrator"
APP: Final = "seawall_app"
IDENTITY: Final = "seawall_identity"
WORKER: Final = "seawall_worker"
DISPATCHER: Final = "seawall_dispatcher"
AUDITOR: Final = "seawall_auditor"
BREAKGLASS: Final = "seawall_breakglass"
LOGIN_ROLES: Final = (MIGRATOR, APP, IDENTITY, WORKER, DISPATCHER, AUDITOR, BREAKGLASS)

_CLOSED = (
    "pg_terminate_backend(integer, bigint)", "pg_cancel_backend(integer)",
    "lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)",
)  # fmt: skip
_PLAIN = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT"


def role_statements() -> list[str]:
    """SQL that makes the roles of a cluster; safe to run again."""
    made = [
        f"DO $$ BEGIN CREATE ROLE {role} {login} {_PLAIN};"
        " EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        for role, login in [(OWNER, "NOLOGIN"), *((role, "LOGIN") for role in LOGIN_ROLES)]
    ]
    # BEGIN carries the signed context as text, and pg_stat_activity shows the text of a role's statements to everybody
    # of that role: one injected SELECT could read the contexts of other tenants' requests. Only a superuser can turn it
    # on.
    carriers = (APP, IDENTITY, WORKER, DISPATCHER, BREAKGLASS)
    made += [f"ALTER ROLE {role} SET track_activities = off" for role in carriers]
    # NOINHERIT membership: the migrator owns nothing until it says SET ROLE
    return [*made, f"GRANT {OWNER} TO {MIGRATOR} WITH INHERIT FALSE, SET TRUE"]


def database_statements(database: str) -> list[str]:
    """SQL that hands one database to the owner and closes it to everybody else."""
    name = '"' + database.replace('"', '""') + '"'
    return [
        f"ALTER DATABASE {name} OWNER TO {OWNER}",
        f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {name} TO {', '.join(LOGIN_ROLES)}",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        # what a role may do to its own other connections, and storage that no row-level security guards
        f"REVOKE EXECUTE ON FUNCTION {', '.join(_CLOSED)} FROM PUBLIC",
    ]


async def ensure_roles(connection: asyncpg.Connection) -> None:
    """Make the roles, as a superuser. Two processes may do so at once: role DDL of PostgreSQL is not idempotent, so
    lock.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(7309453)")
        for statement in role_statements():
            await connection.execute(statement)
