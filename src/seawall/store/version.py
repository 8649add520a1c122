"""The oldest PostgreSQL that the walls can rely on; asked for before a migration and at every start."""

from __future__ import annotations

from typing import Final

from seawall.core.errors import Refused

POSTGRES_VERSION_MIN: Final = 180000


def require_version(number: int) -> None:
    """Return when the server, of this `server_version_num`, is new enough.

    Raises:
        Refused: it is older than PostgreSQL 18.
    """
    if number < POSTGRES_VERSION_MIN:
        raise Refused(
            f"PostgreSQL {number // 10000} is too old",
            why="Seawall needs uuidv7() and the fixed row-level security of PostgreSQL 18",
            fix="upgrade the server to PostgreSQL 18 or newer",
        )
