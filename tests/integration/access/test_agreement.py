"""Lists agree with decisions: the policies as SQL, and the policies by Cedar, on generated rows and people."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from tests.integration.access.conftest import POLICIES
from tests.support.agreement import as_tenant, put, tables_of
from tests.support.crm.models import MODELS
from tests.support.crm.rows import Generated
from tests.support.databases import ScratchDatabase
from tests.support.guesses import Guesses

from seawall import scaffold
from seawall.access import Engine, read_policies
from seawall.access.review.agreement import Tally, compare
from seawall.access.sql import RowFilter
from seawall.core.errors import Refused
from seawall.core.scope import Assurance, Membership, Principal
from seawall.store.models import Tenanted


async def agreement(
    engine: Engine, scratch: ScratchDatabase, models: Sequence[type[Any]], tenants: Sequence[Any], decisions_min: int
) -> Tally:
    """Rows of two tenants; people of the first look at them until enough was decided."""
    total = Tally()
    for tenant in tenants:
        await put(scratch, tenant.tenant_id, tenant.rows)
    listings = [
        (model, action)
        for model in models
        for action in engine.schema.actions
        if engine.applies(model, action) and engine.ruling(model, action).context.complete
    ]
    async with as_tenant(scratch, tenants[0].tenant_id) as lease:
        while total.decisions < decisions_min:
            principal = tenants[0].person()
            for model, action in listings:
                total.add(await compare(engine, lease, principal, model, action))
    return total


async def offices(scratch: ScratchDatabase, seed: int) -> list[Generated]:
    rnd = random.Random(seed)
    return [Generated(rnd, await scratch.tenant()) for _ in range(2)]


async def test_the_crm_in_short(crm: ScratchDatabase, crm_engine: Engine) -> None:
    total = await agreement(crm_engine, crm, MODELS, await offices(crm, 1), 3_000)
    assert list(map(str, total.mismatches)) == []
    assert 0.1 < total.allowed / total.decisions < 0.9


@pytest.mark.prove
async def test_the_crm_at_length(crm: ScratchDatabase, crm_engine: Engine) -> None:
    decisions = 0
    for seed in range(2, 6):
        total = await agreement(crm_engine, crm, MODELS, await offices(crm, seed), 20_000)
        assert list(map(str, total.mismatches)) == []
        decisions += total.decisions
    assert decisions >= 80_000


@pytest.mark.parametrize("forgotten", ["wall.confidential", "contact.stop"])
async def test_a_forbid_that_is_forgotten_is_noticed(
    crm: ScratchDatabase, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    """So that agreement means something."""
    engine = Engine(read_policies(POLICIES))
    whole = RowFilter.__init__

    def forgetful(self: RowFilter, ruling: Any, *given: Any) -> None:
        whole(self, ruling, *given)
        forbids = [policy.id for policy in ruling.slice.chosen if policy.est["effect"] == "forbid"]
        self.forbids = [node for name, node in zip(forbids, self.forbids, strict=True) if name != forgotten]

    monkeypatch.setattr(RowFilter, "__init__", forgetful)
    total = await agreement(engine, crm, MODELS, await offices(crm, 7), 2_000)
    assert total.mismatches
    assert all(one.how == "listed, but denied" and forgotten in one.verdict.policies for one in total.mismatches)


# Policies that nobody would write ------------------------------------------------------------------------------------


async def guessed(scratch: ScratchDatabase, folder: Path, seed: int, engines: int) -> Tally:
    """Engines of three random policies each, every one with two people of one tenant."""
    rnd = random.Random(seed)
    tenant = Generated(rnd, await scratch.tenant())
    await put(scratch, tenant.tenant_id, tenant.rows)
    guesses, total, started = Guesses(rnd, tenant), Tally(), 0
    folder.mkdir()
    (folder / "schema.cedarschema").write_text((POLICIES / "schema.cedarschema").read_text())
    while started < engines:
        model = rnd.choice(MODELS)
        policies = [guesses.policy(number, model.__name__, "read") for number in range(3)]
        (folder / "guesses.cedar").write_text("".join(policies))
        try:
            engine = Engine(read_policies(folder))
        except Refused:
            continue  # a guess that asks for a step-up without its annotation
        started += 1
        async with as_tenant(scratch, tenant.tenant_id) as lease:
            for _ in range(2):
                found = await compare(engine, lease, tenant.person(), model, "read")
                assert found.mismatches == [], "".join(policies)
                total.add(found)
    return total


async def test_guesses_in_short(crm: ScratchDatabase, tmp_path: Path) -> None:
    total = await guessed(crm, tmp_path / "policies", 1, 40)
    assert total.decisions > 1_000
    assert 0.05 < total.allowed / total.decisions < 0.95


@pytest.mark.prove
async def test_guesses_at_length(crm: ScratchDatabase, tmp_path: Path) -> None:
    assert (await guessed(crm, tmp_path / "policies", 2, 1_000)).decisions > 40_000


# The restaurant ------------------------------------------------------------------------------------------------------


@dataclass
class Restaurant:
    """The generated app's own models and policies, with rows of one tenant."""

    rnd: random.Random
    models: Any
    tenant_id: UUID

    def __post_init__(self) -> None:
        rnd, m = self.rnd, self.models
        self.users = [self._id() for _ in range(6)]
        self.venues = [m.Venue(id=self._id(), name="v", street="s") for _ in range(3)]
        dishes = [
            m.Dish(id=self._id(), venue_id=rnd.choice(self.venues).id, name="d", price_minor=1) for _ in range(12)
        ]
        self.rows = [self.venues, dishes, [self._order() for _ in range(60)]]

    def _id(self) -> UUID:
        return UUID(int=self.rnd.getrandbits(128), version=4)

    def _order(self) -> Any:
        rnd = self.rnd
        age = rnd.choice([timedelta(0), timedelta(hours=24, seconds=-30), timedelta(hours=24), timedelta(days=9)])
        return self.models.Order(
            id=self._id(), venue_id=rnd.choice(self.venues).id, customer_id=rnd.choice(self.users),
            courier_id=rnd.choice([None, *self.users]), status=rnd.choice(["cart", "placed", "paid", "delivered"]),
            delivered_at=rnd.choice([None, datetime.now(UTC) - age]),
        )  # fmt: skip

    def person(self) -> Principal:
        rnd = self.rnd
        roles = rnd.sample(["owner", "manager", "courier", "customer"], rnd.randrange(4))
        held = [Membership(r, "Venue", rnd.choice(self.venues).id) if r == "manager" else Membership(r) for r in roles]
        assurance = Assurance(1, datetime.now(UTC))
        return Principal(rnd.choice(self.users), self.tenant_id, self.users[0], tuple(held), assurance, "")


