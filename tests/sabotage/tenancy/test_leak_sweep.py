"""tenancy/leak-sweep notices what comes out beside the walls."""

from __future__ import annotations

import pytest

ID = "tenancy/leak-sweep"

# The classic: answers cached by path, for whoever asks next.
CACHE_BY_PATH = """
from seawall.web import Wall

kept = {}
call = Wall.__call__

async def cached(self, scope, receive, send):
    if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/api/"):
        return await call(self, scope, receive, send)
    if scope["path"] not in kept:
        messages = []
        async def keep(message):
            messages.append(message)
            await send(message)
        await call(self, scope, receive, keep)
        if messages[0]["status"] == 200:
            kept[scope["path"]] = messages
        return
    for message in kept[scope["path"]]:
        await send(message)

Wall.__call__ = cached
"""

# "Just for debugging": every body in the log.
LOG_BODIES = """
from seawall.web import Wall

call = Wall.__call__

async def logged(self, scope, receive, send):
    async def heard():
        message = await receive()
        print("received", message.get("body"), flush=True)
        return message
    await call(self, scope, heard, send)

Wall.__call__ = logged
"""


async def test_a_cache_without_the_tenant_in_its_key(sabotage) -> None:
    # an answer kept by its path alone is also given to other roles, to strangers, and to whoever names another tenant
    trips = {ID, "access/object-level", "access/function-level", "tenancy/no-client-tenant"}
    result = await sabotage(ID, python=CACHE_BY_PATH, trips=trips)
    assert "canary" in result.why or "the id" in result.why


@pytest.mark.prove
async def test_bodies_in_the_log(sabotage) -> None:
    result = await sabotage(ID, python=LOG_BODIES, trips={ID})
    assert "log" in result.why
