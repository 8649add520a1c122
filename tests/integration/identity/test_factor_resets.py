"""An operator takes the factors of somebody away who has lost them all: what ends, who is told, who may not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest
from tests.integration.identity.conftest import JSON, Browser, House
from tests.integration.identity.test_passkeys import NEW, add
from tests.integration.identity.test_sessions_and_factors import enrol
from tests.support.clients import api_of

from seawall.core.errors import Refused
from seawall.identity.resets import reset_factors
from seawall.store.operator import as_operator
from seawall.store.roles import APP, IDENTITY, MIGRATOR, WORKER
from seawall_check.probes.oauth import granted

WHY = {"reason": "Lost telephone and codes; checked by video call", "ticket": "OPS-1234"}


@pytest.fixture
async def owner(house: House) -> AsyncIterator[asyncpg.Connection]:
    async with as_operator(house.scratch.url(MIGRATOR)) as connection:
        yield connection


@pytest.fixture
async def olga(house: House, tenant: UUID) -> UUID:
    return await house.person("olga@example.com", tenant, role="owner")


@pytest.fixture
async def browser(house: House, olga: UUID) -> Browser:
    made = house.browser()
    await made.sign_in("olga@example.com")
    await add(made)
    return made


async def paid(browser: Browser) -> str:
    return str((await browser.post("/pay/5", headers=JSON)).json()["code"])


async def test_all_of_it_goes_and_all_of_it_ends(
    house: House, browser: Browser, olga: UUID, tenant: UUID, owner: asyncpg.Connection
) -> None:
    api = await granted(browser.http, api_of(house))
    assert (await browser.me(), (await api.get("/auth/me")).status_code) == (200, 200)
    epoch = await owner.fetchval("SELECT epoch FROM seawall.users WHERE id = $1", olga)
    done = await reset_factors(owner, email="Olga@Example.com", tenant_id=tenant, **WHY)
    assert (done.passkeys, done.totp, done.recovery_codes, done.privileged) == (1, False, 8, True)
    assert done.sessions_ended == 2
    assert (await browser.me(), (await api.get("/auth/me")).status_code) == (401, 401)
    assert (await api.refresh()).json()["error"] == "invalid_grant"
    assert await owner.fetchval("SELECT epoch FROM seawall.users WHERE id = $1", olga) == epoch + 1
    [event] = await house.events("identity.factor-reset")
    assert (event["tenant_id"], event["outcome"], event["passkeys"]) == (tenant, "success", 1)
    assert not {"olga@example.com", *WHY.values()} & set(event["text"].split('"'))


async def test_the_next_sign_in_can_do_nothing_but_enrol_and_reads_why(
    house: House, browser: Browser, tenant: UUID, owner: asyncpg.Connection
) -> None:
    await reset_factors(owner, email="olga@example.com", tenant_id=tenant, **WHY)
    again = house.browser()
    await again.sign_in("olga@example.com")
    assert await paid(again) == "second-factor-required"
    me = (await again.get("/auth/me", JSON)).json()
    assert (me["second_factor_owed"], me["factors"]) == (True, {"totp": False, "passkeys": 0, "recovery_codes": 0})
    [notice] = [one for one in me["notices"] if one["reasons"] == ["factors-reset"]]
    assert notice["ticket"] == "OPS-1234"
    page = await again.get("/auth/account")
    assert "took away all your second factors" in page.text
    assert "OPS-1234" in page.text
    assert WHY["reason"] not in page.text
    about = await owner.fetchval("SELECT seawall.about_person(s.tenant_id, s.user_id) FROM seawall.factor_resets s")
    [told] = json.loads(about)["factor_resets"]  # but whoever asks for everything gets that too
    assert (told["reason"], told["ticket"]) == (WHY["reason"], WHY["ticket"])
    assert (await again.get(NEW, JSON)).status_code == 200
    await add(again)
    assert await paid(again) == "step-up-required"  # the route's own matter


async def test_an_app_and_its_codes_go_and_nobody_elses(
    house: House, browser: Browser, tenant: UUID, owner: asyncpg.Connection
) -> None:
    bob_id = await house.person("bob@example.com", tenant)
    bob = house.browser()
    await bob.sign_in("bob@example.com")
    await enrol(bob)
    begun = bob.get(NEW, JSON)  # asks for a step-up: nothing can be enrolled on the way
    assert (await begun).json()["code"] == "step-up-required"
    done = await reset_factors(owner, email="bob@example.com", tenant_id=tenant, **WHY)
    assert (done.passkeys, done.totp, done.recovery_codes, done.privileged) == (0, True, 8, False)
    for table in ("totp_factors", "totp_pending", "recovery_codes", "passkeys"):
        assert not await owner.fetchval(f"SELECT count(*) FROM seawall.{table} WHERE user_id = $1", bob_id), table
    assert await browser.me() == 200
    factors = (await browser.get("/auth/me", JSON)).json()["factors"]
    assert factors == {"totp": False, "passkeys": 1, "recovery_codes": 8}


async def test_every_tenant_that_they_can_enter_is_told(house: House, owner: asyncpg.Connection) -> None:
    tenants = [await house.scratch.tenant() for _ in range(2)]
    await house.person("ada@example.com", *tenants)
    browser = house.browser()
    await browser.log_in("ada@example.com")
    await owner.execute(
        "INSERT INTO seawall.recovery_codes (user_id, code_hash) SELECT id, sha256('x') FROM seawall.users"
    )
    await reset_factors(owner, email="ada@example.com", tenant_id=tenants[1], **WHY)
    assert {event["tenant_id"] for event in await house.events("identity.factor-reset")} == set(tenants)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"email": "nobody@example.com"}, "belongs to the tenant"),
        ({"tenant_id": UUID(int=1)}, "belongs to the tenant"),
        ({"reason": "lost"}, "10 to 500"),
        ({"reason": " " * 30}, "10 to 500"),
        ({"reason": "x" * 501}, "10 to 500"),
        ({"ticket": ""}, "ticket"),
        ({"ticket": "OPS 12; DROP"}, "ticket"),
    ],
)
async def test_refused_and_nothing_changed(
    browser: Browser, tenant: UUID, owner: asyncpg.Connection, change: dict[str, object], says: str
) -> None:
    asked = {"email": "olga@example.com", "tenant_id": tenant, **WHY, **change}
    with pytest.raises(Refused, match=says):
        await reset_factors(owner, **asked)  # type: ignore[arg-type]
    assert (await browser.get("/auth/me", JSON)).json()["factors"]["passkeys"] == 1


async def test_nobody_who_has_none(house: House, tenant: UUID, owner: asyncpg.Connection) -> None:
    await house.person("bob@example.com", tenant)
    with pytest.raises(Refused, match="no second factor"):
        await reset_factors(owner, email="bob@example.com", tenant_id=tenant, **WHY)


@pytest.mark.parametrize("role", [APP, IDENTITY, WORKER])
async def test_no_role_of_the_app_writes_one(house: House, browser: Browser, tenant: UUID, role: str) -> None:
    connection = await house.scratch.connect(role)
    try:
        with pytest.raises((asyncpg.InsufficientPrivilegeError, Refused)):
            await reset_factors(connection, email="olga@example.com", tenant_id=tenant, **WHY)
    finally:
        await connection.close()
    assert await browser.me() == 200


async def test_a_reset_without_its_event_is_refused(tenant: UUID, olga: UUID, owner: asyncpg.Connection) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="audit"):
        await owner.execute(
            "INSERT INTO seawall.factor_resets (tenant_id, user_id, reason, ticket) VALUES ($1, $2, $3, $4)",
            tenant, olga, *WHY.values(),
        )  # fmt: skip


async def test_what_was_written_of_somebody_leaves_with_them(
    house: House, tenant: UUID, owner: asyncpg.Connection
) -> None:
    bob_id = await house.person("bob@example.com", tenant)
    bob = house.browser()
    await bob.sign_in("bob@example.com")
    await enrol(bob)
    await reset_factors(owner, email="bob@example.com", tenant_id=tenant, **WHY)
    async with owner.transaction():
        assert await owner.fetchval("SELECT seawall.forget_person($1, $2)", tenant, bob_id)
        for kind in ("access.grant", "privacy.erasure"):
            event = [f'{{"kind": "{kind}", "outcome": "success"}}']
            await owner.execute("SELECT seawall.audit_append_as($1, NULL, NULL, $2)", tenant, event)
    assert not await owner.fetchval("SELECT count(*) FROM seawall.factor_resets")
