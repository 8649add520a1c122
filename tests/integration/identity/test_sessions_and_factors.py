"""Sessions, TOTP and step-up on a real database."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import pyotp
import pytest
from tests.integration.identity.conftest import HTML, JSON, Browser, House


class App:
    """An authenticator app: each step's code once."""

    def __init__(self, secret: str) -> None:
        self.totp = pyotp.TOTP(secret)
        self.last = 0

    def code(self) -> str:
        while self.last > int(time.time()) // 30:
            time.sleep(0.2)  # half a minute has three codes; who needs a fourth waits
        # The step before is taken too; near its end it could run out on the way.
        step = int(time.time()) // 30
        oldest = step - 1 if time.time() % 30 < 25 else step
        self.last = max(oldest, self.last + 1)
        return self.totp.generate_otp(self.last)

    def wrong(self) -> str:
        step = int(time.time()) // 30
        near = {self.totp.generate_otp(step + beside) for beside in range(-3, 4)}
        return next(code for n in range(10) if (code := f"{n}" * 6) not in near)


async def enrol(browser: Browser) -> tuple[App, list[str]]:
    app = App((await browser.get("/auth/totp", JSON)).json()["secret"])
    answer = await browser.post("/auth/totp", headers=JSON, json={"code": app.code()})
    assert answer.status_code == 200, answer.text
    return app, answer.json()["recovery_codes"]


async def challenge(browser: Browser, amount: int = 150) -> str:
    answer = await browser.post(f"/pay/{amount}", headers=JSON)
    assert answer.status_code == 401, answer.text
    assert "insufficient_user_authentication" in answer.headers["www-authenticate"]
    return str(answer.json()["step_up"])


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("ann@example.com")
    return made


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_signing_out_here_and_everywhere(house: House, browser: Browser) -> None:
    others = [house.browser(), house.browser()]
    for other in others:
        await other.sign_in("ann@example.com")
    here = await browser.post("/auth/sign-out", headers=JSON)
    assert here.json() == {"sessions_ended": 1}
    assert [await one.me() for one in (browser, *others)] == [401, 200, 200]
    everywhere = await others[0].post("/auth/sign-out-everywhere")
    assert (everywhere.status_code, everywhere.headers["location"]) == (303, "/")
    assert "__Host-sw_sid=; Max-Age=0" in everywhere.headers["set-cookie"]
    assert [await one.me() for one in others] == [401, 401]
    assert [e["sessions_ended"] for e in await house.events("identity.sign-out")] == [1, 2]
    assert (await browser.post("/auth/sign-out")).status_code == 303  # who is signed out already gets no error
    assert (await browser.post("/auth/sign-out-everywhere", headers=JSON)).status_code == 401


async def test_a_session_that_is_not_admitted_now_is_ended_for_good(
    house: House, browser: Browser, tenant: UUID
) -> None:
    """Whoever copied its cookie would have it back on the day that the tenant comes back."""
    set_to = "UPDATE seawall.tenants SET suspended_at = {} WHERE id = $1"
    await house.scratch.owner.execute(set_to.format("now()"), tenant)
    copied = dict(browser.http.cookies)
    assert await browser.me() == 401
    assert (await browser.post("/auth/sign-out", headers=JSON)).json() == {"sessions_ended": 1}
    await house.scratch.owner.execute(set_to.format("NULL"), tenant)
    thief = house.browser()
    thief.http.cookies.update(copied)
    assert await thief.me() == 401
    assert [e["sessions_ended"] for e in await house.events("identity.sign-out")] == [1]


async def test_sessions_that_ended_long_ago_are_swept(house: House, browser: Browser, ann: UUID) -> None:
    count = "SELECT count(*) FROM seawall.sessions"
    for end in ("revoked_at = now() - interval '31 days'", "expires_at = now() - interval '31 days'"):
        await house.browser().sign_in("ann@example.com")
        await house.scratch.owner.execute(
            f"UPDATE seawall.sessions SET {end} WHERE id = (SELECT max(id::text)::uuid FROM seawall.sessions)"
        )
    await house.browser().sign_in("ann@example.com")
    assert await house.scratch.owner.fetchval(count) == 2
    assert await browser.me() == 200


async def test_at_most_a_hundred_sessions_of_one_person(
    house: House, ann: UUID, tenant: UUID, browser: Browser
) -> None:
    for _ in range(105):
        await house.scratch.session(ann, tenant)
    await house.browser().sign_in("ann@example.com")
    live = await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.sessions WHERE revoked_at IS NULL")
    assert live == 100
    assert await browser.me() == 401  # the oldest


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "A" * 44, "é", "A" * 4000, "' OR 1=1"])
async def test_invented_tokens(house: House, browser: Browser, token: str) -> None:
    stranger = house.browser()
    answer = await stranger.http.get("/auth/me", headers=[(b"cookie", f"__Host-sw_sid={token}".encode())])
    assert answer.status_code in {400, 401}


