"""Breaking access/function-level: one role too many in one policy."""

from __future__ import annotations

from typing import Any


async def test_a_function_for_everybody(sabotage: Any) -> None:
    """Whoever belongs to the group may open venues and read the team's addresses."""
    owners = """    principal in Role::"owner",
    action in [Action::"manage_team", Action::"add_venue", Action::"evaluate_access"],"""
    await sabotage(
        "access/function-level",
        edit={"policies/restaurant.cedar": (owners, owners.replace('principal in Role::"owner"', "principal"))},
        trips={"access/function-level"},
    )
