"""The keyring of a process: tenants' data keys, unwrapped by the vault, for a few minutes.

A tenant's keys are read under the tenant's own verified context, so the database decides whose wrapped keys come; then
one call to the vault unwraps them all. What is held is bounded in number and time, and dropped at once when the
database tells that a tenant's keys or its suspension changed (`privacy.revocations`).
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections import OrderedDict
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import structlog

from seawall import audit
from seawall.core.errors import Unavailable
from seawall.core.events import TenantKeyChange
from seawall.core.sealing import KEY_BYTES, SEALS_IN_BLOCK, TenantKeys
from seawall.core.vault import KeyDestroyed, Transit, VaultUnavailable
from seawall.store.lease import Lease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from seawall.store.pool import Pool

TENANTS_MAX = 10_000
KEPT_MAX_S = 300.0
"""How long keys are used without asking the vault again."""
KEPT_DEAF_S = 5.0
"""The same while the database cannot tell us of changes."""
RETRY_AFTER_S = 1.0
"""For so long a failure is remembered, so that a vault that is down is not asked by every request."""
FRUITLESS_S = 1.0
"""For so long nobody asks again, after a version was asked for that there is not: altered rows must cost little."""
LOAD_ATTEMPTS = 3
FIRST_VERSION = 1

_READ = "SELECT version, wrapped, state FROM seawall.read_tenant_keys()"
_log = structlog.get_logger("seawall.privacy")


def kek_name(tenant_id: UUID | str) -> str:
    """The name of a tenant's key-encryption key in the vault."""
    return f"tenant-{tenant_id}"


def wrap_context(tenant_id: UUID | str, version: int) -> bytes:
    """What a wrapped data key is bound to: it unwraps as this version of this tenant only."""
    return f"seawall tenant key 1|{tenant_id}|{version}".encode()


def kek_version(wrapped: str) -> int:
    """`vault:v3:…` is under version 3."""
    return int(wrapped.split(":", 2)[1].removeprefix("v"))


@dataclass(slots=True)
class _Kept:
    keys: TenantKeys
    loaded_at: float


