"""Roles above one's own, and a company without an owner."""

import pytest

UNBOUNDED = """
import seawall.identity.people as module
async def anybody(*_): return None
module.People._within_bounds = anybody
"""


@pytest.mark.prove
async def test_the_last_owner_may_go(sabotage) -> None:
    await sabotage(
        "access/admin-safety",
        sql="ALTER TABLE seawall.memberships DISABLE TRIGGER keep_the_last",
        undo_sql="ALTER TABLE seawall.memberships ENABLE TRIGGER keep_the_last",
        trips={"access/admin-safety"},
    )


@pytest.mark.prove
async def test_everybody_gives_every_role(sabotage) -> None:
    await sabotage("access/admin-safety", python=UNBOUNDED, trips={"access/admin-safety"})
