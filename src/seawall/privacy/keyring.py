"""A process's keyring with everything that it needs, for as long as the process runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from seawall.privacy.revocations import Revocations
from seawall.privacy.ring import Ring
from seawall.store.pool import PasswordSource, Pool

if TYPE_CHECKING:
    from seawall.core.vault import Transit

POOL_SIZE = 2


@asynccontextmanager
async def keyring(
    url: str,
    transit: Transit,
    *,
    password: PasswordSource | None = None,
    statement_timeout_ms: int = 15_000,
    listening: bool = True,
) -> AsyncIterator[Ring]:
    """The keyring of a process, for as long as it runs.

    Args:
        url: signs in as the role whose transactions it serves.
        password: where that role's password comes from when `url` holds none.
        transit: the vault's, with the app's identity.
        listening: hear of changes at once; a short-lived command need not.
    """
    # its own connections: whoever waits for keys already holds one of the others
    pool = Pool(url, size=POOL_SIZE, statement_timeout_ms=statement_timeout_ms, password=password)
    ring = Ring(pool, transit)
    told = Revocations(url, ring, password=password) if listening else None
    try:
        if told is not None:
            await told.start()
        yield ring
    finally:
        if told is not None:
            await told.stop()
        ring.revoke_all()
        await pool.close()
