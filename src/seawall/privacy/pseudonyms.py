"""Pseudonyms: what another service knows a person or an object by.

    payer = await pseudonym(scope, "payments", order.customer_id)       # p_5f0c…, always the same for this service
    whose = await subject_of(scope, "payments", payer)

Whoever hands out its own ids lets every service that has them join what each knows. A pseudonym is random and of one
service (and tenant) only; nothing can be computed from it, and once the person is erased it is the name of nobody.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from seawall.core.errors import NotFound, Refused

if TYPE_CHECKING:
    from seawall.core.scope import Transaction

SERVICE = re.compile(r"[a-z][a-z0-9._-]{0,79}")
API_CLIENTS = "client."
"""What access tokens call a person is identity's to give, and not for the app to look up."""
TOKEN_LENGTH_MAX = 64


class Within(Protocol):
    """A `Scope`, or whatever else has a transaction in a tenant."""

    async def transaction(self) -> Transaction: ...


async def pseudonym(within: Within, service: str, subject: UUID) -> str:
    """What `service` knows this person or object by: `p_` and 32 hexadecimal digits.

    Args:
        service: the other service's name; lower-case letters, digits, dots, dashes; not `client.…`.
        subject: an id of ours.

    Raises:
        Refused: the service's name is not one.
    """
    if not SERVICE.fullmatch(service) or service.startswith(API_CLIENTS):
        raise Refused(
            f"{service!r} is not the name of a service",
            why="pseudonyms are kept by it, and two spellings would be two services",
            fix='pseudonym(scope, "payments", …)',
        )
    row = await (await within.transaction()).fetchrow("SELECT seawall.pseudonym($1, $2) AS token", service, subject)
    token: str = row["token"]  # type: ignore[index]  # a SELECT of one function has one row
    return token


async def subject_of(within: Within, service: str, token: str) -> UUID:
    """Whom `service` means by one of its pseudonyms.

    Raises:
        NotFound: the caller's tenant has given this service no such pseudonym.
    """
    row = None
    if SERVICE.fullmatch(service) and len(token) <= TOKEN_LENGTH_MAX and token.isascii():
        row = await (await within.transaction()).fetchrow("SELECT seawall.subject_of($1, $2) AS id", service, token)
    if row is None or row["id"] is None:
        raise NotFound()
    subject: UUID = row["id"]
    return subject
