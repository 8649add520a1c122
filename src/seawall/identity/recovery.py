"""Recovery codes: they belong to the person, whichever factor is lost. Each works once; only hashes are kept.

They are look-up secrets (NIST SP 800-63B §3.1.2), a second factor in their own right. Every function runs in the
caller's transaction as `seawall_identity`.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Any
from uuid import UUID

from seawall.core.ids import token_hash

CODES = 8
CODE_BYTES = 10
"""80 bits each: more than 112 bits would be wanted of a stored *password*, but these are throttled and random."""

_FORM = re.compile(r"[A-Z2-7]{16}")


def plain(code: str) -> str:
    """A code as typed, without blanks and dashes, in upper case."""
    return code.replace(" ", "").replace("-", "").upper()


def is_recovery_code(code: str) -> bool:
    """Whether a plain code has the form of a recovery code."""
    return _FORM.fullmatch(code) is not None


async def new_codes(tx: Any, user_id: UUID) -> list[str]:
    """Make all codes anew and give them, this once; the old ones are void."""
    codes = [base64.b32encode(secrets.token_bytes(CODE_BYTES)).decode() for _ in range(CODES)]
    await forget_codes(tx, user_id)
    await tx.executemany(
        "INSERT INTO seawall.recovery_codes (user_id, code_hash) VALUES ($1, $2)",
        [(user_id, token_hash(code)) for code in codes],
    )
    return ["-".join(code[i : i + 4] for i in range(0, 16, 4)) for code in codes]


async def codes_left(tx: Any, user_id: UUID) -> int:
    """How many codes are unused."""
    left: int = await tx.fetchval(
        "SELECT count(*) FROM seawall.recovery_codes WHERE user_id = $1 AND used_at IS NULL", user_id
    )
    return left


async def use_code(tx: Any, user_id: UUID, code: str) -> str | None:
    """Use up a plain code: `recovery`, or None if it was not good. Of two concurrent uses one gets None."""
    used = await tx.fetchval(
        """UPDATE seawall.recovery_codes SET used_at = now()
           WHERE user_id = $1 AND code_hash = $2 AND used_at IS NULL RETURNING 1""",
        user_id,
        token_hash(code),
    )
    return None if used is None else "recovery"


async def forget_codes(tx: Any, user_id: UUID) -> None:
    """Void all codes: without a factor there is nothing that they could stand for."""
    await tx.execute("DELETE FROM seawall.recovery_codes WHERE user_id = $1", user_id)
