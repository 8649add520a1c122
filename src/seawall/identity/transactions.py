"""One sign-in on its way: the row that makes a callback good exactly once.

The browser holds a random 256-bit id in a cookie, the database its SHA-256. State, nonce and PKCE verifier are derived
from the id, so that the table holds nothing with which a sign-in could be completed.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

from seawall.core.ids import new_token, token_hash

LIFETIME_S = 600
Purpose = Literal["callback", "tenant", "link", "passkey"]
"""`callback`: somebody signs in. `tenant`: only the choice of the tenant is left. `link`: who is signed in adds a
provider. `passkey`: somebody signs in with one."""


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def passkey_challenge(transaction_id: str) -> bytes:
    """What a passkey signs to sign in on the browser that holds this transaction (32 bytes)."""
    return hmac.digest(transaction_id.encode(), b"passkey", "sha256")


def challenge_of(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 §4.2)."""
    return _base64url(sha256(verifier.encode()).digest())


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only the browser of this transaction can prove. Derived from the transaction's id (HMAC-SHA-256)."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def of(cls, transaction_id: str) -> Secrets:
        def derive(purpose: str) -> str:
            return _base64url(hmac.digest(transaction_id.encode(), purpose.encode(), "sha256"))

        return cls(derive("state"), derive("nonce"), derive("verifier"))

    @property
    def challenge(self) -> str:
        return challenge_of(self.verifier)


@dataclass(frozen=True, slots=True)
class SignInTransaction:
    """A row of `seawall.sign_in_transactions`."""

    purpose: Purpose
    provider: str
    redirect_uri: str
    next: str
    replaces: bytes | None = None
    """Token hash of the session that this sign-in replaces: it ends when the new one begins."""
    max_age_s: int | None = None
    user_id: UUID | None = None
    """Set for `tenant` and `link`: who it is."""
    assurance: str = ""
    """Set for `tenant`: the verified authentication as JSON, to be carried into the session."""


async def open_transaction(tx: Any, transaction: SignInTransaction) -> str:
    """Record a sign-in that begins; gives the id for the cookie. Some expired rows are swept on the way."""
    transaction_id = new_token()
    # Bounded, and past what others are sweeping: a flood of sign-ins must neither queue here nor delete without end.
    await tx.execute(
        """DELETE FROM seawall.sign_in_transactions WHERE id_hash IN (
             SELECT id_hash FROM seawall.sign_in_transactions WHERE expires_at < now()
             LIMIT 100 FOR UPDATE SKIP LOCKED)"""
    )
    await tx.execute(
        """INSERT INTO seawall.sign_in_transactions
             (id_hash, purpose, provider, redirect_uri, next, replaces, max_age_s, user_id, assurance, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now() + make_interval(secs => $10))""",
        token_hash(transaction_id),
        transaction.purpose,
        transaction.provider,
        transaction.redirect_uri,
        transaction.next,
        transaction.replaces,
        transaction.max_age_s,
        transaction.user_id,
        transaction.assurance,
        LIFETIME_S,
    )
    return transaction_id


async def use_transaction(tx: Any, transaction_id: str, *purposes: Purpose) -> SignInTransaction | None:
    """Take the live transaction away, whatever comes of it; None if it never was, is over or was used.

    Of two concurrent callbacks the `DELETE` gives the row to one.
    """
    row = await tx.fetchrow(
        """DELETE FROM seawall.sign_in_transactions WHERE id_hash = $1 AND purpose = ANY ($2)
           RETURNING purpose, provider, redirect_uri, next, replaces, max_age_s, user_id, assurance,
             expires_at > now() AS live""",
        token_hash(transaction_id),
        list(purposes),
    )
    if row is None or not row["live"]:
        return None
    return SignInTransaction(
        purpose=row["purpose"],
        provider=row["provider"],
        redirect_uri=row["redirect_uri"],
        next=row["next"],
        replaces=row["replaces"],
        max_age_s=row["max_age_s"],
        user_id=row["user_id"],
        assurance=row["assurance"],
    )


async def forget_begun(tx: Any, user_id: UUID) -> None:
    """Take away the sign-ins of a person that wait for the choice of a tenant only. Whoever ends sessions, or takes a
    factor or a provider away, means what was proved with it a minute ago as well.
    """
    await tx.execute("DELETE FROM seawall.sign_in_transactions WHERE user_id = $1 AND purpose = 'tenant'", user_id)
