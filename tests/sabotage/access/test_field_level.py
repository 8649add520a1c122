"""Breaking access/field-level: a field without its guard, and bodies that take anything."""

from __future__ import annotations

from typing import Any

import pytest


async def test_a_field_without_its_guard(sabotage: Any) -> None:
    await sabotage(
        "access/field-level",
        edit={
            "api.py": (
                'card_last4: Annotated[str | None, seen_with("read_payment")] = None',
                "card_last4: str | None = None",
            )
        },
        trips={"access/field-level"},
    )


@pytest.mark.prove
async def test_bodies_that_take_anything(sabotage: Any) -> None:
    """Unknown fields are ignored, and the boot gate that would refuse such bodies is off."""
    await sabotage(
        "access/field-level",
        python="""
import seawall.access.gate as g
import seawall.core.body as b

b.Body.model_config["extra"] = "ignore"
g.check_bodies = lambda *given: None
""",
        trips={"access/field-level", "access/server-side"},
    )
