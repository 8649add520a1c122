"""What an operator works with: the database as its owner, and a worker that does what is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from seawall.core.errors import Refused
from seawall.core.vault import Transit
from seawall.privacy.keyring import keyring
from seawall.privacy.rotation import Rotation, Step, ask, unfinished
from seawall.store.address import asyncpg_url, sqlalchemy_url, user_of
from seawall.store.jobs import Jobs
from seawall.store.pool import PasswordSource, Pool
from seawall.store.roles import OWNER

CONNECT_TIMEOUT_S = 10.0
STATEMENT_TIMEOUT_MS = 60_000


@dataclass(frozen=True)
class Operating:
    """`owner` is a connection that became the owner of the database; `transit` the vault's, as the operator."""

    owner: Any
    transit: Transit
    rotation: Rotation


@asynccontextmanager
async def operating(
    migrator_url: str,
    worker_url: str,
    transit: Transit,
    *,
    password: Callable[[str], PasswordSource | None],
    models: Iterable[type[Any]],
) -> AsyncIterator[Operating]:
    """Connect as the migrator, who asks for rotations, and as the worker, who does them.

    Args:
        password: for a role, where its password comes from when its URL has none.
        models: those with sealed columns.

    Raises:
        Refused: the database does not let the migrator in.
    """
    source = password(user_of(migrator_url)) if sqlalchemy_url(migrator_url).password is None else None
    given = {} if source is None else {"password": source}
    try:
        owner = await asyncpg.connect(asyncpg_url(migrator_url), timeout=CONNECT_TIMEOUT_S, **given)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise Refused(
            f"PostgreSQL does not let the migrator in: {type(error).__name__}",
            why="only who may become the owner of the database may change keys",
            fix="check the server and SEAWALL_DATABASE__MIGRATOR_URL",
        ) from None
    worker = password(user_of(worker_url))
    pool = Pool(worker_url, size=2, statement_timeout_ms=STATEMENT_TIMEOUT_MS, password=worker)
    try:
        await owner.execute(f"SET ROLE {OWNER}")
        async with keyring(worker_url, transit, password=worker, listening=False) as pool.keyring:
            yield Operating(owner, transit, Rotation(Jobs(pool), transit, models))
    finally:
        await pool.close()
        await owner.close()


class TenantKeysRotator:
    """Every tenant's keys, for `seawall rotate`. Each step looks at what is there, so a killed run is gone on with.

    Args:
        opened: gives what an operator works with, for one step.
    """

    name = "tenant-keys"
    what = "seals tenants' personal columns; every tenant's own keys, one after another"

    def __init__(self, opened: Callable[[], Any]) -> None:
        self._opened = opened

    async def newest(self) -> int:
        """How many rotations there have been, of all tenants together: a new tenant's first key is none."""
        async with self._opened() as operator:
            return int(await operator.owner.fetchval("SELECT count(*) FROM seawall.tenant_keys WHERE version > 1"))

    async def begin(self, seen: int) -> int:
        newest = await self.newest()
        if newest <= seen:
            async with self._opened() as operator:
                await ask(operator.owner, None)
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
