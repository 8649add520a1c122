"""Privileged roles: who holds one has no tenant before a second factor is proved (ASVS 6.3.3).

The database enforces it, in `seawall.admit`: it mints no tenant context for such a session. Here it is told which roles
these are; `core.scope.Passage.require_actor` turns the missing context into an answer that says what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


async def set_privileged_roles(tx: Any, roles: Sequence[str]) -> None:
    """Make the database's list that of the settings. Of several processes with different settings the last to start
    wins, as with every setting that is kept in common.
    """
    await tx.execute("DELETE FROM seawall.privileged_roles WHERE role <> ALL ($1::text[])", list(roles))
    await tx.execute(
        "INSERT INTO seawall.privileged_roles SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", list(roles)
    )
