"""The way in, on a real database: what works, and every callback that must not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

import pytest
from tests.integration.identity.conftest import HTML, JSON, ORIGIN, House

from seawall.core.errors import Refused
from seawall.core.master import FixedMaster
from seawall.settings import IdentitySection, ProviderSection, Settings


async def test_from_the_form_to_a_session(house: House, ann: UUID, tenant: UUID) -> None:
    browser = house.browser()
    token = await browser.sign_in("Ann@Example.com ", path="/auth/sign-in?provider=dev&next=/orders/7?a=1")
    me = (await browser.get("/auth/me", JSON)).json()
    assert (me["user_id"], me["tenant_id"], me["email"], me["aal"]) == (str(ann), str(tenant), "ann@example.com", 1)
    assert me["memberships"] == [{"role": "clerk", "scope_type": None, "scope_id": None}]
    rows = await house.scratch.owner.fetch(
        "SELECT token_hash, amr, octet_length(token_hash) AS n FROM seawall.sessions"
    )
    assert [(row["amr"], row["n"]) for row in rows] == [(["pwd"], 32)]
    assert token.encode() not in rows[0]["token_hash"]
    [event] = await house.events("identity.sign-in")
    assert (event["outcome"], event["provider"], event["user_id"], event["tenant_id"]) == (
        "success",
        "dev",
        str(ann),
        tenant,
    )
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.sign_in_transactions") == 0
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.dev_codes") == 0


async def test_the_callback_ends_in_a_page_and_the_cookies_are_as_they_must_be(house: House, ann: UUID) -> None:
    browser = house.browser()
    answer = await browser.log_in("ann@example.com", path="/auth/sign-in?provider=dev&next=/orders")
    landed = await browser.get(answer.headers["location"])
    assert "url=/orders" in landed.text
    session, transaction, known = landed.headers.get_list("set-cookie")
    assert session.split("; ", 1)[1] == "Path=/; Secure; HttpOnly; SameSite=Strict"
    assert transaction == "__Host-sw_tx=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax"
    assert known.startswith("__Host-sw_known=")
    assert known.split("; ", 1)[1] == "Max-Age=34560000; Path=/; Secure; HttpOnly; SameSite=Lax"


async def test_a_callback_works_once_even_at_the_same_moment(house: House, ann: UUID) -> None:
    browser = house.browser()
    callback = (await browser.log_in("ann@example.com")).headers["location"]
    answers = await asyncio.gather(*(browser.get(callback) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    reasons = {event["reason"] for event in await house.events("identity.sign-in") if event["outcome"] == "refused"}
    assert reasons == {"transaction-used"}
    assert await house.scratch.owner.fetchval("SELECT count(*) FROM seawall.sessions") == 1


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("state=", "state=x", "state-mismatch"),
        ("state=", "stat=", "state-mismatch"),
        ("iss=", "iss=x", "issuer-mismatch"),
        ("iss=", "is=", "issuer-missing"),
        ("code=", "code=x", "provider-status"),
        ("code=", "cod=", "code-missing"),
        ("?", "?state=x&", "callback-malformed"),
        ("?", "?" + "a=1&" * 2, "callback-malformed"),
        ("?", "?error=access_denied&", "provider-refused"),
        ("?", "?x=" + "a" * 5000 + "&", "callback-malformed"),
    ],
)
async def test_a_tampered_callback(house: House, ann: UUID, old: str, new: str, reason: str) -> None:
    browser = house.browser()
    callback = (await browser.log_in("ann@example.com")).headers["location"]
    answer = await browser.get(callback.replace(old, new, 1))
    assert answer.status_code == 400
    assert reason not in answer.text
    assert browser.token is None
    [event] = await house.events("identity.sign-in")
    assert (event["outcome"], event["reason"]) == ("refused", reason)
    # Whatever failed, the transaction is used up: the untampered callback does not work any more.
    assert (await browser.get(callback)).status_code == 400


async def test_another_browser_cannot_finish(house: House, ann: UUID) -> None:
    callback = (await house.browser().log_in("ann@example.com")).headers["location"]
    other = house.browser()
    assert (await other.get(callback)).status_code == 400
    await other.begin()
    problem = await other.get(callback, JSON)
    assert (problem.status_code, problem.json()["code"]) == (400, "sign-in-refused")
    assert [e["reason"] for e in await house.events("identity.sign-in")] == ["transaction-missing", "state-mismatch"]


async def test_an_expired_transaction(house: House, ann: UUID) -> None:
    browser = house.browser()
    callback = (await browser.log_in("ann@example.com")).headers["location"]
    await house.scratch.owner.execute("UPDATE seawall.sign_in_transactions SET expires_at = now()")
    assert (await browser.get(callback)).status_code == 400


async def test_signing_in_again_ends_the_session_before(house: House, ann: UUID) -> None:
    browser = house.browser()
    first = await browser.sign_in("ann@example.com")
    second = await browser.sign_in("ann@example.com")
    assert first != second
    browser.http.cookies.clear()
    browser.http.cookies.set("__Host-sw_sid", first)
    assert await browser.me() == 401


@pytest.mark.parametrize(
    "ending", ["UPDATE seawall.users SET disabled_at = now()", "UPDATE seawall.tenants SET suspended_at = now()"]
)
async def test_who_may_not_enter(house: House, ann: UUID, ending: str) -> None:
    await house.scratch.owner.execute(ending)
    browser = house.browser()
    answer = await browser.log_in("ann@example.com")
    assert (await browser.get(answer.headers["location"])).status_code == 400
    assert browser.token is None


async def test_several_tenants_are_offered_and_only_those(house: House, tenant: UUID) -> None:
    second, foreign = await house.scratch.tenant(), await house.scratch.tenant()
    await house.person("two@example.com", tenant, second)
    browser = house.browser()
    landed = await browser.get((await browser.log_in("two@example.com")).headers["location"])
    assert browser.token is None
    assert str(tenant) in landed.text
    assert str(foreign) not in landed.text
    chosen = await browser.post("/auth/tenant", data={"tenant_id": str(second)})
    assert chosen.status_code == 200
    assert (await browser.get("/auth/me", JSON)).json()["tenant_id"] == str(second)
    again = await browser.post("/auth/tenant", data={"tenant_id": str(tenant)})
    assert again.status_code == 400

    other = house.browser()
    await other.get((await other.log_in("two@example.com")).headers["location"])
    for bad in (str(foreign), "x", ""):
        assert (await other.post("/auth/tenant", data={"tenant_id": bad})).status_code == 400
    assert other.token is None


async def test_links_from_elsewhere_bounce_once(house: House, ann: UUID) -> None:
    browser = house.browser()
    elsewhere = {**HTML, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    bounced = await browser.get("/?a=1&b=2", elsewhere)
    assert "url=/?a=1&amp;b=2" in bounced.text
    assert "set-cookie" not in bounced.headers
    assert (await browser.get("/", {**elsewhere, "Sec-Fetch-Site": "same-origin"})).json() == {"page": "home"}
    assert (await browser.get("/", {**elsewhere, "Sec-Fetch-Mode": "cors"})).json() == {"page": "home"}
    await browser.sign_in("ann@example.com")
    assert (await browser.get("/", elsewhere)).json() == {"page": "home"}


async def test_next_never_leaves_the_origin(house: House, ann: UUID) -> None:
    for evil in ("//evil.example", "https://evil.example", "/%5Cevil.example", "/%09/evil.example"):
        browser = house.browser()
        answer = await browser.log_in("ann@example.com", path=f"/auth/sign-in?provider=dev&next={evil}")
        landed = await browser.get(answer.headers["location"])
        assert "evil" not in landed.text


async def test_start_with_a_wrong_or_double_provider(house: House) -> None:
    browser = house.browser()
    assert (await browser.get("/auth/sign-in?provider=nobody", JSON)).status_code == 404
    assert (await browser.get("/auth/sign-in?provider=dev&provider=dev", JSON)).status_code == 400
    assert (await browser.get("/auth/callback/nobody", JSON)).status_code == 404


async def test_the_development_provider_needs_pkce_and_takes_a_code_once(house: House, ann: UUID) -> None:
    browser = house.browser()
    endpoint, query = await browser.begin()
    login = {"email": "ann@example.com", "password": "right horse"}
    for change in (
        {"code_challenge_method": "plain"},
        {"code_challenge": ""},
        {"redirect_uri": f"{ORIGIN}/auth/callback/x"},
    ):
        assert (await browser.post(endpoint, data={**query, **login, **change})).status_code == 400
    assert (await browser.post(endpoint, data={**query, **login, "password": "wrong"})).status_code == 403
    assert (await browser.post(endpoint, data={**query, **login, "admin": "1"}, headers=JSON)).status_code == 422


async def test_the_development_provider_slows_down_guessing_alike(house: House, ann: UUID) -> None:
    browser = house.browser()
    endpoint, query = await browser.begin()
    answers: dict[str, list[tuple[int, str]]] = {"ann@example.com": [], "nobody@example.com": []}
    for email, seen in answers.items():
        for _ in range(7):
            answer = await browser.post(endpoint, data={**query, "email": email, "password": "wrong"})
            seen.append((answer.status_code, answer.text.split("<main", 1)[1]))
    assert answers["ann@example.com"] == answers["nobody@example.com"]
    assert [status for status, _ in answers["ann@example.com"]] == [403] * 5 + [429] * 2
    right = await browser.post(endpoint, data={**query, "email": "ann@example.com", "password": "right horse"})
    assert right.status_code == 429
    assert right.headers["retry-after"].isdigit()


async def test_good_sign_ins_are_not_counted(house: House, ann: UUID) -> None:
    for _ in range(7):
        await house.browser().sign_in("ann@example.com")


async def test_refusals_do_not_flood_the_audit_log(house: House) -> None:
    browser = house.browser()
    statuses = [(await browser.get("/auth/callback/dev?code=1&state=1", JSON)).status_code for _ in range(25)]
    assert statuses == [400] * 20 + [429] * 5
    assert len(await house.events("identity.sign-in")) == 20


def test_the_development_provider_refuses_production(tmp_path: Path) -> None:
    settings = Settings.model_construct(
        env="production",
        root=tmp_path,
        secret_key=Settings.model_validate({"secret_key": "k" * 43}).secret_key,
        identity=IdentitySection(providers={"dev": ProviderSection(kind="development")}),
        app=Settings().app,
        web=Settings().web,
    )
    from fastapi import FastAPI

    from seawall import identity

    with pytest.raises(Refused, match="development sign-in provider"):
        identity.include(FastAPI(), settings=settings, database=lambda: None, master=FixedMaster("k"))  # type: ignore[arg-type,return-value]


def test_a_provider_needs_a_lawful_name_and_issuer(tmp_path: Path) -> None:
    from fastapi import FastAPI

    from seawall import identity

    for name, section in {
        "Upper": ProviderSection(issuer="https://idp.example"),
        "a/b": ProviderSection(issuer="https://idp.example"),
        "plain": ProviderSection(issuer="http://idp.example"),
        "empty": ProviderSection(),
    }.items():
        settings = Settings(root=tmp_path, identity=IdentitySection(providers={name: section}))
        with pytest.raises(Refused, match=r"identity\.providers"):
            identity.include(FastAPI(), settings=settings, database=lambda: None, master=FixedMaster("k"))  # type: ignore[arg-type,return-value]
