"""Breaking access/function-level: one role too many in one policy."""

from __future__ import annotations

from typing import Any

import pytest


async def test_a_function_for_everybody(sabotage: Any) -> None:
    """Whoever belongs to the group may open venues and read the team's addresses."""
    owners = """    principal in Role::"owner",
    action in [Action::"manage_team", Action::"add_venue", Action::"evaluate_access"],"""
    await sabotage(
        "access/function-level",
        edit={"policies/restaurant.cedar": (owners, owners.replace('principal in Role::"owner"', "principal"))},
        trips={"access/function-level"},
    )


@pytest.mark.prove
async def test_a_deletion_for_everybody(sabotage: Any) -> None:
    """Where a colleague has just taken the role away, there is none to be found: that is no refusal."""
    group = """    action in [Action::"manage_team", Action::"add_venue", Action::"evaluate_access"],
    resource
);"""
    everybody = """    action in [Action::"manage_team", Action::"add_venue"],
    resource
);
@id("group.ask") @owner("owners") @title("Everybody")
permit (principal, action == Action::"evaluate_access", resource);"""
    taking = "async def revoke_role(\n    group: TeamToManage,"
    await sabotage(
        "access/function-level",
        edit={
            "api.py": (taking, taking.replace("TeamToManage", 'Annotated[Tenant, may(Tenant, "evaluate_access")]')),
            "policies/restaurant.cedar": (group, everybody),
        },
        python="""
import seawall.identity.people as module
from seawall.core.errors import Conflict, NotFound

real = module.People.revoke

async def anybody(*_): return None

async def revoke(self, scope, user_id, membership):
    try:
        await real(self, scope, user_id, membership)
    except Conflict:
        raise NotFound() from None

module.People._within_bounds, module.People.revoke = anybody, revoke
""",
        trips={"access/function-level", "access/admin-safety"},
    )
