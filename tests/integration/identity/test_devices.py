"""Binding sessions to devices, on a real database: the wire, races, lost answers, the kill switch."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import pytest
from joserfc.jwk import ECKey, RSAKey
from tests.integration.identity.conftest import HTML, JSON, Browser, House

from seawall.core.ids import token_hash
from seawall.settings import DevicesSection, Settings
from seawall_check.probes.dbsc import proof

COOKIE = "__Host-sw_dev"
CHALLENGE = re.compile(r'"([^"]+)";id="([^"]+)"')


@dataclass
class Device:
    """A browser with a key."""

    browser: Browser
    offered: str
    key: ECKey | RSAKey = field(default_factory=lambda: ECKey.generate_key("P-256"))
    name: str = ""

    @classmethod
    async def signed_in(cls, house: House, **more: Any) -> Device:
        browser = house.browser()
        answer = await browser.log_in("ann@example.com")
        landed = await browser.get(answer.headers["location"])
        offer = landed.headers.get("secure-session-registration", "")
        found = re.fullmatch(r'\(ES256 RS256\);path="/auth/device";challenge="([^"]+)"', offer)
        return cls(browser, found[1] if found else "", **more)

    async def bind(self, token: str | None = None, **more: Any) -> httpx2.Response:
        sent = token if token is not None else proof(self.key, self.offered, bring=True, **more)
        answer = await self.browser.post("/auth/device", headers={"Secure-Session-Response": sent})
        if answer.status_code == 200:
            self.name = answer.json()["session_identifier"]
        return answer

    async def send(self, token: str | None) -> httpx2.Response:
        headers = {"Sec-Secure-Session-Id": f'"{self.name}"'} | ({"Secure-Session-Response": token} if token else {})
        return await self.browser.post("/auth/device/refresh", headers=headers)

    async def challenge(self) -> str:
        answer = await self.send(None)
        found = CHALLENGE.fullmatch(answer.headers["secure-session-challenge"])
        assert (answer.status_code, found and found[2]) == (403, self.name)
        return found[1] if found else ""

    async def refresh(self) -> httpx2.Response:
        return await self.send(proof(self.key, await self.challenge()))

    @property
    def cookie(self) -> str | None:
        return self.browser.http.cookies.get(COOKIE)

    def hold(self, value: str | None) -> None:
        """Put another bound cookie in the place of the present one."""
        self.browser.http.cookies.delete(COOKIE)
        if value is not None:
            self.browser.http.cookies.set(COOKIE, value, domain="shop.localhost", path="/")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    devices = DevicesSection(grace_s=0)
    return settings.model_copy(update={"identity": settings.identity.model_copy(update={"devices": devices})})


@pytest.fixture
async def device(house: House, ann: UUID) -> Device:
    made = await Device.signed_in(house)
    assert (await made.bind()).status_code == 200
    assert await made.browser.me() == 200
    return made


async def passes(house: House) -> None:
    """The bound cookies' life is over."""
    await house.scratch.owner.execute(
        "UPDATE seawall.device_bindings SET cookie_until = now(), previous_until = least(previous_until, now())"
    )


async def test_what_binding_answers(house: House, ann: UUID) -> None:
    device = await Device.signed_in(house)
    answer = await device.bind()
    assert answer.json() == {
        "session_identifier": device.name,
        "refresh_url": "/auth/device/refresh",
        "scope": {
            "origin": "https://shop.localhost",
            "include_site": False,
            "scope_specification": [{"type": "exclude", "domain": "shop.localhost", "path": "/static"}],
        },
        "credentials": [{"type": "cookie", "name": COOKIE, "attributes": "Path=/; Secure; HttpOnly; SameSite=Strict"}],
    }
    assert answer.headers["set-cookie"].endswith("; Max-Age=600; Path=/; Secure; HttpOnly; SameSite=Strict")
    assert "secure-session-challenge" not in answer.headers  # an error to browsers, at a registration
    assert [event["step"] for event in await house.events("identity.device")] == ["bound"]


@pytest.mark.parametrize("bits", [2_048, 4_096])
async def test_a_key_of_an_old_tpm(house: House, ann: UUID, bits: int) -> None:
    device = await Device.signed_in(house, key=RSAKey.generate_key(bits))
    assert (await device.bind(algorithm="RS256")).status_code == 200
    token = proof(device.key, await device.challenge(), algorithm="RS256")
    assert (await device.send(token)).status_code == 200


async def test_every_refresh_gives_another_cookie_and_the_next_challenge(device: Device) -> None:
    before = device.cookie
    answer = await device.refresh()
    assert answer.status_code == 200
    assert device.cookie != before
    found = CHALLENGE.fullmatch(answer.headers["secure-session-challenge"])
    assert found is not None
    assert (await device.send(proof(device.key, found[1]))).status_code == 200  # one round trip
    assert await device.browser.me() == 200


async def test_the_cookie_before_lives_a_little_and_not_longer(house: House, device: Device) -> None:
    before = device.cookie
    await device.refresh()
    now = device.cookie
    device.hold(before)
    assert await device.browser.me() == 200  # a request that was on its way
    device.hold(now)
    await device.refresh()
    device.hold(before)
    assert await device.browser.me() == 401


