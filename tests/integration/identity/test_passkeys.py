"""Passkeys on a real database: the ways to use one, and what stands between them and everybody else."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.identity.conftest import JSON, ORIGIN, Browser, House
from tests.integration.identity.test_sessions_and_factors import App, challenge

from seawall_check.probes.authenticator import Passkey

NEW, ADD, PROVE = "/auth/passkeys/new", "/auth/passkeys", "/auth/second-factor"
SIGN_IN = "/auth/sign-in/passkey"


async def options(browser: Browser, path: str) -> dict[str, Any]:
    answer = await browser.get(path, JSON)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["options"]
    return found


async def add(browser: Browser, name: str = "Key") -> tuple[Passkey, dict[str, Any]]:
    asked = await options(browser, NEW)
    passkey = Passkey.for_options(asked)
    sent = {"credential": passkey.registration(asked, ORIGIN), "name": name}
    answer = await browser.post(ADD, headers=JSON, json=sent)
    assert answer.status_code == 200, answer.text
    return passkey, answer.json()


async def approve(browser: Browser, passkey: Passkey, address: str) -> int:
    signed = passkey.assertion(await options(browser, address), ORIGIN)
    return (await browser.post(address, headers=JSON, json={"credential": signed})).status_code


async def enter(house: House, passkey: Passkey, **lies: Any) -> tuple[Browser, int]:
    browser = house.browser()
    asked = (await browser.post(f"{SIGN_IN}/options", headers=JSON, json={"next": "/orders"})).json()["options"]
    signed = passkey.assertion(asked, ORIGIN, **lies)
    return browser, (await browser.post(SIGN_IN, headers=JSON, json={"credential": signed})).status_code


@pytest.fixture
async def browser(house: House, ann: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("ann@example.com")
    return made


async def test_enrolling_counts_at_once_and_ends_the_other_sessions(house: House, browser: Browser, ann: UUID) -> None:
    other, before = house.browser(), browser.token
    await other.sign_in("ann@example.com")
    passkey, told = await add(browser, "  Kitchen   tablet ")
    assert before != browser.token
    assert [await browser.me(), await other.me()] == [200, 401]
    about = (await browser.get("/auth/account", JSON)).json()
    assert (about["aal"], about["factors"]) == (2, {"totp": False, "passkeys": 1, "recovery_codes": 8})
    assert [(one["name"], one["id"]) for one in about["passkeys"]] == [("Kitchen tablet", told["passkey"])]
    row = await house.scratch.owner.fetchrow("SELECT * FROM seawall.passkeys WHERE user_id = $1", ann)
    assert (row["credential_id"], row["transports"]) == (passkey.id, ["internal"])
    assert [(e["factor"], e["change"]) for e in await house.events("identity.factor")] == [("passkey", "enrolled")]


async def test_signing_in_with_one_is_two_factors(house: House, browser: Browser, ann: UUID) -> None:
    passkey, _ = await add(browser)
    there, status = await enter(house, passkey)
    assert status == 200
    me = (await there.get("/auth/me", JSON)).json()
    assert (me["user_id"], me["aal"]) == (str(ann), 2)
    row = await house.scratch.owner.fetchrow("SELECT amr, second_factor_at FROM seawall.sessions ORDER BY id DESC")
    assert row["amr"] == ["hwk", "user"]
    assert row["second_factor_at"] is not None
    events = [e for e in await house.events("identity.sign-in") if e["provider"] == "passkey"]
    assert [(e["outcome"], e["user_id"]) for e in events] == [("success", str(ann))]
    for lies in ({"handle": None}, {"handle": b"x" * 32}, {"verified": False}):
        assert (await enter(house, passkey, **lies))[1] == 400
    reasons = [e["reason"] for e in await house.events("identity.sign-in") if e["outcome"] == "refused"]
    assert reasons == ["passkey-user-handle", "passkey-user-handle", "passkey-assertion"]


async def test_a_person_of_two_tenants_chooses(house: House, tenant: UUID) -> None:
    second = await house.scratch.tenant()
    await house.person("bo@example.com", tenant, second)
    first = house.browser()
    await first.log_in("bo@example.com")
    browser = house.browser()
    answer = await browser.log_in("bo@example.com")
    await browser.get(answer.headers["location"])
    assert (await browser.post("/auth/tenant", headers=JSON, data={"tenant_id": str(second)})).status_code == 200
    passkey, _ = await add(browser)
    there, status = await enter(house, passkey)
    assert (status, await there.me()) == (200, 401)
    assert (await there.post("/auth/tenant", headers=JSON, data={"tenant_id": str(tenant)})).status_code == 200
    assert (await there.get("/auth/me", JSON)).json()["aal"] == 2


async def test_who_is_disabled_or_belongs_nowhere_does_not_enter(house: House, browser: Browser, ann: UUID) -> None:
    passkey, _ = await add(browser)
    await house.scratch.owner.execute("UPDATE seawall.users SET disabled_at = now() WHERE id = $1", ann)
    assert (await enter(house, passkey))[1] == 400
    await house.scratch.owner.execute("UPDATE seawall.users SET disabled_at = NULL")
    await house.scratch.owner.execute("UPDATE seawall.tenants SET suspended_at = now()")
    assert (await enter(house, passkey))[1] == 400
    assert [e["reason"] for e in await house.events("identity.sign-in") if e["reason"]] == [
        "account-disabled",
        "no-membership",
    ]


async def test_who_is_erased_leaves_no_factor(house: House, tenant: UUID, browser: Browser, ann: UUID) -> None:
    passkey, _ = await add(browser)
    owner = house.scratch.owner
    async with owner.transaction():
        assert await owner.fetchval("SELECT seawall.forget_person($1, $2)", tenant, ann)
        event = ['{"kind":"access.grant","outcome":"success"}']
        await owner.execute("SELECT seawall.audit_append_as($1, NULL, NULL, $2)", tenant, event)
    for table in ("passkeys", "passkey_handles", "recovery_codes", "known_devices"):
        assert await owner.fetchval(f"SELECT count(*) FROM seawall.{table} WHERE user_id = $1", ann) == 0, table
    assert (await enter(house, passkey))[1] == 400


async def test_eight_at_once_with_one_challenge(house: House, browser: Browser) -> None:
    passkey, _ = await add(browser)
    there = house.browser()
    asked = (await there.post(f"{SIGN_IN}/options", headers=JSON, json={})).json()["options"]
    cookie = {"Cookie": f"__Host-sw_tx={there.http.cookies['__Host-sw_tx']}", **JSON}
    sent = [passkey.assertion(asked, ORIGIN) for _ in range(8)]
    racers = [house.browser() for _ in range(8)]
    answers = await asyncio.gather(
        *(one.post(SIGN_IN, headers=cookie, json={"credential": body}) for one, body in zip(racers, sent, strict=True))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 7

    address = await challenge(browser)
    asked = await options(browser, address)
    sent = [passkey.assertion(asked, ORIGIN) for _ in range(8)]
    answers = await asyncio.gather(*(browser.post(address, headers=JSON, json={"credential": one}) for one in sent))
    assert sorted(answer.status_code for answer in answers)[0] == 200
    assert sum(answer.status_code == 200 for answer in answers) == 1


async def test_a_step_up_is_approved_by_its_own_challenge_only(house: House, browser: Browser) -> None:
    passkey, _ = await add(browser)
    first, second = await challenge(browser), await challenge(browser, 900)
    for_first = passkey.assertion(await options(browser, first), ORIGIN)
    stolen = await browser.post(second, headers=JSON, json={"credential": for_first})
    assert (stolen.status_code, stolen.json()["code"]) == (403, "passkey-refused")
    # the wrong address has used it up: it is good nowhere now
    assert (await browser.post(first, headers=JSON, json={"credential": for_first})).status_code == 403
    assert await approve(browser, passkey, first) == 200
    assert (await browser.post("/pay/900", headers=JSON)).status_code == 401
    assert (await browser.post("/pay/150", headers=JSON)).status_code == 200
    assert [e["step"] for e in await house.events("identity.step-up")].count("failed") == 2


async def test_a_challenge_is_its_sessions_and_its_purposes_own(house: House, browser: Browser) -> None:
    passkey, _ = await add(browser)
    other = house.browser()
    await other.sign_in("ann@example.com")
    mine = passkey.assertion(await options(browser, PROVE), ORIGIN)
    assert (await other.post(PROVE, headers=JSON, json={"credential": mine})).status_code == 403
    address = await challenge(browser)
    assert (await browser.post(address, headers=JSON, json={"credential": mine})).status_code == 403
    # neither has used it up, since neither could
    assert (await browser.post(PROVE, headers=JSON, json={"credential": mine})).status_code == 200
    assert (await browser.post(PROVE, headers=JSON, json={"credential": mine})).status_code == 403
    reasons = [e["reason"] for e in await house.events("identity.factor-proof") if e["outcome"] == "refused"]
    assert reasons == ["challenge"] * 3


async def test_pending_challenges_are_bounded_and_swept(house: House, browser: Browser) -> None:
    await add(browser)
    for _ in range(14):
        await options(browser, PROVE)
    count = "SELECT count(*) FROM seawall.passkey_challenges"
    assert await house.scratch.owner.fetchval(count) == 10
    await house.scratch.owner.execute("UPDATE seawall.passkey_challenges SET expires_at = now() - interval '1 s'")
    other = house.browser()
    await other.sign_in("ann@example.com")
    await options(other, PROVE)
    assert await house.scratch.owner.fetchval(count) == 1


async def test_a_copy_is_refused_and_its_owner_told(house: House, browser: Browser, ann: UUID) -> None:
    passkey, told = await add(browser)
    assert (await enter(house, passkey))[1] == 200
    assert (await enter(house, passkey, count=1))[1] == 400
    (alert,) = await house.events("identity.factor-alert")
    assert (alert["user_id"], alert["passkey"], alert["alert"]) == (str(ann), told["passkey"], "cloned-counter")
    assert "A copy of this passkey may exist" in (await browser.get("/auth/account")).text
    assert (await enter(house, passkey))[1] == 200


async def test_one_without_a_counter_works_and_one_that_loses_it_does_not(house: House, browser: Browser) -> None:
    passkey, _ = await add(browser)
    passkey.countless = True
    assert [(await enter(house, passkey))[1] for _ in range(2)] == [200, 200]
    passkey.countless = False
    assert (await enter(house, passkey))[1] == 200
    assert (await enter(house, passkey, count=0))[1] == 400


async def test_a_credential_is_of_one_person(house: House, browser: Browser, tenant: UUID) -> None:
    passkey, _ = await add(browser)
    await house.person("eve@example.com", tenant)
    eve = house.browser()
    await eve.sign_in("eve@example.com")
    asked = await options(eve, NEW)
    again = Passkey(passkey.rp_id, b"h", id=passkey.id).registration(asked, ORIGIN)
    refused = await eve.post(ADD, headers=JSON, json={"credential": again, "name": "x"})
    assert (refused.status_code, refused.json()["code"]) == (403, "passkey-refused")
    theirs, _ = await add(eve)
    signed = theirs.assertion(await options(browser, PROVE), ORIGIN)
    assert (await browser.post(PROVE, headers=JSON, json={"credential": signed})).status_code == 403
    rows = await house.scratch.owner.fetch("SELECT id FROM seawall.passkeys ORDER BY id")
    for path in (f"{ADD}/{rows[0]['id']}", f"{ADD}/{rows[0]['id']}/remove", f"{ADD}/{uuid4()}", f"{ADD}/x/remove"):
        assert (await eve.post(path, headers=JSON, json={"name": "mine"})).status_code in {404, 422}
    assert (await eve.post(f"{ADD}/{rows[0]['id']}", headers=JSON, json={"name": "mine"})).status_code == 404


async def test_names_are_bounded(browser: Browser) -> None:
    _, told = await add(browser)
    for name in ("", "   ", "x" * 61, "a\nb", "\x00"):
        answer = await browser.post(f"{ADD}/{told['passkey']}", headers=JSON, json={"name": name})
        assert answer.status_code in {400, 422}, name


async def test_further_factors_and_removals_need_one_that_is_there(house: House, browser: Browser) -> None:
    passkey, told = await add(browser)
    for path in (NEW, "/auth/totp"):
        assert (await browser.get(path, JSON)).json()["code"] == "step-up-required"
    remove = f"{ADD}/{told['passkey']}/remove"
    wanted = await browser.post(remove, headers=JSON)
    assert (wanted.status_code, wanted.json()["code"]) == (401, "step-up-required")
    # an approval to add does not remove
    adding = (await browser.get(NEW, JSON)).json()["step_up"]
    assert await approve(browser, passkey, adding) == 200
    assert (await browser.post(remove, headers=JSON)).status_code == 401
    second, _ = await add(browser, "Second")
    other, status = await enter(house, passkey)
    assert (status, await other.me()) == (200, 200)
    assert await approve(browser, second, wanted.json()["step_up"]) == 200
    assert (await browser.post(remove, headers=JSON)).json() == {"removed": told["passkey"]}
    assert [await browser.me(), await other.me()] == [200, 401]
    assert (await enter(house, passkey))[1] == 400
    assert (await enter(house, second))[1] == 200
    changes = [(e["factor"], e["change"]) for e in await house.events("identity.factor")]
    assert changes == [("passkey", "enrolled"), ("passkey", "enrolled"), ("passkey", "removed")]


async def test_what_was_half_enrolled_before_the_first_factor_is_void(house: House, browser: Browser) -> None:
    """Otherwise "there is no factor yet" would be good for a second one as well."""
    begun, other = await options(browser, NEW), await options(browser, NEW)
    secret = (await browser.get("/auth/totp", JSON)).json()["secret"]
    passkey = Passkey.for_options(begun)
    sent = {"credential": passkey.registration(begun, ORIGIN), "name": "First"}
    assert (await browser.post(ADD, headers=JSON, json=sent)).status_code == 200
    late = {"credential": Passkey.for_options(other).registration(other, ORIGIN), "name": "Second"}
    assert (await browser.post(ADD, headers=JSON, json=late)).status_code == 403
    assert (await browser.post("/auth/totp", headers=JSON, json={"code": App(secret).code()})).status_code == 403


async def test_two_sessions_enrol_the_first_factor_at_once(house: House, browser: Browser, ann: UUID) -> None:
    """Whoever comes second was ended by the first, though both were let in while there was no factor."""
    for _ in range(4):
        browsers = [house.browser() for _ in range(3)]
        sent = []
        for one in browsers:
            await one.sign_in("ann@example.com")
            asked = await options(one, NEW)
            answer = Passkey.for_options(asked).registration(asked, ORIGIN)
            sent.append(one.post(ADD, headers=JSON, json={"credential": answer, "name": "Key"}))
        answers = await asyncio.gather(*sent)
        won = [answer.status_code == 200 for answer in answers]
        assert won.count(True) == 1, [answer.text for answer in answers]
        assert [await one.me() for one in browsers] == [200 if good else 401 for good in won]
        assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.passkeys") == 1
        await house.scratch.owner.execute("DELETE FROM seawall.passkeys")


async def test_a_stale_session_plants_nothing(house: House, browser: Browser) -> None:
    asked = await options(browser, NEW)
    await house.scratch.owner.execute("UPDATE seawall.sessions SET authenticated_at = now() - interval '6 minutes'")
    stale = await browser.get(NEW, JSON)
    assert (stale.status_code, stale.json()["code"]) == (401, "recent-sign-in-required")
    sent = await browser.get(f"{NEW}?next=/orders")
    assert sent.headers["location"] == "/auth/sign-in?fresh=1&next=%2Fauth%2Fpasskeys%2Fnew%3Fnext%3D%252Forders"
    page = await browser.get(sent.headers["location"])
    assert "fresh=1" in page.text
    # options that were given in time may still be used, for their minutes
    sent_in_time = {"credential": Passkey.for_options(asked).registration(asked, ORIGIN), "name": "Key"}
    assert (await browser.post(ADD, headers=JSON, json=sent_in_time)).status_code == 200


async def test_lost_and_recovered(house: House, browser: Browser) -> None:
    lost, told = await add(browser, "Lost")
    code = told["recovery_codes"][0]
    there = house.browser()
    await there.sign_in("ann@example.com")
    assert (await there.get("/auth/second-factor", JSON)).json()["enrolled"]["recovery_codes"] == 8
    assert (await there.get(NEW, JSON)).status_code == 401
    proved = await there.post(PROVE, data={"code": code.lower().replace("-", " ")})
    assert (proved.status_code, proved.headers["location"]) == (303, "/auth/account")
    assert "You used a recovery code" in (await there.get("/auth/account")).text
    new, _ = await add(there, "New")
    assert (await there.post(f"{ADD}/{told['passkey']}/remove", headers=JSON)).status_code == 200
    assert [(await enter(house, one))[1] for one in (lost, new)] == [400, 200]
    again = house.browser()
    await again.sign_in("ann@example.com")
    assert (await again.post(PROVE, headers=JSON, json={"code": code})).status_code == 403
    await house.scratch.owner.execute("UPDATE seawall.sessions SET recovered_at = now() - interval '11 minutes'")
    assert (await there.get(NEW, JSON)).status_code == 401


async def test_recovery_codes_are_renewed_with_a_factor_and_go_with_the_last(house: House, browser: Browser) -> None:
    assert (await browser.post("/auth/recovery-codes", headers=JSON)).json()["code"] == "no-second-factor"
    passkey, told = await add(browser)
    wanted = await browser.post("/auth/recovery-codes", headers=JSON)
    assert wanted.status_code == 401
    assert await approve(browser, passkey, wanted.json()["step_up"]) == 200
    fresh = (await browser.post("/auth/recovery-codes", headers=JSON)).json()["recovery_codes"]
    assert len(set(fresh) | set(told["recovery_codes"])) == 16
    assert (await browser.post(PROVE, headers=JSON, json={"code": told["recovery_codes"][1]})).status_code == 403
    assert (await browser.post(PROVE, headers=JSON, json={"code": fresh[0]})).status_code == 200
    assert (await browser.post(f"{ADD}/{told['passkey']}/remove", headers=JSON)).status_code == 200
    assert (await browser.get("/auth/me", JSON)).json()["factors"] == {
        "totp": False, "passkeys": 0, "recovery_codes": 0,
    }  # fmt: skip
    assert (await browser.post(PROVE, headers=JSON, json={"code": fresh[1]})).status_code == 403


async def test_eight_uses_of_one_recovery_code(house: House, browser: Browser) -> None:
    _, told = await add(browser)
    browsers = [house.browser() for _ in range(5)]
    for one in browsers:
        await one.sign_in("ann@example.com")
    sent = (one.post(PROVE, headers=JSON, json={"code": told["recovery_codes"][0]}) for one in browsers)
    assert sorted(answer.status_code for answer in await asyncio.gather(*sent)) == [200, 403, 403, 403, 403]


BAD_BODIES: list[dict[str, Any]] = [
    {"json": {"credential": {}}},
    {"json": {"credential": "[]"}},
    {"json": {"credential": [1]}},
    {"json": {"credential": {"id": "a", "rawId": "a", "response": {"clientDataJSON": "e30"}}}},
    {"json": {"credential": {"id": 1, "rawId": 1, "response": []}}},
    {"json": {"credential": "x" * 40_000}},
    {"json": {"credential": {"response": "x" * 40_000}}},
    {"json": {"credential": {}, "admin": "1"}},
    {"content": b'{"credential":{},"credential":{}}', "headers": {**JSON, "Content-Type": "application/json"}},
    {"data": {"credential": "{" * 5_000}},
    {"data": {"credential": "x" * 40_000}},
]


@pytest.mark.parametrize("path", [ADD, PROVE, SIGN_IN])
async def test_bad_input(house: House, browser: Browser, path: str) -> None:
    for body in BAD_BODIES:
        who = browser
        if path == SIGN_IN:
            who = house.browser()
            await who.post(f"{SIGN_IN}/options", headers=JSON, json={})
        answer = await who.post(path, **{"headers": JSON, **body})
        assert answer.status_code in {400, 403, 422}, (body, answer.text)
        assert "Traceback" not in answer.text
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.passkeys") == 0


async def test_refusals_are_bounded(house: House, browser: Browser) -> None:
    statuses = [(await browser.post(PROVE, headers=JSON, json={"credential": {}})).status_code for _ in range(22)]
    assert statuses == [403] * 20 + [429] * 2
    assert len(await house.events("identity.factor-proof")) == 20


async def test_who_has_the_password_only_locks_nobody_out(house: House, browser: Browser) -> None:
    passkey, _ = await add(browser)
    thief = house.browser("198.51.100.9")
    await thief.sign_in("ann@example.com")
    statuses = [(await thief.post(PROVE, headers=JSON, json={"credential": {}})).status_code for _ in range(22)]
    assert statuses[-1] == 429
    assert await approve(browser, passkey, PROVE) == 200


async def test_the_app_role_reads_nothing_of_it(house: House, browser: Browser) -> None:
    async with house.scratch.database.as_app() as connection:
        for table in ("passkeys", "passkey_handles", "passkey_challenges", "recovery_codes", "privileged_roles"):
            with pytest.raises(Exception, match="permission denied"):
                await connection.fetch(f"SELECT * FROM seawall.{table}")
