"""What the access tests on a real database share."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.support.agreement import as_tenant, put, tables_of
from tests.support.crm.models import MODELS
from tests.support.crm.rows import Generated
from tests.support.databases import ScratchDatabase

from seawall.access import Engine, Visible, read_policies
from seawall.core.scope import Principal
from seawall.store.lease import Lease

POLICIES = Path(__file__).parents[2] / "support" / "crm" / "policies"


@pytest.fixture(scope="session")
async def crm(embedded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ScratchDatabase]:
    """A database with the CRM's tables, walled; every test brings tenants of its own."""
    async with tables_of(embedded_directory, MODELS, tmp_path_factory.mktemp("crm")) as scratch:
        yield scratch


@pytest.fixture(scope="session")
def crm_engine() -> Engine:
    return Engine(read_policies(POLICIES))


@dataclass
class Office:
    """One tenant of the CRM with an open transaction, for tests that list as somebody."""

    engine: Engine
    lease: Lease
    rows: Generated

    async def begin(self) -> Lease:
        return self.lease

    def visible(self, who: Principal, model: type[Any], action: str = "read") -> Visible[Any]:
        return Visible(self, who, self.engine, model, action)  # type: ignore[arg-type]  # all it needs is `begin`


@pytest.fixture
async def office(crm: ScratchDatabase, crm_engine: Engine) -> AsyncIterator[Office]:
    rows = Generated(random.Random(3), await crm.tenant())
    await put(crm, rows.tenant_id, rows.rows)
    async with as_tenant(crm, rows.tenant_id) as lease:
        yield Office(crm_engine, lease, rows)
