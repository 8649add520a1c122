"""What `seawall rotate` can renew of the app's own: the master secret, the databases' passwords, the context key."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import asyncpg

from seawall.core.errors import Refused
from seawall.core.rotation import Progress
from seawall.secrets.client import VaultClient
from seawall.secrets.master import MASTER, SETTLES_AFTER, VaultMaster, new_master
from seawall.secrets.passwords import PasswordSource, VaultPasswords
from seawall.store.address import asyncpg_url
from seawall.store.roles import OWNER

CONTEXT_LIFETIME_S = 60
"""What `seawall.mint` gives a tenant's context; a transaction that began with one may still be going on."""
CONNECT_TIMEOUT_S = 10.0

Reseal = Callable[[int, Progress], Awaitable[None]]


class MasterRotator:
    """The master secret: a new version, everything resealed under it, older ones destroyed in the vault.

    Args:
        vault: as the operator.
        master: this process's, kept fresh.
        reseal: each moves a heading's sealed values under a version.
    """

    name = MASTER
    what = "seals second factors, keys and what people ask for, in the database"

    def __init__(self, vault: VaultClient, master: VaultMaster, reseal: Sequence[Reseal]) -> None:
        self._vault = vault
        self._master = master
        self._reseal = tuple(reseal)

    async def newest(self) -> int:
        return max(await self._vault.versions(MASTER), default=0)

    async def begin(self, seen: int) -> int:
        newest = await self.newest()
        if newest > seen:
            return newest
        try:
            return await self._vault.write(MASTER, new_master(), expected=newest)
        except ValueError:  # another `seawall rotate` was faster
            return await self.newest()

    async def adopt(self, version: int, progress: Progress) -> None:
        settle_s = SETTLES_AFTER * self._master.refresh_s
        progress(f"version {version} is there; {settle_s:.0f} s until every process of the app seals under it")
        deadline = asyncio.get_running_loop().time() + settle_s
        while asyncio.get_running_loop().time() < deadline or self._master.current()[0] < version:
            await asyncio.sleep(min(0.2, self._master.refresh_s))
            await self._master.refresh()
        for reseal in self._reseal:
            await reseal(version, progress)

    async def retire(self, version: int) -> None:
        await self._vault.retire(MASTER, oldest_version=version)


class PasswordRotator:
    """The password of one database role. The vault sets it; the old one is refused from that moment.

    Connections that are open go on. New ones ask for the password when they connect, and once more if it was refused.
    """

    def __init__(self, passwords: VaultPasswords, role: str, url: str) -> None:
        self.name = f"database/{role}"
        self.what = f"signs the app in to PostgreSQL as {role}"
        self._passwords = passwords
        self._role = role
        self._url = url

    async def newest(self) -> int:
        return await self._passwords.changed_at_ms(self._role)

    async def begin(self, seen: int) -> int:
        if await self.newest() <= seen:
            await self._passwords.rotate(self._role)
        return await self.newest()

    async def adopt(self, version: int, progress: Progress) -> None:
        connection = await connect(self._url, self._passwords.source(self._role))
        await connection.close()
        progress("the new password lets in")

    async def retire(self, version: int) -> None:
        """PostgreSQL keeps one password a role: the old one went when the new one came."""


class ContextRotator:
    """The key that signs tenants' contexts, inside the database.

    Args:
        url: the migrator's.
        password: its password, when it is not in `url`.
        wait: leave contexts that are in use their minute; without, a request that is under way may fail.
    """

    name = "tenant-context"
    what = "signs the tenant's context in each transaction"

    def __init__(self, url: str, password: PasswordSource | None, *, wait: bool) -> None:
        self._url = url
        self._password = password
        self._wait = wait

    async def newest(self) -> int:
        return int(await self._run("SELECT max(kid) FROM seawall.context_keys WHERE retired_at IS NULL"))

    async def begin(self, seen: int) -> int:
        # one statement, so that of two at once the second sees the first's key
        made = "SELECT seawall.new_context_key() WHERE NOT EXISTS (SELECT FROM seawall.context_keys WHERE kid > $1)"
        await self._run(made, seen)
        return await self.newest()

    async def adopt(self, version: int, progress: Progress) -> None:
        if not self._wait:
            return
        progress(f"{CONTEXT_LIFETIME_S} s until no context of the old key is in use")
        asked = "SELECT extract(epoch FROM now() - created_at) FROM seawall.context_keys WHERE kid = $1"
        age_s = float(await self._run(asked, version))
        await asyncio.sleep(max(0.0, CONTEXT_LIFETIME_S + 1 - age_s))

    async def retire(self, version: int) -> None:
        await self._run("DELETE FROM seawall.context_keys WHERE kid < $1", version)

    async def _run(self, sql: str, *arguments: int) -> Any:
        connection = await connect(self._url, self._password)
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL ROLE {OWNER}")
                return await connection.fetchval(sql, *arguments)
        finally:
            await connection.close()


async def connect(url: str, password: PasswordSource | None) -> asyncpg.Connection:
    """One connection as the role of `url`.

    Raises:
        Refused: the server does not answer, or does not let it in.
    """
    source = {} if password is None else {"password": password}
    try:
        return await asyncpg.connect(asyncpg_url(url), timeout=CONNECT_TIMEOUT_S, **source)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise Refused(
            f"PostgreSQL does not let the operator in: {type(error).__name__}",
            why="a new secret that was not tried is an outage waiting",
            fix="check the server and the role's URL, then run `seawall rotate` again: it goes on where it was",
        ) from None
