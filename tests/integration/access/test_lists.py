"""Lists, counts and pages of what somebody may see, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from tests.integration.access.conftest import Office
from tests.support.crm.models import Contact, Deal, Note, Team

from seawall.access import Allow
from seawall.core.errors import BadRequest
from seawall.core.scope import Assurance, Membership, Principal


def someone(office: Office, *memberships: Membership) -> Principal:
    moment = datetime.now(UTC)
    return Principal(
        office.rows.users[0], office.rows.tenant_id, office.rows.users[0], memberships, Assurance(2, moment), ""
    )


def rep(office: Office) -> Principal:
    return someone(office, Membership("rep", "Team", office.rows.teams[0].id))


async def test_all_ways_to_list_agree(office: Office) -> None:
    visible = office.visible(rep(office), Deal)
    listed = await visible.all(order_by=Deal.amount_minor)
    assert 0 < len(listed) < len(office.rows.deals)
    assert listed.complete
    assert await visible.count() == len(listed)
    session = await office.lease.session()
    selected = (await session.scalars(visible.select().order_by(Deal.amount_minor, Deal.id))).all()
    assert selected == list(listed)
    assert all(one in session for one in listed)
    total = (await session.execute(sa.select(sa.func.count()).select_from(visible.select().subquery()))).scalar_one()
    assert total == len(listed)


async def test_a_query_is_refined_and_never_widened(office: Office) -> None:
    visible = office.visible(rep(office), Note)
    session = await office.lease.session()
    everything = {one.id for one in await visible.all(limit=1_000)}
    words = visible.select().where(Note.words > 1).join(Deal, Deal.id == Note.deal_id).where(Deal.stage != "lost")
    found = (await session.scalars(words.limit(500))).all()
    assert {one.id for one in found} <= everything
    assert all(one.words > 1 for one in found)
    by_hand = visible.select().with_only_columns(Note.id).where(sa.or_(sa.true(), Note.words > 1))
    assert set((await session.scalars(by_hand)).all()) == everything


@pytest.mark.parametrize(
    "order",
    [
        Contact.last_seen, Contact.last_seen.desc(), [Contact.region, Contact.last_seen.desc()], Contact.region.desc(),
        [Contact.account_id.desc(), Contact.region], Contact.do_not_contact, (),
    ],
    ids=["time", "time-down", "region-time-down", "region-down", "account-down-region", "flag", "none"],
)  # fmt: skip
async def test_pages_are_the_list_in_parts(office: Office, order: Any) -> None:
    """Also over NULLs, in both directions, and where many rows have one place."""
    lead = someone(office, *(Membership("lead", "Team", team.id) for team in office.rows.teams), Membership("admin"))
    visible = office.visible(lead, Contact)
    whole = [one.id for one in await visible.page(order_by=order, limit=1_000)]
    assert len(whole) == len(office.rows.contacts)
    for limit in (1, 5):
        parts: list[Any] = []
        cursor: str | None = None
        while True:
            page = await visible.page(order_by=order, limit=limit, after=cursor)
            parts += [one.id for one in page]
            cursor = page.next
            if cursor is None:
                break
        assert parts == whole


async def test_a_cursor_of_somebody_else_opens_nothing(office: Office) -> None:
    admin, visitor = someone(office, Membership("admin")), rep(office)
    theirs = await office.visible(admin, Deal).page(order_by=Deal.amount_minor, limit=1)
    mine = {one.id for one in await office.visible(visitor, Deal).all()}
    after = await office.visible(visitor, Deal).page(order_by=Deal.amount_minor, after=theirs.next, limit=100)
    assert {one.id for one in after} <= mine


@pytest.mark.parametrize(
    "cursor",
    [
        "x", "W10", "W251bGxd", "WyJhIiwiYiJd", "e30", "é", "W251bGwsbnVsbF0", "WzEsICJub3QgYSB1dWlkIl0", "A" * 2_000,
        "W3RydWUsIjAwMDAwMDAwLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDAwMCJd",
        "WzE4NDQ2NzQ0MDczNzA5NTUxNjE2MCwiMDAwMDAwMDAtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAwIl0",
    ],
)  # fmt: skip
async def test_cursors_that_no_list_gave(office: Office, cursor: str) -> None:
    with pytest.raises(BadRequest) as caught:
        await office.visible(rep(office), Deal).page(order_by=Deal.amount_minor, after=cursor)
    assert caught.value.problem_code == "bad-cursor"


async def test_what_is_left_over_is_said(office: Office) -> None:
    visible = office.visible(someone(office, Membership("auditor")), Team)
    found = await visible.all(limit=3)
    assert (len(found), found.complete) == (3, False)
    assert (await visible.all(limit=4)).complete
    assert await visible.count(at_most=2) == 2


async def test_objects_bring_the_rows_that_decisions_read(office: Office) -> None:
    """A note of a list can be decided on again, for another action that reads its deal and account."""
    who = rep(office)
    ruling = office.engine.ruling(Note, "edit")
    notes = await office.visible(who, Note).all()
    verdicts = office.engine.decide_all(who, ruling, notes)
    own = {deal.id for deal in office.rows.deals if deal.owner_id == who.user_id}
    assert any(isinstance(verdict, Allow) for verdict in verdicts)
    for note, verdict in zip(notes, verdicts, strict=True):
        if note.author_id != who.user_id and note.deal_id not in own and not note.text.startswith("fyi:"):
            assert not isinstance(verdict, Allow)
    # one that no decision loaded has no deal at hand: denied, with an alert, and not decided on half of what matters
    session = await office.lease.session()
    session.expunge_all()
    bare = (await session.scalars(sa.select(Note))).all()
    assert all(verdict.reason == "evaluation-error" for verdict in office.engine.decide_all(who, ruling, bare))


async def test_locking_holds_the_rows_near_it(office: Office) -> None:
    loader = office.engine.loader(Note)
    note = office.rows.notes[0]
    for lock in (False, True):
        found = await loader.load(office.lease, office.rows.tenant_id, note.id, lock=lock)
        assert found is not None
        near = vars(found)["_seawall_near"]
        assert near["deal_id",].id == note.deal_id
        assert near["deal_id", "account_id"].id == near["deal_id",].account_id
