"""A session that outlives its end."""

import pytest

SIGN_OUT = """
import seawall.identity.account as module
async def nothing(tx, session_id):
    return 1
module.end_session = nothing
"""
ROLE = """
import seawall.identity.people as module
async def nothing(tx, user_id, **_):
    return None
module.raise_epoch = nothing
"""


BOTH = {"identity/server-sessions", "tenancy/verified-context"}
"""A signed-out session must get no tenant context either."""


async def test_signing_out_that_ends_nothing(sabotage) -> None:
    await sabotage("identity/server-sessions", python=SIGN_OUT, trips=BOTH)


@pytest.mark.prove
async def test_a_role_change_that_ends_nothing(sabotage) -> None:
    await sabotage("identity/server-sessions", python=ROLE, trips={"identity/server-sessions"})
