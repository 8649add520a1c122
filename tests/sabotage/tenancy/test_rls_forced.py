"""tenancy/rls-forced notices every hole in a wall that we know of."""

from __future__ import annotations

import pytest
from tests.support.sabotages import first_few

ID = "tenancy/rls-forced"
POLICY = "CREATE POLICY tenant_wall ON app.venues TO seawall_app, seawall_worker USING (tenant_id = (SELECT seawall.tenant_id())) WITH CHECK (tenant_id = (SELECT seawall.tenant_id()))"  # noqa: E501
CALL = "seawall.tenant_id()"

HOLES = {
    "not forced": (
        "ALTER TABLE app.venues NO FORCE ROW LEVEL SECURITY",
        "ALTER TABLE app.venues FORCE ROW LEVEL SECURITY",
    ),
    "not enabled": (
        "ALTER TABLE app.venues DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE app.venues ENABLE ROW LEVEL SECURITY",
    ),
    "no policy": ("DROP POLICY tenant_wall ON app.venues", POLICY),
    "a policy that asks for the tenant once a row": (
        f"DROP POLICY tenant_wall ON app.venues; {POLICY.replace('(SELECT seawall.tenant_id())', CALL)}",
        f"DROP POLICY tenant_wall ON app.venues; {POLICY}",
    ),
    "a second, open policy": ("CREATE POLICY hole ON app.venues USING (true)", "DROP POLICY hole ON app.venues"),
    "an open insert policy": (
        "CREATE POLICY hole ON app.venues FOR INSERT WITH CHECK (true)",
        "DROP POLICY hole ON app.venues",
    ),
    "a policy on a plain setting": (
        "CREATE POLICY hole ON app.venues USING (tenant_id::text = current_setting('app.tenant_id', true))",
        "DROP POLICY hole ON app.venues",
    ),
    "a tenant that may be NULL": (
        "CREATE TABLE app.hole (tenant_id uuid, id uuid); CREATE INDEX ON app.hole (tenant_id);"
        " ALTER TABLE app.hole ENABLE ROW LEVEL SECURITY; ALTER TABLE app.hole FORCE ROW LEVEL SECURITY;"
        f"{POLICY.replace('app.venues', 'app.hole')}",
        "DROP TABLE app.hole",
    ),
    "a key without the tenant": (
        "CREATE UNIQUE INDEX hole ON app.venues (id)",
        "DROP INDEX app.hole",
    ),
    "a key that only includes the tenant": (
        "CREATE UNIQUE INDEX hole ON app.venues (id) INCLUDE (tenant_id)",
        "DROP INDEX app.hole",
    ),
    "an exclusion constraint without the tenant": (
        "ALTER TABLE app.venues ADD CONSTRAINT hole EXCLUDE USING btree (id WITH =)",
        "ALTER TABLE app.venues DROP CONSTRAINT hole",
    ),
    "a foreign key without the tenant": (
        "CREATE UNIQUE INDEX hole ON app.venues (id); ALTER TABLE app.dishes ADD CONSTRAINT hole"
        " FOREIGN KEY (venue_id) REFERENCES app.venues (id)",
        "ALTER TABLE app.dishes DROP CONSTRAINT hole; DROP INDEX app.hole",
    ),
    "a table beside the app's schemas": (
        "CREATE TABLE public.hole AS SELECT tenant_id, id FROM app.orders;"
        " GRANT USAGE ON SCHEMA public TO seawall_app; GRANT SELECT ON public.hole TO seawall_app",
        "DROP TABLE public.hole; REVOKE USAGE ON SCHEMA public FROM seawall_app",
    ),
    "a table of nobody": ("CREATE TABLE app.hole (id uuid)", "DROP TABLE app.hole"),
    "a table of nobody that the app may write": (
        "CREATE TABLE app.hole (id uuid); COMMENT ON TABLE app.hole IS '@seawall:global';"
        " GRANT SELECT, INSERT ON app.hole TO seawall_app",
        "DROP TABLE app.hole",
    ),
    "a view with its owner's rights": (
        "CREATE VIEW app.hole AS SELECT * FROM app.orders; GRANT SELECT ON app.hole TO seawall_app",
        "DROP VIEW app.hole",
    ),
    "a materialised view": (
        "CREATE MATERIALIZED VIEW app.hole AS SELECT * FROM app.orders; GRANT SELECT ON app.hole TO seawall_app",
        "DROP MATERIALIZED VIEW app.hole",
    ),
    "a publication": ("CREATE PUBLICATION hole FOR TABLE app.orders", "DROP PUBLICATION hole"),
    "a leak-proof function": (
        "CREATE FUNCTION app.hole(text) RETURNS boolean LANGUAGE sql LEAKPROOF AS 'SELECT true'",
        "DROP FUNCTION app.hole(text)",
    ),
}


@pytest.mark.parametrize("hole", first_few(HOLES, 1))
async def test_a_hole_in_the_wall(sabotage, hole: str) -> None:
    sql, undo = HOLES[hole]
    await sabotage(ID, sql=sql, undo_sql=undo, trips={ID})
