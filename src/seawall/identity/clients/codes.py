"""Authorization codes: once, for 60 s, bound to client, redirect address, code challenge and, if asked for, key.

A code that comes twice was in two hands. Its grant ends then (RFC 6749 §4.1.2), so a used code is remembered a while.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from seawall.core.ids import new_token, token_hash
from seawall.identity.clients.refusals import OAuthError
from seawall.identity.transactions import challenge_of

LIFETIME_S = 60
REMEMBERED_S = 3_600
STATE_LENGTH_MAX = 1_024

FIELDS = (
    "response_type",
    "client_id",
    "redirect_uri",
    "state",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
    "scope",
    "resource",
    "response_mode",
    "prompt",
)
"""What an authorization request may say that means something here; the rest is ignored (RFC 6749 §3.1)."""

_DIGEST = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """What is wanted of a code: a checked authorization request."""

    client_id: str
    redirect_uri: str
    challenge: str
    jkt: str | None

    @classmethod
    def parse(cls, query: Mapping[str, str], *, client_id: str, redirect_uri: str, issuer: str) -> CodeRequest:
        """Check everything but client and redirect address, which are known to be good.

        Raises:
            OAuthError: for the client, to be sent to its redirect address.
        """
        if query.get("response_type") != "code":
            raise OAuthError("unsupported_response_type", "Only response_type=code is answered.")
        if query.get("response_mode", "query") != "query":
            raise OAuthError("invalid_request", "Only response_mode=query is answered.")
        # RFC 7636 §4.3: a missing method would mean `plain`, which protects nobody (RFC 9700 §2.1.1).
        if query.get("code_challenge_method") != "S256" or not _DIGEST.fullmatch(query.get("code_challenge", "")):
            raise OAuthError("invalid_request", "PKCE with code_challenge_method=S256 is required.")
        if query.get("scope"):
            # Silently giving more than was asked for would be worse than giving nothing.
            raise OAuthError("invalid_scope", "There are no scopes here: a grant acts with the person's own roles.")
        if query.get("resource", issuer) != issuer:
            raise OAuthError("invalid_target", "Tokens are for this app alone.")
        jkt = query.get("dpop_jkt")
        if jkt is not None and not _DIGEST.fullmatch(jkt):
            raise OAuthError("invalid_request", "dpop_jkt is not an RFC 7638 thumbprint.")
        if len(query.get("state", "")) > STATE_LENGTH_MAX:
            raise OAuthError("invalid_request", f"state is longer than {STATE_LENGTH_MAX} characters.")
        return cls(client_id, redirect_uri, query["code_challenge"], jkt)


@dataclass(frozen=True, slots=True)
class Redeemed:
    """A code that was good, and is used up now."""

    code_hash: bytes
    session_id: UUID
    """The browser session in which the person consented."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """A code that was used before. `grant_id` is what it gave then, if anything."""

    grant_id: UUID | None


async def issue_code(tx: Any, request: CodeRequest, session_id: UUID) -> str:
    """A fresh code. Old ones are swept on the way."""
    code = new_token()
    await tx.execute(
        "DELETE FROM seawall.authorization_codes WHERE expires_at < now() - make_interval(secs => $1)", REMEMBERED_S
    )
    await tx.execute(
        """INSERT INTO seawall.authorization_codes
             (code_hash, client_id, redirect_uri, challenge, jkt, session_id, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))""",
        token_hash(code),
        request.client_id,
        request.redirect_uri,
        request.challenge,
        request.jkt,
        session_id,
        LIFETIME_S,
    )
    return code


async def redeem_code(
    tx: Any, code: str, *, client_id: str, redirect_uri: str, verifier: str, jkt: str | None
) -> Redeemed | Replayed | None:
    """Use up a code, whether or not the rest is right. None when it is unknown, over, or another's.

    Of two that come at once, the row's lock makes one the first; the other finds it used, together with its grant.
    """
    row = await tx.fetchrow(
        """SELECT client_id, redirect_uri, challenge, jkt, session_id, grant_id, used_at, expires_at > now() AS live
           FROM seawall.authorization_codes WHERE code_hash = $1 FOR UPDATE""",
        token_hash(code),
    )
    if row is None:
        return None
    if row["used_at"] is not None:
        return Replayed(row["grant_id"])
    await tx.execute(
        "UPDATE seawall.authorization_codes SET used_at = clock_timestamp() WHERE code_hash = $1", token_hash(code)
    )
    if not row["live"] or (row["client_id"], row["redirect_uri"]) != (client_id, redirect_uri):
        return None
    if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(challenge_of(verifier), row["challenge"]):
        return None
    if row["jkt"] is not None and row["jkt"] != jkt:
        return None
    return Redeemed(token_hash(code), row["session_id"])


async def remember_grant(tx: Any, redeemed: Redeemed, grant_id: UUID) -> None:
    """Note what a code gave, so that its replay can end it."""
    await tx.execute(
        "UPDATE seawall.authorization_codes SET grant_id = $2 WHERE code_hash = $1", redeemed.code_hash, grant_id
    )
