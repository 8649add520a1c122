"""Rows with sealed columns, as the app shows them: which request shows which row, and what is written there."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx2

from seawall_check.controls._requests import row as stated
from seawall_check.document import Command, Persona, Tenant
from seawall_check.errors import Unproven
from seawall_check.probes.database import identifier
from seawall_check.probes.http import Operation
from seawall_check.start import ran
from seawall_check.target import Target

COMMAND_TIMEOUT_S = 120.0
ROWS_MIN = 2

KEY_COLUMN = """
SELECT a.attname::text FROM pg_index i
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
WHERE i.indrelid = $1::regclass AND i.indisprimary AND a.attname <> $2
"""


@dataclass(frozen=True)
class SealedTable:
    """A table with sealed columns."""

    schema: str
    name: str
    columns: tuple[str, ...]

    @property
    def sql(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.name)}"

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


def sealed_tables(target: Target) -> list[SealedTable]:
    """The tables that `target.json` names. Raises Unproven when there is none."""
    found: dict[tuple[str, str], list[str]] = {}
    for name in target.sealed.columns:
        schema, table, column = name.split(".", 2)
        found.setdefault((schema, table), []).append(column)
    return [SealedTable(schema, table, tuple(columns)) for (schema, table), columns in found.items()]


@dataclass(frozen=True)
class Shown:
    """A request that shows one row of a sealed table to a persona, and the sealed values in its answer."""

    target: Target
    table: SealedTable
    key: str
    """The column of the row's id."""
    operation: Operation
    persona: Persona
    parameter: str
    id: str
    values: Mapping[str, str]
    """Sealed column → what the answer says of it."""

    async def get(self) -> httpx2.Response:
        return await self.operation.send(await self.target.client(self.persona), {self.parameter: self.id})

    def of(self, response: httpx2.Response) -> dict[str, str]:
        """The sealed values in an answer; empty when it is a refusal."""
        return texts(response, self.table.columns) if response.status_code < 400 else {}


def texts(response: httpx2.Response, columns: Sequence[str]) -> dict[str, str]:
    """Members of an answer's object that are named like a column and are text."""
    try:
        body = response.json()
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    return {name: body[name] for name in columns if isinstance(body.get(name), str) and body[name]}


async def shown_rows(target: Target, owner: asyncpg.Connection, tenant: Tenant) -> list[Shown]:
    """Rows of one sealed table that a persona of this tenant is shown with two sealed values at least.

    Raises:
        Unproven: no operation of the app shows two such rows.
    """
    for table in sealed_tables(target):
        key = await owner.fetchval(KEY_COLUMN, table.sql, target.database.tenant_column)
        for operation in target.operations:
            if operation.method != "GET" or len(operation.path_names) != 1 or key is None:
                continue
            for persona in target.who(tenant=tenant.id):
                rows = await _rows(target, owner, table, key, operation, persona)
                if len(rows) >= ROWS_MIN:
                    return rows
    raise Unproven(f"no GET operation shows {tenant.name} two rows with two sealed values each")


async def _rows(  # noqa: PLR0917
    target: Target, owner: asyncpg.Connection, table: SealedTable, key: str, operation: Operation, persona: Persona
) -> list[Shown]:
    [parameter] = operation.path_names
    ids = list(persona.objects.get(parameter, ()))
    known = f"SELECT {identifier(key)}::text FROM {table.sql} WHERE {identifier(key)}::text = ANY ($1)"
    if not ids or not await owner.fetch(known, ids):
        return []
    rows = []
    client = await target.client(persona)
    for one in ids[:8]:
        response = await operation.send(client, {parameter: one})
        values = texts(response, table.columns) if response.status_code == 200 else {}
        if len(values) >= 2:
            rows.append(Shown(target, table, key, operation, persona, parameter, one, values))
    return rows


def creating(target: Target, names: Sequence[str]) -> list[Operation]:
    """POST operations whose stated body has a member of one of these names."""
    found = []
    for operation in target.operations:
        body: Any = stated(target, operation).get("body")
        if operation.method == "POST" and isinstance(body, Mapping) and set(names) & set(body):
            found.append(operation)
    return found


@contextlib.asynccontextmanager
async def changed(owner: asyncpg.Connection, row: Shown, column: str, value: bytes | None) -> AsyncIterator[None]:
    """The row with other bytes in a column, put right again at the end. Without triggers: nobody did it."""
    where = f"WHERE {identifier(row.key)}::text = $1"
    before = await owner.fetchval(f"SELECT {identifier(column)} FROM {row.table.sql} {where}", row.id)
    await _set(owner, row, column, value)
    try:
        yield
    finally:
        await _set(owner, row, column, before)


async def _set(owner: asyncpg.Connection, row: Shown, column: str, value: bytes | None) -> None:
    async with owner.transaction():
        await owner.execute("SET LOCAL session_replication_role = replica")
        await owner.execute(
            f"UPDATE {row.table.sql} SET {identifier(column)} = $2 WHERE {identifier(row.key)}::text = $1",
            row.id, value,
        )  # fmt: skip


async def envelope(owner: asyncpg.Connection, row: Shown, column: str) -> bytes:
    """The bytes of a cell."""
    sql = f"SELECT {identifier(column)} FROM {row.table.sql} WHERE {identifier(row.key)}::text = $1"
    found: bytes = await owner.fetchval(sql, row.id) or b""
    return found


async def run(target: Target, command: Command | None, tenant: Tenant, what: str) -> tuple[int, str]:
    """Run a command of the operator for a tenant: its exit code and what it printed.

    Raises:
        Unproven: `target.json` names no such command, or it did not end in time.
    """
    if command is None or not command.argv:
        raise Unproven(f"target.json names no command that {what}")
    argv = tuple(part.replace("{tenant}", tenant.id).replace("{slug}", tenant.slug) for part in command.argv)
    try:
        return await ran(argv, target.source, command.env, COMMAND_TIMEOUT_S)
    except TimeoutError:
        raise Unproven(f"the command that {what} did not end in {COMMAND_TIMEOUT_S:.0f} s") from None
