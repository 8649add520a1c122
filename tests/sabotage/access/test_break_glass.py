"""Staff who read for ever, alone, or unseen."""

import pytest

PROVE = pytest.mark.prove

NEVER_OVER = """
DO $do$ BEGIN
EXECUTE replace(pg_get_functiondef('seawall.grant_holds(uuid,uuid,uuid)'::regprocedure), $a${part}$a$, 'true');
END $do$
"""
UNSEEN = """
CREATE OR REPLACE FUNCTION seawall.witness(relation oid, row_id text) RETURNS boolean
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT true'
"""
ANY_ROLE = """
DO $do$ BEGIN
EXECUTE replace(pg_get_functiondef('seawall.verify(text)'::regprocedure),
                $a$(part[5] = 'breakglass') <> (session_user = 'seawall_breakglass')$a$, 'false');
END $do$
"""
WITHOUT_A_FACTOR = """
import seawall.access.break_glass_pages as module
async def confirmed(*_): return None
module.BreakGlassRoutes._confirmed = confirmed
"""
EVERYBODY_IS_STAFF = """
import seawall.access.break_glass as module
async def staff(*_): return True
module._is_staff = staff
"""
STAFF_MAY_ALL = {
    "policies/restaurant.cedar": (
        'permit (principal in Role::"breakglass", action == Action::"read", resource);',
        'permit (principal in Role::"breakglass", action, resource);',
    )
}


async def test_rows_are_read_unseen(sabotage) -> None:
    await sabotage("access/break-glass", sql=UNSEEN, trips={"access/break-glass"})


@PROVE
@pytest.mark.parametrize(
    "part",
    [
        pytest.param("g.expires_at > clock_timestamp()", id="never-expires"),
        pytest.param("g.ended_at IS NULL", id="cannot-be-ended"),
        pytest.param("s.removed_at IS NULL", id="dismissed"),
    ],
)
async def test_a_grant_holds_for_ever(sabotage, part: str) -> None:
    await sabotage("access/break-glass", sql=NEVER_OVER.format(part=part), trips={"access/break-glass"})


@PROVE
async def test_the_apps_role_reads_with_it(sabotage) -> None:
    await sabotage("access/break-glass", sql=ANY_ROLE, trips={"access/break-glass"})


@PROVE
@pytest.mark.parametrize("python", [WITHOUT_A_FACTOR, EVERYBODY_IS_STAFF], ids=["without-a-factor", "everybody"])
async def test_the_code_is_blind(sabotage, python: str) -> None:
    await sabotage("access/break-glass", python=python, trips={"access/break-glass"})


@PROVE
async def test_the_policies_let_staff_do_everything(sabotage) -> None:
    await sabotage("access/break-glass", edit=STAFF_MAY_ALL, trips={"access/break-glass"})


@PROVE
async def test_only_the_first_row_of_a_list_is_seen(sabotage) -> None:
    sql = """
    DO $do$ BEGIN
    EXECUTE replace(pg_get_functiondef('seawall.witness'::regproc), $a$AND e.body ->> 'row' = row_id$a$, '');
    END $do$
    """
    await sabotage("access/break-glass", sql=sql, trips={"access/break-glass"})
