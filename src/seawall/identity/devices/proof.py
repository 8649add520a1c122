"""A DBSC proof: a compact JWS of type `dbsc+jwt` whose `jti` is the challenge. A registration brings its public key
along.

joserfc checks the signature; everything else is ours (RFC 8725). Only a registration may bring a key, and only because
that key is then remembered for this one session: it vouches for nobody.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

from joserfc import jws
from joserfc.jwk import import_key
from joserfc.jws import JWSRegistry

from seawall.identity.devices.refusals import ProofRefused, WrongKey
from seawall.identity.tokens import strict_object

ALGORITHMS = ("ES256", "RS256")
"""What browsers offer. TPMs of old make RSA keys only."""
PROOF_LENGTH_MAX = 8_192
RSA_BITS = range(2_048, 4_097)
RSA_EXPONENT = "AQAB"

_COMPACT = re.compile(r"[A-Za-z0-9_-]{1,4096}\.[A-Za-z0-9_-]{1,2048}\.[A-Za-z0-9_-]{16,1024}")
_COORDINATE = re.compile(r"[A-Za-z0-9_-]{43}")
_HEADER_NAMES = frozenset({"alg", "typ", "jwk"})


class _Registry(JWSRegistry):
    """joserfc allows a header 512 bytes; one that brings an RSA key of 4,096 bits has a thousand."""

    max_header_length = 2_048


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof that was read and not yet believed."""

    token: str
    algorithm: str
    challenge: str
    key: dict[str, str] | None
    """The public key that it brought along: its essential members (RFC 7638) only."""

    def verify(self, algorithm: str, key: dict[str, Any]) -> None:
        """Return when `key` made the signature.

        Raises:
            WrongKey: it did not, or by another algorithm.
        """
        if self.algorithm != algorithm:
            raise WrongKey
        try:
            registry = _Registry(algorithms=[algorithm], strict_check_header=False)
            jws.deserialize_compact(self.token, import_key(key), registry=registry)
        except Exception:  # whatever a verifier stumbles over is not a signature
            raise WrongKey from None


def read_proof(value: str) -> Proof:
    """Read the value of `Secure-Session-Response`: a token, in quotes or bare.

    Raises:
        ProofRefused: it does not have the form of a proof.
    """
    token = value.strip()
    if len(token) > 1 and token[0] == token[-1] == '"':
        token = token[1:-1]
    if len(token) > PROOF_LENGTH_MAX or _COMPACT.fullmatch(token) is None:
        raise ProofRefused("proof-malformed")
    head, body, _ = token.split(".")
    header, claims = _object(head), _object(body)
    algorithm, challenge = header.get("alg"), claims.get("jti")
    if algorithm not in ALGORITHMS:
        raise ProofRefused("proof-algorithm")
    if header.get("typ") != "dbsc+jwt" or not header.keys() <= _HEADER_NAMES:
        raise ProofRefused("proof-header")
    if not isinstance(challenge, str):
        raise ProofRefused("proof-claims")
    key = _public_key(header["jwk"], algorithm) if "jwk" in header else None
    return Proof(token, algorithm, challenge, key)


def _object(part: str) -> dict[str, Any]:
    try:
        return strict_object(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:  # also what is not base64 or not UTF-8
        raise ProofRefused("proof-malformed") from None


def _public_key(jwk: object, algorithm: str) -> dict[str, str]:
    """The essential members of a public JWK that fits the algorithm.

    Raises:
        ProofRefused: it is of another kind, weak, or not a point of its curve.
    """
    if not isinstance(jwk, dict) or not all(isinstance(value, str) for value in jwk.values()) or "d" in jwk:
        raise ProofRefused("key-malformed")
    names = ("crv", "kty", "x", "y") if algorithm == "ES256" else ("e", "kty", "n")
    if not jwk.keys() >= set(names):
        raise ProofRefused("key-malformed")
    key = {name: str(jwk[name]) for name in names}
    fits = (
        (key["kty"], key["crv"]) == ("EC", "P-256") and all(_COORDINATE.fullmatch(key[n]) for n in "xy")
        if algorithm == "ES256"
        else (key["kty"], key["e"]) == ("RSA", RSA_EXPONENT) and _bits(key["n"]) in RSA_BITS
    )
    if not fits:
        raise ProofRefused("key-unfit")
    try:
        import_key({**key}).get_op_key("verify")  # also whether it is a point of its curve
    except Exception:
        raise ProofRefused("key-unfit") from None
    return key


def _bits(number: str) -> int:
    try:
        return int.from_bytes(urlsafe_b64decode(number + "=" * (-len(number) % 4)), "big").bit_length()
    except ValueError:
        return 0
