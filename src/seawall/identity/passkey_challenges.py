"""Challenges of passkeys: good once, for minutes, for one session and purpose, and of a step-up for one exact action.

What the authenticator signs *is* the binding: the 32 bytes are the SHA-256 of purpose, session, action and a nonce. The
database keeps the nonce and the challenge's own hash, so what is signed can be made again and compared, and a challenge
taken from one place is worthless at another.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

LIFETIME_S = 300
PENDING_MAX = 10
"""Challenges that one session may have waiting; the oldest goes first."""
SWEEP_MAX = 100
NONCE_BYTES = 32

Purpose = Literal["enrol", "prove", "step-up"]


@dataclass(frozen=True, slots=True)
class Binding:
    """What a challenge is for.

    Args:
        action: the digest of the step-up's intent, and its challenge's id; empty for the other purposes.
    """

    purpose: Purpose
    session_id: UUID
    action: bytes = b""

    def challenge(self, nonce: bytes) -> bytes:
        """The 32 bytes to sign. Every part but the last has its own fixed length or ends in NUL."""
        said = b"seawall passkey\0" + self.purpose.encode() + b"\0" + self.session_id.bytes + nonce + self.action
        return hashlib.sha256(said).digest()


async def issue(tx: Any, binding: Binding) -> bytes:
    """Record a challenge and give it; expired ones are swept on the way."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    challenge = binding.challenge(nonce)
    # SKIP LOCKED: two sweeps at once must not wait for each other's rows
    await tx.execute(
        """DELETE FROM seawall.passkey_challenges WHERE challenge_hash IN (
             SELECT challenge_hash FROM seawall.passkey_challenges WHERE expires_at < now()
             LIMIT $1 FOR UPDATE SKIP LOCKED)""",
        SWEEP_MAX,
    )
    await tx.execute(
        """DELETE FROM seawall.passkey_challenges WHERE challenge_hash IN (
             SELECT challenge_hash FROM seawall.passkey_challenges WHERE session_id = $1
             ORDER BY created_at DESC OFFSET $2 FOR UPDATE SKIP LOCKED)""",
        binding.session_id,
        PENDING_MAX - 1,
    )
    await tx.execute(
        """INSERT INTO seawall.passkey_challenges (challenge_hash, purpose, session_id, nonce, expires_at)
           VALUES ($1, $2, $3, $4, now() + make_interval(secs => $5))""",
        hashlib.sha256(challenge).digest(),
        binding.purpose,
        binding.session_id,
        nonce,
        LIFETIME_S,
    )
    return challenge


async def take(tx: Any, binding: Binding, presented: bytes) -> bytes | None:
    """Take the live challenge away, whatever comes of it; None if it never was, is over, was used, or is of another
    session, purpose or action. Of two concurrent uses the `DELETE` gives the row to one.
    """
    row = await tx.fetchrow(
        """DELETE FROM seawall.passkey_challenges WHERE challenge_hash = $1 AND session_id = $2 AND purpose = $3
           RETURNING nonce, expires_at > now() AS live""",
        hashlib.sha256(presented).digest(),
        binding.session_id,
        binding.purpose,
    )
    if row is None or not row["live"]:
        return None
    challenge = binding.challenge(row["nonce"])
    return challenge if hmac.compare_digest(challenge, presented) else None
