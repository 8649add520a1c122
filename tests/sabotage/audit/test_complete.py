"""audit/complete notices events that are missing, doubled, early, open to the app, or that tell too much."""

from __future__ import annotations

import pytest
from tests.support.sabotages import first_few

ID = "audit/complete"

BROKEN = {
    "decisions are not written": """
import seawall.audit as a
was = a.append
async def without_decisions(transaction, events):
    await was(transaction, [event for event in events if event.kind != "access.decision"])
a.append = without_decisions
""",
    "events are written twice": """
import seawall.audit as a
was = a.append
async def twice(transaction, events):
    await was(transaction, [*events, *events])
a.append = twice
""",
    "success is told of what was rolled back": """
import seawall.web.outlet as o
o._undone = lambda event: event
""",
    "an address is in the event": """
import orjson, sys, seawall.audit
m, b = sys.modules["seawall.audit.append"], sys.modules["seawall.audit.batch"]
was = m.encoded
def telling(event):
    return orjson.dumps({**orjson.loads(was(event)), "who": "owner@harbour.example"}).decode()
m.encoded = b.encoded = telling
""",
}


@pytest.mark.parametrize("broken", first_few(BROKEN, 1))
async def test_a_log_that_cannot_be_trusted(sabotage, broken: str) -> None:
    await sabotage(ID, python=BROKEN[broken], trips={ID})


async def test_a_log_that_the_app_can_read(sabotage) -> None:
    await sabotage(
        ID,
        sql="GRANT SELECT ON seawall.audit_events TO seawall_app",
        undo_sql="REVOKE SELECT ON seawall.audit_events FROM seawall_app",
        trips={ID, "tenancy/least-db-role"},
    )


@pytest.mark.prove
async def test_a_log_that_the_app_can_rewrite(sabotage) -> None:
    await sabotage(
        ID,
        sql="GRANT UPDATE (kind), DELETE ON seawall.audit_events TO seawall_app",
        undo_sql="REVOKE UPDATE (kind), DELETE ON seawall.audit_events FROM seawall_app",
        trips={ID, "tenancy/least-db-role"},
    )
