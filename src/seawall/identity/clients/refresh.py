"""Refresh tokens that rotate and log nobody out.

A token is grant ‖ generation ‖ MAC: the successor is determined by the predecessor, so nothing is stored but the number
of the generation, and everybody who refreshes with one token gets the same next one. Eight tabs at once, an answer that
was lost, a process that was killed between commit and answer: all end with the one token that is right.

    the current generation                                       → rotates
    the one before, by the same key,
        within `refresh_retry_s` of the rotation                 → its successor again (tabs at the same time)
        or while no access token of the successor has been used  → its successor again (the answer was lost), for a day
    any other that we once gave                                  → the token was in two hands: the grant ends, an alert
    a right token with another key                               → refused, an alert; the thief cannot end the grant
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import UUID

from seawall.identity.clients.grants import Grant, is_live, lock_grant, record, revoke_grant
from seawall.identity.jose import NotVerified, decode_part, encode_part

PREFIX = "swr_"
LOST_ANSWER_S = 86_400
GENERATION_MAX = 2**31 - 2
_LENGTH = len(PREFIX) + 70

Ending = Literal["unknown", "over", "wrong-key", "reuse"]


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A token whose MAC is right: we once gave it."""

    grant_id: UUID
    generation: int


class RefreshKey:
    """Writes and reads refresh tokens.

    Args:
        key: 32 bytes that only the app's processes have.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, grant_id: UUID, generation: int) -> str:
        """The token of a generation; always the same."""
        body = grant_id.bytes + generation.to_bytes(4, "big")
        family = hmac.digest(self._key, b"refresh" + grant_id.bytes, "sha256")
        return PREFIX + encode_part(body + hmac.digest(family, body, "sha256"))

    def read(self, token: str) -> RefreshToken | None:
        """None when it is none of ours."""
        if len(token) != _LENGTH or not token.startswith(PREFIX):
            return None
        try:
            raw = decode_part(token.removeprefix(PREFIX))
        except NotVerified:
            return None
        found = RefreshToken(UUID(bytes=raw[:16]), int.from_bytes(raw[16:20], "big"))
        genuine = self.write(found.grant_id, found.generation)
        return found if hmac.compare_digest(genuine.encode(), token.encode()) else None


async def rotate(tx: Any, token: RefreshToken, *, client_id: str, jkt: str | None, retry_s: int) -> Grant | Ending:
    """The grant with its new generation, or why there is none. What it writes must be committed in either case.

    Args:
        client_id, jkt: of the caller, verified before: a stranger can neither use up a token nor end its grant.
        retry_s: how long the token just replaced still gives its successor.
    """
    grant = await lock_grant(tx, token.grant_id)
    if grant is None or grant.client_id != client_id:
        return "unknown"
    if grant.jkt != jkt:
        await record(tx, grant, "refused", "wrong-key")
        return "wrong-key"
    if not await is_live(tx, grant.id) or grant.generation >= GENERATION_MAX:
        return "over"
    if token.generation == grant.generation:
        await tx.execute(
            """UPDATE seawall.client_grants SET generation = generation + 1, rotated_at = clock_timestamp(),
                 used = false WHERE id = $1""",
            grant.id,
        )
        await tx.execute("UPDATE seawall.sessions SET last_seen_at = now() WHERE id = $1", grant.id)
        return replace(grant, generation=grant.generation + 1)
    if token.generation == grant.generation - 1 and await _may_retry(tx, grant, retry_s):
        return grant
    await revoke_grant(tx, grant, "refresh-reuse")
    return "reuse"


async def _may_retry(tx: Any, grant: Grant, retry_s: int) -> bool:
    return bool(
        await tx.fetchval(
            """SELECT rotated_at > clock_timestamp() - make_interval(secs => CASE WHEN used THEN $2::float ELSE $3 END)
               FROM seawall.client_grants WHERE id = $1""",
            grant.id,
            float(retry_s),
            float(max(retry_s, LOST_ANSWER_S)),
        )
    )
