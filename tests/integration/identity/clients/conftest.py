"""The House of identity with API clients, and one client that is signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from uuid import UUID

import pytest
from tests.integration.identity.conftest import Browser, House
from tests.support.clients import api_of, settings_with_clients
from tests.support.databases import ScratchDatabase

from seawall.core.decisions import bearer, self_service
from seawall.core.scope import Principal
from seawall.settings import Settings
from seawall_check.probes.oauth import Api, granted

Self = Annotated[Principal, self_service("a test of one's own account")]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with_clients(tmp_path)


@pytest.fixture
async def house(settings: Settings, scratch: ScratchDatabase) -> AsyncIterator[House]:
    built = House(settings, scratch)

    @built.app.get("/scan", dependencies=[bearer("the old scanner cannot sign")])
    async def scan(principal: Self) -> dict[str, str]:
        return {"who": str(principal.user_id)}

    @built.app.get("/things/{name}")
    async def thing(name: str, principal: Self) -> dict[str, str]:
        return {"name": name}

    async with built.identity.running():
        yield built


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("ann@example.com")
    return made


@pytest.fixture
async def api(house: House, browser: Browser) -> Api:
    return await granted(browser.http, api_of(house))
