"""Two requests that wait for each other: PostgreSQL ends one, whose caller is told to send it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated
from uuid import UUID

import pytest
import sqlalchemy as sa
from starlette.requests import Request
from tests.integration.identity.conftest import JSON, RIGHT, House
from tests.support.databases import ScratchDatabase

from seawall.core.decisions import passage_of, self_service
from seawall.core.scope import Principal
from seawall.settings import IdentitySection, ProviderSection, Settings

Self = Annotated[Principal, self_service("a test of two of one's own requests")]


@pytest.fixture
async def house(tmp_path: Path, scratch: ScratchDatabase) -> AsyncIterator[House]:
    section = IdentitySection(providers={"dev": ProviderSection(kind="development")})
    built = House(Settings(root=tmp_path, identity=section), scratch)
    met = asyncio.Barrier(2)

    @built.app.post("/swap/{first}/{second}")
    async def swap(request: Request, first: int, second: int, principal: Self, how: str) -> dict[str, int]:
        """Takes two locks in the order that it is told; the other request takes them the other way round."""
        transaction = await passage_of(request).begin()
        for number in (first, second):
            if how == "orm":
                asked = sa.text("SELECT pg_advisory_xact_lock(:number)")
                await (await transaction.session()).execute(asked, {"number": number})
            elif how == "nested":
                async with asyncio.TaskGroup() as group:
                    group.create_task(transaction.fetchrow("SELECT pg_advisory_xact_lock($1)", number))
            else:
                await transaction.fetchrow("SELECT pg_advisory_xact_lock($1)", number)
            if number == first and how != "alone":
                await asyncio.wait_for(met.wait(), 10)
        return {"first": first}

    async with built.identity.running():
        yield built


@pytest.mark.parametrize("how", ["raw", "orm", "nested"])
async def test_the_one_that_loses_may_send_it_again(house: House, how: str) -> None:
    tenant: UUID = await house.scratch.tenant()
    await house.person("ann@example.com", tenant)
    browser = house.browser()
    await browser.sign_in("ann@example.com", RIGHT)
    answers = await asyncio.gather(
        *(browser.post(f"/swap/{order}?how={how}", headers=JSON) for order in ("1/2", "2/1"))
    )
    lost, won = sorted(answers, key=lambda answer: -answer.status_code)
    assert (won.status_code, lost.status_code) == (200, 409), lost.text
    assert lost.headers["content-type"] == "application/problem+json"
    assert lost.json()["code"] == "conflict"
    assert 1 <= int(lost.headers["retry-after"]) <= 5
    assert "lock" not in lost.text
    again = await browser.post("/swap/3/4?how=alone", headers=JSON)  # its connection went back whole
    assert again.status_code == 200, again.text
