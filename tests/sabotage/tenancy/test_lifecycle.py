"""A suspension that comes late, an export that takes too much, an erasure that leaves something."""

import pytest

PROVE = pytest.mark.prove

LATE = """
CREATE OR REPLACE FUNCTION seawall.live_tenant(part text[]) RETURNS uuid LANGUAGE sql STABLE
SET search_path = pg_catalog AS 'SELECT part[2]::uuid'
"""
# `seawall tenant` runs beside the app, so these are broken in the app's database, which both share.
LEFT_BEHIND = """
CREATE TABLE seawall.copies AS SELECT tenant_id, id FROM app.orders
"""
ADMITTED = """
DO $do$ BEGIN
EXECUTE replace(pg_get_functiondef('seawall.admit'::regproc), 't.suspended_at IS NULL', 'true');
END $do$
"""


def everywhere(sql: str) -> str:
    """Python that runs SQL on the app's database when it starts: a variant of the check has a database of its own."""
    return f"""
import seawall.development.serve as module
real = module._seed
async def broken(first, database, **more):
    import asyncpg
    owner = await asyncpg.connect(database.owner_url)
    sow = await real(first, database, **more)
    await owner.execute({sql!r})
    await owner.close()
    return sow
module._seed = broken
"""


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param(LATE, id="contexts-outlive-it", marks=PROVE),
        pytest.param(ADMITTED, id="sessions-outlive-it", marks=PROVE),
        pytest.param(LEFT_BEHIND, id="rows-left-behind", marks=PROVE),
    ],
)
async def test_an_end_that_is_none(sabotage, sql: str) -> None:
    await sabotage("tenancy/lifecycle", python=everywhere(sql), trips={"tenancy/lifecycle"})


@PROVE
async def test_an_export_that_nobody_can_read(sabotage) -> None:
    """The rows are all there, and what was sealed is as the database has it."""
    imported = "from sqlalchemy import DateTime, func\n"
    unopened = """
import seawall.privacy.export as opened
import seawall.tenancy.export as exported

opened.opened_rows = lambda models: exported.plain_rows
"""
    await sabotage(
        "tenancy/lifecycle", edit={"models.py": (imported, imported + unopened)}, trips={"tenancy/lifecycle"}
    )
