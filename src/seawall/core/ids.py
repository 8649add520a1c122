"""Identifiers and tokens."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from uuid import UUID

TOKEN_BYTES = 32
"""256 bits, ASVS 7.2.3 wants at least 128."""

TICKET = re.compile(r"^[A-Za-z0-9][A-Za-z0-9#/_.-]{0,63}$")
"""Where an operator's errand is kept. A name only: free text would put people's names into a log that nobody can erase
from. With `fullmatch`; the database's columns have the same."""


def new_token() -> str:
    """A fresh opaque 256-bit token, base64url without padding (43 characters)."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> bytes:
    """SHA-256 of a token: what is stored. Plain SHA-256 is right because the input has 256 bits of entropy."""
    return hashlib.sha256(token.encode()).digest()


def new_trace_id() -> str:
    """A W3C trace id: 32 lower-case hex digits (Trace Context §3.2.2.3)."""
    return secrets.token_hex(16)


def new_uuid7() -> UUID:
    """A UUIDv7 (RFC 9562 §5.7): 48 bits of milliseconds, 74 random ones. For keys that must be known before the row is
    written; the database makes the others itself.
    """
    random = secrets.randbits(74)
    value = (time.time_ns() // 1_000_000 & (1 << 48) - 1) << 80 | 0x7 << 76
    return UUID(int=value | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1)
