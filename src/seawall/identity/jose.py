"""Reading a signed token (JWS, RFC 7515) strictly: form, header, key. What it says is for others to check.

joserfc verifies the signature. What it takes and we do not: a set that mixes secrets with public keys, two keys of one
`kid`, a `kid` that names none, weak RSA keys, keys for encryption, headers that bring a key along (RFC 8725 §3.1–3.10).
Proved with the Wycheproof vectors in tests/conformance.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from joserfc import jws
from joserfc.jwk import import_key
from joserfc.jws import JWSRegistry

from seawall.core.errors import SeawallError
from seawall.identity.tokens import strict_object

TOKEN_LENGTH_MAX = 8_192
KEYS_MAX = 16
RSA_BITS_MIN = 2_048
HMAC_BYTES_MIN = {"HS256": 32, "HS384": 48, "HS512": 64}

_COMPACT = re.compile(r"[A-Za-z0-9_-]{2,4096}\.[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+")
_KEY_TYPES = {"HS": "oct", "RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
# A token must not bring its own key (RFC 8725 §3.10), nor headers that we would have to understand (RFC 7515 §4.1.11).
_HEADERS_REFUSED = frozenset({"jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip", "enc"})
# Moduli of Infineon's broken generator (ROCA, CVE-2017-15361) are powers of 65537 modulo every one of these.
_ROCA_PRIMES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103,
                107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167)  # fmt: skip


class NotVerified(SeawallError):
    """The token is not one that a key of the set has signed. `reason` is a code for logs and tests, never shown.

    Args:
        reason: such as `malformed`, `algorithm`, `header`, `key-unknown`, `key-policy`, `signature`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Verified:
    """A token whose signature is right."""

    header: dict[str, Any]
    payload: bytes


def decode_part(text: str) -> bytes:
    """One part of a compact token.

    Raises:
        NotVerified: it is not base64url, or not the one way to write its bytes.
    """
    try:
        raw = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise NotVerified("malformed") from None
    if encode_part(raw) != text:
        raise NotVerified("malformed")
    return raw


def encode_part(raw: bytes) -> str:
    """base64url without padding (RFC 7515 §2)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def read_header(token: object) -> dict[str, Any]:
    """The protected header of a compact token, unverified.

    Raises:
        NotVerified: the token has not the form of one.
    """
    if not isinstance(token, str) or len(token) > TOKEN_LENGTH_MAX or _COMPACT.fullmatch(token) is None:
        raise NotVerified("malformed")
    return json_of(decode_part(token.partition(".")[0]))


def json_of(raw: bytes) -> dict[str, Any]:
    """A JSON object in which no name occurs twice.

    Raises:
        NotVerified: it is none.
    """
    try:
        return strict_object(raw)
    except (ValueError, RecursionError):
        raise NotVerified("malformed") from None


class KeySet:
    """Keys that may have signed a token, checked once and held ready.

    Args:
        jwks: JSON Web Keys, parsed.

    Raises:
        NotVerified: `key-policy`, when the set or one of its keys is not fit.
    """

    def __init__(self, jwks: Sequence[Mapping[str, Any]]) -> None:
        _check_set(jwks)
        self._keys = [(dict(jwk), _imported(jwk)) for jwk in jwks]

    def __contains__(self, kid: object) -> bool:
        return any(jwk.get("kid") == kid for jwk, _ in self._keys)

    def verify(self, token: object, algorithms: Collection[str]) -> Verified:
        """Check form, header and signature.

        Raises:
            NotVerified: anything is not right.
        """
        header = read_header(token)
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in algorithms:
            raise NotVerified("algorithm")
        if _HEADERS_REFUSED & header.keys():
            raise NotVerified("header")
        return Verified(header, check_signature(token, self._key(algorithm, header), algorithm))

    def _key(self, algorithm: str, header: Mapping[str, Any]) -> Any:
        """The one key for this token: a `kid` must name it; without one there must be no choice."""
        fitting = [(jwk, key) for jwk, key in self._keys if _fits(jwk, algorithm)]
        if "kid" in header:
            fitting = [(jwk, key) for jwk, key in fitting if jwk.get("kid") == header["kid"]]
        if not fitting:
            raise NotVerified("key-unknown")
        if len(fitting) > 1:
            raise NotVerified("key-ambiguous")
        return fitting[0][1]


def check_signature(token: Any, key: Any, algorithm: str) -> bytes:
    """The payload, if `key` has signed it.

    Raises:
        NotVerified: it has not.
    """
    try:
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        return jws.deserialize_compact(token, key, registry=registry).payload
    except Exception:  # whatever a verifier stumbles over is not a signature
        raise NotVerified("signature") from None


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The RFC 7638 thumbprint of an EC public key: what `cnf.jkt` names, and our `kid`s."""
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return encode_part(sha256(orjson.dumps(required, option=orjson.OPT_SORT_KEYS)).digest())


def _fits(jwk: Mapping[str, Any], algorithm: str) -> bool:
    return (
        jwk.get("kty") == _KEY_TYPES.get(algorithm[:2])
        and jwk.get("alg", algorithm) == algorithm
        and jwk.get("crv") == _CURVES.get(algorithm, jwk.get("crv"))
    )


def _imported(jwk: Mapping[str, Any]) -> Any:
    try:
        return import_key(dict(jwk))
    except Exception:  # a key that cannot be read is none
        raise NotVerified("key-policy") from None


def _check_set(jwks: Sequence[Mapping[str, Any]]) -> None:
    kids = [jwk.get("kid") for jwk in jwks]
    mixed = len({jwk.get("kty") == "oct" for jwk in jwks}) > 1
    if len(jwks) > KEYS_MAX or len(set(kids)) != len(kids) or mixed or not all(map(_is_fit, jwks)):
        raise NotVerified("key-policy")


def _is_fit(jwk: Mapping[str, Any]) -> bool:
    """Whether a key is one for signatures, and strong enough."""
    operations = jwk.get("key_ops")
    if jwk.get("use", "sig") != "sig" or (operations is not None and not {"verify", "sign"} & set(operations)):
        return False
    if jwk.get("kty") == "oct":
        return len(decode_part(str(jwk.get("k", "")))) >= HMAC_BYTES_MIN.get(str(jwk.get("alg")), 32)
    if jwk.get("kty") == "RSA":
        modulus = int.from_bytes(decode_part(str(jwk.get("n", ""))), "big")
        return modulus.bit_length() >= RSA_BITS_MIN and not _is_roca(modulus)
    return True


def _is_roca(modulus: int) -> bool:
    return all(modulus % prime in _POWERS[prime] for prime in _ROCA_PRIMES)


_POWERS = {prime: {pow(65537, power, prime) for power in range(prime)} for prime in _ROCA_PRIMES}
