"""What clients know a person by: always the same for one client, unjoinable between two, and no way in for another."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from tests.integration.identity.conftest import ORIGIN, Browser, House
from tests.support.clients import api_of

from seawall.core.clock import now_s
from seawall.identity.clients.access_token import Subject, write_token
from seawall_check.probes.oauth import Api, claims_of, granted


def sub_of(api: Api) -> str:
    return str(claims_of(api.access_token)["sub"])


async def test_each_client_knows_a_person_by_a_name_of_its_own(house: House, browser: Browser, ann: UUID) -> None:
    cli, again, web = [await granted(browser.http, api_of(house, name)) for name in ("cli", "cli", "web")]
    before = sub_of(cli)
    await cli.refresh()
    assert sub_of(cli) == before == sub_of(again)
    assert sub_of(web) != before
    for said in (str(claims_of(cli.access_token)), str(claims_of(web.access_token))):
        assert str(ann) not in said
        assert ann.hex not in said
    gateway = api_of(house, "gateway")  # asks about everybody's tokens, and joins them no better
    for api in (cli, web):
        assert (await gateway.introspect(api.access_token)).json()["sub"] == sub_of(api)
    assert (await web.introspect(web.refresh_token)).json()["sub"] == sub_of(web)


async def test_another_tenant_knows_them_by_another_name(house: House, browser: Browser, ann: UUID) -> None:
    elsewhere = await house.scratch.tenant()
    names = await house.scratch.owner.fetch(
        """SELECT seawall.pseudonym_in(t, 'client.cli', $1) AS name FROM unnest($2::uuid[]) AS t""",
        ann,
        [elsewhere, await house.scratch.owner.fetchval("SELECT tenant_id FROM seawall.memberships LIMIT 1")],
    )
    api = await granted(browser.http, api_of(house))
    assert sub_of(api) == names[1]["name"] != names[0]["name"]


async def test_a_token_that_names_another_person_is_refused(
    house: House, browser: Browser, ann: UUID, tenant: UUID
) -> None:
    """Rightly signed, of a live grant and with its proof: only whom it names is wrong."""
    eve_id = await house.person("eve@example.com", tenant)
    eve = house.browser()
    await eve.sign_in("eve@example.com")
    hers, mine = await granted(eve.http, api_of(house)), await granted(browser.http, api_of(house))
    claims = claims_of(mine.access_token)
    key = mine.key.thumbprint if mine.key else ""
    honest = Subject(sub_of(mine), "cli", UUID(claims["sid"]), claims["epoch"], claims["gen"], key)
    async with house.scratch.database.identity() as tx:
        signing = await house.identity.clients.keys.current(tx)

    def written(person: str) -> str:
        return write_token(replace(honest, person=person), signing, issuer=ORIGIN, lifetime_s=60, now_s=now_s())

    gateway = api_of(house, "gateway")
    assert (await mine.get("/auth/me", token=written(sub_of(mine)))).json()["user_id"] == str(ann)
    for person in (sub_of(hers), str(ann), str(eve_id), "p_" + "0" * 32):
        assert (await mine.get("/auth/me", token=written(person))).status_code == 401, person
        assert (await gateway.introspect(written(person))).json() == {"active": False}


async def test_a_long_client_id_has_a_name_too(house: House, ann: UUID, tenant: UUID) -> None:
    asked = "SELECT seawall.pseudonym_in($1, $2, $3)"
    assert await house.scratch.owner.fetchval(asked, tenant, "client." + "a-_9" * 16, ann)
