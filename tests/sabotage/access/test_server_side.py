"""Breaking access/server-side: a role that is taken from where the caller wrote it."""

from __future__ import annotations

from typing import Any

import pytest

BELIEVING = """
import dataclasses
from importlib import import_module

from seawall.core.scope import Membership

m = import_module("seawall.access.may")  # the package's attribute of this name is the function

whole = m._Decision.made

async def believing(self):
    role = SOURCE
    who = await self.passage.require_principal()
    if role:
        self.passage.principal = dataclasses.replace(who, memberships=(*who.memberships, Membership(role)))
    return await whole(self)

m._Decision.made = believing
"""


@pytest.mark.parametrize(
    "source",
    ["self.request.headers.get('x-role')", "self.request.query_params.get('role')"],
    ids=["header", "query"],
)
async def test_a_role_that_the_caller_claims(sabotage: Any, source: str) -> None:
    await sabotage("access/server-side", python=BELIEVING.replace("SOURCE", source), trips={"access/server-side"})
