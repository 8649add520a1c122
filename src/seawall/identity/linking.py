"""From verified claims to a person: by (issuer, subject), or once, for an invited account, by verified email address.

An email address is not an identity: providers recycle addresses and let people type in any. So it links only an account
that was invited and has no identity yet, only if the provider says that it verified the address, and only within the
domains that the operator says this provider speaks for. Everybody else adds a provider to their account themselves,
from a live session and with a second factor.
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


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that somebody is working in."""

    id: UUID
    tenant_id: UUID


async def link_to_session(tx: Any, claims: IdClaims, user_id: UUID | None, token_hash: bytes | None) -> LiveSession:
    """Give the account at the provider to the person whose live session asked for it.

    The session is looked up again: whoever ended it between asking and coming back meant it.

    Raises:
        SignInRefused: the session is over, or the account is somebody's already (their own included).
    """
    session = await tx.fetchrow(
        """SELECT s.id, s.tenant_id FROM seawall.sessions s JOIN seawall.users u ON u.id = s.user_id
             AND u.epoch = s.epoch AND u.disabled_at IS NULL
           WHERE s.token_hash = $1 AND s.user_id = $2 AND s.revoked_at IS NULL AND s.expires_at > now()
             AND s.last_seen_at > now() - make_interval(secs => s.idle_timeout_s)""",
        token_hash,
        user_id,
    )
    if session is None:
        raise SignInRefused("link-session-over")
    linked = await tx.fetchval(
        """INSERT INTO seawall.identities (issuer, subject, user_id) VALUES ($1, $2, $3)
           ON CONFLICT DO NOTHING RETURNING 1""",
        claims.issuer,
        claims.subject,
        user_id,
    )
    if linked is None:
        raise SignInRefused("account-linked-elsewhere")
    return LiveSession(session["id"], session["tenant_id"])


async def issuers_of(tx: Any, user_id: UUID) -> frozenset[str]:
    """The providers that a person's account is linked with."""
    rows = await tx.fetch("SELECT DISTINCT issuer FROM seawall.identities WHERE user_id = $1", user_id)
    return frozenset(row["issuer"] for row in rows)


async def tenants_of(tx: Any, user_id: UUID, only: frozenset[str] | None = None) -> list[TenantChoice]:
    """The live tenants where the person holds a live role, by name; `only` those of these slugs, unless it is None."""
    rows = await tx.fetch(
        """SELECT DISTINCT t.id, t.name FROM seawall.memberships m JOIN seawall.tenants t ON t.id = m.tenant_id
           WHERE m.user_id = $1 AND t.suspended_at IS NULL AND (m.expires_at IS NULL OR m.expires_at > now())
             AND ($2::text[] IS NULL OR t.slug = ANY ($2))
           ORDER BY t.name, t.id""",
        user_id,
        None if only is None else sorted(only),
    )
    return [TenantChoice(row["id"], row["name"]) for row in rows]