async def test_the_account_page(browser: Browser) -> None:
    page = await browser.get("/auth/account")
    assert page.status_code == 200
    assert "Set up an authenticator app" in page.text
    assert (await browser.get("/auth/account", JSON)).json()["sessions"] == 1


# -- TOTP --------------------------------------------------------------------------------------------------------------


async def test_enrolling_renews_the_token_and_ends_other_sessions(house: House, browser: Browser, ann: UUID) -> None:
    other = house.browser()
    await other.sign_in("ann@example.com")
    before = browser.token
    app, recovery = await enrol(browser)
    assert before != browser.token
    assert [await browser.me(), await other.me()] == [200, 401]
    assert (await browser.get("/auth/me", JSON)).json()["aal"] == 2
    assert len(set(recovery)) == 8
    stored = await house.scratch.owner.fetchrow("SELECT sealed FROM seawall.totp_factors WHERE user_id = $1", ann)
    assert app.totp.secret.encode() not in stored["sealed"]
    codes = await house.scratch.owner.fetch("SELECT code_hash FROM seawall.recovery_codes")
    assert len(codes) == 8
    assert all(len(row["code_hash"]) == 32 for row in codes)
    assert [e["change"] for e in await house.events("identity.factor")] == ["enrolled"]


async def test_enrolment_is_the_sessions_own_recent_and_bounded(house: House, browser: Browser) -> None:
    app = App((await browser.get("/auth/totp", JSON)).json()["secret"])
    other = house.browser()
    await other.sign_in("ann@example.com")
    stolen = await other.post("/auth/totp", headers=JSON, json={"code": app.code()})
    assert (stolen.status_code, stolen.json()["code"]) == (403, "wrong-code")
    await house.scratch.owner.execute("UPDATE seawall.totp_pending SET expires_at = now()")
    assert (await browser.post("/auth/totp", headers=JSON, json={"code": app.code()})).status_code == 403
    await house.scratch.owner.execute("UPDATE seawall.sessions SET authenticated_at = now() - interval '6 minutes'")
    stale = await browser.get("/auth/totp", JSON)
    assert (stale.status_code, stale.json()["code"]) == (401, "recent-sign-in-required")
    sent = await browser.get("/auth/totp?next=/orders")
    assert sent.headers["location"] == "/auth/sign-in?fresh=1&next=%2Fauth%2Ftotp%3Fnext%3D%252Forders"


async def test_the_secret_is_shown_once(house: House, browser: Browser) -> None:
    """Whoever has copied the cookie opens no gate, and reads nothing of an enrolment that its owner has begun."""
    secret = (await browser.get("/auth/totp", JSON)).json()["secret"]
    thief = house.browser()
    thief.http.cookies.set("__Host-sw_sid", str(browser.token), domain="shop.localhost")
    for status in [403] * 5 + [429]:
        page = await thief.post("/auth/totp", data={"code": App(secret).wrong()})
        assert (page.status_code, "begin again" in page.text) == (status, True)
        assert secret[:4] not in page.text
        assert "<svg" not in page.text


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"json": {"code": "12"}}, 403),
        ({"json": {"code": 123456}}, 422),
        ({"json": {"code": ["123456"]}}, 422),
        ({"json": {"code": "1", "admin": "1"}}, 422),
        ({"json": ["123456"]}, 400),
        ({"content": b'{"code":"1","code":"2"}', "headers": {**JSON, "Content-Type": "application/json"}}, 400),
        ({"content": b"code=1&code=2", "headers": {**JSON, "Content-Type": "application/x-www-form-urlencoded"}}, 400),
        (
            {
                "content": b"code=" + b"1" * 5000,
                "headers": {**JSON, "Content-Type": "application/x-www-form-urlencoded"},
            },
            400,
        ),
        ({}, 403),
    ],
)
async def test_bad_input(browser: Browser, body: dict[str, Any], status: int) -> None:
    await browser.get("/auth/totp", JSON)
    answer = await browser.post("/auth/totp", **{"headers": JSON, **body})
    assert (answer.status_code, browser.house.done) == (status, [])


async def test_a_code_works_once_also_at_the_same_moment(house: House, browser: Browser) -> None:
    app, _ = await enrol(browser)
    browsers = [house.browser() for _ in range(4)]
    for one in browsers:
        await one.sign_in("ann@example.com")
    addresses = [await challenge(one) for one in browsers]
    code = app.code()
    sent = [
        one.post(address, headers=JSON, json={"code": code}) for one, address in zip(browsers, addresses, strict=True)
    ]
    answers = await asyncio.gather(*sent)
    assert sorted(answer.status_code for answer in answers) == [200, 403, 403, 403]


