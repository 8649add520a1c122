"""Access tokens: `at+jwt` of at most five minutes (RFC 9068), written and read by this app alone.

A library verifies the signature; all that a stolen, foreign or invented token could get wrong is refused here, because
JWT libraries accept a wrong `typ`, a lifetime of ten years or a text as `exp` (RFC 8725 §3.8–3.12).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import orjson
from joserfc import jws

from seawall.core.clock import CLOCK_SKEW_MAX_S
from seawall.identity.clients.refusals import ALGORITHM
from seawall.identity.clients.signing_keys import SigningKey, SigningKeys
from seawall.identity.jose import NotVerified, json_of, read_header

TYPE = "at+jwt"
LIFETIME_MAX_S = 300
TOKEN_LENGTH_MAX = 2_048
NUMBER_MAX = 2**31 - 1

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_KID = re.compile(r"[A-Za-z0-9_-]{43}")
_CLIENT = re.compile(r"[a-z0-9_-]{1,64}")
_SUBJECT = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a verified access token says."""

    subject: str
    """What the client knows the person by; admission asks whether the grant is theirs."""
    client_id: str
    grant_id: UUID
    token_id: UUID
    epoch: int
    generation: int
    """Of the refresh family when the token was made."""
    issued_at: int
    expires_at: int
    jkt: str | None
    """The thumbprint of the key that the token is bound to."""
    kid: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom and what a new token stands for."""

    person: str
    """What the client knows them by, and never their id: tokens travel, and two clients could join what they know."""
    client_id: str
    grant_id: UUID
    epoch: int
    generation: int
    jkt: str | None


def write_token(subject: Subject, signing: SigningKey, *, issuer: str, lifetime_s: int, now_s: int) -> str:
    """A fresh access token. `iss` and `aud` are both this app: nobody else's token counts here, nor ours elsewhere."""
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": issuer,
        "sub": subject.person,
        "client_id": subject.client_id,
        "iat": now_s,
        "nbf": now_s,
        "exp": now_s + min(lifetime_s, LIFETIME_MAX_S),
        "jti": str(uuid4()),
        "sid": str(subject.grant_id),
        "epoch": subject.epoch,
        "gen": subject.generation,
    }
    if subject.jkt is not None:
        claims["cnf"] = {"jkt": subject.jkt}
    header = {"alg": ALGORITHM, "typ": TYPE, "kid": signing.kid}
    return jws.serialize_compact(header, orjson.dumps(claims), signing.key, algorithms=[ALGORITHM])


async def read_token(token: str, keys: SigningKeys, *, issuer: str, now_s: int) -> AccessClaims:
    """Verify an access token's form, signature and claims; whether its grant lives is the database's to say.

    Raises:
        NotVerified: anything is not right, whatever it is.
    """
    if len(token) > TOKEN_LENGTH_MAX:
        raise NotVerified("malformed")
    header = read_header(token)
    kid = header.get("kid")
    # RFC 8725 §3.11: an ID token, a logout token or a proof, signed by whatever key, is not an access token.
    if header.get("typ") != TYPE or not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise NotVerified("header")
    verified = (await keys.verifying(kid)).verify(token, {ALGORITHM})
    return _claims(json_of(verified.payload), kid, issuer, now_s)


def _claims(claims: dict[str, Any], kid: str, issuer: str, now_s: int) -> AccessClaims:
    if claims.get("iss") != issuer:
        raise NotVerified("issuer")
    if claims.get("aud") != issuer:
        raise NotVerified("audience")
    issued, expires = _times(claims, now_s)
    return AccessClaims(
        subject=_word(claims, "sub", _SUBJECT),
        client_id=_word(claims, "client_id", _CLIENT),
        grant_id=_uuid(claims, "sid"),
        token_id=_uuid(claims, "jti"),
        epoch=_number(claims, "epoch"),
        generation=_number(claims, "gen"),
        issued_at=issued,
        expires_at=expires,
        jkt=_thumbprint(claims),
        kid=kid,
    )


def _times(claims: dict[str, Any], now_s: int) -> tuple[int, int]:
    issued, not_before, expires = (_number(claims, name, most=2**53) for name in ("iat", "nbf", "exp"))
    if expires <= now_s:
        raise NotVerified("expired")
    # Other processes' clocks may be ahead; being lenient with `exp` too would only lengthen every token's life.
    if max(issued, not_before) > now_s + CLOCK_SKEW_MAX_S:
        raise NotVerified("not-yet-valid")
    if not 0 < expires - min(issued, not_before) <= LIFETIME_MAX_S:
        raise NotVerified("lifetime")
    return issued, expires


def _thumbprint(claims: dict[str, Any]) -> str | None:
    if "cnf" not in claims:
        return None
    confirmation = claims["cnf"]
    # An unknown or empty confirmation is still one: ignoring it would turn a bound token into a bearer token.
    if not isinstance(confirmation, dict) or confirmation.keys() != {"jkt"}:
        raise NotVerified("confirmation")
    return _word(confirmation, "jkt", _KID)


def _number(claims: dict[str, Any], name: str, *, most: int = NUMBER_MAX) -> int:
    """A whole number, not a text that looks like one, not `true`."""
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= most:
        raise NotVerified("malformed")
    return value


def _word(claims: dict[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise NotVerified("malformed")
    return value


def _uuid(claims: dict[str, Any], name: str) -> UUID:
    return UUID(_word(claims, name, _UUID))
