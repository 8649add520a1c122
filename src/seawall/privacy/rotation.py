"""Rotating a tenant's keys while it works: a new data key, every value sealed anew, the old key refused.

It is a chain of jobs, each a transaction in the tenant's own context: the owner of the database asks for it, a worker
does it, and a worker that is killed loses at most the batch that it was in. In order:

    keys.rotate   new version of the key in the vault, wrapped keys re-wrapped, new data key, which is current from then
                  on: the database waits for everybody who is still sealing under the one before
    keys.reseal   the next rows of a table whose values are under another version; then the next table
    keys.retire   nothing is left under the old version: it is refused, and its wrapped key is gone

Rows are read and written as bytes, so models may change meanwhile; writers go on and are waited for row by row.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from seawall import audit
from seawall.core.errors import Refused
from seawall.core.events import Resealed, TenantKeyChange
from seawall.core.sealing import KEY_BYTES, SealBroken, TenantKeys
from seawall.core.vault import KeyDestroyed, Transit
from seawall.privacy.ring import kek_name, kek_version, wrap_context
from seawall.store.jobs import Job, Jobs, enqueue
from seawall.store.lease import Lease
from seawall.store.sealed import BLIND_SUFFIX, Door, doors_of
from seawall.store.walls import quoted

ROTATE, RESEAL, RETIRE = "keys.rotate", "keys.reseal", "keys.retire"
KINDS = (ROTATE, RESEAL, RETIRE)
BATCH_ROWS = 200
CLAIM_S = 30
"""After so long another worker takes over from one that died."""

_ASK = """
INSERT INTO seawall.jobs (tenant_id, kind, payload)
SELECT t.id, 'keys.rotate', $2::text::jsonb FROM seawall.tenants t
WHERE ($1::uuid[] IS NULL OR t.id = ANY ($1)) AND t.suspended_at IS NULL
  AND EXISTS (SELECT FROM seawall.tenant_keys k WHERE k.tenant_id = t.id AND k.state = 'current')
  AND NOT EXISTS (SELECT FROM seawall.jobs j
                  WHERE j.tenant_id = t.id AND j.kind LIKE 'keys.%' AND j.finished_at IS NULL
                    AND j.attempts < j.attempts_max)
