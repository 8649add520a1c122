"""Exporting a tenant: everything that is theirs, in one ZIP of JSON lines with a manifest.

    manifest.json      tenant, time, and for each file its rows and SHA-256
    tables/NAME.jsonl  one row a line, in the order of its key
    people.jsonl       who belongs to the tenant, with which roles
    audit.jsonl        the tenant's events

It is read in one transaction under the tenant's own context, as the worker's role, so it is consistent and cannot hold
a row of anybody else. The file appears under its name whole, or not at all, readable by its owner only.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import asyncpg
import orjson

from seawall.core.clock import now
from seawall.core.errors import Refused
from seawall.store.jobs import Jobs
from seawall.tenancy.lifecycle import Tenant, order_job, record
from seawall.tenancy.tables import Table, tenant_tables

FORMAT = 1
PREFETCH_ROWS = 500
CLAIM_S = 600

PEOPLE = """
SELECT json_build_object('user_id', u.id, 'email', u.email, 'name', u.name, 'roles',
         json_agg(json_build_object('role', m.role, 'scope_type', m.scope_type, 'scope_id', m.scope_id)
                  ORDER BY m.role, m.scope_id))::text
FROM seawall.memberships m JOIN seawall.users u ON u.id = m.user_id WHERE m.tenant_id = $1 GROUP BY u.id ORDER BY u.id
"""
EVENTS = """
SELECT json_build_object('id', id, 'at', at, 'user_id', user_id, 'session_id', session_id, 'kind', kind,
                         'outcome', outcome, 'body', body)::text
FROM seawall.audit_events WHERE tenant_id = $1 ORDER BY id
"""

Rows = Callable[[Any, Table], AsyncIterator[str]]
"""Gives a table's rows as JSON texts, within a lease of the tenant."""


async def plain_rows(lease: Any, table: Table) -> AsyncIterator[str]:
    """The rows as the database has them."""
    cursor = lease.connection.cursor(
        f"SELECT to_jsonb(t)::text FROM {table.sql} AS t ORDER BY {table.order or '1'}",  # noqa: S608 - quoted names
        prefetch=PREFETCH_ROWS,
    )
    async for row in cursor:
        yield row[0]


@dataclass
class Export:
    """One export.

    Args:
        owner: as `store.operator.as_operator` gives it.
        jobs: with a worker's own connections, where each claimed job gets its transaction.
        rows: how a table is read; what seals columns brings one that opens them.
        say: gets one line for each table.
    """

    owner: asyncpg.Connection
    jobs: Jobs
    tenant: Tenant
    rows: Rows = plain_rows
    say: Callable[[str], None] = field(default=lambda line: None)

    async def run(self, path: Path) -> int:
        """Write the archive; gives how many rows of tables are in it.

        Raises:
            Refused: the file exists or cannot be written, or another export of this tenant is running.
        """
        with whole_file(path) as out:
            written = await self._write(out)
        async with self.owner.transaction():
            await record(self.owner, self.tenant.id, "exported", rows=written)
        return written

    async def _write(self, out: Any) -> int:
        kind = await order_job(self.owner, self.tenant.id, "export")
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "tenant": {"id": str(self.tenant.id), "slug": self.tenant.slug, "name": self.tenant.name},
            "exported_at": now().isoformat(timespec="seconds"),
            "files": {},
        }
        total = 0
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            async with self.jobs.claimed([kind], claim_s=CLAIM_S) as claimed:
                if claimed is None:
                    raise Refused(
                        f"another export of {self.tenant.slug} took the job",
                        why="two at once would each get half of what they asked for",
                        fix="run it again",
                    )
                _, lease = claimed
                for table in reversed(await tenant_tables(self.owner)):
                    name = f"tables/{table.name}.jsonl"
                    manifest["files"][name] = await _add(archive, name, self.rows(lease, table))
                    count = manifest["files"][name]["rows"]
                    total += count
                    self.say(f"{table.name}: {count} rows")
            for name, sql in (("people.jsonl", PEOPLE), ("audit.jsonl", EVENTS)):
                manifest["files"][name] = await _add(archive, name, self._of_owner(sql))
            archive.writestr("manifest.json", orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        return total

    async def _of_owner(self, sql: str) -> AsyncIterator[str]:
        async with self.owner.transaction():
            async for row in self.owner.cursor(sql, self.tenant.id, prefetch=PREFETCH_ROWS):
                yield row[0]


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when the block ends well, readable by its owner only.

    Raises:
        Refused: it exists, or cannot be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    taken = Refused(f"{path} exists", why="an export never overwrites another", fix="choose another name")
    if path.exists():
        raise taken
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Refused(
            f"cannot write {path}: {error.strerror}", why="the export goes there", fix="choose another folder"
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.link(aside, path)  # unlike rename it fails if somebody was faster
    except FileExistsError:
        raise taken from None
    finally:
        aside.unlink(missing_ok=True)


async def _add(archive: zipfile.ZipFile, name: str, lines: AsyncIterator[str]) -> dict[str, Any]:
    """Stream lines into a member of the archive; gives how many and their SHA-256."""
    digest, count = hashlib.sha256(), 0
    with archive.open(name, "w", force_zip64=True) as member:
        async for line in lines:
            raw = line.encode() + b"\n"
            digest.update(raw)
            member.write(raw)
            count += 1
    return {"rows": count, "sha256": digest.hexdigest()}
