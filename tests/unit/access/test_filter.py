"""Policies as SQL without a database: what is refused when the app starts, and what a caller's roles settle."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column
from tests.support.access import COURIER, MANAGER, OWNER, POLICIES, SCHEMA, Parcel, engine_for, person

from seawall.access.engine import Engine
from seawall.access.listing import check_listable
from seawall.core.errors import Refused
from seawall.core.scope import Membership, Principal
from seawall.store.models import Tenanted

PERMIT = 'permit (principal in Role::"manager", action == Action::"read", resource is Parcel)'


def written(engine: Engine, who: Principal, model: type[Any] = Parcel) -> str:
    ruling = engine.ruling(model, "read")
    context = ruling.context.build(who, {}, step_up=False)
    where = engine.row_filter(model, "read").where(engine.known(who, ruling, context))
    return str(where.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True}))


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        ('ip("10.0.0.1").isLoopback()', "ip()"),
        ('{ a: resource.status } == { a: "x" }', "a record with attributes of the row"),
        ("[resource.status, resource.currency] == [resource.currency]", "== of Set<String> that depends on the row"),
        ("[resource.venue].containsAll([resource.venue])", "containsAll() of a set with attributes of the row"),
        (
            "(if resource.rushed then principal else User::\"x\") == principal",
            "if that gives User depending on the row",
        ),
    ],
)  # fmt: skip
def test_what_sql_cannot_say_does_not_start(tmp_path: Path, condition: str, words: str) -> None:
    engine = engine_for(tmp_path / "p", f'@id("odd") @title("x") {PERMIT} when {{ {condition} }};')
    with pytest.raises(Refused) as caught:
        check_listable(engine, Parcel, "read", "GET /parcels")
    assert f'GET /parcels: shop.cedar: policy @id("odd") cannot filter a list of Parcel: {words}' in caught.value.what


class Odd(Tenanted):
    __tablename__ = "access_odd"
    id: Mapped[Any] = mapped_column(sa.Uuid, primary_key=True)
    padded: Mapped[str] = mapped_column(sa.CHAR(10))
    folded: Mapped[str] = mapped_column(postgresql.CITEXT)
    loose: Mapped[str] = mapped_column(sa.String(collation="und-x-icu"))


ODD = SCHEMA + (
    "entity Odd = { tenant: Tenant, padded: String, folded: String, loose: String };"
    'action "list_odd" appliesTo { principal: [User], resource: [Odd], context: Ctx };'
)


LIST_ODD = '@id("odd") @title("x") permit (principal, action == Action::"list_odd", resource)'


@pytest.mark.parametrize("name", ["padded", "folded"])
def test_columns_that_compare_in_a_way_of_their_own(tmp_path: Path, name: str) -> None:
    policy = f'{LIST_ODD} when {{ resource.{name} == "x" }};'
    engine = engine_for(tmp_path / "p", policy, ODD)
    with pytest.raises(Refused, match=f"{name}, a column of type (CHAR|CITEXT), as String has no equal in SQL"):
        engine.row_filter(Odd, "list_odd")


def test_a_collation_that_calls_different_texts_equal(tmp_path: Path) -> None:
    engine = engine_for(tmp_path / "p", LIST_ODD + ' when { resource.loose == "x" };', ODD)
    ruling = engine.ruling(Odd, "list_odd")
    where = engine.row_filter(Odd, "list_odd").where(engine.known(OWNER, ruling, {}))
    assert 'loose COLLATE "C") = ' in str(where.compile(dialect=postgresql.dialect()))


def test_roles_settle_what_they_can(tmp_path: Path) -> None:
    engine = engine_for(tmp_path / "p")
    assert written(engine, OWNER) == "false"
    manager, courier = written(engine, MANAGER), written(engine, COURIER)
    assert "venue_id = " in manager
    assert "courier_id" not in manager.split(" AND ")[0]
    assert "courier_id IS NOT NULL AND" in courier
    assert "venue_id = " not in courier


def test_the_text_does_not_depend_on_how_many_places_somebody_has(tmp_path: Path) -> None:
    """Or every manager would have a statement, and a plan, of their own."""
    engine = engine_for(tmp_path / "p")
    ruling = engine.ruling(Parcel, "read")
    texts = set()
    for count in (2, 3, 400):
        who = person(*(Membership("manager", "Venue", UUID(int=n)) for n in range(count)))
        where = engine.row_filter(Parcel, "read").where(
            engine.known(who, ruling, ruling.context.build(who, {}, step_up=False))
        )
        texts.add(str(where.compile(dialect=postgresql.dialect())))
    assert len(texts) == 1


def test_an_error_anywhere_lists_nothing(tmp_path: Path) -> None:
    """As the engine decides: a policy that errs denies, whatever the others say."""
    both = (
        f'@id("all") @title("x") {PERMIT};'
        f'@id("errs") @title("x") {PERMIT} when {{ 9223372036854775807 + context.auth.aal > 0 }};'
    )
    assert written(engine_for(tmp_path / "p", both), MANAGER) == "false"


def test_policies_that_start_for_one_object_only(tmp_path: Path) -> None:
    """A construct that lists cannot have is no matter where nothing is listed."""
    engine = engine_for(tmp_path / "p", POLICIES + f'@id("ip") @title("x") {PERMIT} when {{ ip("::1").isLoopback() }};')
    assert engine.ruling(Parcel, "read").slice.ids >= {"ip"}