async def test_a_dead_cookie_is_taken_away_so_that_the_browser_refreshes(house: House, device: Device) -> None:
    await passes(house)
    page = await device.browser.get("/auth/account?a=b", HTML)
    assert (page.status_code, page.headers["location"]) == (303, "/auth/account?a=b")
    assert device.cookie is None
    # a browser refreshes before it follows; one that cannot is sent to sign in, and not in a circle
    device.hold("A" * 43)
    part = await device.browser.get("/auth/account", HTML | {"HX-Request": "true"})
    assert (part.status_code, part.headers["hx-refresh"]) == (401, "true")
    lost = await device.browser.get("/auth/account?a=b", HTML)
    assert (lost.status_code, lost.headers["location"]) == (303, "/auth/sign-in?next=/auth/account%3Fa%3Db")
    assert (await device.refresh()).status_code == 200
    assert (await device.browser.get("/auth/account", HTML)).status_code == 200


async def test_the_first_requests_after_binding_may_come_without_the_cookie(house: House, ann: UUID) -> None:
    device = await Device.signed_in(house)
    await device.bind()
    await house.scratch.owner.execute("UPDATE seawall.device_bindings SET grace_s = 10")
    earned = device.cookie
    device.hold(None)
    assert await device.browser.me() == 200
    device.hold(earned)
    assert await device.browser.me() == 200
    device.hold(None)
    assert await device.browser.me() == 200  # it was sent before the cookie was there
    await house.scratch.owner.execute("UPDATE seawall.device_bindings SET enforced_from = now()")
    assert await device.browser.me() == 401


async def test_an_answer_to_the_registration_that_is_lost_locks_nobody_out(house: House, ann: UUID) -> None:
    device = await Device.signed_in(house)
    await device.bind()
    device.hold(None)  # it never arrived
    await passes(house)
    assert await device.browser.me() == 200
    assert (await device.bind()).status_code == 409  # and the key stays the one that was bound


async def test_a_crash_between_the_change_and_the_answer(house: House, device: Device) -> None:
    used = proof(device.key, await device.challenge())
    before = device.cookie
    assert (await device.send(used)).status_code == 200
    device.hold(before)  # the process died before the answer left
    await passes(house)
    again = await device.send(used)
    assert again.status_code == 403
    found = CHALLENGE.fullmatch(again.headers["secure-session-challenge"])
    assert found is not None
    assert (await device.send(proof(device.key, found[1]))).status_code == 200
    assert await device.browser.me() == 200


async def test_a_transaction_that_fails_leaves_the_old_cookie(house: House, device: Device, monkeypatch: Any) -> None:
    from seawall.identity.devices import bindings

    real = bindings.rotate

    async def rotate(tx: Any, *args: Any, **more: Any) -> Any:
        await real(tx, *args, **more)
        raise RuntimeError("the process dies before the commit")

    token = proof(device.key, await device.challenge())
    with monkeypatch.context() as patched:
        patched.setattr(bindings, "rotate", rotate)
        assert (await device.send(token)).status_code == 500
    assert await device.browser.me() == 200
    assert (await device.send(token)).status_code == 200  # nothing of it happened, so it is still good


async def test_what_a_browser_sends_in_its_cookies_last_moment(house: House, device: Device) -> None:
    """It counts Max-Age from when the answer arrived, the server from when it was made."""
    await house.scratch.owner.execute(
        "UPDATE seawall.device_bindings SET cookie_until = cookie_until - interval '601 s'"
    )
    assert await device.browser.me() == 200
    await house.scratch.owner.execute("UPDATE seawall.device_bindings SET cookie_until = cookie_until - interval '5 s'")
    assert await device.browser.me() == 401


async def test_eight_refreshes_with_one_challenge(house: House, device: Device) -> None:
    for _ in range(5):
        token = proof(device.key, await device.challenge())
        answers = await asyncio.gather(*(device.send(token) for _ in range(8)))
        assert sorted(answer.status_code for answer in answers) == [200] + [403] * 7
        # each loser was given a live challenge, and whichever cookie is in the jar now, the browser goes on
        given = CHALLENGE.fullmatch(
            next(a for a in answers if a.status_code == 403).headers["secure-session-challenge"]
        )
        assert given is not None
        assert (await device.send(proof(device.key, given[1]))).status_code == 200
        assert await device.browser.me() == 200
    assert [event["step"] for event in await house.events("identity.device")] == ["bound"]


async def test_eight_registrations_at_once(house: House, ann: UUID) -> None:
    device = await Device.signed_in(house)
    tokens = [proof(ECKey.generate_key("P-256"), device.offered, bring=True) for _ in range(8)]
    answers = await asyncio.gather(*(device.bind(token) for token in tokens))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.device_bindings") == 1


