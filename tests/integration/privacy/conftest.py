"""One hotel for a file of tests, emptied for each: a database, a place in the vault, a process's keyring."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.sealed import Hotel, hotel
from tests.support.vaults import ScratchVault, scratch_vault

from seawall.secrets import EmbeddedVault


@pytest.fixture(scope="module")
async def place(vault_server: EmbeddedVault) -> AsyncIterator[ScratchVault]:
    async with scratch_vault(vault_server) as made:
        yield made


@pytest.fixture(scope="module")
async def house(embedded_directory: Path, place: ScratchVault) -> AsyncIterator[Hotel]:
    async with hotel(embedded_directory, place.app.transit) as made:
        yield made


@pytest.fixture
async def inn(house: Hotel, place: ScratchVault) -> Hotel:
    """Two new tenants, an empty table, and a process that knows nothing yet."""
    await house.scratch.owner.execute("TRUNCATE app.sealed_guests, seawall.tenant_keys, seawall.jobs")
    house.alpha, house.beta = [await house.admitted(await house.scratch.tenant()) for _ in range(2)]
    house.transit = house.ring._transit = place.app.transit
    house.ring.revoke_all()
    house.ring.hearing = True
    return house
