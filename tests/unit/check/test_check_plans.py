"""What counts as looking the tenant up once, in plans as PostgreSQL 18 prints them."""

from __future__ import annotations

from typing import Any

import pytest

from seawall_check.controls.tenancy._plans import Plan

INIT = {"Node Type": "Result", "Parent Relationship": "InitPlan", "Output": ["seawall.tenant_id()"]}
ONCE = "(venues.tenant_id = (InitPlan 1).col1)"
EACH = "(venues.tenant_id = seawall.tenant_id())"


@pytest.mark.parametrize(
    ("scan", "plans", "fault"),
    [
        ({"Filter": ONCE}, [INIT], ""),
        ({"Index Cond": ONCE}, [INIT], ""),
        ({"Filter": EACH}, [], "for each row, in its Filter"),
        ({"Index Cond": EACH}, [INIT], "for each row, in its Index Cond"),
        ({"Filter": "(venues.tenant_id = tenant_id())"}, [], "for each row, in its Filter"),
        ({"Filter": f"({ONCE} AND (tenant_idea(venues.id)))"}, [INIT], ""),
        ({}, [], "no InitPlan looks it up"),
        ({"Filter": ONCE}, [INIT | {"Output": ["now()"]}], "no InitPlan looks it up"),
    ],
)
def test_a_plan(scan: dict[str, str], plans: list[Any], fault: str) -> None:
    tree = {"Node Type": "ModifyTable", "Plans": [{"Node Type": "Seq Scan", **scan, "Plans": plans}]}
    assert Plan(tree, "seawall.tenant_id()").fault() == fault
