"""The row behind a bound session. Every function runs in the caller's transaction as `seawall_identity`.

Its own table and single statements: state that is read, changed and written back as a whole is lost when the first
page after a sign-in overtakes the registration, and then the check quietly does nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from seawall.core.ids import new_token, token_hash

OVERLAP_S = 30
"""How long the cookie before the newest is still taken: requests that left the browser with it may arrive late."""
LATENCY_S = 5
"""A browser counts Max-Age from when the answer arrived. Without this, what it sends in its cookie's last moment is
refused.
"""
SWEEP_MAX = 200


@dataclass(frozen=True, slots=True)
class Binding:
    """A live session and its device's public key."""

    session_id: UUID
    user_id: UUID
    tenant_id: UUID
    name: str
    algorithm: str
    public_key: dict[str, Any]
    generation: int


@dataclass(frozen=True, slots=True)
class Earned:
    """A cookie that a proof has earned. `cookie` goes to the browser and nowhere else."""

    name: str
    cookie: str
    generation: int


async def bind(
    tx: Any, session_id: UUID, *, algorithm: str, public_key: dict[str, str], lifetime_s: int, grace_s: int
) -> Earned | None:
    """Bind a session to a key. None when it is bound already: who holds the cookies cannot put another key there."""
    await _sweep(tx)
    name, cookie = secrets.token_urlsafe(18), new_token()
    bound = await tx.fetchval(
        """INSERT INTO seawall.device_bindings
             (session_id, name, algorithm, public_key, cookie_hash, cookie_until, grace_s)
           VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6), $7)
           ON CONFLICT (session_id) DO NOTHING RETURNING session_id""",
        session_id,
        name,
        algorithm,
        orjson.dumps(public_key).decode(),
        token_hash(cookie),
        lifetime_s + LATENCY_S,
        grace_s,
    )
    return None if bound is None else Earned(name, cookie, 0)


async def find(tx: Any, session_hash: bytes, name: str) -> Binding | None:
    """The binding of a session that is live in every respect but its bound cookie, which may be over."""
    row = await tx.fetchrow(
        """SELECT s.id AS session_id, s.user_id, s.tenant_id, b.name, b.algorithm, b.public_key, b.generation
           FROM seawall.sessions s
           JOIN seawall.users u ON u.id = s.user_id AND u.epoch = s.epoch AND u.disabled_at IS NULL
           JOIN seawall.tenants t ON t.id = s.tenant_id AND t.suspended_at IS NULL
           JOIN seawall.device_bindings b ON b.session_id = s.id
           WHERE s.token_hash = $1 AND b.name = $2 AND s.revoked_at IS NULL AND s.expires_at > now()
             AND s.last_seen_at > now() - make_interval(secs => s.idle_timeout_s)""",
        session_hash,
        name,
    )
    return None if row is None else Binding(**{**dict(row), "public_key": orjson.loads(row["public_key"])})


async def rotate(tx: Any, binding: Binding, *, lifetime_s: int) -> Earned | None:
    """Give the device its next cookie. None when another refresh was faster: of several, one wins."""
    cookie = new_token()
    generation = await tx.fetchval(
        """UPDATE seawall.device_bindings
           SET generation = generation + 1, cookie_hash = $3, cookie_until = now() + make_interval(secs => $4),
             previous_hash = cookie_hash, previous_until = least(cookie_until, now() + make_interval(secs => $5)),
             enforced_from = coalesce(enforced_from, now() + make_interval(secs => grace_s))
           WHERE session_id = $1 AND generation = $2 RETURNING generation""",
        binding.session_id,
        binding.generation,
        token_hash(cookie),
        lifetime_s + LATENCY_S,
        OVERLAP_S,
    )
    return None if generation is None else Earned(binding.name, cookie, generation)


async def revoke(tx: Any, binding: Binding) -> None:
    """End the session: its cookies are with somebody who does not have its device."""
    await tx.execute(
        """UPDATE seawall.sessions SET revoked_at = now(), revoke_reason = 'device-proof'
           WHERE id = $1 AND revoked_at IS NULL""",
        binding.session_id,
    )


async def let_go(tx: Any) -> None:
    """The kill switch: no session is bound any more."""
    await tx.execute("DELETE FROM seawall.device_bindings")


async def _sweep(tx: Any) -> None:
    await tx.execute(
        """DELETE FROM seawall.device_bindings WHERE session_id IN (
             SELECT b.session_id FROM seawall.device_bindings b JOIN seawall.sessions s ON s.id = b.session_id
             WHERE s.revoked_at IS NOT NULL OR s.expires_at < now() LIMIT $1 FOR UPDATE OF b SKIP LOCKED)""",
        SWEEP_MAX,
    )
