"""tenancy/no-client-tenant notices an app that believes a header."""

from __future__ import annotations

ID = "tenancy/no-client-tenant"

# The header goes into a setting, and the database prefers that setting to the verified context.
BELIEVE = """
import contextvars, re
from seawall.store.lease import Lease
from seawall.web import Wall

asked = contextvars.ContextVar("asked", default="")
call, begin = Wall.__call__, Lease.begin.__func__

async def hears(self, scope, receive, send):
    named = dict(scope.get("headers", ())).get(b"x-tenant-id", b"").decode()
    asked.set(named if re.fullmatch("[0-9a-f-]{36}", named) else "")
    await call(self, scope, receive, send)

async def believes(cls, pool, context):
    lease = await begin(cls, pool, context)
    if asked.get():
        await lease.fetch(f"SET LOCAL believed.tenant = '{asked.get()}'")
    return lease

Wall.__call__, Lease.begin = hears, classmethod(believes)
"""
PREFER = """
CREATE OR REPLACE FUNCTION seawall.tenant_id() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE context text := nullif(current_setting('seawall.ctx', true), '');
BEGIN
    IF context IS NULL THEN RETURN NULL; END IF;
    RETURN coalesce(nullif(current_setting('believed.tenant', true), '')::uuid, (seawall.verify(context))[2]::uuid);
END $$
"""


async def test_a_header_that_is_believed(sabotage) -> None:
    result = await sabotage(ID, python=BELIEVE, sql=PREFER, trips={ID})
    assert "X-Tenant-Id" in result.why
