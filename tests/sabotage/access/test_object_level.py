"""Breaking access/object-level: in the policies, and in the engine."""

from __future__ import annotations

from typing import Any

import pytest

POLICIES = "policies/restaurant.cedar"


async def test_a_role_without_its_place(sabotage: Any) -> None:
    """Managers run the orders of every venue."""
    scoped = """    resource.status != "cart"
    && (principal in Role::"owner" || principal.manager_at.contains(resource.venue))"""
    everywhere = """    resource.status != "cart"
    && (principal in Role::"owner" || principal in Role::"manager")"""
    await sabotage("access/object-level", edit={POLICIES: (scoped, everywhere)}, trips={"access/object-level"})


@pytest.mark.prove
async def test_an_engine_that_always_agrees(sabotage: Any) -> None:
    """Row-level security still keeps the tenants apart; within one, everybody may do everything."""
    await sabotage(
        "access/object-level",
        python="""
import seawall.access.engine as e

e.Engine._verdict = lambda self, ruling, answer: e.Allow(())
""",
        trips={
            "access/object-level",
            "access/function-level",
            "access/field-level",
            "access/explicit-roles",
            "identity/step-up",
        },
    )
