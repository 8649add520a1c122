"""What an operator's commands work with: the database as its owner, the vault, and the two roles of jobs.

In development all of it is found by itself; elsewhere the settings name it (docs/guide/production.md).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seawall.cli.surroundings import surroundings

if TYPE_CHECKING:
    import asyncpg

    from seawall.privacy import Operating
    from seawall.settings import Settings
    from seawall.store.jobs import Jobs


@dataclass(frozen=True)
class Operator:
    """The operator at work."""

    settings: Settings
    at: Operating

    @property
    def owner(self) -> asyncpg.Connection:
        """As the owner of Seawall's schema."""
        return self.at.owner

    @property
    def jobs(self) -> Jobs:
        """Claimed by the dispatcher, done by the worker."""
        return self.at.jobs

    @property
    def models(self) -> list[type[Any]]:
        """Those with sealed columns."""
        return self.at.models


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
    from seawall import privacy, secrets

    given = secrets.include(settings)
    transit = given.vault.transit if given.vault is not None else None
    async with given.running() if given.vault is not None else contextlib.nullcontext():
        who = await given.vault.identity() if given.vault is not None else ""
        async with privacy.operating(
            settings.database, transit, who=who, password=given.password, models=_models(settings)
        ) as at:
            yield Operator(settings, at)


def _models(settings: Settings) -> set[type[Any]]:
    """The app's models with sealed columns."""
    from seawall.modules import import_models
    from seawall.store.sealed import sealed_models

    import_models(settings)
    return set(sealed_models)