RETURNING tenant_id
"""


@dataclass(frozen=True, slots=True)
class Step:
    """What one job did, to be told."""

    tenant_id: UUID
    did: str
    """`rotated`, `resealed`, `retired`, `kept` (some values did not open, so the old key stays) or `nothing`."""
    table: str = ""
    rows: int = 0
    version: int = 0


async def ask(
    owner: Any, tenants: Iterable[UUID] | None, *, refuse_old_backups: bool = False, who: str = ""
) -> list[UUID]:
    """Ask for the rotation of these tenants' keys (None: of all). `owner` is a connection that became the owner.

    A rotation that is under way is gone on with, not begun again. Gives the tenants for which one was begun; each has
    it in its log, with `who` asked.
    """
    payload = '{"refuse_old_backups": true}' if refuse_old_backups else "{}"
    async with owner.transaction():
        rows = await owner.fetch(_ASK, None if tenants is None else list(tenants), payload)
        for tenant_id in [row["tenant_id"] for row in rows]:
            asked = TenantKeyChange(tenant=str(tenant_id), change="asked", operator=who)
            await audit.append_as(owner, [asked], tenant_id=tenant_id)
    return [row["tenant_id"] for row in rows]


async def unfinished(owner: Any) -> tuple[int, int]:
    """How many jobs of rotations wait, and how many were given up after too many attempts."""
    row = await owner.fetchrow(
        "SELECT count(*) FILTER (WHERE attempts < attempts_max) AS waiting,"
        " count(*) FILTER (WHERE attempts >= attempts_max AND claimed_until < now()) AS given_up"
        " FROM seawall.jobs WHERE kind = ANY ($1) AND finished_at IS NULL",
        list(KINDS),
    )
    return row["waiting"], row["given_up"]


class Rotation:
    """Does what was asked for. The worker's pool of `jobs` has a keyring."""

    def __init__(self, jobs: Jobs, transit: Transit, models: Iterable[type[Any]]) -> None:
        self._jobs = jobs
        self._transit = transit
        self._tables = {model.__table__.name: model for model in sorted(models, key=lambda one: one.__table__.name)}

    async def step(self) -> Step | None:
        """Claim and do one job; None when there is none to claim now.

        Raises:
            VaultUnavailable: nothing has happened, the job waits for the next worker.
        """
        async with self._jobs.claimed(KINDS, claim_s=CLAIM_S) as claimed:
            if claimed is None:
                return None
            job, lease = claimed
            [row] = await lease.fetch("SELECT seawall.tenant_id() AS id")
            tenant_id = row["id"]
            if job.kind == ROTATE:
                return await self._rotate(tenant_id, job, lease)
            if job.kind == RESEAL:
                try:
                    return await self._reseal(tenant_id, job, lease)
                except KeyDestroyed:  # meanwhile; there is nothing left to seal
                    return Step(tenant_id, "nothing")
            return await self._retire(tenant_id, job, lease)

    # One step each --------------------------------------------------------------------------------------------------

    async def _rotate(self, tenant_id: UUID, job: Job, lease: Lease) -> Step:
        rows = await lease.fetch("SELECT version, wrapped, state FROM seawall.read_tenant_keys()")
        current = next((row["version"] for row in rows if row["state"] == "current"), None)
        if current is None:
            return Step(tenant_id, "nothing")
        key, made = kek_name(tenant_id), current + 1
        rewrapped: list[tuple[int, str, str]] = []
        try:
            kek = await self._transit.rotate(key)
            for row in (row for row in rows if row["wrapped"] is not None):
                context = wrap_context(tenant_id, row["version"])
                [wrapped] = await self._transit.rewrap(key, [row["wrapped"]], context=context)
                rewrapped.append((row["version"], row["wrapped"], wrapped))
            fresh = await self._transit.wrap(key, os.urandom(KEY_BYTES), context=wrap_context(tenant_id, made))
        except KeyDestroyed:
            return Step(tenant_id, "nothing")
        # this waits for those who seal, so nothing may be locked before it that they could wait for
        [row] = await lease.fetch(
            "SELECT seawall.rotate_tenant_key($1, $2, $3) AS rotated", made, fresh, kek_version(fresh)
        )
        if not row["rotated"]:
            return Step(tenant_id, "nothing")
        for version, old, new in rewrapped:
            await lease.fetchrow(
                "SELECT seawall.rewrap_tenant_key($1, $2, $3, $4)", version, old, new, kek_version(new)
            )
        events = [
            TenantKeyChange(tenant=str(tenant_id), change="rewrapped", version=kek),
            TenantKeyChange(tenant=str(tenant_id), change="rotated", version=made),
        ]
        await audit.append(lease, events)
        await self._go_on(lease, job, made, kek, None, None)
        return Step(tenant_id, "rotated", version=made)

    async def _reseal(self, tenant_id: UUID, job: Job, lease: Lease) -> Step:
        name, version = job.payload["table"], job.payload["version"]
        model = self._tables.get(name)
        rows: list[Any] = []
        if model is not None:
            after = UUID(job.payload["after"]) if job.payload["after"] else None
            rows = await _next_rows(lease, model, version, after)
            await self._seal_anew(lease, model, rows)
            if rows:
                await audit.append(lease, [Resealed(table=name, rows=len(rows), version=version)])
        last = rows[-1]["id"] if len(rows) == BATCH_ROWS else None
        await self._go_on(lease, job, version, job.payload["kek"], name, last)
        return Step(tenant_id, "resealed", table=name, rows=len(rows), version=version)

    async def _retire(self, tenant_id: UUID, job: Job, lease: Lease) -> Step:
        version, left = job.payload["version"], 0
        for model in self._tables.values():
            doors = doors_of(model)
            sql = f"SELECT count(*) AS left FROM {_table(model)} WHERE {_others(doors, 1)}"  # noqa: S608
            [row] = await lease.fetch(sql, version.to_bytes(4, "big"))
            left += row["left"]
        if left:
            return Step(tenant_id, "kept", rows=left, version=version)
        [row] = await lease.fetch("SELECT seawall.retire_tenant_keys($1) AS retired", version)
        if row["retired"]:
            change = TenantKeyChange(tenant=str(tenant_id), change="retired", version=version - 1)
            await audit.append(lease, [change])
        if job.payload.get("refuse_old_backups"):
            await self._transit.retire(kek_name(tenant_id), oldest_version=job.payload["kek"])
        return Step(tenant_id, "retired", version=version)

    async def _go_on(  # noqa: PLR0917
        self, lease: Lease, job: Job, version: int, kek: int, table: str | None, after: UUID | None
    ) -> None:
        """Ask for what comes next: more of this table, the next one, or the end."""
        names = list(self._tables)
        if after is None:
            following = names[names.index(table) + 1 :] if table in names else (names if table is None else [])
            table = following[0] if following else None
        payload = {
            "refuse_old_backups": bool(job.payload.get("refuse_old_backups")),
            "version": version, "kek": kek, "table": table, "after": str(after) if after else None,
        }  # fmt: skip
        await enqueue(lease, RETIRE if table is None else RESEAL, payload)

    async def _seal_anew(self, lease: Lease, model: type[Any], rows: Sequence[Any]) -> None:
        doors = doors_of(model)
        count = sum(row[door.column] is not None for row in rows for door in doors)
        if not count:
            return
        keys = await lease.sealing_keys(count)
        opened = await lease.keys(row[door.column] for row in rows for door in doors if row[door.column] is not None)
        columns: dict[str, list[bytes | None]] = {}
        for door in doors:
            sealed, blind = zip(*(_anew(door, opened, keys, row) for row in rows), strict=True)
            columns[door.column] = list(sealed)
            if door.find is not None:
                columns[f"{door.key}{BLIND_SUFFIX}"] = list(blind)
        sets = ", ".join(f"{_quoted(name)} = given.v{n}" for n, name in enumerate(columns))
        given = ", ".join(f"v{n}" for n in range(len(columns)))
        arrays = ", ".join(f"${n + 2}::bytea[]" for n in range(len(columns)))
        identity = _quoted(_identity(model))
        sql = (  # names of the model's own table and columns, quoted; values are parameters
            f"UPDATE {_table(model)} AS t SET {sets} FROM unnest($1::uuid[], {arrays}) AS given (id, {given})"  # noqa: S608
            f" WHERE t.{identity} = given.id"
        )
        await lease.fetch(sql, [row["id"] for row in rows], *columns.values())


