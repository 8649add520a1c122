"""Hearing at once that a tenant's keys changed: one connection that listens to what the database tells.

What listens may be deaf without knowing it (a pooler in between, a half-open connection), so it sends a word to itself
now and then. While that does not come back, keys are kept for seconds only.

Every role of the database may say a word on this channel; PostgreSQL has no right to withhold. A forged one opens
nothing: keys that nobody revoked are asked for again, and a transaction in their midst fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import Any
from uuid import UUID

import asyncpg
import structlog

from seawall.privacy.ring import Ring
from seawall.store.address import asyncpg_url, sqlalchemy_url
from seawall.store.pool import PasswordSource

CHANNEL = "seawall_tenant_keys"
ECHO = "echo:"
REVOKED = "revoked"
"""Destroyed, suspended or deleted: nobody may go on with what they hold. Anything else is `changed`."""
ECHO_EVERY_S = 5.0
ECHO_WITHIN_S = 2.0
RECONNECT_AFTER_S = 1.0

_log = structlog.get_logger("seawall.privacy")


class Revocations:
    """Keeps a ring informed. `url` signs in as any role of the database, with its own password or with `password`."""

    def __init__(self, url: str, ring: Ring, *, password: PasswordSource | None = None) -> None:
        self._url = asyncpg_url(url)
        self._password = {"password": password} if password is not None and sqlalchemy_url(url).password is None else {}
        self._ring = ring
        self._task: asyncio.Task[None] | None = None
        self._said = ""
        self._heard = asyncio.Event()

    async def start(self) -> None:
        """Listen in the background; returns when the first word came through, or could not for now."""
        began = asyncio.Event()
        self._task = asyncio.create_task(self._run(began))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(began.wait(), ECHO_WITHIN_S)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._ring.hearing = False

    async def _run(self, began: asyncio.Event) -> None:
        while True:
            try:
                await self._listen(began)
            except Exception as error:  # whatever it is: keys are kept for seconds only until it is over
                _log.warning("keys-deaf", reason=type(error).__name__)
            self._ring.hearing = False
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _listen(self, began: asyncio.Event) -> None:
        connection = await asyncpg.connect(
            self._url,
            timeout=5,
            command_timeout=5,
            server_settings={"application_name": "seawall-keys"},
            **self._password,
        )
        try:
            await connection.add_listener(CHANNEL, self._hear)
            self._ring.revoke_all()  # what changed while nobody listened is not known
            while True:
                await self._echo(connection)
                self._ring.hearing = True
                began.set()
                self._ring.sweep()
                await asyncio.sleep(ECHO_EVERY_S)
        finally:
            self._ring.hearing = False
            with contextlib.suppress(Exception):
                await connection.close(timeout=1)

    async def _echo(self, connection: asyncpg.Connection) -> None:
        self._said, deadline = ECHO + secrets.token_hex(8), time.monotonic() + ECHO_WITHIN_S
        self._heard.clear()
        await connection.execute("SELECT pg_notify($1, $2)", CHANNEL, self._said)
        await asyncio.wait_for(self._heard.wait(), deadline - time.monotonic())

    def _hear(self, connection: Any, pid: int, channel: str, payload: Any) -> None:
        text = str(payload)
        if text == self._said:
            self._heard.set()
        elif not text.startswith(ECHO):
            how, _, tenant = text.partition(":")
            with contextlib.suppress(ValueError):
                (self._ring.revoke if how == REVOKED else self._ring.forget)(UUID(tenant))
