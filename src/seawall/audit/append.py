"""Append events. The database stamps time, tenant, person and session; the app can add rows and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from uuid import UUID

import orjson

from seawall.core.events import Event


class Executes(Protocol):
    """A connection or lease that runs one parameterised statement."""

    async def fetchrow(self, sql: str, *args: Any) -> Any | None: ...


def encoded(event: Event) -> str:
    """An event as the JSON text that the database's functions take: `{"kind": …, "outcome": …, …}`."""
    fields = event.__dict__
    return orjson.dumps({"kind": event.kind, **fields}, default=str).decode()


async def append(transaction: Executes, events: Sequence[Event]) -> None:
    """Write events into a transaction that carries a verified context; whoever it names is the actor."""
    if events:
        await transaction.fetchrow("SELECT seawall.audit_append($1)", [encoded(event) for event in events])


async def append_as(
    connection: Executes,
    events: Sequence[Event],
    *,
    tenant_id: UUID | None = None,
    user_id: UUID | None = None,
    session_id: UUID | None = None,
) -> None:
    """Write events as `seawall_identity`, which knows the actor before there is a context. Same transaction as its
    change.
    """
    if events:
        await connection.fetchrow(
            "SELECT seawall.audit_append_as($1, $2, $3, $4)",
            tenant_id,
            user_id,
            session_id,
            [encoded(event) for event in events],
        )
