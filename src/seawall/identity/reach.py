"""How far a sign-in leads: whoever runs a provider can say that anybody is anybody, so it opens the tenants that it is
trusted for, and nothing made in a session that began there opens more.

A reach is a set of tenants' slugs; None is every tenant.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from seawall.core.errors import Forbidden
from seawall.core.scope import Principal
from seawall.identity.linking import issuers_of
from seawall.identity.providers import Provider

Reach = frozenset[str] | None


class OutOfReach(Forbidden):
    """The session began at a provider of some tenants, and what it asks for opens others."""

    code = "out-of-reach"
    title = "Sign in another way for this"

    def __init__(self) -> None:
        super().__init__("It opens more than the provider does through which you signed in.")


def of_issuer(issuer: str, providers: Iterable[Provider]) -> Reach:
    """What an account at an issuer opens; nothing, when no provider has it any more."""
    trusted = [provider.trust.tenants for provider in providers if provider.issuer == issuer]
    return frozenset().union(*trusted) if all(trusted) else None


def of_passkeys(issuers: Iterable[str], providers: Iterable[Provider]) -> Reach:
    """What passkeys open whose person has accounts at these issuers: what each of those would. Any of them may have
    had the passkey made.
    """
    known = {provider.issuer for provider in providers}
    reaches = [of_issuer(issuer, providers) for issuer in issuers if issuer in known]
    bounded = [reach for reach in reaches if reach is not None]
    if not reaches:
        return frozenset()
    return frozenset.intersection(*bounded) if bounded else None


async def check_within(tx: Any, principal: Principal, wanted: Reach, providers: Iterable[Provider]) -> None:
    """Return when the caller's session may make or take away what opens `wanted`.

    Raises:
        OutOfReach: it may not.
    """
    issuer = await tx.fetchval(
        "SELECT issuer FROM seawall.provider_sessions WHERE session_id = $1", principal.session_id
    )
    if issuer is None:  # it began with a passkey
        own = of_passkeys(await issuers_of(tx, principal.user_id), providers)
    else:
        own = of_issuer(issuer, providers)
    if own is not None and (wanted is None or not wanted <= own):
        raise OutOfReach
