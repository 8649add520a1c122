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
    [
        pytest.param("self.request.headers.get('x-role')", id="header"),
        pytest.param("self.request.query_params.get('role')", id="query", marks=pytest.mark.prove),
    ],
)
async def test_a_role_that_the_caller_claims(sabotage: Any, source: str) -> None:
    await sabotage("access/server-side", python=BELIEVING.replace("SOURCE", source), trips={"access/server-side"})


@pytest.mark.prove
async def test_a_claim_behind_one_that_is_refused(sabotage: Any) -> None:
    """Something in front refuses one header that proxies use, whoever sends it; the role is believed nevertheless."""
    strict = """
from seawall.web import Wall

call = Wall.__call__

async def strict(self, scope, receive, send):
    if scope["type"] == "http" and any(name == b"x-original-url" for name, _ in scope["headers"]):
        await send({"type": "http.response.start", "status": 400, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"no such header here"})
        return
    await call(self, scope, receive, send)

Wall.__call__ = strict
"""
    believing = BELIEVING.replace("SOURCE", "self.request.headers.get('x-role')")
    await sabotage("access/server-side", python=strict + believing, trips={"access/server-side"})