def _anew(door: Door, opened: TenantKeys | None, keys: TenantKeys, row: Any) -> tuple[bytes | None, bytes | None]:
    """A row's value under the current key, and its blind index. What does not open stays as it is, for whoever looks
    into it.
    """
    envelope, old_blind = row[door.column], row[f"{door.key}{BLIND_SUFFIX}"] if door.find is not None else None
    if envelope is None or opened is None:
        return envelope, old_blind
    try:
        value = door.opened(opened, row["id"], envelope)
    except SealBroken:
        return envelope, old_blind
    return door.sealed(keys, row["id"], value), door.blind(keys, value) if door.find is not None else None


async def _next_rows(lease: Lease, model: type[Any], version: int, after: UUID | None) -> list[Any]:
    doors = doors_of(model)
    names = [door.column for door in doors]
    names += [f"{door.key}{BLIND_SUFFIX}" for door in doors if door.find is not None]
    identity = _quoted(_identity(model))
    sql = (
        f"SELECT {identity} AS id, {', '.join(map(_quoted, names))} FROM {_table(model)}"  # noqa: S608
        f" WHERE ($2::uuid IS NULL OR {identity} > $2) AND ({_others(doors, 1)})"
        f" ORDER BY {identity} LIMIT {BATCH_ROWS} FOR NO KEY UPDATE"
    )
    return await lease.fetch(sql, version.to_bytes(4, "big"), after)


def _others(doors: Sequence[Door], place: int) -> str:
    """SQL for rows with a value under another version than the parameter `$place`."""
    return " OR ".join(f"substring({_quoted(door.column)} FROM 2 FOR 4) <> ${place}" for door in doors)


def _identity(model: type[Any]) -> str:
    table: sa.Table = model.__table__
    return next(column.name for column in table.primary_key.columns if column.name != "tenant_id")


def _table(model: type[Any]) -> str:
    table: sa.Table = model.__table__
    return quoted(table.name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


async def destroy(owner: Any, transit: Transit, tenant_id: UUID, *, who: str = "") -> int:
    """Crypto-shredding: nothing of this tenant decrypts any more, here, in backups of the database or in its WAL.

    First the database, which every process hears of, then the vault; run again, it finishes what was interrupted.
    Gives how many versions were live.

    Args:
        owner: a connection that became the owner.
        who: the operator, for the audit log.

    Raises:
        Refused: there is no such tenant. VaultUnavailable: the database refuses the keys already, but the vault still
            has its own; run it again.
    """
    if not await owner.fetchval("SELECT count(*) FROM seawall.tenants WHERE id = $1", tenant_id):
        raise Refused(
            f"there is no tenant {tenant_id}",
            why="destroying keys cannot be undone, so nothing is guessed",
            fix="`seawall keys list` shows every tenant with its keys",
        )
    async with owner.transaction():
        destroyed: int = await owner.fetchval("SELECT seawall.destroy_tenant_keys($1)", tenant_id)
        event = TenantKeyChange(tenant=str(tenant_id), change="destroyed", version=destroyed, operator=who)
        await audit.append_as(owner, [event], tenant_id=tenant_id)
    await transit.destroy(kek_name(tenant_id))
    shredded = TenantKeyChange(tenant=str(tenant_id), change="shredded", operator=who)
    await audit.append_as(owner, [shredded], tenant_id=tenant_id)
    return destroyed
