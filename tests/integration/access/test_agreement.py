"""Lists agree with decisions: the policies as SQL, and the policies by Cedar, on generated rows and people."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.agreement import Tally, as_tenant, compare, put, tables_of
from tests.support.crm.models import MODELS
from tests.support.crm.rows import Generated
from tests.support.databases import ScratchDatabase
from tests.support.guesses import Guesses

from seawall.access import Engine, read_policies
from seawall.core.errors import Refused

POLICIES = Path(__file__).parents[2] / "support" / "crm" / "policies"


@pytest.fixture(scope="module")
async def crm(embedded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScratchDatabase]:
    async with tables_of(embedded_directory, MODELS, tmp_path_factory.mktemp("crm")) as scratch:
        yield scratch


async def agreement(engine: Engine, scratch: ScratchDatabase, seed: int, decisions_min: int) -> Tally:
    """Two tenants; people of one look at its rows until enough was decided."""
    rnd = random.Random(seed)
    total = Tally()
    tenants = [Generated(rnd, await scratch.tenant()) for _ in range(2)]
    for tenant in tenants:
        await put(scratch, tenant.tenant_id, tenant.rows)
    listings = [
        (model, action) for model in MODELS for action in engine.schema.actions if engine.applies(model, action)
    ]
    async with as_tenant(scratch, tenants[0].tenant_id) as lease:
        while total.decisions < decisions_min:
            principal = tenants[0].person()
            for model, action in listings:
                total.add(await compare(engine, lease, principal, model, action))
    return total


async def test_the_crm_in_short(crm: ScratchDatabase) -> None:
    engine = Engine(read_policies(POLICIES))
    total = await agreement(engine, crm, 1, 3_000)
    assert total.mismatches == []
    assert 0.1 < total.allowed / total.decisions < 0.9


async def guessed(scratch: ScratchDatabase, folder: Path, seed: int, engines: int) -> tuple[Tally, int]:
    """Engines of three random policies each; gives how many of the policies were fit to start, too."""
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
            continue  # Cedar's validator is stricter than the grammar of the guesses
        started += 1
        async with as_tenant(scratch, tenant.tenant_id) as lease:
            for _ in range(2):
                found = await compare(engine, lease, tenant.person(), model, "read")
                assert found.mismatches == [], "".join(policies)
                total.add(found)
    return total, started


async def test_policies_that_nobody_would_write(crm: ScratchDatabase, tmp_path: Path) -> None:
    total, _ = await guessed(crm, tmp_path / "policies", 1, 40)
    assert total.decisions > 1_000


@pytest.mark.prove
async def test_the_crm_at_length(crm: ScratchDatabase) -> None:
    engine = Engine(read_policies(POLICIES))
    for seed in range(2, 6):
        total = await agreement(engine, crm, seed, 30_000)
        assert total.mismatches == []
