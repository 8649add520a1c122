"""Ordinary allowed reads, written in bounded batches.

A read changes nothing, so its event need not hold up the answer. What may be lost on a crash is at most one second of
reads; what is lost while running is counted, logged and written into the log itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any, Protocol

import structlog

from seawall.audit.append import encoded
from seawall.core.events import Event, LostReads

FLUSH_EVERY_S = 0.5
BATCH_MAX = 1_000
WAITING_MAX = 20_000
"""Beyond this, reads are counted as lost rather than held: memory is bounded."""

_log = structlog.get_logger("seawall.audit")


class Database(Protocol):
    """What the batch needs of `store.Database`."""

    def as_app(self) -> contextlib.AbstractAsyncContextManager[Any]: ...


class ReadBatch:
    """Collects `(context, event)` pairs and writes them in the background."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[tuple[str, Event]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.lost = 0

    def note(self, context: str, event: Event) -> None:
        """Put one read into the batch. Never blocks; a full batch counts the read as lost."""
        if len(self._waiting) >= WAITING_MAX:
            self.lost += 1
        else:
            self._waiting.append((context, event))

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="seawall-audit-reads")

    async def stop(self) -> None:
        """Write what is waiting, then end."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.flush()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY_S)
            await self.flush()

    async def flush(self) -> None:
        """Write everything that waits now. A batch that cannot be written is lost, counted and reported."""
        for _ in range(WAITING_MAX // BATCH_MAX + 1):
            if not self._waiting:
                break
            batch = [self._waiting.popleft() for _ in range(min(BATCH_MAX, len(self._waiting)))]
            try:
                async with self._database.as_app() as connection:
                    await connection.execute(
                        "SELECT seawall.audit_append_batch($1, $2)",
                        [context for context, _ in batch],
                        [encoded(event) for _, event in batch],
                    )
            except Exception as error:
                self.lost += len(batch)
                _log.error("audit_reads_lost", count=len(batch), reason=type(error).__name__)
                break
        if self.lost:
            await self._report_loss()

    async def _report_loss(self) -> None:
        event = LostReads(count=self.lost)
        try:
            async with self._database.as_app() as connection:
                await connection.execute("SELECT seawall.audit_append($1)", [encoded(event)])
        except Exception as error:  # tried again with the next batch; the count goes on
            _log.error("audit_loss_unreported", count=self.lost, reason=type(error).__name__)
        else:
            self.lost -= event.count