class Ring:
    """Implements `core.sealing.Keyring`.

    Args:
        pool: of the app's or the worker's role, for itself alone: a request that waits for keys already holds a
            connection of the other one.
        transit: the vault's.
    """

    def __init__(self, pool: Pool, transit: Transit) -> None:
        self._pool = pool
        self._transit = transit
        self._kept: OrderedDict[UUID, _Kept] = OrderedDict()
        self._alive: dict[UUID, weakref.WeakSet[TenantKeys]] = {}
        """Everything that was given out and may still be held by a transaction, kept or not."""
        self._locks: weakref.WeakValueDictionary[UUID, asyncio.Lock] = weakref.WeakValueDictionary()
        self._loading: dict[UUID, bool] = {}
        """Tenants whose keys are being asked for, and whether they were changed meanwhile."""
        self._fruitless: dict[UUID, float] = {}
        self.hearing = False
        """Whether changes of keys are heard of right away."""

    async def of(self, context: str) -> TenantKeys:
        tenant_id = _tenant_of(context)
        kept = self._fresh(tenant_id)
        if kept is not None:
            return kept.keys
        async with self._locked(tenant_id):
            kept = self._fresh(tenant_id)
            return kept.keys if kept is not None else await self._load(tenant_id, context)

    async def refreshed(self, context: str, stale: TenantKeys, envelope: bytes | None = None) -> TenantKeys:
        tenant_id = _tenant_of(context)
        async with self._locked(tenant_id):
            kept = self._fresh(tenant_id)
            if kept is not None and kept.keys is not stale and (envelope is None or kept.keys.knows(envelope)):
                return kept.keys  # somebody else has just asked
            if envelope is not None and time.monotonic() - self._fruitless.get(tenant_id, 0.0) < FRUITLESS_S:
                return stale
            keys = await self._load(tenant_id, context)
            if envelope is not None and not keys.knows(envelope):
                self._fruitless[tenant_id] = time.monotonic()
            return keys

    async def prepared(self, context: str, count: int) -> TenantKeys:
        keys = await self.of(context)
        keys.check()
        if _may_seal(keys, count):
            return keys
        async with self._locked(keys.tenant_id):
            kept = self._fresh(keys.tenant_id)
            keys = kept.keys if kept is not None else await self._load(keys.tenant_id, context)
            keys.check()
            if keys.current is None:
                await self._make_first(keys.tenant_id, context)
                keys = await self._load(keys.tenant_id, context)
                keys.check()
            if not _may_seal(keys, count):
                await self._grant(keys, context, count)
        return keys

    def forget(self, tenant_id: UUID) -> None:
        """Ask anew for the next transaction; those that are under way go on with what they have."""
        if tenant_id in self._loading:
            self._loading[tenant_id] = True
        self._kept.pop(tenant_id, None)

    def revoke(self, tenant_id: UUID) -> None:
        """Drop a tenant's keys now, also from those who hold them."""
        self.forget(tenant_id)
        for keys in self._alive.pop(tenant_id, ()):
            keys.lock(VaultUnavailable())

    def revoke_all(self) -> None:
        """Drop everything: changes may have been missed."""
        for tenant_id in [*self._alive, *self._loading]:
            self.revoke(tenant_id)

    def sweep(self) -> None:
        """Let go of what has been kept too long. Transactions that are under way keep theirs until they end."""
        for tenant_id in [one for one in list(self._kept) if self._fresh(one) is None]:
            del self._kept[tenant_id]
        for tenant_id in [one for one, held in self._alive.items() if not held]:
            del self._alive[tenant_id]
        self._fruitless.clear()

    def __len__(self) -> int:
        return len(self._kept)

    # Loading and making -------------------------------------------------------------------------------------------

    def _fresh(self, tenant_id: UUID) -> _Kept | None:
        kept = self._kept.get(tenant_id)
        if kept is None:
            return None
        most = KEPT_MAX_S if self.hearing else KEPT_DEAF_S
        if kept.keys.locked is not None and not isinstance(kept.keys.locked, KeyDestroyed):
            most = RETRY_AFTER_S
        if time.monotonic() - kept.loaded_at > most:
            return None
        self._kept.move_to_end(tenant_id)
        return kept

    async def _load(self, tenant_id: UUID, context: str) -> TenantKeys:
        # a new object each time: one that a transaction holds keeps the versions of the rows it has read
        keys = TenantKeys(tenant_id)
        self._alive.setdefault(tenant_id, weakref.WeakSet()).add(keys)
        begun = time.monotonic()
        for _ in range(LOAD_ATTEMPTS):
            self._loading[tenant_id], begun = False, time.monotonic()
            try:
                await self._learn(keys, context)
            except (Unavailable, KeyDestroyed) as problem:
                keys.lock(problem)
            except BaseException:
                keys.lock(VaultUnavailable())
                raise
            finally:
                revoked = self._loading.pop(tenant_id)
            if not revoked:
                break
            keys.lock(VaultUnavailable())  # changed while the vault was asked: what it gave may be void
        self._kept[tenant_id] = _Kept(keys, begun)
        self._kept.move_to_end(tenant_id)
        while len(self._kept) > TENANTS_MAX:
            self._kept.popitem(last=False)
        return keys

    async def _learn(self, keys: TenantKeys, context: str) -> None:
        try:
            async with self._lease(context) as lease:
                rows = await lease.fetch(_READ)
        except (
            asyncpg.InsufficientPrivilegeError
        ):  # expired, or of a suspended tenant: the request will hear it as well
            raise VaultUnavailable() from None
        states = {row["state"] for row in rows}
        if "destroyed" in states:
            raise KeyDestroyed()
        live = [row for row in rows if row["wrapped"] is not None]
        current = next((row["version"] for row in live if row["state"] == "current"), None)
        try:
            keys.learn(await self._unwrapped(keys.tenant_id, live), current)
        except KeyDestroyed:
            # the database does not know of it: a backup from before the shredding, or a vault that is not ours
            _log.error("tenant-key-missing", alert=True, tenant=str(keys.tenant_id))
            raise

    async def _unwrapped(self, tenant_id: UUID, live: list[Any]) -> dict[int, bytes]:
        opened: dict[int, bytes] = {}
        for row in live:  # each is bound to its version; there are two of them while a rotation is under way, else one
            version = row["version"]
            try:
                [opened[version]] = await self._transit.unwrap(
                    kek_name(tenant_id), [row["wrapped"]], context=wrap_context(tenant_id, version)
                )
            except ValueError:
                _log.error("tenant-key-broken", alert=True, tenant=str(tenant_id), version=version)
                raise VaultUnavailable() from None
            if len(opened[version]) != KEY_BYTES:
                _log.error("tenant-key-broken", alert=True, tenant=str(tenant_id), version=version)
                raise VaultUnavailable()
        return opened

    async def _make_first(self, tenant_id: UUID, context: str) -> None:
        """Make the tenant's first key, committed before anything is sealed under it: a request that is rolled back must
        not take the key with it.
        """
        name = kek_name(tenant_id)
        await self._transit.create(name)
        wrapped = await self._transit.wrap(name, os.urandom(KEY_BYTES), context=wrap_context(tenant_id, FIRST_VERSION))
        async with self._lease(context) as lease:
            row = await lease.fetchrow(
                "SELECT seawall.add_first_tenant_key($1, $2) AS added", wrapped, kek_version(wrapped)
            )
            if row is not None and row["added"]:
                made = TenantKeyChange(tenant=str(tenant_id), change="created", version=FIRST_VERSION)
                await audit.append(lease, [made])

    async def _grant(self, keys: TenantKeys, context: str, count: int) -> None:
        version, more = keys.current, max(count, SEALS_IN_BLOCK)
        async with self._lease(context) as lease:
            row = await lease.fetchrow("SELECT seawall.grant_seals($1, $2) AS granted", version, more)
        if row is not None and row["granted"] and version is not None and version == keys.current:
            keys.allowance.grant(version, more)
            return
        self._kept.pop(keys.tenant_id, None)  # rotated meanwhile, or used up: ask anew next time
        _log.warning("no-seals-granted", tenant=str(keys.tenant_id), version=version)

    @asynccontextmanager
    async def _lease(self, context: str) -> AsyncIterator[Lease]:
        lease = await Lease.begin(self._pool, context)
        try:
            yield lease
            await lease.commit()
        finally:
            await lease.rollback()

    def _locked(self, tenant_id: UUID) -> asyncio.Lock:
        lock = self._locks.get(tenant_id)
        if lock is None:
            lock = self._locks[tenant_id] = asyncio.Lock()
        return lock


def _may_seal(keys: TenantKeys, count: int) -> bool:
    return keys.current is not None and keys.allowance.version == keys.current and keys.allowance.left >= count


def _tenant_of(context: str) -> UUID:
    # the lease has checked its form, and the database its signature before a row of it comes back
    return UUID(context.split(".", 2)[1])
