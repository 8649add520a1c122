"""What other services know people by: stable for one service, unjoinable between two, resolvable by us alone."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.support.databases import ScratchDatabase

from seawall.core.errors import NotFound, Refused
from seawall.core.ids import token_hash
from seawall.core.scope import Principal
from seawall.privacy.pseudonyms import pseudonym, subject_of
from seawall.store.lease import Lease


class Desk:
    """A request of one person, for one question."""

    def __init__(self, scratch: ScratchDatabase, principal: Principal) -> None:
        self.scratch, self.principal = scratch, principal
        self.lease: Lease | None = None

    async def transaction(self) -> Lease:
        self.lease = self.lease or await self.scratch.database.begin(self.principal)
        return self.lease

    async def __aenter__(self) -> Desk:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.lease is not None:
            await (self.lease.rollback() if error[0] else self.lease.commit())


async def somebody(scratch: ScratchDatabase) -> Principal:
    tenant = await scratch.tenant()
    token = await scratch.session(await scratch.person(tenant, "owner"), tenant)
    principal = await scratch.database.admit(token_hash(token))
    assert principal is not None
    return principal


async def ask(scratch: ScratchDatabase, who: Principal, service: str, subject: UUID) -> str:
    async with Desk(scratch, who) as desk:
        return await pseudonym(desk, service, subject)


async def test_one_service_knows_one_name_and_two_services_two(shared_scratch: ScratchDatabase) -> None:
    one, other = await somebody(shared_scratch), await somebody(shared_scratch)
    subject = uuid4()
    names = [await ask(shared_scratch, one, service, subject) for service in ("payments", "payments", "mail")]
    names.append(await ask(shared_scratch, other, "payments", subject))
    assert names[0] == names[1]
    assert len({*names}) == 3
    for name in names:
        assert name.startswith("p_")
        assert subject.hex not in name
    async with Desk(shared_scratch, one) as desk:
        assert await subject_of(desk, "payments", names[0]) == subject
        for service, name in (("mail", names[0]), ("payments", names[3]), ("payments", "p_" + "0" * 32),
                              ("Payments!", names[0]), ("payments", "x" * 5_000), ("payments", "é")):  # fmt: skip
            with pytest.raises(NotFound):
                await subject_of(desk, service, name)


async def test_many_ask_at_once_and_get_the_same(shared_scratch: ScratchDatabase) -> None:
    who, subject = await somebody(shared_scratch), uuid4()
    names = await asyncio.gather(*(ask(shared_scratch, who, "payments", subject) for _ in range(20)))
    assert len(set(names)) == 1


async def test_the_app_cannot_read_the_table_nor_name_a_tenant(shared_scratch: ScratchDatabase) -> None:
    who = await somebody(shared_scratch)
    for sql in (
        "SELECT * FROM seawall.pseudonyms",
        f"SELECT seawall.pseudonym_in('{uuid4()}', 'payments', '{uuid4()}')",
        f"SELECT seawall.about_person('{uuid4()}', '{uuid4()}')",
        f"SELECT seawall.forget_person('{uuid4()}', '{uuid4()}')",
        f"SELECT seawall.pseudonym('client.cli', '{uuid4()}')",
    ):
        lease = await shared_scratch.database.begin(who)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await lease.fetch(sql)
        await lease.rollback()
    async with shared_scratch.database.as_app() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="no tenant context"):
            await connection.fetch("SELECT seawall.pseudonym('payments', gen_random_uuid())")


async def test_what_tokens_call_a_person_is_not_looked_up_by_the_app(shared_scratch: ScratchDatabase) -> None:
    who = await somebody(shared_scratch)
    token = await shared_scratch.owner.fetchval(
        "SELECT seawall.pseudonym_in($1, 'client.cli', $2)", who.tenant_id, who.user_id
    )
    async with Desk(shared_scratch, who) as desk:
        with pytest.raises(NotFound):
            await subject_of(desk, "client.cli", token)


async def test_names_of_services(shared_scratch: ScratchDatabase) -> None:
    async with Desk(shared_scratch, await somebody(shared_scratch)) as desk:
        for name in ("", "Payments", "a b", "x" * 81, "päy", "client.cli"):
            with pytest.raises(Refused, match="not the name of a service"):
                await pseudonym(desk, name, uuid4())
