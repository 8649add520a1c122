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


@pytest.mark.prove
async def test_an_object_that_the_query_names(sabotage: Any) -> None:
    """The path names nothing, so nobody thought of an object: any order of the tenant is shown."""
    own = "    found = await orders.all(mine, order_by=Order.created_at.desc(), limit=100)\n"
    await sabotage(
        "access/object-level",
        edit={
            "api.py": (
                "async def list_deliveries(orders: VisibleOrders, scope: Scope) -> list[OrderView]:\n"
                '    """The caller\'s own runs."""\n'
                "    mine = Order.courier_id == scope.principal.user_id\n" + own,
                "async def list_deliveries(\n"
                "    orders: VisibleOrders, scope: Scope, order_id: UUID | None = None\n"
                ") -> list[OrderView]:\n"
                "    mine = Order.courier_id == scope.principal.user_id\n" + own + "    if order_id is not None:\n"
                "        session = await scope.session()\n"
                "        found = list(await session.scalars(select(Order).where(Order.id == order_id)))\n",
            )
        },
        trips={"access/object-level"},
    )


@pytest.mark.prove
async def test_a_page_that_shows_any_object(sabotage: Any) -> None:
    """The API asks who may read an order; its page loads whatever the address names."""
    signature = "async def order_page(request: Request, order: api.OrderToRead, scope: Scope, people: api.People)"
    await sabotage(
        "access/object-level",
        edit={
            "pages.py": (
                f"{signature} -> Response:\n",
                "async def order_page(\n"
                "    request: Request, order_id: UUID, visible: api.VisibleOrders, scope: Scope, people: api.People\n"
                ") -> Response:\n"
                "    session = await scope.session()\n"
                "    order = (await session.scalars(select(Order).where(Order.id == order_id))).one()\n",
            )
        },
        trips={"access/object-level"},
    )