async def test_guessing_is_slowed_down_and_the_page_says_so(house: House, browser: Browser) -> None:
    app, _ = await enrol(browser)
    address = await challenge(browser)
    statuses = [(await browser.post(address, headers=JSON, json={"code": app.wrong()})).status_code for _ in range(7)]
    assert statuses == [403] * 5 + [429] * 2
    page = await browser.post(address, data={"code": app.code()})
    assert (page.status_code, "Too many attempts" in page.text) == (429, True)
    assert [e["step"] for e in await house.events("identity.step-up")] == ["challenged"] + ["failed"] * 5


async def test_a_day_has_a_limit_of_its_own_and_recovery_codes_have_none(house: House, browser: Browser) -> None:
    """Whoever has the password only, and goes on for days; the owner comes back by what nobody guesses."""
    app, recovery = await enrol(browser)
    address = await challenge(browser)
    statuses = []
    for _ in range(52):
        minutes_pass = "DELETE FROM seawall.throttles WHERE tat < now() + interval '10 minutes'"
        await house.scratch.owner.execute(minutes_pass)
        statuses.append((await browser.post(address, headers=JSON, json={"code": app.wrong()})).status_code)
    assert statuses == [403] * 50 + [429] * 2
    assert (await browser.post(address, headers=JSON, json={"code": app.code()})).status_code == 429
    assert (await browser.post(address, headers=JSON, json={"code": recovery[0]})).status_code == 200


async def test_a_recovery_code_works_once(house: House, browser: Browser) -> None:
    _, recovery = await enrol(browser)
    address, second = await challenge(browser), await challenge(browser, 160)
    assert (await browser.post(address, headers=JSON, json={"code": recovery[0].lower()})).status_code == 200
    assert (await browser.post(second, headers=JSON, json={"code": recovery[0]})).status_code == 403


async def test_replacing_a_factor_needs_the_old_one(house: House, browser: Browser) -> None:
    app, _ = await enrol(browser)
    wanted = await browser.get("/auth/totp", JSON)
    assert wanted.status_code == 401
    address = wanted.json()["step_up"]
    page = await browser.post(address, data={"code": app.code()})
    assert '<form id="resume" method="get" action="/auth/totp">' in page.text
    second = (await browser.get("/auth/totp", JSON)).json()["secret"]
    assert second != app.totp.secret
    assert (await browser.get("/auth/totp", JSON)).status_code == 401  # the approval was for once
    replaced = await browser.post("/auth/totp", headers=JSON, json={"code": App(second).code()})
    assert replaced.status_code == 200
    steps = [e["step"] for e in await house.events("identity.step-up")]
    assert steps == ["challenged", "approved", "consumed", "challenged"]


# -- step-up -----------------------------------------------------------------------------------------------------------


