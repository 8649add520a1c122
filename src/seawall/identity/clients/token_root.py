"""The root of what only the app's processes can compute: refresh tokens, admission secrets, nonces.

32 random bytes, sealed under the master secret in the database and in memory from the start of the process. So every
process computes the same, and a rotation of the master secret reseals one row instead of ending every grant.
"""

from __future__ import annotations

import os
from typing import Any

from seawall.core.errors import Refused
from seawall.core.master_seal import Seal, Unsealable, derived_key
from seawall.identity.desk import IdentityDatabase

ROOT_BYTES = 32
LOCK = 7309462
_READ = "SELECT id, sealed FROM seawall.token_root"


class TokenRoot:
    """The root, once it has been read.

    Args:
        seal: what it is sealed with; the owner is the row's id.
    """

    def __init__(self, db: IdentityDatabase, seal: Seal) -> None:
        self._db = db
        self._seal = seal
        self._derived: dict[str, bytes] = {}

    async def open(self) -> None:
        """Read the root; make it, if this is the first process of the first start.

        Raises:
            Refused: it does not open.
            VaultUnavailable: the master secret is not known for sure.
        """
        async with self._db.identity() as tx:
            root = await self._read(tx)
            if root is None:
                await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
                root = await self._read(tx) or await self._make(tx)
        self._derived = {
            purpose: derived_key(root, purpose) for purpose in ("refresh-tokens", "grant-admission", "dpop-nonces")
        }

    def key(self, purpose: str) -> bytes:
        """The 32 bytes for one purpose."""
        if not self._derived:
            raise RuntimeError("the token root is read when the app starts, and it has not")
        return self._derived[purpose]

    async def _read(self, tx: Any) -> bytes | None:
        row = await tx.fetchrow(_READ)
        if row is None:
            return None
        try:
            return self._seal.open(row["sealed"], row["id"].bytes)
        except Unsealable:
            raise Refused(
                "the root of the API clients' tokens does not open",
                why="another master secret has sealed it; refresh tokens could neither be read nor written",
                fix="give the app its secret back; if it is lost, DELETE FROM seawall.token_root: clients ask anew",
            ) from None

    async def _make(self, tx: Any) -> bytes:
        root, row_id = os.urandom(ROOT_BYTES), await tx.fetchval("SELECT uuidv7()")
        sealed = self._seal.seal(root, row_id.bytes)
        await tx.execute("INSERT INTO seawall.token_root (id, sealed) VALUES ($1, $2)", row_id, sealed)
        return root
