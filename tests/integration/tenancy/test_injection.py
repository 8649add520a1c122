"""SQL injection in an app's own raw query: whatever is injected, no row of another tenant comes out.

The query is the classic mistake, text glued into SQL. The attacker is signed in, knows the other tenant's id, and has
their own live context to copy from.
"""

from __future__ import annotations

import contextlib

import asyncpg
import pytest
from tests.integration.tenancy.conftest import Group
from tests.support.databases import ScratchDatabase

from seawall.core.ids import token_hash
from seawall.core.scope import Principal
from seawall.store.lease import Lease

REFUSED = (asyncpg.InsufficientPrivilegeError, asyncpg.DataError)
"""A context that is not sound is refused; what is not even one, at times while it is read (PostgreSQL folds constants
before it asks for the signature)."""


async def begun(group: Group) -> tuple[Lease, Principal]:
    principal = await group.shop.database.admit(token_hash(group.token))
    assert principal is not None
    return await group.shop.database.begin(principal), principal


def contexts(mine: str, other: Group) -> dict[str, str]:
    """What an attacker might put in the place of their own context."""
    part = mine.split(".")
    elsewhere = [part[0], str(other.tenant), *part[2:]]
    return {
        "the other tenant under my signature": ".".join(elsewhere),
        "the other tenant, unsigned": ".".join([*elsewhere[:6], ""]),
        "the other tenant, signed with zeros": ".".join([*elsewhere[:6], "0" * 64]),
        "the other tenant's id alone": str(other.tenant),
        "an operator's, under my signature": ".".join([*elsewhere[:4], "operator", *elsewhere[5:]]),
        "another session of mine": ".".join([*part[:5], str(int(part[5]) + 3_600), part[6]]),
        "nothing": "",
    }


async def raw_query(lease: Lease, text: str) -> list[str]:
    """An app's own raw query, as it should not be written."""
    rows = await lease.connection.fetch(f"SELECT note FROM app.orders WHERE note = '{text}'")
    return [row["note"] for row in rows]


async def raw_command(lease: Lease, text: str) -> None:
    """The same as a command, which takes several statements at once."""
    await lease.connection.execute(f"UPDATE app.orders SET note = note WHERE note = '{text}'")


async def test_what_is_injected_into_a_query_reads_own_rows_only(shop: ScratchDatabase) -> None:
    mine, other = await Group.made(shop), await Group.made(shop)
    lease, principal = await begun(mine)
    found = await raw_query(lease, "' UNION ALL SELECT note FROM app.orders --")
    await lease.rollback()
    assert set(found) == {f"note of {mine.tenant}"}  # the injection works, and this is all that it gets
    for what, context in contexts(principal.context, other).items():
        lease, _ = await begun(mine)
        said = f"set_config('seawall.ctx', '{context}', true)"
        try:
            found = await raw_query(lease, f"' UNION ALL SELECT note FROM app.orders, {said} AS c --")
            found += await raw_query(lease, "' UNION ALL SELECT note FROM app.orders --")
        except REFUSED:
            found = []
        await lease.rollback()
        assert f"note of {other.tenant}" not in found, what


@pytest.mark.parametrize("how", ["SET LOCAL", "SET"])
async def test_what_is_injected_into_a_command_takes_nothing_of_others(shop: ScratchDatabase, how: str) -> None:
    mine, other = await Group.made(shop), await Group.made(shop)
    theirs = await other.rows()
    lease, principal = await begun(mine)
    await lease.rollback()
    for what, context in contexts(principal.context, other).items():
        lease, _ = await begun(mine)
        statements = (
            f"'; {how} seawall.ctx = '{context}'; "
            "INSERT INTO app.orders (venue_id, note) SELECT venue_id, 'stolen ' || note FROM app.orders; --"
        )
        # without any context there are no rows, so nothing is copied and nothing has to be refused
        with pytest.raises(REFUSED) if context else contextlib.nullcontext():
            await raw_command(lease, statements)
        await lease.rollback()
        stolen = await shop.owner.fetchval("SELECT count(*) FROM app.orders WHERE note LIKE 'stolen %'")
        assert (stolen, await other.rows()) == (0, theirs), what
    lease, _ = await begun(mine)  # the next request on the same connection is whole
    assert set(await raw_query(lease, "' UNION ALL SELECT note FROM app.orders --")) == {f"note of {mine.tenant}"}
    await lease.rollback()