async def test_an_approval_is_for_exactly_one_action_once(house: House, browser: Browser) -> None:
    app, _ = await enrol(browser)
    address = await challenge(browser)
    shown = (await browser.get(address, JSON)).json()
    assert (shown["summary"], shown["params"], shown["resource"]) == ("Pay 150", {"amount": 150}, 'Bill::"1"')
    before = browser.token
    assert (await browser.post(address, headers=JSON, json={"code": app.code()})).status_code == 200
    assert before != browser.token
    assert (await browser.post("/pay/151", headers=JSON)).status_code == 401
    other = house.browser()
    await other.sign_in("ann@example.com")
    assert (await other.post("/pay/150", headers=JSON)).status_code == 401
    failed = await browser.post("/pay/150?boom=1", headers=JSON)
    assert failed.status_code == 500  # its transaction rolled back, so the approval is still there
    answers = await asyncio.gather(*(browser.post("/pay/150", headers=JSON) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    assert len(house.done) == 1
    consumed = [e for e in await house.events("identity.step-up") if e["step"] == "consumed"]
    # one: of the failed request nothing stayed, its event neither
    assert [(e["challenge_id"], e["action"]) for e in consumed] == [(address.rpartition("/")[2], "pay")]


async def test_an_approval_expires(house: House, browser: Browser) -> None:
    app, _ = await enrol(browser)
    address = await challenge(browser)
    assert (await browser.post(address, headers=JSON, json={"code": app.code()})).status_code == 200
    await house.scratch.owner.execute("UPDATE seawall.step_up_approvals SET expires_at = now()")
    assert (await browser.post("/pay/150", headers=JSON)).status_code == 401
    late = await challenge(browser)
    await house.scratch.owner.execute("UPDATE seawall.step_up_challenges SET expires_at = now()")
    assert (await browser.get(late, JSON)).status_code == 404
    assert (await browser.post(late, headers=JSON, json={"code": app.code()})).status_code == 404


async def test_a_challenge_is_its_sessions_own(house: House, browser: Browser) -> None:
    address = await challenge(browser)
    other = house.browser()
    await other.sign_in("ann@example.com")
    assert (await other.get(address, JSON)).status_code == 404
    assert (await house.browser().get(address, JSON)).status_code == 401
    for nonsense in ("/auth/step-up/x", f"/auth/step-up/{uuid4()}"):
        assert (await browser.get(nonsense, JSON)).status_code == 404
        assert (await browser.post(nonsense, headers=JSON, json={"code": "1"})).status_code == 404


async def test_one_that_was_altered_is_refused_and_approves_nothing(house: House, browser: Browser) -> None:
    app, _ = await enrol(browser)
    owner, address, other = house.scratch.owner, await challenge(browser), await challenge(browser, 160)
    first, second = (one.rpartition("/")[2] for one in (address, other))
    code = app.code()
    for change in (
        "sealed = set_byte(c.sealed, 40, 255 - get_byte(c.sealed, 40))",
        "sealed = '\\x02'",
        "sealed = d.sealed",
        "digest = d.digest",
    ):
        before = await owner.fetchrow("SELECT sealed, digest FROM seawall.step_up_challenges WHERE id = $1", first)
        await owner.execute(
            f"UPDATE seawall.step_up_challenges c SET {change} FROM seawall.step_up_challenges d"
            " WHERE c.id = $1 AND d.id = $2",
            first, second,
        )  # fmt: skip
        for answer in (
            await browser.get(address, JSON),
            await browser.get(address),
            await browser.post(address, headers=JSON, json={"code": code}),
        ):
            assert answer.status_code == 409
            assert "cannot be read any more" in answer.text
        assert (await browser.get(address, JSON)).json()["code"] == "request-unreadable"
        await owner.execute(
            "UPDATE seawall.step_up_challenges SET sealed = $2, digest = $3 WHERE id = $1",
            first, before["sealed"], before["digest"],
        )  # fmt: skip
    assert (await browser.post(address, headers=JSON, json={"code": code})).status_code == 200


async def test_challenges_of_a_session_are_bounded(house: House, browser: Browser) -> None:
    for amount in range(25):
        await challenge(browser, 100 + amount)
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.step_up_challenges") == 20


async def test_the_pages_lead_through_enrolment_and_back_to_the_form(house: House, browser: Browser) -> None:
    sent = await browser.post("/pay/150")
    assert sent.status_code == 303
    address = sent.headers["location"]
    without = await browser.get(address)
    assert f"/auth/totp?next={address}" in without.text
    page = await browser.get(f"/auth/totp?next={address}")
    assert "<svg" in page.text
    assert "style=" not in page.text
    secret = page.text.split('<code class="code">')[1].split("<")[0].replace(" ", "")
    app = App(secret)
    wrong = await browser.post("/auth/totp", data={"code": app.wrong(), "next": address})
    assert (wrong.status_code, f"/auth/totp?next={address}" in wrong.text) == (403, True)
    done = await browser.post("/auth/totp", data={"code": app.code(), "next": address})
    assert f'href="{address}"' in done.text
    approve = await browser.get(address)
    assert "Pay 150" in approve.text
    approved = await browser.post(address, data={"code": app.code()})
    assert '<form id="resume" method="post" action="/pay/150">' in approved.text
    assert 'name="note" value="&#34;&gt;&lt;b&gt;"' in approved.text
    csp = approved.headers["content-security-policy"]
    nonce = approved.text.split('<script nonce="')[1].split('"')[0]
    assert f"'nonce-{nonce}'" in csp
    paid = await browser.post("/pay/150", headers=HTML)
    assert paid.status_code == 200
    again = await browser.post(address, data={"code": "123456"})
    assert again.status_code == 404  # used, so there is nothing to show any more


async def test_only_the_database_consumes_and_only_for_whom_the_context_names(house: House, browser: Browser) -> None:
    app, _ = await enrol(browser)
    assert (await browser.post(await challenge(browser), headers=JSON, json={"code": app.code()})).status_code == 200
    digest = await house.scratch.owner.fetchval("SELECT digest FROM seawall.step_up_approvals")
    async with house.scratch.database.as_app() as connection:
        assert await connection.fetchval("SELECT seawall.consume_approval($1)", digest) is None
        for table in (
            "step_up_approvals",
            "step_up_challenges",
            "totp_factors",
            "sign_in_transactions",
            "dev_accounts",
        ):
            with pytest.raises(Exception, match="permission denied"):
                await connection.fetch(f"SELECT * FROM seawall.{table}")
        with pytest.raises(Exception, match="permission denied"):
            await connection.fetch("SELECT seawall.throttle('\\x00', 1, 1)")
