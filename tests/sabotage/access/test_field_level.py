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


@pytest.mark.prove
async def test_a_list_without_the_guard(sabotage: Any) -> None:
    """The order by itself hides what a courier may not see; the list of their runs shows it."""
    whole = "    found = await orders.all(mine, order_by=Order.created_at.desc(), limit=100)\n"
    await sabotage(
        "access/field-level",
        edit={
            "api.py": (
                f"{whole}    return reveal_all(OrderView, found, scope)",
                f"{whole}    return [OrderView.model_validate(one) for one in found]",
            )
        },
        trips={"access/field-level"},
    )


@pytest.mark.prove
async def test_a_line_that_takes_anything(sabotage: Any) -> None:
    """The body refuses what it does not know; the objects within it do not."""
    await sabotage(
        "access/field-level",
        edit={"orders.py": ("class LineIn(Body):\n", 'class LineIn(Body):\n    model_config = {"extra": "allow"}\n')},
        python="import seawall.access.gate as g; g.check_bodies = lambda *given: None",
        trips={"access/field-level", "access/server-side"},
    )
