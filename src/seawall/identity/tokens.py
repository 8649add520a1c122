"""Checking an ID token: OpenID Connect Core §3.1.3.7, RFC 7515, RFC 8725.

joserfc verifies the signature. Everything else is ours, because `jwt.decode` of joserfc checks no claims, and because
both joserfc and PyJWT accept duplicate claims and any `kid` when there is a single key.
"""

from __future__ import annotations

import binascii
import hmac
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeGuard

from joserfc import jws
from joserfc.jwk import import_key
from joserfc.jws import JWSRegistry

from seawall.core.clock import CLOCK_SKEW_MAX_S
from seawall.identity.refusals import SignInRefused

ALGORITHMS = frozenset({"ES256", "RS256", "PS256", "EdDSA"})
"""Asymmetric only. `none` and `HS*` are not in here, whatever a provider advertises (RFC 8725 §3.1)."""

TOKEN_LENGTH_MAX = 32_768
TOKEN_AGE_MAX_S = 600
"""An ID token is made when its code is exchanged; an old one is a replay."""
RSA_BITS_MIN = 2_048

_COMPACT = re.compile(r"[A-Za-z0-9_-]{1,4096}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{16,2048}")
_KEY_TYPES = {"ES256": "EC", "RS256": "RSA", "PS256": "RSA", "EdDSA": "OKP"}
# A token must not bring its own key (RFC 8725 §3.10), nor headers that we would have to understand (RFC 7515 §4.1.11).
_HEADERS_REFUSED = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip"})


class UnknownKey(SignInRefused):
    """The token names a key that is not in the set at hand; one refetch of the set may help."""

    def __init__(self) -> None:
        super().__init__("token-key-unknown")


@dataclass(frozen=True, slots=True)
class IdClaims:
    """What a verified ID token says."""

    issuer: str
    subject: str
    email: str | None
    """Lower case, and only if the provider says that it verified the address."""
    auth_time: int | None
    amr: tuple[str, ...]
    session: str | None = None
    """`sid`: the provider's own session, by which it may end ours (Back-Channel Logout §2.1)."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the token must say."""

    issuer: str
    client_id: str
    nonce: str
    algorithms: Collection[str] = ALGORITHMS
    max_age_s: int | None = None
    """When set, the person must have authenticated at the provider within so many seconds."""
    acr_values: tuple[str, ...] = ()
    """When given, `acr` must be one of them. Core calls `acr_values` voluntary; asking in vain would be no demand."""


def verify_id_token(token: object, keys: Iterable[dict[str, Any]], expected: Expected, *, now_s: int) -> IdClaims:
    """Verify signature and claims.

    Args:
        token: what the token endpoint answered as `id_token`.
        keys: the provider's JWK set, as parsed JSON.
        expected: issuer, client, nonce and algorithms of this sign-in.
        now_s: the time now, seconds since the epoch.

    Raises:
        UnknownKey: no key of the set has the token's `kid`.
        SignInRefused: anything else is not right.
    """
    return _claims(verified_claims(token, keys, expected.algorithms, types=("JWT",)), expected, now_s)


def verified_claims(
    token: object, keys: Iterable[dict[str, Any]], algorithms: Collection[str], *, types: Collection[str]
) -> dict[str, Any]:
    """The claims of a token with a good signature; none of them is checked yet.

    Args:
        token: a compact JWS.
        keys: a JWK set, as parsed JSON.
        algorithms: what the signer may use; ours at most.
        types: values of `typ`, upper case; a token without one counts as `JWT`.

    Raises:
        UnknownKey: no key of the set has the token's `kid`.
        SignInRefused: anything else is not right.
    """
    if not isinstance(token, str) or len(token) > TOKEN_LENGTH_MAX or _COMPACT.fullmatch(token) is None:
        raise SignInRefused("token-malformed")
    header = _object(_part(token.split(".")[0]), "token-header")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS & frozenset(algorithms):
        raise SignInRefused("token-algorithm")
    if _HEADERS_REFUSED & header.keys() or str(header.get("typ", "JWT")).upper() not in types:
        raise SignInRefused("token-header")
    key = _key(list(keys), algorithm, header.get("kid"))
    try:
        registry = JWSRegistry(algorithms=[algorithm], strict_check_header=False)
        payload = jws.deserialize_compact(token, import_key(key), registry=registry).payload
    except Exception:  # whatever a verifier stumbles over is not a signature
        raise SignInRefused("token-signature") from None
    return _object(payload, "token-payload")


def _part(text: str) -> bytes:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise SignInRefused("token-malformed") from None


