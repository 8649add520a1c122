"""The schema `seawall` holds the functions of `store/functions`, whatever it held before, and no others."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from tests.support.databases import ScratchDatabase

from seawall.core.errors import Refused
from seawall.core.ids import token_hash
from seawall.store import functions, migrate

DEFINED = re.compile(r"CREATE (?:OR REPLACE )?FUNCTION (seawall\.\w+)\(")
LINES_MAX = 150
TAMPERED = {
    "another body": """DO $do$ BEGIN
        EXECUTE replace(pg_get_functiondef('seawall.admit'::regproc), 's.revoked_at IS NULL AND', ''); END $do$""",
    "another search path": "ALTER FUNCTION seawall.verify(text) SET search_path = public",
    "the caller's rights": "ALTER FUNCTION seawall.tenant_id() SECURITY INVOKER",
    "a right of the app's role": "GRANT EXECUTE ON FUNCTION seawall.mint(uuid, uuid, uuid, text) TO seawall_app",
    "a right of everybody": "GRANT EXECUTE ON FUNCTION seawall.forget_person(uuid, uuid) TO PUBLIC",
    "a right that is missing": "REVOKE EXECUTE ON FUNCTION seawall.user_id() FROM seawall_app",
    "a trigger that does not fire": "ALTER TABLE seawall.memberships DISABLE TRIGGER keep_the_last",
    "a constraint that does not fire": "ALTER TABLE seawall.memberships DISABLE TRIGGER audited",
    "a trigger that is missing": "DROP TRIGGER keys_first ON seawall.tenants",
    "a trigger too many": """CREATE TRIGGER twice AFTER INSERT ON seawall.sessions
        FOR EACH ROW EXECUTE FUNCTION seawall.remember_person()""",
    "a function too many": """SET ROLE seawall_owner; CREATE FUNCTION seawall.mine() RETURNS text LANGUAGE sql
        SECURITY DEFINER AS 'SELECT 1'; RESET ROLE""",
    "an overload": """SET ROLE seawall_owner; CREATE FUNCTION seawall.verify(context text, loosely boolean)
        RETURNS text[] LANGUAGE sql AS $$ SELECT string_to_array(context, '.') $$; RESET ROLE""",
    "two that need one another": """SET ROLE seawall_owner;
        CREATE FUNCTION seawall.one() RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
        CREATE FUNCTION seawall.two() RETURNS integer LANGUAGE sql BEGIN ATOMIC SELECT seawall.one(); END;
        RESET ROLE""",
    "a procedure": "SET ROLE seawall_owner; CREATE PROCEDURE seawall.go() LANGUAGE sql AS 'SELECT 1'; RESET ROLE",
    "an aggregate": """SET ROLE seawall_owner;
        CREATE AGGREGATE seawall.most(integer) (SFUNC = int4larger, STYPE = integer); RESET ROLE""",
}
"""Each runs as a superuser."""
INTRUDER = """
CREATE FUNCTION pg_temp.evil(pg_catalog.uuid) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'ran as %', current_user; END $$;
CREATE DOMAIN pg_temp.uuid AS pg_catalog.uuid CHECK (pg_temp.evil(VALUE));
"""


async def _state(scratch: ScratchDatabase) -> list[str]:
    return sorted(row[0] for row in await scratch.owner.fetch(functions.STATE_SQL))


async def _written(scratch: ScratchDatabase) -> list[tuple[object, ...]]:
    """Which rows of the catalogue there are: a function that is made again gets a new one."""
    rows = await scratch.owner.fetch(
        "SELECT 'function', oid, xmin::text FROM pg_proc WHERE pronamespace = 'seawall'::regnamespace"
        " UNION ALL SELECT tgname::text, oid, xmin::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 2"
    )
    return [tuple(row) for row in rows]


def _script(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def test_each_function_stands_once_in_a_small_file() -> None:
    assert len(functions.files()) > 10
    for file in functions.files():
        lines = _script(file).splitlines()
        assert lines[0].startswith("-- "), file.name
        assert len(lines) <= LINES_MAX, file.name
    counted = Counter(name for file in functions.files() for name in DEFINED.findall(_script(file)))
    assert set(counted.values()) == {1}


def test_a_migration_neither_makes_nor_calls_a_function() -> None:
    """It would call the one of its day on a database that stands there, and none on a new one."""
    named = {name for file in functions.files() for name in DEFINED.findall(_script(file))}
    for file in (Path(migrate.__file__).parent / "migrations" / "versions").glob("*.sql"):
        said = re.sub(r"--.*", "", _script(file))
        assert not re.search(r"\b(CREATE|REPLACE|ALTER|ON|EXECUTE) (FUNCTION|PROCEDURE)\b|\bTRIGGER\b", said), file.name
        assert not named & set(re.findall(r"seawall\.\w+(?=\()", said)), file.name


async def test_the_database_has_those_of_the_files(shared_scratch: ScratchDatabase) -> None:
    there = await shared_scratch.owner.fetch(
        "SELECT oid::regproc::text, proowner::regrole::text, array_to_string(proconfig, ','), proacl::text FROM pg_proc"
        " WHERE pronamespace = 'seawall'::regnamespace"
    )
    assert sorted(row[0] for row in there) == sorted(
        name for file in functions.files() for name in DEFINED.findall(_script(file))
    )
    assert {row[1] for row in there} == {"seawall_owner"}
    assert {row[2] for row in there} == {"search_path=pg_catalog, pg_temp"}
    assert not [row[0] for row in there if row[3] is None or re.search(r"[{,]=", row[3])]  # NULL and `=X`: everybody


async def test_a_temporary_type_is_not_taken_for_the_real_one(scratch: ScratchDatabase) -> None:
    """Where the app's role may make temporary objects, as PUBLIC may in every new database: `uuid` in a function is the
    catalogue's, and not a domain of the caller's whose check would run with the owner's rights.
    """
    await scratch.owner.execute(f'GRANT TEMP ON DATABASE "{scratch.development.name}" TO PUBLIC')
    tenant = await scratch.tenant()
    person = await scratch.person(tenant, "clerk")
    principal = await scratch.database.admit(token_hash(await scratch.session(person, tenant)))
    assert principal is not None
    connection = await scratch.connect("seawall_app")
    try:
        await connection.execute(INTRUDER)
        async with connection.transaction():
            await connection.execute(f"SET LOCAL seawall.ctx = '{principal.context}'")
            assert await connection.fetchval("SELECT seawall.user_id()") == person
            assert await connection.fetchval("SELECT seawall.tenant_id()") == tenant
    finally:
        await connection.close()


async def test_any_order_will_do(scratch: ScratchDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    before, backwards = await _state(scratch), functions.files()[::-1]
    await scratch.owner.execute("DROP SCHEMA app; DROP SCHEMA seawall CASCADE; DROP SCHEMA seawall_meta CASCADE")
    monkeypatch.setattr(functions, "files", lambda: backwards)
    await scratch.development.migrate(None)
    assert await _state(scratch) == before


async def test_what_has_not_changed_is_not_written(scratch: ScratchDatabase) -> None:
    before = await _written(scratch)
    await scratch.development.migrate(None)
    assert await _written(scratch) == before


async def test_a_changed_file_is_written(
    scratch: ScratchDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, before = functions.files(), await _state(scratch)
    more = tmp_path / "more.sql"
    more.write_text("CREATE OR REPLACE FUNCTION seawall.more() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    with monkeypatch.context() as patch:
        patch.setattr(functions, "files", lambda: [more, *files])
        await scratch.development.migrate(None)
        [new] = set(await _state(scratch)) - set(before)
        assert new.endswith("{seawall_owner=X/seawall_owner}")
    await scratch.development.migrate(None)
    assert await _state(scratch) == before


@pytest.mark.parametrize("tampered", TAMPERED)
async def test_what_was_changed_by_hand_is_put_right(scratch: ScratchDatabase, tampered: str) -> None:
    before = await _state(scratch)
    await scratch.owner.execute(TAMPERED[tampered])
    assert await _state(scratch) != before
    await scratch.development.migrate(None)
    assert await _state(scratch) == before


@pytest.mark.parametrize("audited", [True, False])
async def test_a_migration_owes_the_log_its_events(
    scratch: ScratchDatabase, monkeypatch: pytest.MonkeyPatch, audited: bool
) -> None:
    """Though the trigger that asks for them is made again in its transaction."""
    person, before = await scratch.person(await scratch.tenant(), "clerk"), await _state(scratch)

    def upgrade(connection: Connection, *_: object) -> None:
        connection.exec_driver_sql("UPDATE seawall_meta.functions SET digest = ''")
        connection.exec_driver_sql("UPDATE seawall.memberships SET role = 'cook'")
        if audited:
            event = '{"kind":"access.grant","outcome":"success"}'
            connection.exec_driver_sql(f"SELECT seawall.audit_append_as(NULL, NULL, NULL, ARRAY['{event}'])")

    monkeypatch.setattr(migrate, "_upgrade", upgrade)
    if audited:
        await scratch.development.migrate(None)
    else:
        with pytest.raises(DBAPIError, match="a change to memberships without its audit event"):
            await scratch.development.migrate(None)
    role = await scratch.owner.fetchval("SELECT role FROM seawall.memberships WHERE user_id = $1", person)
    assert (role, await _state(scratch)) == ("cook" if audited else "clerk", before)


async def test_a_body_that_cannot_run_is_not_migrated_to(
    scratch: ScratchDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, before = functions.files(), await _state(scratch)
    bad = tmp_path / "bad.sql"
    bad.write_text(
        "CREATE OR REPLACE FUNCTION seawall.bad() RETURNS uuid LANGUAGE sql AS 'SELECT gone FROM seawall.users'"
    )
    monkeypatch.setattr(functions, "files", lambda: [bad, *files])
    with pytest.raises(asyncpg.UndefinedColumnError):
        await scratch.development.migrate(None)
    assert await _state(scratch) == before


async def test_what_the_app_needs_is_not_taken_from_under_it(scratch: ScratchDatabase) -> None:
    await scratch.owner.execute(
        "SET ROLE seawall_owner; CREATE FUNCTION seawall.mine() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid';"
        "CREATE TABLE app.things (id uuid DEFAULT seawall.mine()); RESET ROLE"
    )
    with pytest.raises(Refused, match=r"cannot drop: seawall\.mine\(\)") as refused:
        await scratch.development.migrate(None)
    assert "table app.things" in refused.value.fix


async def test_extensions_and_the_app_keep_theirs(scratch: ScratchDatabase) -> None:
    await scratch.owner.execute(
        "CREATE EXTENSION lo SCHEMA seawall; SET ROLE seawall_owner;"
        "CREATE FUNCTION app.mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
        "CREATE TRIGGER mine AFTER INSERT ON seawall.users FOR EACH ROW EXECUTE FUNCTION app.mine(); RESET ROLE;"
        "UPDATE seawall_meta.functions SET digest = ''"
    )
    before = await _written(scratch)
    await scratch.development.migrate(None)
    kept = {row[1] for row in before} & {row[1] for row in await _written(scratch)}
    for name in ("seawall.lo_manage", "app.mine"):
        assert await scratch.owner.fetchval("SELECT to_regproc($1)::oid", name) is not None
    assert {row[1] for row in before if row[0] == "mine"} <= kept
