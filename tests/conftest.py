"""Fixtures for every test: one embedded PostgreSQL for the run, scratch databases on it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from seawall.secrets import EmbeddedVault, VaultClient
from seawall.store.embedded import EmbeddedServer
from tests.support.databases import ScratchDatabase, scratch_database
from tests.support.vaults import ScratchVault, scratch_vault

PROVE = "--prove"
FOUND = "found"
Found = Callable[[str], None]
REPOSITORY = Path(__file__).resolve().parent.parent

# A property holds or does not, however busy the machine is that tries it.
settings.register_profile("unhurried", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


def pytest_addoption(parser: pytest.Parser) -> None:
    # Here and not beside the sabotages, because pytest reads options only from the outermost conftest.
    parser.addoption(
        PROVE, action="store_true", help="also run the long proofs, and all controls on each sabotaged app"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption(PROVE) and "prove" not in config.option.markexpr:
        long = [item for item in items if item.get_closest_marker("prove")]
        config.hook.pytest_deselected(items=long)  # not skipped: nothing skips in CI
        items[:] = [item for item in items if item not in long]


@pytest.fixture
def found(record_property: Callable[[str, object], None]) -> Found:
    """`found("stolen cookies: dead after 12 s")`: what a drill has measured, told at the end of the run."""
    return lambda text: record_property(FOUND, text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # By way of the reports, since what a worker of xdist prints is heard by nobody.
    told = [
        str(value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == FOUND
    ]
    if told:
        terminalreporter.section("found")
    for line in told:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session", autouse=True)
def embedded_directory() -> Iterator[Path]:
    """All apps and databases of the tests share one server; its data stays between runs, its databases do not."""
    directory = Path(os.environ.get("SEAWALL_DATABASE__EMBEDDED_DIRECTORY", REPOSITORY / "build" / "test-postgres"))
    directory.parent.mkdir(parents=True, exist_ok=True)
    before = os.environ.get("SEAWALL_DATABASE__EMBEDDED_DIRECTORY")
    os.environ["SEAWALL_DATABASE__EMBEDDED_DIRECTORY"] = str(directory)
    with EmbeddedServer(directory):  # held for the whole run, so that no test has to start it again
        yield directory
    if before is None:
        del os.environ["SEAWALL_DATABASE__EMBEDDED_DIRECTORY"]


@pytest.fixture
async def scratch(embedded_directory: Path) -> AsyncIterator[ScratchDatabase]:
    """A migrated database without any app's tables, for one test."""
    async with scratch_database(embedded_directory) as database:
        yield database


@pytest.fixture(scope="session")
async def shared_scratch(embedded_directory: Path) -> AsyncIterator[ScratchDatabase]:
    """A migrated database for all tests that leave nothing behind: making one costs half a second."""
    async with scratch_database(embedded_directory) as database:
        yield database


@pytest.fixture(scope="session", autouse=True)
def vault_directory() -> Iterator[Path]:
    """All apps of the tests share one embedded vault too, each with a place of its own there."""
    name = "SEAWALL_SECRETS__EMBEDDED_DIRECTORY"
    before = os.environ.get(name)
    directory = Path(before or REPOSITORY / "build" / "test-vault")
    os.environ[name] = str(directory)
    yield directory
    if before is None:
        del os.environ[name]


@pytest.fixture(scope="session")
def vault_server(vault_directory: Path) -> Iterator[EmbeddedVault]:
    """That vault, started by the first test that needs it and held for the run; its data stays between runs."""
    with EmbeddedVault(vault_directory) as server:
        yield server


@pytest.fixture
async def scratch_place(vault_server: EmbeddedVault) -> AsyncIterator[ScratchVault]:
    """A place of its own in the vault for one test, with the identities of the app and of the operator."""
    async with scratch_vault(vault_server) as place:
        yield place


@pytest.fixture
def vault(scratch_place: ScratchVault) -> VaultClient:
    """A `core.vault.Vault` that may do everything an operator may."""
    return scratch_place.operator
