"""Risk on a real database: what is written at a sign-in, what a strange request does to its session, what is told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import pytest
from tests.integration.identity.conftest import JSON, ORIGIN, Browser, House
from tests.integration.identity.test_sessions_and_factors import enrol

from seawall.core.ids import token_hash
from seawall.settings import RiskSection, Settings
from seawall_check.probes import mmdb

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/156.0 Safari/537.36"
LINUX = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
HOME, NEARBY, ABROAD, FAR = "192.0.2.7", "192.0.3.7", "198.51.100.7", "203.0.113.7"
PLACES = {
    "192.0.2.0/24": ("DE", 1),
    "192.0.3.0/24": ("DE", 1),
    "198.51.100.0/24": ("BR", 2),
    "203.0.113.0/24": ("JP", 3),
}


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    risk = RiskSection(
        country_database=mmdb.write(tmp_path / "c.mmdb", {n: {"country_code": c} for n, (c, _) in PLACES.items()}),
        asn_database=mmdb.write(
            tmp_path / "a.mmdb", {n: {"autonomous_system_number": a} for n, (_, a) in PLACES.items()}
        ),
    )
    return settings.model_copy(update={"identity": settings.identity.model_copy(update={"risk": risk})})


def at(house: House, address: str, agent: str = WINDOWS, jar: Browser | None = None) -> Browser:
    """A browser at an address; with `jar`, one that holds another's cookies."""
    made = house.browser()
    transport = httpx2.ASGITransport(app=house.asgi, client=(address, 1), raise_app_exceptions=False)  # type: ignore[arg-type]
    cookies = httpx2.Cookies(jar.http.cookies) if jar is not None else None
    made.http = httpx2.AsyncClient(transport=transport, base_url=ORIGIN, headers={"User-Agent": agent}, cookies=cookies)
    return made


async def risks(house: House) -> list[tuple[str, int, tuple[str, ...], str]]:
    return [(e["at"], e["score"], tuple(e["reasons"]), e["effect"]) for e in await house.events("identity.risk")]


async def aal(browser: Browser) -> int:
    answer = await browser.get("/auth/me", JSON)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["aal"])


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    """Ann at home, with a second factor, a moment after her sign-in."""
    made = at(house, HOME)
    await made.sign_in("ann@example.com")
    await enrol(made)
    return made


async def test_what_a_sign_in_leaves_behind(house: House, ann: UUID, browser: Browser) -> None:
    row = await house.scratch.owner.fetchrow("SELECT * FROM seawall.sessions")
    said = {name: row[name] for name in ("family", "platform", "country", "asn", "risk_score", "risk_reasons")}
    assert said == {
        "family": "chrome", "platform": "windows", "country": "DE", "asn": 1, "risk_score": 0, "risk_reasons": [],
    }  # fmt: skip
    assert len(row["network"]) == 16
    known = await house.scratch.owner.fetchrow("SELECT * FROM seawall.known_devices")
    assert known["device_hash"] == token_hash(f"{ann}\0{browser.http.cookies['__Host-sw_known']}")
    assert await risks(house) == [("sign-in", 0, (), "none")]
    event = (await house.events("identity.risk"))[0]
    assert (event["user_id"], event["session_id"]) == (str(ann), str(row["id"]))


async def test_two_people_on_one_machine_share_no_identifier(house: House, tenant: UUID, browser: Browser) -> None:
    await house.person("bob@example.com", tenant)
    known = browser.http.cookies["__Host-sw_known"]
    await browser.post("/auth/sign-out", headers=JSON)
    await browser.sign_in("bob@example.com")
    assert browser.http.cookies["__Host-sw_known"] == known
    hashes = await house.scratch.owner.fetch("SELECT device_hash FROM seawall.known_devices")
    assert len({row["device_hash"] for row in hashes}) == 2


@pytest.mark.parametrize("planted", ["x", "A" * 42, "A" * 44, "A" * 1_000])
async def test_a_planted_known_cookie_of_another_form_is_replaced(house: House, ann: UUID, planted: str) -> None:
    made = at(house, HOME)
    made.http.cookies.set("__Host-sw_known", planted, domain="shop.localhost", path="/")
    await made.sign_in("ann@example.com")
    assert len(made.http.cookies["__Host-sw_known"]) == 43


async def test_a_person_has_at_most_twenty_known_browsers(house: House, ann: UUID) -> None:
    await house.scratch.owner.execute(
        "INSERT INTO seawall.known_devices (user_id, device_hash, family, platform, last_seen_at)"
        " SELECT $1, sha256(n::text::bytea), '', '', now() - n * interval '1 day' FROM generate_series(1, 40) n",
        ann,
    )
    await at(house, HOME).sign_in("ann@example.com")
    rows = await house.scratch.owner.fetchrow(
        "SELECT count(*), min(last_seen_at) > now() - interval '20 days' AS young FROM seawall.known_devices"
    )
    assert tuple(rows) == (20, True)


async def test_a_browser_not_seen_for_long_is_forgotten(house: House, browser: Browser) -> None:
    await house.scratch.owner.execute("UPDATE seawall.known_devices SET last_seen_at = now() - interval '401 days'")
    other = at(house, HOME)
    await other.sign_in("ann@example.com")
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.known_devices") == 1


