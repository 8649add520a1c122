"""The keys that sign access tokens: ES256, private halves sealed in the database, rotated without an outage.

The next key is published a day before it signs, so that every verifier knows it by then; the one before stays until its
last token is over. There is no job that rotates: whoever needs a key sees to it that the right ones are there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final

import orjson
import structlog
from joserfc.jwk import ECKey

from seawall.audit import append_as
from seawall.core.clock import CLOCK_SKEW_MAX_S
from seawall.core.events import SecretRotation
from seawall.core.master_seal import Seal, Unsealable
from seawall.identity.clients.refusals import ALGORITHM
from seawall.identity.desk import IdentityDatabase
from seawall.identity.jose import KeySet, thumbprint

PUBLISHED_AHEAD_S: Final = 86_400
KEYS_READ_MAX: Final = 8
REREAD_MIN_S: Final = 1.0
"""An unknown `kid` makes us read the keys again, at most so often: a flood of such tokens costs one read a second."""
LOCK: Final = 7309461

_log = structlog.get_logger("seawall.identity")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that may sign now."""

    kid: str
    key: ECKey


class SigningKeys:
    """Keys of all processes of the app.

    Args:
        seal: for the private halves; the owner is the row's id.
        lifetime_s: how long a key signs.
        token_lifetime_s: how long the tokens live that it signed.
    """

    def __init__(self, db: IdentityDatabase, seal: Seal, *, lifetime_s: int, token_lifetime_s: int) -> None:
        self._db = db
        self._seal = seal
        self._lifetime_s = lifetime_s
        self._ahead_s = min(PUBLISHED_AHEAD_S, lifetime_s // 2)
        self._kept_s = token_lifetime_s + CLOCK_SKEW_MAX_S
        self._opened: dict[str, SigningKey] = {}
        self._set = KeySet([])
        self._read_at = float("-inf")

    async def current(self, tx: Any) -> SigningKey:
        """The key that signs now; makes one, and publishes the next, when it is time."""
        rows = await self._ready(tx)
        if (key := self._signing(rows)) is not None:
            return key
        await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        if (key := self._signing(await self._rows(tx))) is not None:
            return key  # another process was first
        if rows:
            # Another master secret has sealed them. A new key signs at once; what the others signed stays good.
            _log.error("no signing key opens; a new one is made", alert=True)
        return await self._make(tx, ahead_s=0)

    def _signing(self, rows: list[Any]) -> SigningKey | None:
        found = next((key for row in rows if row["signs"] and (key := self._open(row)) is not None), None)
        if found is not None and found.kid not in self._set:
            self._read_at = float("-inf")  # what we sign with we must know at once
        return found

    async def published(self) -> list[dict[str, Any]]:
        """The public keys: those that sign, that will, and whose tokens are not over yet."""
        async with self._db.identity() as tx:
            await self.current(tx)
            rows = await self._ready(tx)
        return [orjson.loads(row["public"]) for row in rows]

    async def verifying(self, kid: object) -> KeySet:
        """The keys to verify a token with; read again, within bounds, when `kid` is not among those at hand.

        A key that was taken away stays here until then, harmlessly: admission asks the database whether it counts.
        """
        if kid not in self._set and time.monotonic() - self._read_at >= REREAD_MIN_S:
            self._read_at = time.monotonic()
            async with self._db.identity() as tx:
                rows = await tx.fetch(
                    "SELECT public::text FROM seawall.signing_keys ORDER BY signs_from DESC LIMIT $1", KEYS_READ_MAX
                )
            self._set = KeySet([orjson.loads(row["public"]) for row in rows])
        return self._set

    async def rotate(self) -> str:
        """Make a new key that signs from now on; gives its `kid`. What the old ones signed stays good."""
        async with self._db.identity() as tx:
            await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            return (await self._make(tx, ahead_s=0)).kid

    async def newest(self) -> int:
        """The number of the newest key that signs; it grows. 0 when there is none."""
        async with self._db.identity() as tx:
            return int(
                await tx.fetchval(
                    "SELECT coalesce(max(generation), 0) FROM seawall.signing_keys WHERE signs_from <= now()"
                )
            )

    async def forget_before(self, generation: int) -> None:
        """Refuse every token of an older key, from the next request on, in every process. Clients refresh."""
        async with self._db.identity() as tx:
            await tx.execute("DELETE FROM seawall.signing_keys WHERE generation < $1", generation)

    async def _ready(self, tx: Any) -> list[Any]:
        """The rows, newest first, after seeing to it that a next one is there and no old one stays."""
        rows = await self._rows(tx)
        if any(row["over"] for row in rows):
            await tx.execute(
                """DELETE FROM seawall.signing_keys k WHERE EXISTS (
                     SELECT FROM seawall.signing_keys n
                     WHERE n.signs_from > k.signs_from AND n.signs_from < now() - make_interval(secs => $1))""",
                self._kept_s,
            )
            rows = await self._rows(tx)
        if rows and rows[0]["ageing"]:
            await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
            if (await self._rows(tx))[0]["ageing"]:  # unless another process has just done so
                await self._make(tx, ahead_s=self._ahead_s)
            rows = await self._rows(tx)
        return rows

    async def _rows(self, tx: Any) -> list[Any]:
        return list(
            await tx.fetch(
                # clock_timestamp: whoever waited for the lock began before the key that the other has made meanwhile
                """SELECT id, kid, public::text, sealed, signs_from <= clock_timestamp() AS signs,
                     signs_from < now() - make_interval(secs => $1) AS ageing,
                     coalesce(lead(signs_from) OVER (ORDER BY signs_from) < now() - make_interval(secs => $2), false)
                       AS over
                   FROM seawall.signing_keys ORDER BY signs_from DESC LIMIT $3""",
                self._lifetime_s - self._ahead_s,
                self._kept_s,
                KEYS_READ_MAX,
            )
        )

    async def _make(self, tx: Any, *, ahead_s: int) -> SigningKey:
        key = ECKey.generate_key("P-256")
        self._read_at = float("-inf")
        kid = thumbprint(key.as_dict(private=False))
        public = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": ALGORITHM}
        private = orjson.dumps(key.as_dict(private=True))
        row_id = await tx.fetchval("SELECT uuidv7()")
        generation = await tx.fetchval(
            """INSERT INTO seawall.signing_keys (id, kid, public, sealed, signs_from)
               VALUES ($1, $2, $3::text::jsonb, $4, now() + make_interval(secs => $5)) RETURNING generation""",
            row_id,
            kid,
            orjson.dumps(public).decode(),
            self._seal.seal(private, row_id.bytes),
            ahead_s,
        )
        await append_as(tx, [SecretRotation(what="signing-key", step="made", after=generation)])
        return SigningKey(kid, key)

    def _open(self, row: Any) -> SigningKey | None:
        kid = row["kid"]
        if kid not in self._opened:
            try:
                private = orjson.loads(self._seal.open(row["sealed"], row["id"].bytes))
            except Unsealable:
                return None
            if len(self._opened) >= KEYS_READ_MAX:
                self._opened.clear()
            self._opened[kid] = SigningKey(kid, ECKey.import_key(private))
        return self._opened[kid]
