"""privacy: personal data that even the whole database does not give away.

Columns declared `Sealed[…]` (`store.sealed`) are encrypted under keys of their tenant. Here are the keys: the process's
keyring (`Ring`), what keeps it informed, rotation, crypto-shredding, and the gate that looks at the models. And what a
person can ask for: a copy (`subjects`, `pages`), to be forgotten, to be known elsewhere by another name (`pseudonyms`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI

from seawall.privacy.boot import check_columns, check_models
from seawall.privacy.pages import PrivacyRoutes
from seawall.privacy.pseudonyms import pseudonym, subject_of
from seawall.privacy.revocations import Revocations
from seawall.privacy.ring import Ring
from seawall.store.pool import PasswordSource, Pool

if TYPE_CHECKING:
    from seawall.core.vault import Transit

__all__ = ["TEMPLATES", "Ring", "check_columns", "check_models", "include", "keyring", "pseudonym", "subject_of"]

TEMPLATES = Path(__file__).parent / "templates"

POOL_SIZE = 2


def include(app: FastAPI) -> None:
    """Add the routes where people ask for a copy of their data, and to be forgotten."""
    app.include_router(PrivacyRoutes().router)


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