def strict_object(raw: bytes | str) -> dict[str, Any]:
    """Parse a JSON object; a name that occurs twice, NaN and anything but an object are errors.

    Raises:
        ValueError: also for nesting that exhausts the parser.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name occurs twice")
        return found

    def no_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")

    try:
        value = json.loads(raw, object_pairs_hook=once, parse_constant=no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _object(raw: bytes, reason: str) -> dict[str, Any]:
    try:
        return strict_object(raw)
    except ValueError:
        raise SignInRefused(reason) from None


def _key(keys: list[dict[str, Any]], algorithm: str, kid: object) -> dict[str, Any]:
    """The one key for this token. `kid` must match exactly; without one there must be no choice."""
    fitting = [key for key in keys if _fits(key, algorithm)]
    if kid is not None:
        fitting = [key for key in fitting if key.get("kid") == kid]
    if not fitting:
        raise UnknownKey
    if len(fitting) > 1:
        raise SignInRefused("token-key-ambiguous")
    key = fitting[0]
    if key["kty"] == "RSA":
        modulus = key.get("n")
        if not isinstance(modulus, str) or int.from_bytes(_part(modulus), "big").bit_length() < RSA_BITS_MIN:
            raise SignInRefused("token-key-weak")
    return key


def _fits(key: dict[str, Any], algorithm: str) -> bool:
    return (
        isinstance(key, dict)
        and key.get("kty") == _KEY_TYPES[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (algorithm != "ES256" or key.get("crv") == "P-256")
    )


def _claims(claims: dict[str, Any], expected: Expected, now_s: int) -> IdClaims:
    if claims.get("iss") != expected.issuer:
        raise SignInRefused("token-issuer")
    check_audience(claims, expected.client_id)
    check_times(claims, now_s)
    nonce = claims.get("nonce")
    if not is_word(nonce) or not hmac.compare_digest(nonce, expected.nonce):
        raise SignInRefused("token-nonce")
    subject = claims.get("sub")
    if not is_word(subject) or len(subject) > 255:
        raise SignInRefused("token-subject")
    auth_time = _numeric_date(claims, "auth_time", required=expected.max_age_s is not None)
    if auth_time is not None and auth_time > now_s + CLOCK_SKEW_MAX_S:
        raise SignInRefused("token-auth-time")
    if expected.max_age_s is not None and (auth_time or 0) < now_s - expected.max_age_s - CLOCK_SKEW_MAX_S:
        raise SignInRefused("token-auth-time")
    if expected.acr_values and claims.get("acr") not in expected.acr_values:
        raise SignInRefused("token-acr")
    email = claims.get("email")
    # Only the boolean counts: "false" is a true string.
    verified = claims.get("email_verified") is True and isinstance(email, str) and email.isprintable()
    amr = claims.get("amr")
    return IdClaims(
        issuer=expected.issuer,
        subject=subject,
        # Of bytes, so that only ASCII's letters are folded: the Kelvin sign in lower case is our "k", and whoever owns
        # the mailbox written with it would be taken for somebody else.
        email=str(email).encode().lower().decode() if verified else None,
        auth_time=auth_time,
        amr=tuple(a for a in amr[:8] if is_word(a) and len(a) <= 32) if isinstance(amr, list) else (),
        session=session_of(claims),
    )


def session_of(claims: dict[str, Any]) -> str | None:
    """`sid`, the provider's name for its session, if it says one.

    Raises:
        SignInRefused: it is no plain word of bounded length.
    """
    sid = claims.get("sid")
    if sid is not None and (not is_word(sid) or len(sid) > 255):
        raise SignInRefused("token-session")
    return sid


def is_word(value: object) -> TypeGuard[str]:
    """Non-empty printable ASCII: no NUL, which no database stores, and no half surrogate, which nothing encodes."""
    return isinstance(value, str) and value != "" and value.isascii() and value.isprintable()


def check_audience(claims: dict[str, Any], client_id: str) -> None:
    """`aud` names us, and nobody else without `azp` (Core §3.1.3.7). Raises SignInRefused."""
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or client_id not in audiences:
        raise SignInRefused("token-audience")
    azp = claims.get("azp")
    # With several audiences only `azp` says whom the token was made for.
    if (azp is None and len(audiences) > 1) or (azp is not None and azp != client_id):
        raise SignInRefused("token-authorized-party")


def check_times(claims: dict[str, Any], now_s: int) -> None:
    """`exp` and `iat` are there and hold, `nbf` holds; within 60 s of clock skew. Raises SignInRefused."""
    expires = _numeric_date(claims, "exp", required=True)
    issued = _numeric_date(claims, "iat", required=True)
    not_before = _numeric_date(claims, "nbf", required=False)
    if expires is None or expires <= now_s - CLOCK_SKEW_MAX_S:
        raise SignInRefused("token-expired")
    if issued is None or not now_s - TOKEN_AGE_MAX_S - CLOCK_SKEW_MAX_S <= issued <= now_s + CLOCK_SKEW_MAX_S:
        raise SignInRefused("token-issued-at")
    if not_before is not None and not_before > now_s + CLOCK_SKEW_MAX_S:
        raise SignInRefused("token-not-yet-valid")


def _numeric_date(claims: dict[str, Any], name: str, *, required: bool) -> int | None:
    """A NumericDate (RFC 7519 §2): a bounded number. `true` is an `int` in Python and is refused."""
    value = claims.get(name)
    if value is None and not required:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1e12:
        raise SignInRefused("token-time-malformed")
    return int(value)
