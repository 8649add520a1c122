"""Made-up rows and people: repeatable, within what a column holds, and at the values that policies name."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from tests.support.access import ALPHA, Parcel, Venue, engine_for

from seawall.access.review.rows import ROWS, World, _fitting
from seawall.access.schema import Scalar


def world(folder: Path, seed: int) -> World:
    return World(engine_for(folder / "p"), [Parcel, Venue], ALPHA, seed)


def arguments(made: World, model: type[Any]) -> list[list[Any]]:
    return [statement.arguments() for statement in made.rows(model)]


def test_the_seed_repeats_rows_and_people(tmp_path: Path) -> None:
    one, same, other = world(tmp_path, 1), world(tmp_path, 1), world(tmp_path, 2)
    assert arguments(one, Parcel) == arguments(same, Parcel) != arguments(other, Parcel)
    assert [one.person() for _ in range(9)] == [same.person() for _ in range(9)]


def test_rows_are_at_the_values_that_policies_name_and_point_at_one_another(tmp_path: Path) -> None:
    made = world(tmp_path, 1)
    assert len(arguments(made, Parcel)) == ROWS
    cells = {cell.attribute: cell for cell in made.cells[Parcel]}
    assert cells["venue"].values == made.ids[Venue]
    assert "delivered" in cells["status"].values
    assert cells["courier"].optional
    assert set(cells["courier"].values) <= set(made.users)
    people = [made.person() for _ in range(60)]
    assert {held.role for one in people for held in one.memberships} >= {"owner", "manager"}
    places = {held.scope_id for one in people for held in one.memberships if held.scope_type == "Venue"}
    assert places
    assert places <= set(made.ids[Venue])
    assert all(one.tenant_id == ALPHA and isinstance(one.user_id, UUID) for one in people)


@pytest.mark.parametrize(
    ("kind", "column", "found", "fitting"),
    [
        ("Long", sa.SmallInteger(), (0, 40_000), (0, 2**15 - 1, -(2**15))),
        ("Long", sa.Integer(), (0, 40_000), (0, 40_000, 2**31 - 1, -(2**31))),
        ("Long", sa.BigInteger(), (2**63,), (2**63 - 1, -(2**63))),
        ("String", sa.String(4), ("delivered", "deli"), ("deli", "")),
        ("String", sa.Text(), ("paid",), ("paid", "")),
        ("decimal", sa.Numeric(4, 2), (Decimal("99.5"), Decimal(100)), (Decimal("99.5"),)),
        ("Bool", sa.Boolean(), (False, True), (False, True)),
    ],
)
def test_values_fit_their_column(kind: Any, column: Any, found: Any, fitting: Any) -> None:
    assert _fitting(Scalar(kind), column, found) == fitting


def test_moments_have_edges_below_a_millisecond() -> None:
    found = _fitting(Scalar("datetime"), sa.DateTime(timezone=True), ())
    assert any(isinstance(one, datetime) and one.microsecond == 999 for one in found)
