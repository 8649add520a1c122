"""How PostgreSQL runs a statement behind the wall: is the tenant looked up once, or for every row?"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg

from seawall_check.probes.database import attempt

CONDITIONS = ("Filter", "Index Cond", "Recheck Cond", "Join Filter", "Hash Cond", "Merge Cond", "One-Time Filter")


class Plan:
    """An EXPLAINed statement.

    Args:
        tree: its JSON, as `EXPLAIN (VERBOSE, FORMAT JSON)` prints it.
        function: the function that names the tenant, such as `seawall.tenant_id()`.
    """

    def __init__(self, tree: Mapping[str, Any], function: str) -> None:
        self._tree = tree
        # without its schema, which is printed or not as the search_path says
        name = re.search(r"(\w+)\"?\s*\(", function)
        self._call = re.compile(rf"\b{re.escape(name[1] if name else function)}\"?\s*\(")

    def fault(self) -> str:
        """Why the tenant is not looked up once for the whole statement; empty when it is."""
        once = False
        for node in _nodes(self._tree):
            if node.get("Parent Relationship") == "InitPlan":
                once = once or any(self._call.search(str(one)) for one in node.get("Output", ()))
                continue
            for condition in CONDITIONS:
                if self._call.search(str(node.get(condition, ""))):
                    return f"for each row, in its {condition}"
        return "" if once else "no InitPlan looks it up"


def _nodes(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield tree
    for child in tree.get("Plans", ()):
        yield from _nodes(child)


async def explained(db: asyncpg.Connection, statement: str, function: str) -> Plan | None:
    """How this connection would run a statement; None when it may not."""
    state, rows = await attempt(db, f"EXPLAIN (VERBOSE, FORMAT JSON) {statement}")
    if state:
        return None
    [tree] = json.loads(rows[0][0])
    return Plan(tree["Plan"], function)
