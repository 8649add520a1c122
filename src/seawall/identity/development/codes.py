"""Authorization codes: once, for 60 s, bound to client, redirect address and code challenge."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from seawall.core.errors import BadRequest
from seawall.core.ids import new_token, token_hash
from seawall.identity.transactions import challenge_of

LIFETIME_S = 60

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


class AuthorizationRefused(BadRequest):
    """The authorization request is not one that this provider answers. Shown, never redirected."""

    code = "authorization-refused"
    title = "This authorization request is refused"


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A checked authorization request (OpenID Connect Core §3.1.2.1)."""

    client_id: str
    redirect_uri: str
    challenge: str
    state: str
    nonce: str

    FIELDS = (
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "max_age",
    )

    @classmethod
    def parse(cls, query: dict[str, str], registered: set[tuple[str, str]]) -> AuthorizationRequest:
        """Check a request.

        Args:
            registered: pairs of client id and redirect address; compared exactly (RFC 9700 §2.1).

        Raises:
            AuthorizationRefused: naming what is not right; this provider speaks to developers.
        """
        if (query.get("client_id", ""), query.get("redirect_uri", "")) not in registered:
            raise AuthorizationRefused("The client and this redirect_uri are not registered together.")
        if query.get("response_type") != "code" or "openid" not in query.get("scope", "").split():
            raise AuthorizationRefused("Only response_type=code with scope openid is answered.")
        # RFC 7636 §4.3: a missing method would mean `plain`, which protects nobody (RFC 9700 §2.1.1).
        if query.get("code_challenge_method") != "S256" or not _CHALLENGE.fullmatch(query.get("code_challenge", "")):
            raise AuthorizationRefused("PKCE with code_challenge_method=S256 is required.")
        return cls(
            client_id=query["client_id"],
            redirect_uri=query["redirect_uri"],
            challenge=query["code_challenge"],
            state=query.get("state", ""),
            nonce=query.get("nonce", ""),
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """What a code stood for."""

    user_id: UUID
    nonce: str | None
    auth_time: datetime


async def issue_code(tx: Any, request: AuthorizationRequest, user_id: UUID) -> str:
    code = new_token()
    await tx.execute("DELETE FROM seawall.dev_codes WHERE expires_at < now()")
    await tx.execute(
        """INSERT INTO seawall.dev_codes
             (code_hash, user_id, client_id, redirect_uri, challenge, nonce, auth_time, expires_at)
           VALUES ($1, $2, $3, $4, $5, $6, now(), now() + make_interval(secs => $7))""",
        token_hash(code),
        user_id,
        request.client_id,
        request.redirect_uri,
        request.challenge,
        request.nonce or None,
        LIFETIME_S,
    )
    return code


async def redeem_code(tx: Any, *, code: str, client_id: str, redirect_uri: str, verifier: str) -> Grant | None:
    """Use up a code. It is gone after the first try, whether or not the rest was right."""
    row = await tx.fetchrow(
        """DELETE FROM seawall.dev_codes WHERE code_hash = $1
           RETURNING user_id, client_id, redirect_uri, challenge, nonce, auth_time, expires_at > now() AS live""",
        token_hash(code),
    )
    if row is None or not row["live"] or (row["client_id"], row["redirect_uri"]) != (client_id, redirect_uri):
        return None
    if not _VERIFIER.fullmatch(verifier) or not hmac.compare_digest(challenge_of(verifier), row["challenge"]):
        return None
    return Grant(row["user_id"], row["nonce"], row["auth_time"])
