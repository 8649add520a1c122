"""The functions of the database, each of them once: the `.sql` files of this folder, one noun a file.

Migrations keep what is history: tables, columns, indexes, rows, rights on tables. A function is of today, so its
newest version stands here and nowhere else, with those who may execute it; a trigger stands in the file of the function
that it calls. After the migrations, in their transaction, the schema `seawall` is made to hold what these files say and
nothing else:

 1. Every file is run. Functions call one another across files, so bodies are not checked yet, and any order will do.
 2. What was not written just now is what no file defines, and is dropped: a function that runs with its owner's rights
    would otherwise outlive the version that needed it.
 3. All rights to execute are taken away, and every file is run again. It gives the rights that it names, and now that
    all functions are there, their bodies are checked.

That takes 70 ms. While neither the files nor the functions of the database change, it is left out, not for the time but
for the locks: a trigger is not made again without one, on tables that admission reads.

PostgreSQL replaces no function by one with other columns or other names of parameters: there a migration drops the one
before.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from seawall.core.errors import Refused
from seawall.store.script import run_sql

FOLDER: Final = Path(__file__).parent

_OURS: Final = """
p.pronamespace = to_regnamespace('seawall')
AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
"""  # an extension that was put into this schema keeps its own
_TRIGGERS: Final = """
pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_proc p ON p.oid = t.tgfoid
WHERE NOT t.tgisinternal AND c.relnamespace = p.pronamespace AND p.pronamespace = to_regnamespace('seawall')
"""
_UNWRITTEN: Final = "xmin <> pg_current_xact_id()::xid"

STATE_SQL: Final = f"""
SELECT concat_ws(' ', p.oid::regprocedure, CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) END,
                 p.proowner::regrole, p.proacl)
FROM pg_proc p WHERE {_OURS}
UNION ALL SELECT concat_ws(' ', pg_get_triggerdef(t.oid), t.tgenabled) FROM {_TRIGGERS}
"""  # noqa: S608 - only constants of this file go in
"""All that the files decide: each function as it is, its owner, its rights; each trigger, and whether it fires."""

_STRAY_TRIGGERS: Final = f"""
SELECT format('DROP TRIGGER %I ON %s', t.tgname, t.tgrelid::regclass) FROM {_TRIGGERS} AND t.{_UNWRITTEN}
"""  # noqa: S608 - only constants of this file go in
_STRAY_FUNCTIONS: Final = f"""
SELECT string_agg(p.oid::regprocedure::text, ', ' ORDER BY p.oid) FROM pg_proc p WHERE {_OURS} AND p.{_UNWRITTEN}
"""  # noqa: S608 - only constants of this file go in
_RIGHTS: Final = f"""
SELECT format('REVOKE ALL ON ROUTINE %s FROM %s CASCADE', p.oid::regprocedure,
              string_agg(DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END, ', '))
FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE {_OURS} AND a.grantee <> p.proowner GROUP BY p.oid
"""  # noqa: S608 - only constants of this file go in


def write_functions(connection: Connection) -> None:
    """Make the functions and triggers of the schema `seawall` those of the files. Run as the owner, after the
    migrations, in their transaction.

    Raises:
        Refused: something that is not Seawall's needs a function that no file defines any more.
    """
    connection.execute(
        text(
            "CREATE TABLE IF NOT EXISTS seawall_meta.functions"
            " (one boolean PRIMARY KEY DEFAULT true CHECK (one), digest text NOT NULL)"
        )
    )
    if connection.execute(text("SELECT digest FROM seawall_meta.functions")).scalar() == _digest(connection):
        return
    # A deferred trigger that is made again forgets what it has yet to check: rows that a migration changed unaudited.
    connection.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    connection.execute(text("SET LOCAL check_function_bodies = off"))
    _run_files(connection)
    _drop_unwritten(connection)
    for (statement,) in connection.execute(text(_RIGHTS)).all():
        connection.exec_driver_sql(statement)
    connection.execute(text("SET LOCAL check_function_bodies = on"))
    _run_files(connection)
    connection.execute(
        text(
            "INSERT INTO seawall_meta.functions (digest) VALUES (:digest)"
            " ON CONFLICT (one) DO UPDATE SET digest = excluded.digest"
        ),
        {"digest": _digest(connection)},
    )


def files() -> list[Path]:
    return sorted(FOLDER.glob("*.sql"))


def _run_files(connection: Connection) -> None:
    for file in files():
        run_sql(connection, file.read_text(encoding="utf-8"))


def _digest(connection: Connection) -> str:
    """Of what is to be and of what is. This file is part of it: what it does decides as well."""
    digest = hashlib.sha256()
    for file in [Path(__file__), *files()]:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for said in sorted(connection.execute(text(STATE_SQL)).scalars()):
        digest.update(hashlib.sha256(said.encode()).digest())
    return digest.hexdigest()


def _drop_unwritten(connection: Connection) -> None:
    for (statement,) in connection.execute(text(_STRAY_TRIGGERS)).all():
        connection.exec_driver_sql(statement)
    stray = connection.execute(text(_STRAY_FUNCTIONS)).scalar()
    if stray is None:
        return
    try:
        connection.exec_driver_sql(f"DROP ROUTINE {stray}")
    except DBAPIError as error:
        raise Refused(
            f"the schema seawall holds what Seawall does not define and cannot drop: {stray}",
            why="a function there runs with the rights of Seawall's owner, and nobody looks after this one",
            fix=f"move it to a schema of your own, or take away what needs it: {_detail(error)}",
        ) from None


def _detail(error: DBAPIError) -> str:
    cause = error.orig and error.orig.__cause__
    return str(getattr(cause, "detail", None) or cause)