async def test_the_reference_is_the_sign_in_and_nobody_drifts(house: House, browser: Browser) -> None:
    """A thief who moves in small steps is compared with where the session began, each time."""
    before = await house.scratch.owner.fetchval("SELECT origin FROM seawall.sessions")
    for address in (NEARBY, ABROAD, FAR, ABROAD, FAR):
        await aal(at(house, address, jar=browser))
    assert await house.scratch.owner.fetchval("SELECT origin FROM seawall.sessions") == before
    assert await risks(house) == [
        ("sign-in", 0, (), "none"),
        ("request", 55, ("country-changed", "operator-changed"), "notify"),
    ]


async def test_another_platform_takes_the_trust_and_leaves_the_session(house: House, browser: Browser) -> None:
    thief = at(house, HOME, LINUX, jar=browser)
    assert await aal(browser) == 2
    assert await aal(thief) == 1  # at once, for this very request
    assert await aal(browser) == 1
    assert (await risks(house))[-1] == ("request", 60, ("platform-changed",), "step-up")
    row = await house.scratch.owner.fetchrow("SELECT aal, second_factor_at, revoked_at FROM seawall.sessions")
    assert row["aal"] == 2  # the facts stay
    assert row["second_factor_at"] is not None
    assert row["revoked_at"] is None


async def test_a_doubted_session_cannot_enrol_a_factor_of_the_thiefs(house: House, ann: UUID) -> None:
    """The sign-in of a moment ago would do for a first factor; after a doubt it does not."""
    victim = at(house, HOME)
    await victim.sign_in("ann@example.com")
    thief = at(house, HOME, LINUX, jar=victim)
    answer = await thief.get("/auth/totp", JSON)
    assert (answer.status_code, answer.json()["code"]) == (401, "recent-sign-in-required")
    await victim.sign_in("ann@example.com", path="/auth/sign-in?provider=dev&fresh=1")
    assert (await victim.get("/auth/totp", JSON)).status_code == 200  # whoever can sign in goes on


async def test_a_fresh_factor_ends_the_doubt(house: House, ann: UUID) -> None:
    browser = at(house, HOME)
    await browser.sign_in("ann@example.com")
    app, _ = await enrol(browser)
    await aal(at(house, HOME, LINUX, jar=browser))
    assert await aal(browser) == 1
    challenge = (await browser.post("/pay/150", headers=JSON)).json()["step_up"]
    approved = await browser.post(challenge, headers=JSON, json={"code": app.code()})
    assert approved.status_code == 200, approved.text
    assert await aal(browser) == 2
    assert await at(house, HOME, LINUX, jar=browser).me() == 200  # told once, and not once a request


async def test_the_same_moment_writes_one_event(house: House, browser: Browser) -> None:
    thieves = [at(house, ABROAD, LINUX, jar=browser) for _ in range(8)]
    assert await asyncio.gather(*(aal(thief) for thief in thieves)) == [1] * 8
    told = [one for one in await risks(house) if one[0] == "request"]
    assert told == [("request", 100, ("country-changed", "operator-changed", "platform-changed"), "step-up")]


async def test_being_on_the_road_does_not_write_at_every_request(house: House, browser: Browser) -> None:
    roaming = at(house, ABROAD, jar=browser)
    await aal(roaming)
    first = await house.scratch.owner.fetchrow("SELECT away_at, strayed_at, xmin::text FROM seawall.sessions")
    for _ in range(3):
        await aal(roaming)
    assert await house.scratch.owner.fetchrow("SELECT away_at, strayed_at, xmin::text FROM seawall.sessions") == first


async def test_wrong_codes_are_failures_of_the_account(house: House, browser: Browser) -> None:
    for _ in range(5):
        await browser.post((await challenge(browser)), headers=JSON, json={"code": "000000"})
    other = at(house, HOME)
    await other.sign_in("ann@example.com")
    assert (await risks(house))[-1] == ("sign-in", 60, ("failures-account", "new-device"), "step-up")
    # a doubt at the sign-in itself must not make enrolling or signing in again impossible
    assert (await house.scratch.owner.fetchrow("SELECT doubted_at = created_at AS same FROM seawall.sessions"
                                               " ORDER BY id DESC LIMIT 1"))["same"]  # fmt: skip
    assert await other.me() == 200


async def challenge(browser: Browser) -> str:
    return str((await browser.post("/pay/150", headers=JSON)).json()["step_up"])


async def test_the_account_page_tells_it_in_words(house: House, browser: Browser) -> None:
    page = await browser.get("/auth/account")
    assert "Worth a look" not in page.text
    await at(house, ABROAD, LINUX).sign_in("ann@example.com")
    page = await browser.get("/auth/account")
    assert "Firefox on Linux" in page.text
    assert "a browser that had not been here before" in page.text
    assert "another country than before" in page.text
    notices: list[dict[str, Any]] = (await browser.get("/auth/account", JSON)).json()["notices"]
    assert [(one["browser"], one["this"], one["live"]) for one in notices] == [("Firefox on Linux", False, True)]
