"""DPoP (RFC 9449): proofs that the caller holds the key to which a token is bound, each for one request, once.

A proof carries a nonce of ours, so that none can be made in advance; it is taken within a minute of its `iat`; its
`jti` is remembered by the database. The nonce needs no storage: it is the time and a MAC over it.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import unquote, urlsplit

from joserfc.jwk import ECKey

from seawall.identity.clients.refusals import ALGORITHM, ProofRefused
from seawall.identity.jose import (
    NotVerified,
    check_signature,
    decode_part,
    encode_part,
    json_of,
    read_header,
    thumbprint,
)

TYPE = "dpop+jwt"
PROOF_LENGTH_MAX = 4_096
JTI_LENGTH_MAX = 128
IAT_WINDOW_S = 60
NONCE_LIFETIME_S = 300
NONCE_STEP_S = 30
"""All answers of half a minute give the same nonce."""

_MAC_BYTES = 16
_MEMBERS = {"kty", "crv", "x", "y"}


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that is right in itself. It still has to be new, which the database says for `seen_as`."""

    jkt: str
    seen_as: bytes
    """SHA-256 of key and `jti`."""


class Nonces:
    """Nonces of all processes of the app: whoever has the key can check what another one gave.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def give(self, now_s: int) -> str:
        """The nonce of this moment."""
        return self._at(now_s - now_s % NONCE_STEP_S)

    def is_live(self, nonce: object, now_s: int) -> bool:
        """Whether `nonce` is one of ours and not too old."""
        try:
            raw = decode_part(nonce) if isinstance(nonce, str) and len(nonce) <= 64 else b""
        except NotVerified:
            return False
        given_at = int.from_bytes(raw[:8], "big")
        if len(raw) != 8 + _MAC_BYTES or not -IAT_WINDOW_S <= now_s - given_at <= NONCE_LIFETIME_S:
            return False
        return hmac.compare_digest(self._at(given_at), str(nonce))

    def _at(self, given_at: int) -> str:
        stamp = given_at.to_bytes(8, "big")
        return encode_part(stamp + hmac.digest(self._key, b"dpop-nonce" + stamp, "sha256")[:_MAC_BYTES])


@dataclass(frozen=True, slots=True)
class ProofRequest:
    """The request that a proof must be for. `url` is scheme, host and path as we know them, not as a header says."""

    method: str
    url: str
    access_token: str | None = None


def verify_proof(headers: list[str], request: ProofRequest, nonces: Nonces, *, now_s: int) -> Proof:
    """Check a proof (RFC 9449 §4.3).

    Args:
        headers: every value of the request's `DPoP` header.

    Raises:
        ProofRefused: anything is not right; with a nonce to use when only that is missing.
    """
    if len(headers) != 1:
        raise ProofRefused("Exactly one DPoP header is needed.")
    try:
        jwk, claims = _verified(headers[0])
    except NotVerified:
        raise ProofRefused("The proof is not a dpop+jwt, signed with ES256 by the key in its header.") from None
    jti, issued = claims.get("jti"), claims.get("iat")
    if not isinstance(jti, str) or not 1 <= len(jti) <= JTI_LENGTH_MAX or not (jti.isascii() and jti.isprintable()):
        raise ProofRefused("jti is missing or too long.")
    if claims.get("htm") != request.method or not _is_url(claims.get("htu"), request.url):
        raise ProofRefused("htm and htu do not name this request.")
    if isinstance(issued, bool) or not isinstance(issued, int | float) or not abs(now_s - issued) <= IAT_WINDOW_S:
        raise ProofRefused("iat is missing, or not the time of now.")
    expected = None if request.access_token is None else token_digest(request.access_token)
    if claims.get("ath") != expected:
        raise ProofRefused("ath is not the digest of the access token.")
    if not nonces.is_live(claims.get("nonce"), now_s):
        raise ProofRefused("Use the nonce of the DPoP-Nonce header.", nonce=nonces.give(now_s))
    jkt = thumbprint(jwk)
    return Proof(jkt, sha256(f"{jkt}\0{jti}".encode()).digest())


def token_digest(access_token: str) -> str:
    """The `ath` of an access token (RFC 9449 §4.2)."""
    return encode_part(sha256(access_token.encode()).digest())


def _verified(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if len(proof) > PROOF_LENGTH_MAX:
        raise NotVerified("malformed")
    header = read_header(proof)
    jwk = header.get("jwk")
    # Nothing but the four members: a private `d`, or a `use` or `alg` that says otherwise, is a confused client.
    if header.keys() != {"typ", "alg", "jwk"} or header["typ"] != TYPE or header["alg"] != ALGORITHM:
        raise NotVerified("header")
    if not isinstance(jwk, dict) or not _MEMBERS <= jwk.keys() <= _MEMBERS | {"kid", "alg", "use", "key_ops", "ext"}:
        raise NotVerified("header")
    if jwk["kty"] != "EC" or jwk["crv"] != "P-256" or not all(_is_coordinate(jwk[name]) for name in ("x", "y")):
        raise NotVerified("header")
    public = {name: jwk[name] for name in _MEMBERS}
    try:
        key = ECKey.import_key(public)
    except Exception:  # a point that is not on the curve
        raise NotVerified("header") from None
    return public, json_of(check_signature(proof, key, ALGORITHM))


def _is_coordinate(value: object) -> bool:
    # RFC 7518 §6.2.1.2: always 32 bytes. One way to write a key, so one thumbprint for it.
    return isinstance(value, str) and len(value) == 43 and len(decode_part(value)) == 32


def _is_url(claimed: object, own: str) -> bool:
    """Whether `htu` is our address, without query and fragment and however it is escaped (RFC 9449 §4.3)."""
    if not isinstance(claimed, str) or not claimed.isascii():
        return False
    try:
        parts, known = urlsplit(claimed), urlsplit(own)
        port = parts.port
    except ValueError:
        return False
    if parts.username is not None or parts.password is not None:
        return False
    defaults = {"https": 443, "http": 80}
    said = (parts.scheme, parts.hostname, port or defaults.get(parts.scheme), unquote(parts.path or "/"))
    return said == (
        known.scheme,
        known.hostname,
        known.port or defaults.get(known.scheme),
        unquote(known.path or "/"),
    )
