"""What an operator's commands work with: the database as its owner, the vault, and the worker who does the jobs.

In development all of it is found by itself; elsewhere the settings name it (docs/guide/production.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seawall.cli.surroundings import surroundings

if TYPE_CHECKING:
    import asyncpg

    from seawall.core.vault import Transit, Vault
    from seawall.settings import Settings
    from seawall.store.jobs import Jobs

STATEMENT_TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class Operator:
    """The operator at work."""

    settings: Settings
    owner: asyncpg.Connection
    """As the owner of Seawall's schema."""
    jobs: Jobs
    """Of the worker's role; their transactions open sealed columns."""
    models: list[type[Any]]
    """Those with sealed columns, by name."""
    vault: Vault | None

    @property
    def transit(self) -> Transit:
        """The keys that wrap tenants' keys.

        Raises:
            Refused: there is no vault.
        """
        from seawall.core.errors import Refused

        if self.vault is None:
            raise Refused(
                "there is no vault: [secrets] address is not set",
                why="the keys of tenants are wrapped by keys that never leave it",
                fix="set SEAWALL_SECRETS__ADDRESS, ROLE and CREDENTIAL_FILE of the operator, docs/guide/secrets.md",
            )
        return self.vault.transit


def operate(path: Path, work: Callable[[Operator], Awaitable[Any]]) -> Any:
    """Do some work as the operator of the app in `path`.

    Raises:
        Refused: something that it needs is missing, or does not let the operator in.
    """
    from seawall.settings import load

    async def main() -> Any:
        async with _at_work(load(path)) as operator:
            return await work(operator)

    with surroundings(load(path)):
        return asyncio.run(main())


@contextlib.asynccontextmanager
async def _at_work(settings: Settings) -> AsyncIterator[Operator]:
    from seawall import secrets
    from seawall.privacy import keyring
    from seawall.store.jobs import Jobs
    from seawall.store.pool import Pool
    from seawall.store.roles import MIGRATOR, WORKER
    from seawall.tenancy.lifecycle import as_operator

    given = secrets.include(settings)
    migrator, worker = urls(settings)
    password = given.password(WORKER)
    async with contextlib.AsyncExitStack() as stack:
        if given.vault is not None:
            await stack.enter_async_context(given.running())
        owner = await stack.enter_async_context(as_operator(migrator, given.password(MIGRATOR)))
        pool = Pool(worker, size=2, statement_timeout_ms=STATEMENT_TIMEOUT_MS, password=password)
        stack.push_async_callback(pool.close)
        if given.vault is not None:
            ring = keyring(worker, given.vault.transit, password=password, listening=False)
            pool.keyring = await stack.enter_async_context(ring)
        yield Operator(settings, owner, Jobs(pool), models(settings), given.vault)


def urls(settings: Settings) -> tuple[str, str]:
    """The migrator's and the worker's.

    Raises:
        Refused: one of them is not set.
    """
    from seawall.core.errors import Refused

    database = settings.database
    if database.migrator_url is None or database.worker_url is None:
        raise Refused(
            "the migrator's or the worker's URL is not set",
            why="the migrator asks for work on a tenant, a worker does it, and the app's own role can do neither",
            fix="set SEAWALL_DATABASE__MIGRATOR_URL and SEAWALL_DATABASE__WORKER_URL",
        )
    return database.migrator_url.get_secret_value(), database.worker_url.get_secret_value()


def models(settings: Settings) -> list[type[Any]]:
    """The app's models with sealed columns, by name."""
    from seawall.store.sealed import sealed_models

    if settings.app.models:
        sys.path.insert(0, str(settings.root.resolve()))
        importlib.import_module(settings.app.models)
    return sorted(sealed_models, key=lambda model: model.__name__)
