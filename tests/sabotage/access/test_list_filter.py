"""Breaking access/list-filter: a forbid that is forgotten, a filter that filters nothing, counts of everything."""

from __future__ import annotations

from typing import Any

import pytest

UNASKED = """
import seawall.access.listing as l
import seawall.access.sql.filter as f

l.Visible._agreed = lambda self, found: found
"""


async def test_a_forbid_that_the_filter_forgets(sabotage: Any) -> None:
    """Couriers list the runs of long ago, which they may not read any more."""
    await sabotage(
        "access/list-filter",
        python=f"""{UNASKED}
whole = f.RowFilter.truth

def forgetful(self, env):
    self.forbids = []
    return whole(self, env)

f.RowFilter.truth = forgetful
""",
        trips={"access/list-filter"},
    )


@pytest.mark.prove
async def test_a_filter_that_lets_everything_through(sabotage: Any) -> None:
    await sabotage(
        "access/list-filter",
        python=f"{UNASKED}\nf.RowFilter.truth = lambda self, env: True",
        trips={"access/list-filter"},
    )


@pytest.mark.prove
async def test_a_count_of_everything(sabotage: Any) -> None:
    await sabotage(
        "access/list-filter",
        edit={"api.py": ("await orders.count(placed)", "await orders.count(placed) + 1")},
        trips={"access/list-filter"},
    )


@pytest.mark.prove
async def test_a_search_without_the_filter(sabotage: Any) -> None:
    """Lists are filtered; whoever knows a telephone number finds everybody's orders."""
    newest = 'Order.status != "cart", order_by=Order.created_at.desc(), limit=100'
    filtered = f"    found = await orders.all(same, {newest})\n"
    anybodys = (
        "    session = await scope.session()\n"
        '    found = list(await session.scalars(select(Order).where(same, Order.status != "cart").limit(100)))\n'
    )
    await sabotage(
        "access/list-filter",
        edit={"api.py": (filtered, anybodys)},
        trips={"access/list-filter"},
    )