@pytest.fixture(scope="module")
async def restaurant(
    embedded_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[ScratchDatabase, Any, Engine]]:
    folder = scaffold.new("restaurant", "shop", tmp_path_factory.mktemp("restaurant"))
    spec = importlib.util.spec_from_file_location("restaurant_models", folder / "models.py")
    assert spec is not None
    assert spec.loader is not None
    models = sys.modules["restaurant_models"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    engine = Engine(read_policies(folder / "policies"))
    tables = [models.Venue, models.Dish, models.Order]
    async with tables_of(embedded_directory, tables, tmp_path_factory.mktemp("tables")) as scratch:
        yield scratch, models, engine
    for name in ("order_lines", "refunds", "orders", "dishes", "venues"):
        table = Tenanted.metadata.tables[f"app.{name}"]
        Tenanted.metadata.remove(table)  # tests of other apps share the metadata


async def dine(restaurant: tuple[ScratchDatabase, Any, Engine], seed: int, decisions_min: int) -> Tally:
    scratch, models, engine = restaurant
    rnd = random.Random(seed)
    tenants = [Restaurant(rnd, models, await scratch.tenant()) for _ in range(2)]
    return await agreement(engine, scratch, [models.Venue, models.Dish, models.Order], tenants, decisions_min)


async def test_the_restaurant_in_short(restaurant: tuple[ScratchDatabase, Any, Engine]) -> None:
    total = await dine(restaurant, 1, 3_000)
    assert list(map(str, total.mismatches)) == []
    assert 0.1 < total.allowed / total.decisions < 0.9


@pytest.mark.prove
async def test_the_restaurant_at_length(restaurant: tuple[ScratchDatabase, Any, Engine]) -> None:
    total = await dine(restaurant, 2, 40_000)
    assert list(map(str, total.mismatches)) == []
