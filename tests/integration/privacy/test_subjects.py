"""A person's copy, and being forgotten: everything of one person, nothing of another, and the log stays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy.orm import Mapped
from tests.support.sealed import Guest, Hotel, hotel

from seawall.access.approvals import Approvals
from seawall.access.obligations import ApprovalObligation
from seawall.audit import append
from seawall.core.errors import Refused
from seawall.core.events import Erasure, Grant
from seawall.core.master import FixedMaster
from seawall.core.stepup import Intent, Resume
from seawall.privacy.subjects import copy_of, erase_in, personal_map
from seawall.store.models import Tenanted, object_id
from seawall.store.sealed import Sealed, sealed_models

MOVE = Intent(
    "move", 'Guest::"1"', {"address": "1 Garden Walk"}, "Move Cora Quill", Resume("/move", {"address": "1 Garden Walk"})
)


@pytest.fixture(scope="module")
async def house(embedded_directory: Path) -> AsyncIterator[Hotel]:
    async with hotel(embedded_directory) as made:
        yield made


async def test_a_copy_is_everything_of_one_person_in_plain_text(house: Hotel) -> None:
    ada = await house.put(name="Ada Quill", phone="+1 555 0100", born=date(1990, 5, 1), likes={"tea": True})
    await house.put(name="Ben Marsh")
    lease = await house.lease()
    copied = await copy_of(lease, ada, personal_map([Guest]))
    await lease.rollback()
    [row] = copied["sealed_guests"]
    assert (row["name"], row["phone"], row["likes"], row["room"]) == ("Ada Quill", "+1 555 0100", {"tea": True}, "7")
    assert "phone_blind" not in row
    other = await house.lease(house.beta)
    assert await copy_of(other, ada, personal_map([Guest])) == {"sealed_guests": []}
    await other.rollback()


async def test_the_erased_is_empty_and_found_no_more_and_the_neighbour_is_as_before(house: Hotel) -> None:
    ada = await house.put(name="Ada Quill", phone="+1 555 0101", born=date(1990, 5, 1), photo=b"\x00face")
    ben = await house.put(name="Ben Marsh", phone="+1 555 0102")
    before = await house.envelope(ben)
    lease = await house.lease()
    assert await erase_in(lease, ada, personal_map([Guest])) == 1
    await lease.commit()
    lease = await house.lease()
    session: Any = await lease.session()
    row = await session.get(Guest, (house.alpha.tenant_id, ada))
    assert (row.name, row.phone, row.born, row.photo, row.likes, row.room) == ("", "", None, b"", None, "7")
    await lease.rollback()
    assert await house.envelope(ben) == before


async def test_by_their_own_request_a_person_becomes_nobody_and_the_log_stays(house: Hotel) -> None:
    scratch, tenant = house.scratch, house.alpha.tenant_id
    person = await scratch.person(tenant, "customer", email="cora@example.com")
    who = await admitted(house, person, tenant)
    await scratch.owner.execute(
        "INSERT INTO seawall.identities (issuer, subject, user_id) VALUES ('https://idp.example', 'cora', $1)", person
    )
    before = await scratch.owner.fetch("SELECT id, body::text FROM seawall.audit_events ORDER BY id")
    lease = await house.lease(who)
    about = (await lease.fetchrow("SELECT seawall.about_me()::text AS about"))["about"]
    assert "cora@example.com" in about
    assert await forgotten(house, lease, who) is True
    revoked = Grant(user_id=str(person), role="customer", change="revoked")
    await append(lease, [revoked, Erasure(user_id=str(person), rows=0, gone=True)])
    await lease.commit()
    row = await scratch.owner.fetchrow("SELECT * FROM seawall.users WHERE id = $1", person)
    assert (row["email"], row["name"]) == (f"erased-{person}@erased.invalid", "")
    assert row["disabled_at"] is not None
    for table in ("identities", "sessions", "memberships"):
        assert await scratch.owner.fetchval(f"SELECT count(*) FROM seawall.{table} WHERE user_id = $1", person) == 0
    after = await scratch.owner.fetch("SELECT id, body::text FROM seawall.audit_events ORDER BY id")
    assert after[: len(before)] == before
    assert "cora" not in "".join(event["body"] for event in after)


async def test_who_belongs_elsewhere_too_is_forgotten_here_only(house: Hotel) -> None:
    scratch, here, there = house.scratch, house.alpha.tenant_id, house.beta.tenant_id
    person = await of_both(house)
    who = await admitted(house, person, here)
    email = await scratch.owner.fetchval("SELECT email FROM seawall.users WHERE id = $1", person)
    lease = await house.lease(who)
    assert await forgotten(house, lease, who) is False
    await append(lease, [Grant(user_id=str(person), role="customer", change="revoked")])
    await lease.commit()
    assert await scratch.owner.fetchval("SELECT email FROM seawall.users WHERE id = $1", person) == email
    assert (await admitted(house, person, there)).tenant_id == there


async def test_what_they_asked_others_to_approve_goes_with_them(house: Hotel) -> None:
    tenant = house.alpha.tenant_id
    person = await house.scratch.person(tenant, "customer")
    who = await admitted(house, person, tenant)
    approvals = Approvals(lambda: house.scratch.database, FixedMaster("k" * 43))
    denied = await approvals.draft(who, MOVE, ApprovalObligation(frozenset({"owner"}), 3_600))
    draft = UUID(str(denied.extra["access_request"]["binding_token"]))  # type: ignore[index]
    await approvals.ask(who, draft, "I, Cora Quill, have moved", trace_id="")
    lease = await house.lease(who)
    about = (await lease.fetchrow("SELECT seawall.about_me()::text AS about"))["about"]
    assert await forgotten(house, lease, who) is True
    await append(lease, [Grant(user_id=str(person), role="customer", change="revoked")])
    await lease.commit()
    assert '"move"' in about
    left = "SELECT count(*) FROM seawall.approval_requests WHERE requester_id = $1"
    assert await house.scratch.owner.fetchval(left, person) == 0


async def test_forgotten_in_two_tenants_at_once_they_are_nobody(house: Hotel) -> None:
    scratch, tenants = house.scratch, (house.alpha.tenant_id, house.beta.tenant_id)
    person = await of_both(house)
    people = [await admitted(house, person, tenant) for tenant in tenants]
    leases = [await house.lease(who) for who in people]
    for lease, who in zip(leases, people, strict=True):
        await approve(house, lease, who)

    async def one(lease: Any) -> bool:
        gone = await forget(lease)
        await append(lease, [Grant(user_id=str(person), role="customer", change="revoked")])
        await asyncio.sleep(0.2)
        await lease.commit()
        return gone

    assert sorted(await asyncio.gather(*map(one, leases))) == [False, True]
    email = await scratch.owner.fetchval("SELECT email FROM seawall.users WHERE id = $1", person)
    assert email == f"erased-{person}@erased.invalid"


async def test_an_injected_statement_erases_nobody(house: Hotel) -> None:
    """Not even after the person has approved something else."""
    who = await admitted(house, await house.scratch.person(house.alpha.tenant_id, "customer"), house.alpha.tenant_id)
    lease = await house.lease(who)
    await approve(house, lease, who, "refund")
    event = '{"kind":"access.grant","outcome":"success"}'
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="needs an approval of it"):
        await lease.fetch(f"SELECT seawall.forget_me(), seawall.audit_append(ARRAY['{event}'])")
    await lease.rollback()


async def of_both(house: Hotel) -> UUID:
    """A person who belongs to both tenants."""
    scratch, here, there = house.scratch, house.alpha.tenant_id, house.beta.tenant_id
    person = await scratch.person(here, "customer")
    async with scratch.owner.transaction():
        await scratch.owner.execute(
            "INSERT INTO seawall.memberships (tenant_id, user_id, role) VALUES ($1, $2, 'customer')", there, person
        )
        await scratch.owner.execute(
            "SELECT seawall.audit_append_as($1, NULL, NULL, $2)", there, ['{"kind":"access.grant","outcome":"success"}']
        )
    return person


async def forgotten(house: Hotel, lease: Any, who: Any) -> bool:
    """By their own request, which they have approved."""
    await approve(house, lease, who)
    return await forget(lease)


async def approve(house: Hotel, lease: Any, who: Any, action: str = "erase_person") -> None:
    digest = await house.scratch.approval(who, action)
    [used] = await lease.fetch("SELECT seawall.consume_approval($1) AS id", digest)
    assert used["id"] is not None


async def forget(lease: Any) -> bool:
    return bool((await lease.fetchrow("SELECT seawall.forget_me() AS gone"))["gone"])


async def admitted(house: Hotel, person: UUID, tenant: UUID) -> Any:
    from seawall.core.ids import token_hash

    principal = await house.scratch.database.admit(token_hash(await house.scratch.session(person, tenant)))
    assert principal is not None
    return principal


def test_a_model_that_does_not_say_whose_data_it_holds_does_not_start() -> None:
    kept = set(sealed_models)
    try:

        class Silent(Tenanted):
            __tablename__ = "silent_people"
            id: Mapped[UUID] = object_id()
            name: Mapped[Sealed[str]]

        with pytest.raises(Refused, match="Silent has sealed columns and does not say whose"):
            personal_map([Silent])

        class Stubborn(Tenanted):
            __tablename__ = "stubborn_people"
            __subject__ = "id"
            id: Mapped[UUID] = object_id()
            born: Mapped[Sealed[date]]

        with pytest.raises(Refused, match="cannot be erased"):
            personal_map([Stubborn])
    finally:
        sealed_models.clear()
        sealed_models.update(kept)
