"""A person's own sessions: listed with what they are, ended one by one or all others at once."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from tests.integration.identity.conftest import HTML, JSON, Browser, House


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("ann@example.com")
    return made


async def test_sessions_are_listed_and_ended_one_by_one(house: House, browser: Browser, tenant: UUID) -> None:
    others = [house.browser() for _ in range(3)]
    for one in others:
        one.http.headers["User-Agent"] = "Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/140.0"
        await one.sign_in("ann@example.com")
    listed = (await browser.get("/auth/account", JSON)).json()["devices"]
    assert [(line["device"], line["this"]) for line in listed][1:] == [("Firefox on Windows", False)] * 3
    assert listed[0]["this"]
    end = f"/auth/sessions/{listed[1]['id']}/end"
    assert (await browser.post(end, headers=JSON)).json() == {"sessions_ended": 1}
    assert (await browser.post(end, headers=JSON)).json() == {"sessions_ended": 0}
    assert sorted([await one.me() for one in others]) == [200, 200, 401]
    await house.person("eve@example.com", tenant)
    eve = house.browser()
    await eve.sign_in("eve@example.com")
    for path in (f"/auth/sessions/{listed[0]['id']}/end", f"/auth/sessions/{uuid4()}/end", "/auth/sessions/x/end"):
        assert (await eve.post(path, headers=JSON)).status_code == 404
    assert (await browser.post("/auth/sessions/end-others", headers=JSON)).json() == {"sessions_ended": 2}
    assert [await browser.me(), await eve.me(), *[await one.me() for one in others]] == [200, 200, 401, 401, 401]
    mine = await browser.post(f"/auth/sessions/{listed[0]['id']}/end", headers=HTML)
    assert (mine.status_code, await browser.me()) == (303, 401)
    assert [e["sessions_ended"] for e in await house.events("identity.sign-out")] == [1, 0, 2, 1]
