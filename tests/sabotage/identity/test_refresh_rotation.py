"""A rotation that notices no thief, and one that takes everybody for one."""

import pytest

ONLY = {"identity/refresh-rotation"}

RETRY = """
import seawall.identity.clients.refresh as module
async def always(tx, grant, retry_s):
    return {verdict}
module._may_retry = always
"""
KEEPS = """
import seawall.identity.clients.refresh as module
async def nothing(tx, grant, reason):
    return None
module.revoke_grant = nothing
"""
ANY_KEY = """
import seawall.identity.clients.refresh as module
from dataclasses import replace
lock_grant = module.lock_grant
def rotate(tx, token, *, client_id, jkt, retry_s, original=module.rotate):
    async def anybodys(tx, grant_id):
        found = await lock_grant(tx, grant_id)
        return found and replace(found, jkt=jkt)
    module.lock_grant = anybodys
    return original(tx, token, client_id=client_id, jkt=jkt, retry_s=retry_s)
import seawall.identity.clients.token_route as route
route.rotate = rotate
"""


async def test_a_parent_that_is_good_for_ever(sabotage) -> None:
    await sabotage("identity/refresh-rotation", python=RETRY.replace("{verdict}", "True"), trips=ONLY)


@pytest.mark.prove
async def test_a_second_tab_that_is_taken_for_a_thief(sabotage) -> None:
    await sabotage("identity/refresh-rotation", python=RETRY.replace("{verdict}", "False"), trips=ONLY)


@pytest.mark.prove
@pytest.mark.parametrize("python", [KEEPS, ANY_KEY], ids=["the-family-lives-on", "any-key"])
async def test_a_thief_who_stays(sabotage, python: str) -> None:
    await sabotage("identity/refresh-rotation", python=python, trips=ONLY)
