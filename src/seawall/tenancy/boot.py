"""Before the first request: is the database the one that the walls rely on?

Anything found is a refusal to start. A warning would scroll away; a leak would not.
"""

from __future__ import annotations

import time
from typing import Any, Final

from seawall.core.clock import CLOCK_SKEW_MAX_S
from seawall.core.errors import Refused
from seawall.store.version import require_version
from seawall.store.walls import FAULTS_SQL, Fault, refusal

ROLE_SQL: Final = """
SELECT current_setting('server_version_num')::integer AS version,
       extract(epoch FROM clock_timestamp())::float8 AS database_time,
       r.rolname AS role, r.rolsuper, r.rolbypassrls, r.rolcreaterole, r.rolcreatedb, r.rolreplication,
       current_setting('track_activities')::boolean AS overheard,
       to_regprocedure('seawall.admit(bytea,bytea)') IS NOT NULL AS migrated,
       (SELECT string_agg(c.relname, ', ') FROM pg_class c
        WHERE c.relnamespace = to_regnamespace('app') AND pg_has_role(r.oid, c.relowner, 'MEMBER')) AS owned,
       (SELECT string_agg(o.rolname, ', ') FROM pg_roles o
        WHERE NOT r.rolsuper AND o.oid <> r.oid AND pg_has_role(r.oid, o.oid, 'MEMBER')) AS member_of,
       (SELECT string_agg(n.nspname, ', ') FROM pg_namespace n
        WHERE n.nspname !~ '^pg_(toast_)?temp' AND has_schema_privilege(r.oid, n.oid, 'CREATE')) AS creates_in,
       has_database_privilege(r.oid, current_database(), 'CREATE') AS may_create,
       -- PUBLIC's in every new database: what is temporary is found by its bare name before what is not
       has_database_privilege(r.oid, current_database(), 'TEMP') AS may_stage
FROM pg_roles r WHERE r.rolname = current_user
"""


async def inspect(connection: Any) -> None:
    """Check the app's role, the server and every table of the app. `connection` is asyncpg's, signed in as the app.

    Raises:
        Refused: the server is too old, not migrated or its clock is off; the role is too strong; a table has no wall.
    """
    found = await connection.fetchrow(ROLE_SQL)
    _check_server(found)
    _check_role(found)
    faults = [Fault(*row) for row in await connection.fetch(FAULTS_SQL)]
    if faults:
        raise refusal(faults)


def _check_server(found: Any) -> None:
    require_version(found["version"])
    if not found["migrated"]:
        raise Refused(
            "the database has no Seawall schema, or a foreign one",
            why="admission, sessions and the tenant context live in it",
            fix="run `seawall migrate` with the migrator's URL",
        )
    skew_s = abs(found["database_time"] - time.time())
    if skew_s > CLOCK_SKEW_MAX_S:
        raise Refused(
            f"this machine's clock and the database's differ by {skew_s:.0f} s",
            why="expiry of sessions, contexts and tokens would mean different moments on each side",
            fix="synchronise both clocks (NTP)",
        )


def _check_role(found: Any) -> None:
    powers = {
        "is a superuser": found["rolsuper"],
        "bypasses row-level security": found["rolbypassrls"],
        "may create roles": found["rolcreaterole"],
        "may create databases": found["rolcreatedb"],
        "may replicate": found["rolreplication"],
        "may create schemas": found["may_create"],
        "may create temporary objects": found["may_stage"],
        f"may create objects in {found['creates_in']}": found["creates_in"] is not None,
        f"owns app.{found['owned']}": found["owned"] is not None,
        f"is a member of {found['member_of']}": found["member_of"] is not None,
    }
    held = [power for power, has in powers.items() if has]
    if held:
        raise Refused(
            f"the app signs in to the database as {found['role']}, which {', '.join(held)}",
            why="an injected statement would have the same power, and row-level security would not stop it",
            fix="give DATABASE_URL the role seawall_app, as `seawall migrate --print-roles` makes it",
        )
    if found["overheard"]:
        raise Refused(
            f"statements of {found['role']} can be read in pg_stat_activity",
            why="they carry tenant contexts: an injected SELECT there could take another tenant's",
            fix=f"as a superuser: ALTER ROLE {found['role']} SET track_activities = off",
        )
