"""Breaking access/deny-by-default: one gate at a time."""

from __future__ import annotations

from typing import Any

import pytest


async def test_a_boot_gate_that_looks_away(sabotage: Any) -> None:
    await sabotage(
        "access/deny-by-default",
        python="import seawall.app as a; a.Seawall.check_routes = lambda self: 0",
        trips={"access/deny-by-default"},
    )


@pytest.mark.prove
async def test_a_wall_that_lets_undecided_answers_out(sabotage: Any) -> None:
    """Everything that starts is called public before it is asked."""
    await sabotage(
        "access/deny-by-default",
        python="""
import seawall.web.outlet as o
from seawall.core.scope import Decided

whole = o.Outlet.send

async def careless(self, message):
    if self._passage.decision is None:
        self._passage.decision = Decided("public", "nobody looked")
    await whole(self, message)

o.Outlet.send = careless
""",
        trips={"access/deny-by-default"},
    )


@pytest.mark.prove
async def test_a_wall_that_lets_redirects_out(sabotage: Any) -> None:
    await sabotage(
        "access/deny-by-default",
        python="""
import seawall.web.outlet as o
from seawall.core.scope import Decided

whole = o.Outlet.send

async def careless(self, message):
    if self._passage.decision is None and 300 <= message.get("status", 0) < 400:
        self._passage.decision = Decided("public", "only a redirect")
    await whole(self, message)

o.Outlet.send = careless
""",
        trips={"access/deny-by-default"},
    )


@pytest.mark.prove
async def test_a_scope_that_nobody_decided_on(sabotage: Any) -> None:
    """The answer is withheld, but what the handler did in the database before that is done."""
    await sabotage(
        "access/deny-by-default",
        python="""
import seawall.access.scoped as scoped
import seawall.core.scope as core

def anybodys(self, passage, principal):
    self._passage, self.principal = passage, principal

async def scope_of(request):
    passage = passage_of(request)
    return CoreScope(passage, await passage.require_principal())

core.Scope.__init__ = anybodys
scoped.scope_of.__code__ = scope_of.__code__
""",
        trips={"access/deny-by-default"},
    )