@pytest.mark.parametrize("made", ["other key", "other algorithm", "broken signature"])
async def test_a_proof_by_another_key_ends_the_session(house: House, device: Device, made: str) -> None:
    challenge = await device.challenge()
    token = proof(device.key, challenge)
    wrong = {
        "other key": proof(ECKey.generate_key("P-256"), challenge),
        "other algorithm": proof(RSAKey.generate_key(2_048), challenge, algorithm="RS256"),
        "broken signature": token[:-20] + "A" * 20,
    }[made]
    answer = await device.send(wrong)
    assert answer.status_code == 401
    assert device.cookie is None
    assert device.browser.token is None
    row = await house.scratch.owner.fetchrow("SELECT revoke_reason FROM seawall.sessions")
    assert row["revoke_reason"] == "device-proof"
    event = (await house.events("identity.device"))[-1]
    assert (event["step"], event["outcome"], event["reason"]) == ("revoked", "refused", "wrong-key")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "e30.e30." + "A" * 86,
        "A" * 9_000,
        '"',
        "eyJhbGciOiJFUzI1NiIsInR5cCI6ImRic2Mrand0In0.eyJqdGkiOjF9." + "A" * 86,
        "eyJhbGciOiJFUzI1NiIsImFsZyI6Im5vbmUifQ.e30." + "A" * 86,
        "W10.e30." + "A" * 86,
    ],
)
async def test_what_is_no_proof_changes_nothing(house: House, device: Device, token: str) -> None:
    assert (await device.send(token)).status_code == 403
    assert await device.browser.me() == 200
    other = await Device.signed_in(house)
    assert (await other.bind(token)).status_code == 400
    assert (await other.bind()).status_code == 200


async def test_challenges_run_out(house: House, device: Device, monkeypatch: Any) -> None:
    from seawall.identity.devices import routes

    challenge = await device.challenge()
    late = await Device.signed_in(house)
    real = routes.now_s
    with monkeypatch.context() as patched:
        patched.setattr(routes, "now_s", lambda: real() + 901)
        assert (await device.send(proof(device.key, challenge))).status_code == 403
        assert (await late.bind()).status_code == 400
    assert (await device.send(proof(device.key, challenge))).status_code == 200


async def test_a_refresh_needs_the_session_it_belongs_to(house: House, device: Device) -> None:
    challenge, cookies = await device.challenge(), device.browser.http.cookies
    other = await Device.signed_in(house)
    await other.bind()
    name, other.name = other.name, device.name
    assert (await other.send(proof(device.key, challenge))).status_code == 401
    other.name = name
    cookies.delete("__Host-sw_sid")
    assert (await device.send(proof(device.key, challenge))).status_code == 401


async def test_signing_out_ends_the_binding_and_the_next_sign_in_sweeps_it(house: House, device: Device) -> None:
    challenge = await device.challenge()
    token, earned = device.browser.token, device.cookie
    await device.browser.post("/auth/sign-out", headers=JSON)
    assert (device.browser.token, device.cookie) == (None, None)
    device.browser.http.cookies.set("__Host-sw_sid", token or "", domain="shop.localhost", path="/")
    device.hold(earned)
    assert (await device.send(proof(device.key, challenge))).status_code == 401
    assert await device.browser.me() == 401
    await (await Device.signed_in(house)).bind()
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.device_bindings") == 1


async def test_nothing_of_a_cookie_or_challenge_is_stored(house: House, device: Device) -> None:
    row = await house.scratch.owner.fetchrow("SELECT b::text AS text, cookie_hash FROM seawall.device_bindings b")
    assert row["cookie_hash"] == token_hash(device.cookie or "")
    assert (device.cookie or "?") not in row["text"]
    assert await device.challenge() not in row["text"]


async def test_a_cookie_of_another_form_is_no_cookie(house: House, device: Device) -> None:
    for value in ("", "x", "A" * 4_000, "A" * 42):
        device.hold(value)
        assert await device.browser.me() == 401


async def test_the_kill_switch(house: House, device: Device) -> None:
    """The next start lets go of every binding, offers none, and answers no browser's refresh."""
    device.hold(None)
    assert await device.browser.me() == 401
    off = house.settings.identity.model_copy(update={"devices": DevicesSection(binding=False)})
    after = House(house.settings.model_copy(update={"identity": off}), house.scratch)
    async with after.identity.running():
        device.browser.http = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=after.asgi, raise_app_exceptions=False),  # type: ignore[arg-type]
            base_url="https://shop.localhost",
            cookies=device.browser.http.cookies,
        )
        assert await device.browser.me() == 200
        assert (await device.send(None)).status_code == 404
        assert (await device.bind()).status_code == 404
        assert (await Device.signed_in(after)).offered == ""


async def test_a_browser_that_says_why_it_did_not_refresh(device: Device, capsys: Any) -> None:
    said = JSON | {"Secure-Session-Skipped": 'quota_exceeded;session_identifier="x"'}
    assert (await device.browser.get("/auth/me", said)).status_code == 200
    odd = JSON | {"Secure-Session-Skipped": "<b>"}
    await device.browser.get("/auth/me", odd)
    printed = capsys.readouterr().err
    assert "reason=quota_exceeded" in printed
    assert "reason=other" in printed
    assert "<b>" not in printed
