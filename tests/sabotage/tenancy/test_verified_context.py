"""tenancy/verified-context notices a database that believes what it is told."""

from __future__ import annotations

import pytest
from tests.support.sabotages import first_few

ID = "tenancy/verified-context"

# What `seawall.verify` does, each time without one of its checks.
VERIFY = """
CREATE OR REPLACE FUNCTION seawall.verify(context text) RETURNS text[]
LANGUAGE plpgsql STABLE SET search_path = pg_catalog AS $$
DECLARE part text[] := string_to_array(context, '.'); mac text; key record;
BEGIN
    IF cardinality(part) < 2 THEN RAISE EXCEPTION 'malformed' USING ERRCODE = '42501'; END IF;
    SELECT inner_pad, outer_pad INTO key FROM seawall.context_keys WHERE kid = part[1]::integer;
    mac := array_to_string(part[1:6], '.');
    mac := encode(sha256(key.outer_pad || sha256(key.inner_pad || convert_to(mac, 'UTF8'))), 'hex');
    IF {mac} THEN RAISE EXCEPTION 'forged' USING ERRCODE = '42501'; END IF;
    IF {expiry} THEN RAISE EXCEPTION 'expired' USING ERRCODE = '42501'; END IF;
    RETURN part;
END $$
"""
MAC, EXPIRY = "part[7] IS DISTINCT FROM mac", "part[6]::bigint < extract(epoch FROM now())"
TENANT_ID = """
CREATE OR REPLACE FUNCTION seawall.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog AS $$ {body} $$
"""
BROKEN = {
    "any signature is good": ("seawall.verify", VERIFY.format(mac="false", expiry=EXPIRY)),
    "a missing signature is good": ("seawall.verify", VERIFY.format(mac="part[7] <> mac", expiry=EXPIRY)),
    "nothing ever ends": ("seawall.verify", VERIFY.format(mac=MAC, expiry="false")),
    "half a signature is enough": (
        "seawall.verify",
        VERIFY.format(mac="NOT starts_with(mac, left(part[7], 32)) OR part[7] IS NULL", expiry=EXPIRY),
    ),
    "an ended session is admitted": (
        "seawall.admit",
        "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('seawall.admit'::regproc),"
        " 's.revoked_at IS NULL AND', ''); END $$",
    ),
    "the setting is the tenant": (
        "seawall.tenant_id",
        TENANT_ID.format(
            body="DECLARE said text := current_setting('seawall.ctx', true);"
            " BEGIN RETURN substring(said FROM '[0-9a-f]{8}-[0-9a-f-]{27}')::uuid; END"
        ),
    ),
    # `SET` for the session in place of `SET LOCAL`: the classic leak through a pool.
    "a context stays on its connection": (
        "seawall.tenant_id",
        TENANT_ID.format(
            body="DECLARE said text := nullif(current_setting('seawall.ctx', true), ''); BEGIN"
            " IF said IS NULL THEN said := nullif(current_setting('left.behind', true), '');"
            " ELSE PERFORM set_config('left.behind', said, false); END IF;"
            " IF said IS NULL THEN RETURN NULL; END IF; RETURN (seawall.verify(said))[2]::uuid; END"
        ),
    ),
}
KEEP = "CREATE TABLE public.kept AS SELECT pg_get_functiondef('{function}'::regproc) AS said; {broken}"
PUT_BACK = "DO $$ BEGIN EXECUTE (SELECT said FROM public.kept); DROP TABLE public.kept; END $$"


async def test_statements_that_everybody_of_the_role_can_read(sabotage) -> None:
    """Only new connections take up a role's setting for a database, so the app's pool is cut once."""
    sql = (
        "DO $$ BEGIN EXECUTE format('ALTER ROLE seawall_app IN DATABASE %I SET track_activities = on',"
        " current_database()); END $$;"
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE usename = 'seawall_app' AND datname = current_database()"
    )
    undo = sql.replace("SET track_activities = on", "RESET track_activities")
    await sabotage(ID, sql=sql, undo_sql=undo, trips={ID})


@pytest.mark.parametrize("role", first_few(["seawall_worker", "seawall_app"], 1))
async def test_whoever_may_read_rows_may_claim_jobs(sabotage, role: str) -> None:
    claim = "EXECUTE ON FUNCTION seawall.claim(text[], integer)"
    sql, undo = f"GRANT {claim} TO {role}", f"REVOKE {claim} FROM {role}"
    await sabotage(ID, sql=sql, undo_sql=undo, trips={ID})


@pytest.mark.parametrize("broken", first_few(BROKEN, 1))
async def test_a_database_that_believes(sabotage, broken: str) -> None:
    function, sql = BROKEN[broken]
    keep = KEEP.format(function=function, broken=sql)
    result = await sabotage(ID, sql=keep, undo_sql=PUT_BACK, trips={ID})
    assert any(not one.ok and one.kind == "refuse" for one in result.evidence)
