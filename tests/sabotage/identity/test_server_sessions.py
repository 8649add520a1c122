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
TAKEN_ROLE = """
import seawall.identity.people as module
real, raised = module.People._change, module.raise_epoch
async def nothing(tx, user_id, **_):
    return None
async def changed(self, scope, user_id, membership, change, sql):
    module.raise_epoch = nothing if change == "revoked" else raised
    await real(self, scope, user_id, membership, change, sql)
module.People._change = changed
"""
# Only the account knows that a session has ended: the API remembers whom it let in.
API_REMEMBERS = """
import seawall.core.scope as module
real, kept = module.Passage.admit, {}
async def admit(self):
    found = await real(self)
    if self.path.startswith("/api/") and self.token_hash is not None:
        if found is not None:
            kept[self.token_hash] = found
        elif self.token_hash in kept:
            self.principal = found = kept[self.token_hash]
    return found
module.Passage.admit = admit
"""
HALF_A_TOKEN = """
import re, secrets
import seawall.identity.cookies as cookies
import seawall.identity.sessions as module
module.new_token = lambda: secrets.token_urlsafe(16)
cookies._TOKEN = re.compile("[A-Za-z0-9_-]{22,43}")
"""

BOTH = {"identity/server-sessions", "tenancy/verified-context"}
"""A signed-out session must get no tenant context either."""


async def test_signing_out_that_ends_nothing(sabotage) -> None:
    await sabotage("identity/server-sessions", python=SIGN_OUT, trips=BOTH)


@pytest.mark.prove
@pytest.mark.parametrize("python", [ROLE, TAKEN_ROLE], ids=["given", "taken"])
async def test_a_role_change_that_ends_nothing(sabotage, python: str) -> None:
    await sabotage("identity/server-sessions", python=python, trips={"identity/server-sessions"})


@pytest.mark.prove
async def test_an_api_that_remembers(sabotage) -> None:
    await sabotage("identity/server-sessions", python=API_REMEMBERS, trips={"identity/server-sessions"})


@pytest.mark.prove
async def test_a_token_of_half_the_length(sabotage) -> None:
    await sabotage("identity/server-sessions", python=HALF_A_TOKEN, trips={"identity/server-sessions"})
