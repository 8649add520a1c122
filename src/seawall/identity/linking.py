"""From verified claims to a person: by (issuer, subject), or once, for an invited account, by verified email address.

An email address is not an identity: providers recycle addresses and let people type in any. So it links only an account
that was invited and has no identity yet, only if the provider says that it verified the address, and only within the
domains that the operator says this provider speaks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from seawall.identity.refusals import SignInRefused
from seawall.identity.tokens import IdClaims


@dataclass(frozen=True, slots=True)
class TenantChoice:
    """A tenant that a person may sign in to."""

    id: UUID
    name: str


async def find_person(tx: Any, claims: IdClaims, email_domains: frozenset[str]) -> UUID:
    """The person behind the claims; links an invited account at its first sign-in.

    Raises:
        SignInRefused: nobody is known, or the account is disabled.
    """
    row = await tx.fetchrow(
        """SELECT u.id, u.disabled_at FROM seawall.identities i JOIN seawall.users u ON u.id = i.user_id
           WHERE i.issuer = $1 AND i.subject = $2""",
        claims.issuer,
        claims.subject,
    )
    if row is not None:
        if row["disabled_at"] is not None:
            raise SignInRefused("account-disabled")
        user_id: UUID = row["id"]
        return user_id
    if claims.email is None:
        raise SignInRefused("account-unknown")
    if claims.email.rpartition("@")[2] not in email_domains:
        raise SignInRefused("email-domain")
    return await _link_invited(tx, claims)


async def _link_invited(tx: Any, claims: IdClaims) -> UUID:
    # FOR UPDATE: of two first sign-ins at once, the second finds the identity of the first and is refused.
    user_id: UUID | None = await tx.fetchval(
        "SELECT id FROM seawall.users WHERE email = $1 AND disabled_at IS NULL FOR UPDATE", claims.email
    )
    if user_id is None:
        raise SignInRefused("account-unknown")
    if await tx.fetchval("SELECT EXISTS (SELECT FROM seawall.identities WHERE user_id = $1)", user_id):
        raise SignInRefused("account-linked-elsewhere")
    linked = await tx.fetchval(
        """INSERT INTO seawall.identities (issuer, subject, user_id) VALUES ($1, $2, $3)
           ON CONFLICT DO NOTHING RETURNING 1""",
        claims.issuer,
        claims.subject,
        user_id,
    )
    if linked is None:
        raise SignInRefused("account-linked-elsewhere")
    return user_id


async def check_enabled(tx: Any, user_id: UUID) -> None:
    """Raises SignInRefused when the person's account is disabled."""
    if not await tx.fetchval(
        "SELECT EXISTS (SELECT FROM seawall.users WHERE id = $1 AND disabled_at IS NULL)", user_id
    ):
        raise SignInRefused("account-disabled")


async def tenants_of(tx: Any, user_id: UUID) -> list[TenantChoice]:
    """The live tenants where the person holds a live role, by name."""
    rows = await tx.fetch(
        """SELECT DISTINCT t.id, t.name FROM seawall.memberships m JOIN seawall.tenants t ON t.id = m.tenant_id
           WHERE m.user_id = $1 AND t.suspended_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())
           ORDER BY t.name, t.id""",
        user_id,
    )
    return [TenantChoice(row["id"], row["name"]) for row in rows]
