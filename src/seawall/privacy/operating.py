"""What an operator works with: the database as its owner, and a worker that does what is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from seawall.core.errors import Refused
from seawall.core.vault import Transit
from seawall.privacy.keyring import keyring
from seawall.privacy.rotation import Rotation, Step, ask, unfinished
from seawall.settings import DatabaseSection
from seawall.store.address import user_of
from seawall.store.jobs import Jobs
from seawall.store.operator import as_operator
from seawall.store.pool import PasswordSource, Pool

STATEMENT_TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class Operating:
    """What every operator's command, and `seawall rotate`, works with."""

    owner: asyncpg.Connection
    """As the owner of Seawall's schema."""
    jobs: Jobs
    """Claimed by the dispatcher, done by the worker; their transactions open sealed columns."""
    models: list[type[Any]]
    """Those with sealed columns, by name."""
    keys: Transit | None = None
    """The vault's, as the operator; None where there is no vault."""
    who: str = ""
    """For the audit log: the vault's id of the operator, else the database's role."""

    @property
    def transit(self) -> Transit:
        """The keys that wrap tenants' keys.

        Raises:
            Refused: there is no vault.
        """
        if self.keys is None:
            raise Refused(
                "there is no vault: [secrets] address is not set",
                why="the keys of tenants are wrapped by keys that never leave it",
                fix="set SEAWALL_SECRETS__ADDRESS, ROLE and CREDENTIAL_FILE of the operator, docs/guide/secrets.md",
            )
        return self.keys

    @property
    def rotation(self) -> Rotation:
        """Renews tenants' keys, job by job."""
        return Rotation(self.jobs, self.transit, self.models)


@asynccontextmanager
async def operating(
    database: DatabaseSection,
    transit: Transit | None,
    *,
    who: str = "",
    password: Callable[[str], PasswordSource | None],
    models: Iterable[type[Any]],
) -> AsyncIterator[Operating]:
    """Connect as the migrator, who asks for work, as the dispatcher, who claims it, and as the worker, who does it.

    Args:
        database: with the URLs of all three.
        transit: the vault's, as the operator.
        who: as whom that is.
        password: for a role, where its password comes from when its URL has none.
        models: those with sealed columns.

    Raises:
        Refused: a URL is not set, or the database does not let the migrator in.
    """
    migrator, dispatcher, worker = _urls(database)
    async with AsyncExitStack() as stack:

        def pool(url: str) -> Pool:
            made = Pool(url, size=2, statement_timeout_ms=STATEMENT_TIMEOUT_MS, password=password(user_of(url)))
            stack.push_async_callback(made.close)
            return made

        owner = await stack.enter_async_context(as_operator(migrator, password(user_of(migrator))))
        claims, works = pool(dispatcher), pool(worker)
        if transit is not None:
            ring = keyring(worker, transit, password=password(user_of(worker)), listening=False)
            works.keyring = await stack.enter_async_context(ring)
        jobs = Jobs(dispatcher=claims, worker=works)
        sealed = sorted(models, key=lambda model: model.__name__)
        yield Operating(owner, jobs, sealed, transit, who or user_of(migrator))


def _urls(database: DatabaseSection) -> list[str]:
    """The migrator's, the dispatcher's, the worker's."""
    urls = {
        "MIGRATOR_URL": database.migrator_url,
        "DISPATCHER_URL": database.dispatcher_url,
        "WORKER_URL": database.worker_url,
    }
    missing = ", ".join(f"SEAWALL_DATABASE__{name}" for name, url in urls.items() if url is None)
    if missing:
        raise Refused(
            f"the database's URL of an operator is not set: {missing}",
            why="the migrator orders work on a tenant, the dispatcher claims it, the worker does it, and the app's own"
            " role can do none of that",
            fix="set it to the role of that name, see docs/guide/tenants.md",
        )
    return [url.get_secret_value() for url in urls.values() if url is not None]


class TenantKeysRotator:
    """Every tenant's keys, for `seawall rotate`. Each step looks at what is there, so a killed run is gone on with.

    Args:
        opened: gives what an operator works with, for one step.
    """

    name = "tenant-keys"
    what = "seals tenants' personal columns; every tenant's own keys, one after another"

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[Operating]]) -> None:
        self._opened = opened

    async def newest(self) -> int:
        """How many rotations there have been, of all tenants together: a new tenant's first key is none."""
        async with self._opened() as operator:
            return int(await operator.owner.fetchval("SELECT count(*) FROM seawall.tenant_keys WHERE version > 1"))

    async def begin(self, seen: int) -> int:
        newest = await self.newest()
        if newest <= seen:
            async with self._opened() as operator:
                await ask(operator.owner, None, who=operator.who)
        return newest

    async def adopt(self, version: int, progress: Callable[[str], None]) -> None:
        async with self._opened() as operator:
            kept, given_up = await work_off(operator, lambda step: progress(told(step)), _a_moment)
        if kept or given_up:
            raise Refused(
                f"{kept} tenants have values that do not open, {given_up} jobs were given up",
                why="their old keys stay accepted until somebody has looked into it",
                fix="see the alerts `seal-broken` and the table seawall.jobs, then run it again",
            )

    async def retire(self, version: int) -> None:
        """Each tenant's old key was refused and erased when its last value had been sealed anew."""


async def work_off(operator: Operating, say: Callable[[Step], None], wait: Callable[[], Any]) -> tuple[int, int]:
    """Do all jobs of rotations, and wait for those that another worker has claimed.

    Gives how many tenants keep an old key because some values do not open, and how many jobs were given up.
    """
    kept = 0
    while True:
        step = await operator.rotation.step()
        if step is not None:
            say(step)
            kept += step.did == "kept"
            continue
        waiting, given_up = await unfinished(operator.owner)
        if not waiting:
            return kept, given_up
        await wait()


async def _a_moment() -> None:
    await asyncio.sleep(1.0)


def told(step: Step) -> str:
    """A step in words."""
    if step.did == "resealed":
        return f"{step.tenant_id}  {step.table}: {step.rows} rows under version {step.version}"
    if step.did == "kept":
        return f"{step.tenant_id}  {step.rows} rows do not open: the old key is kept until you have looked into them"
    words = {"rotated": "sealing under version", "retired": "everything older is refused; version"}
    return f"{step.tenant_id}  {words[step.did]} {step.version}" if step.did in words else f"{step.tenant_id}  nothing"
