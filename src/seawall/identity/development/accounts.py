"""Accounts of the development provider, and their passwords (argon2id)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from seawall.core.errors import TooMany

ISSUER = "https://development.seawall.invalid/dev-provider"
"""`.invalid` is never a host (RFC 6761): the name stands for this very app, wherever it listens, so that accounts stay
linked when the port changes."""

DEMO_PASSWORD = "development"  # noqa: S105 - of the demo accounts, which the sign-in page offers by one click
EMAIL_LENGTH_MAX = 254
PASSWORD_LENGTH_MAX = 256
WORKERS = 2
WAITING_MAX = 32
NICENESS = 19

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
"""19 MiB, 2 passes, 1 lane (OWASP's second choice): about 22 ms of one core."""


@dataclass(frozen=True, slots=True)
class Account:
    user_id: UUID
    email: str
    name: str


class Passwords:
    """Checks passwords in a bounded pool of threads, alike for accounts that exist and that do not."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="argon2", initializer=_step_back)
        self._waiting = 0
        self._dummy = _HASHER.hash("no account has this password")

    async def right(self, stored: str | None, password: str) -> bool:
        """Whether `password` is the one behind `stored`; with None the same work is done, and the answer is no.

        Raises:
            TooMany: too many checks wait already.
        """
        if self._waiting >= WAITING_MAX:
            raise TooMany("Too many sign-ins at once.", retry_after_s=2)
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            matches = await loop.run_in_executor(self._pool, _matches, stored or self._dummy, password)
        finally:
            self._waiting -= 1
        return matches and stored is not None


def _step_back() -> None:
    """Let everybody else's requests go before: on Linux the niceness of a thread is its own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, password[:PASSWORD_LENGTH_MAX])
    except (VerificationError, InvalidHashError):
        return False


@lru_cache(maxsize=16)
def _hashed(password: str) -> str:
    """Demo accounts share a password, so they may share its hash: a seed starts half a second sooner."""
    return _HASHER.hash(password)


async def add_development_account(connection: Any, user_id: UUID, *, email: str, password: str = DEMO_PASSWORD) -> None:
    """Let a user sign in at the development provider; for seeds and tests.

    Args:
        connection: asyncpg, as `seawall_identity` or the owner.
        email: of the user; sets it, lower case.
        password: an account with `DEMO_PASSWORD` is offered by the sign-in page.
    """
    await connection.execute("UPDATE seawall.users SET email = lower($2) WHERE id = $1", user_id, email)
    await connection.execute(
        """INSERT INTO seawall.dev_accounts (user_id, password_hash, demo) VALUES ($1, $2, $3)
           ON CONFLICT (user_id) DO UPDATE SET password_hash = excluded.password_hash, demo = excluded.demo""",
        user_id,
        await asyncio.to_thread(_hashed, password),
        password == DEMO_PASSWORD,
    )
    await connection.execute(
        "INSERT INTO seawall.identities (issuer, subject, user_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        ISSUER,
        str(user_id),
        user_id,
    )


async def stored_account(tx: Any, email: str) -> tuple[Account | None, str | None]:
    """The account of an email address and its password hash; both None when there is none."""
    row = await tx.fetchrow(
        """SELECT u.id, u.email, u.name, d.password_hash FROM seawall.users u
           JOIN seawall.dev_accounts d ON d.user_id = u.id
           JOIN seawall.identities i ON i.user_id = u.id AND i.issuer = $2
           WHERE u.email = $1""",
        email,
        ISSUER,
    )
    if row is None:
        return None, None
    return Account(row["id"], row["email"], row["name"]), row["password_hash"]


async def account_of(tx: Any, user_id: UUID) -> Account | None:
    row = await tx.fetchrow("SELECT id, email, name FROM seawall.users WHERE id = $1", user_id)
    return None if row is None else Account(row["id"], row["email"], row["name"])


async def demo_accounts(tx: Any) -> list[dict[str, str]]:
    """The demo accounts for the sign-in page: email, name, tenant and roles."""
    rows = await tx.fetch(
        """SELECT u.email, u.name, t.name AS tenant, string_agg(DISTINCT replace(m.role, '_', ' '), ', ') AS roles
           FROM seawall.dev_accounts d JOIN seawall.users u ON u.id = d.user_id
           JOIN seawall.memberships m ON m.user_id = u.id JOIN seawall.tenants t ON t.id = m.tenant_id
           WHERE d.demo GROUP BY u.id, t.id ORDER BY t.name, roles, min(m.granted_at), u.id LIMIT 50"""
    )
    return [dict(row) for row in rows]
