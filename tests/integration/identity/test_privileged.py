"""Roles that demand a second factor: what a session without one can do, and that the database agrees."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.identity.conftest import JSON, ORIGIN, Browser, House
from tests.integration.identity.test_passkeys import ADD, NEW, PROVE, add, options
from tests.integration.identity.test_sessions_and_factors import enrol

from seawall.core.errors import SecondFactorRequired
from seawall.core.ids import token_hash
from seawall.core.scope import Membership, Passage


@pytest.fixture
async def olga(house: House, tenant: UUID) -> UUID:
    """olga@example.com, owner."""
    return await house.person("olga@example.com", tenant, role="owner")


@pytest.fixture
async def browser(house: House, olga: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("olga@example.com")
    return made


async def pays(browser: Browser) -> tuple[int, str]:
    answer = await browser.post("/pay/5", headers=JSON)
    return answer.status_code, answer.json().get("code", "")


async def test_until_one_is_proved_only_the_way_to_it_answers(house: House, browser: Browser) -> None:
    assert await pays(browser) == (403, "second-factor-required")
    told = (await browser.post("/pay/5", headers=JSON)).json()
    assert told["second_factor"] == PROVE
    sent = await browser.post("/pay/5")
    assert (sent.status_code, sent.headers["location"]) == (303, PROVE)
    for path in ("/auth/me", "/auth/account", PROVE, NEW, "/auth/totp"):
        assert (await browser.get(path, JSON)).status_code == 200, path
    assert (await browser.get("/auth/me", JSON)).json()["second_factor_owed"]
    for path in (f"{ADD}/{browser.house.scratch.development.name}", "/auth/recovery-codes", "/auth/totp/remove",
                 "/auth/sessions/end-others"):  # fmt: skip
        refused = await browser.post(path, headers=JSON, json={})
        assert (refused.status_code, refused.json()["code"]) == (403, "second-factor-required"), path
    page = await browser.get(f"{PROVE}?next=/orders")
    assert "Set up a passkey" in page.text
    assert "/auth/totp?next=%2Forders" in page.text.replace("&amp;", "&")
    assert (await browser.post("/auth/sign-out", headers=JSON)).json() == {"sessions_ended": 1}


@pytest.mark.parametrize("how", ["passkey", "totp"])
async def test_enrolling_either_is_enough(browser: Browser, how: str) -> None:
    await (add(browser) if how == "passkey" else enrol(browser))
    assert (await pays(browser))[1] == "step-up-required"  # which is the route's own matter
    assert not (await browser.get("/auth/me", JSON)).json()["second_factor_owed"]


async def test_every_new_session_proves_it_again(house: House, browser: Browser) -> None:
    passkey, _ = await add(browser)
    again = house.browser()
    await again.sign_in("olga@example.com")
    assert await pays(again) == (403, "second-factor-required")
    assert (await again.get(NEW, JSON)).json()["code"] == "step-up-required"  # a stolen password enrols no second one
    before = again.token
    signed = passkey.assertion(await options(again, PROVE), ORIGIN)
    assert (await again.post(PROVE, headers=JSON, json={"credential": signed})).json() == {"proved": "hwk"}
    assert before != again.token
    assert (await pays(again))[1] == "step-up-required"
    proofs = await house.events("identity.factor-proof")
    assert [(e["factor"], e["outcome"]) for e in proofs] == [("passkey", "success")]


async def test_the_database_gives_such_a_session_no_tenant(house: House, browser: Browser) -> None:
    database = house.scratch.database
    half = await database.admit(token_hash(browser.token or ""))
    assert half is not None
    assert (half.context, half.owes_second_factor) == ("", True)
    with pytest.raises(Exception, match="malformed"):
        await database.begin(half)
    passage = Passage(house, "t" * 32, "n", "POST", "/", wants_html=False, principal=half, admitted=True)  # type: ignore[arg-type]
    with pytest.raises(SecondFactorRequired):
        await passage.begin()
    await add(browser)
    whole = await database.admit(token_hash(browser.token or ""))
    assert whole is not None
    assert whole.context
    lease = await database.begin(whole)
    assert await lease.fetchrow("SELECT seawall.tenant_id() AS id") is not None
    await lease.rollback()


@pytest.mark.parametrize(
    ("role", "owed"),
    [
        (Membership("owner"), True),
        (Membership("admin", "Venue", uuid4()), True),
        (Membership("owners"), False),
        (Membership("manager", "Venue", uuid4()), False),
    ],
)
async def test_which_roles_and_whatever_their_scope(house: House, tenant: UUID, role: Membership, owed: bool) -> None:
    scratch = house.scratch
    person = await scratch.person(tenant, role.role, role.scope_type, role.scope_id)
    for aal, expected in ((1, owed), (2, False)):
        principal = await scratch.database.admit(token_hash(await scratch.session(person, tenant, aal=aal)))
        assert principal is not None
        assert principal.owes_second_factor is expected


async def test_the_last_factor_stays(house: House, browser: Browser) -> None:
    _, told = await add(browser)
    refused = await browser.post(f"{ADD}/{told['passkey']}/remove", headers=JSON)
    assert (refused.status_code, refused.json()["code"]) == (409, "last-factor")


async def test_the_setting_is_the_databases(house: House, browser: Browser) -> None:
    roles: Any = await house.scratch.owner.fetch("SELECT role FROM seawall.privileged_roles ORDER BY role")
    assert [row["role"] for row in roles] == ["admin", "owner"]
    section = house.settings.identity.model_copy(update={"privileged_roles": ("clerk",)})
    other = House(house.settings.model_copy(update={"identity": section}), house.scratch)
    async with other.identity.running():
        assert (await pays(browser))[1] == "step-up-required"
    async with house.identity.running():
        assert await pays(browser) == (403, "second-factor-required")
