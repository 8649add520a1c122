"""A session that outlives its end."""

import pytest

PROVE = pytest.mark.prove

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


@pytest.mark.parametrize(
    "python", [pytest.param(SIGN_OUT, id="sign-out"), pytest.param(ROLE, id="role-change", marks=PROVE)]
)
async def test_a_session_that_does_not_end(sabotage, python: str) -> None:
    await sabotage("identity/server-sessions", python=python, trips={"identity/server-sessions"})
