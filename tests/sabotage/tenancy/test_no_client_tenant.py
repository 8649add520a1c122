"""tenancy/no-client-tenant notices an app that believes a header, a name or a claim."""

from __future__ import annotations

import pytest

ID = "tenancy/no-client-tenant"

# What the client says goes into a setting, and the database prefers that setting to the verified context.
BELIEVE = """
import contextvars, json, re
from seawall.identity.jose import decode_part
from seawall.store.lease import Lease
from seawall.web import Wall

asked = contextvars.ContextVar("asked", default="")
call, begin = Wall.__call__, Lease.begin.__func__

def claim(headers):
    said = headers.get(b"authorization", b"").decode().split(".")
    return json.loads(decode_part(said[1])).get("tenant_id", "") if len(said) == 3 else ""

async def hears(self, scope, receive, send):
    headers = dict(scope.get("headers", ()))
    named = SOURCE
    asked.set(named if re.fullmatch("[0-9a-z-]{1,40}", named) else "")
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
    RETURN coalesce(
        (SELECT id FROM seawall.tenants WHERE current_setting('believed.tenant', true) IN (id::text, slug)),
        (seawall.verify(context))[2]::uuid);
END $$
"""


@pytest.mark.prove
async def test_a_header_that_is_believed(sabotage) -> None:
    python = BELIEVE.replace("SOURCE", 'headers.get(b"x-tenant-id", b"").decode()')
    result = await sabotage(ID, python=python, sql=PREFER, trips={ID})
    assert "X-Tenant-Id" in result.why


@pytest.mark.prove
async def test_a_name_in_a_header_that_is_believed(sabotage) -> None:
    named = """re.sub("^[0-9a-f-]{36}$", "", headers.get(b"x-tenant", b"").decode())"""
    await sabotage(ID, python=BELIEVE.replace("SOURCE", named), sql=PREFER, trips={ID})


@pytest.mark.prove
async def test_a_claim_that_is_believed(sabotage) -> None:
    result = await sabotage(ID, python=BELIEVE.replace("SOURCE", "claim(headers)"), sql=PREFER, trips={ID})
    assert "claims of its token" in result.why
