"""ID tokens: one honest token, and every way in which it can be wrong."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from seawall.identity.refusals import SignInRefused
from seawall.identity.tokens import Expected, UnknownKey, strict_object, verify_id_token

NOW = 1_800_000_000
ISSUER = "https://idp.example"
EC = ECKey.generate_key("P-256", parameters={"kid": "k1"})
OTHER = ECKey.generate_key("P-256", parameters={"kid": "k1"})
RSA = RSAKey.generate_key(2048, parameters={"kid": "r1"})
ED = OKPKey.generate_key("Ed25519", parameters={"kid": "e1"})
KEYS = [key.as_dict(private=False) for key in (EC, RSA, ED)]
EXPECTED = Expected(issuer=ISSUER, client_id="app", nonce="n-1")
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "sub": "s-1",
    "aud": "app",
    "iat": NOW,
    "exp": NOW + 300,
    "nonce": "n-1",
    "email": "Ann@Example.com",
    "email_verified": True,
}


def b64(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(claims: dict[str, Any] | bytes | None = None, key: Any = EC, **header: Any) -> str:
    head = {"alg": "ES256", "kid": "k1", "typ": "JWT", **header}
    head = {name: value for name, value in head.items() if value is not None}
    payload = claims if isinstance(claims, bytes) else json.dumps({**CLAIMS, **(claims or {})}).encode()
    return jws.serialize_compact(head, payload, key, algorithms=[head["alg"]])


def reason(value: object, keys: Any = KEYS, expected: Expected = EXPECTED, now_s: int = NOW) -> str:
    with pytest.raises(SignInRefused) as refused:
        verify_id_token(value, keys, expected, now_s=now_s)
    return refused.value.reason


def test_an_honest_token() -> None:
    claims = verify_id_token(token(), KEYS, EXPECTED, now_s=NOW)
    assert (claims.issuer, claims.subject, claims.email) == (ISSUER, "s-1", "ann@example.com")


# RFC 9864 renames it to Ed25519; providers still say EdDSA.
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
@pytest.mark.parametrize(("key", "algorithm", "kid"), [(RSA, "RS256", "r1"), (RSA, "PS256", "r1"), (ED, "EdDSA", "e1")])
def test_the_other_algorithms(key: Any, algorithm: str, kid: str) -> None:
    good = jwt.encode({"alg": algorithm, "kid": kid}, CLAIMS, key, algorithms=[algorithm])
    assert verify_id_token(good, KEYS, EXPECTED, now_s=NOW).subject == "s-1"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"iss": "https://idp.example/"}, "token-issuer"),
        ({"iss": [ISSUER]}, "token-issuer"),
        ({"aud": "other"}, "token-audience"),
        ({"aud": []}, "token-audience"),
        ({"aud": {"app": 1}}, "token-audience"),
        ({"aud": None}, "token-audience"),
        ({"aud": ["app", "other"]}, "token-authorized-party"),
        ({"azp": "other"}, "token-authorized-party"),
        ({"nonce": "n-2"}, "token-nonce"),
        ({"nonce": None}, "token-nonce"),
        ({"nonce": ["n-1"]}, "token-nonce"),
        ({"exp": NOW - 61}, "token-expired"),
        ({"exp": None}, "token-time-malformed"),
        ({"exp": str(NOW + 300)}, "token-time-malformed"),
        ({"exp": True}, "token-time-malformed"),
        ({"exp": 1e300}, "token-time-malformed"),
        ({"iat": NOW + 61}, "token-issued-at"),
        ({"iat": NOW - 700}, "token-issued-at"),
        ({"nbf": NOW + 61}, "token-not-yet-valid"),
        ({"sub": ""}, "token-subject"),
        ({"sub": 7}, "token-subject"),
        ({"sub": "x" * 256}, "token-subject"),
        ({"sub": "a\x00b"}, "token-subject"),
        ({"sub": "\ud800"}, "token-subject"),
        ({"nonce": "\ud800"}, "token-nonce"),
        ({"auth_time": -1}, "token-time-malformed"),
        ({"auth_time": NOW + 61}, "token-auth-time"),
        ({"auth_time": "now"}, "token-time-malformed"),
    ],
)
def test_wrong_claims(change: dict[str, Any], code: str) -> None:
    assert reason(token(change)) == code


@pytest.mark.parametrize(
    "change",
    [{"exp": NOW - 59}, {"iat": NOW + 59}, {"nbf": NOW + 59}, {"aud": ["app"]}, {"aud": ["app", "b"], "azp": "app"}],
)
def test_within_a_minute_of_skew_and_other_lawful_forms(change: dict[str, Any]) -> None:
    assert verify_id_token(token(change), KEYS, EXPECTED, now_s=NOW).subject == "s-1"


@pytest.mark.parametrize("value", [False, "true", 1, None])
def test_an_address_counts_only_when_verified_is_the_boolean(value: Any) -> None:
    assert verify_id_token(token({"email_verified": value}), KEYS, EXPECTED, now_s=NOW).email is None


def test_only_ascii_letters_of_an_address_are_folded() -> None:
    for said, read in {
        "Kim@EXAMPLE.com": "kim@example.com",
        "\u212aim@example.com": "\u212aim@example.com",  # the Kelvin sign, which `str.lower` makes a "k" of
        "kim@\u212a.example": "kim@\u212a.example",
    }.items():
        assert verify_id_token(token({"email": said}), KEYS, EXPECTED, now_s=NOW).email == read


def test_what_the_database_could_not_store_is_left_out() -> None:
    odd = {"email": "a\x00@example.com", "amr": ["pwd", 7, "\ud800", "x" * 33, ["mfa"]]}
    claims = verify_id_token(token(odd), KEYS, EXPECTED, now_s=NOW)
    assert (claims.email, claims.amr) == (None, ("pwd",))


def test_max_age_needs_a_recent_auth_time() -> None:
    fresh = Expected(issuer=ISSUER, client_id="app", nonce="n-1", max_age_s=300)
    assert verify_id_token(token({"auth_time": NOW - 299}), KEYS, fresh, now_s=NOW).auth_time == NOW - 299
    assert reason(token({"auth_time": NOW - 361}), expected=fresh) == "token-auth-time"
    assert reason(token(), expected=fresh) == "token-time-malformed"


def test_unsigned_and_confused_algorithms() -> None:
    body = b64(CLAIMS)
    assert reason(f"{b64({'alg': 'none'})}.{body}.") == "token-malformed"
    assert reason(f"{b64({'alg': 'none'})}.{body}.{'A' * 43}") == "token-algorithm"
    signing = f"{b64({'alg': 'HS256', 'kid': 'k1'})}.{body}"
    mac = hmac.digest(EC.as_pem(private=False), signing.encode(), "sha256")
    assert reason(f"{signing}.{b64(mac)}") == "token-algorithm"
    only_rsa = Expected(issuer=ISSUER, client_id="app", nonce="n-1", algorithms={"RS256"})
    assert reason(token(), expected=only_rsa) == "token-algorithm"


def test_keys() -> None:
    assert reason(token(key=OTHER)) == "token-signature"
    assert reason(token(kid="k9")) == "token-key-unknown"
    with pytest.raises(UnknownKey):
        verify_id_token(token(kid="k9"), KEYS, EXPECTED, now_s=NOW)
    twice = [*KEYS, OTHER.as_dict(private=False)]
    assert reason(token(), keys=twice) == "token-key-ambiguous"
    assert reason(token(kid=None), keys=twice) == "token-key-ambiguous"
    assert verify_id_token(token(kid=None), KEYS, EXPECTED, now_s=NOW).subject == "s-1"
    assert reason(token(), keys=[{**KEYS[0], "use": "enc"}]) == "token-key-unknown"
    assert reason(token(), keys=[{**KEYS[0], "alg": "ES384"}]) == "token-key-unknown"
    assert reason(token(), keys=[]) == "token-key-unknown"
    assert reason(token(), keys=[{**KEYS[0], "x": 7}]) == "token-signature"
    weak = {"kty": "RSA", "kid": "w", "n": b64(b"\x01" * 128), "e": "AQAB"}
    assert reason(token(key=RSA, alg="RS256", kid="w"), keys=[weak]) == "token-key-weak"


@pytest.mark.parametrize(
    "header",
    [{"jwk": KEYS[0]}, {"typ": "at+jwt"}, {"typ": "logout+jwt"}, {"x5u": "https://evil.example"}],
)
def test_headers_that_a_token_must_not_bring(header: dict[str, Any]) -> None:
    head = {"alg": "ES256", "kid": "k1", **header}
    assert reason(f"{b64(head)}.{b64(CLAIMS)}.{'A' * 86}") == "token-header"


@pytest.mark.parametrize(
    "value", [None, 7, b"a.b.c", "", "a.b", "a.b.c.d", "a b.c.d", "x" * 40_000, "é.b.c", [], {"id_token": "x"}]
)
def test_garbage(value: object) -> None:
    assert reason(value) == "token-malformed"


def test_payloads_that_are_no_object() -> None:
    assert reason(token(b"[1]")) == "token-payload"
    assert reason(token(json.dumps(CLAIMS).encode()[:-1] + b',"sub":"admin"}')) == "token-payload"
    assert reason(token(json.dumps(CLAIMS).encode()[:-1] + b',"exp":NaN}')) == "token-payload"
    deep = json.dumps(CLAIMS).encode()[:-1] + b',"a":' + b"[" * 9_000 + b"]" * 9_000 + b"}"
    assert reason(token(deep)) == "token-payload"


def test_strict_object() -> None:
    assert strict_object(b'{"a": 1}') == {"a": 1}
    for bad in (b'{"a":1,"a":2}', b"[]", b"nul", b"\xff", b'{"a":Infinity}'):
        with pytest.raises(ValueError, match=r".*"):
            strict_object(bad)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from([*CLAIMS, "azp", "nbf", "auth_time", "amr"]), JSON_VALUES, min_size=1, max_size=4)
)
def test_whatever_the_claims_hold_there_is_an_answer_and_never_a_crash(change: dict[str, Any]) -> None:
    payload = json.dumps({**CLAIMS, **change}).encode()
    try:
        claims = verify_id_token(token(payload), KEYS, EXPECTED, now_s=NOW)
    except SignInRefused:
        return
    # What was accepted says what was expected.
    told = {**CLAIMS, **change}
    assert (told["iss"], told["nonce"], claims.subject) == (ISSUER, "n-1", told["sub"])
    assert told["aud"] == "app" or "app" in told["aud"]
    assert told["exp"] > NOW - 60


@given(st.text(alphabet="abcAB01-_.=+/ \n", max_size=60))
def test_whatever_the_text_is_it_is_refused(text: str) -> None:
    with pytest.raises(SignInRefused):
        verify_id_token(text, KEYS, EXPECTED, now_s=NOW)


@given(JSON_VALUES)
def test_whatever_the_keys_are_there_is_an_answer(value: Any) -> None:
    keys = (
        value
        if isinstance(value, list)
        else [value, {"kty": "EC", "crv": "P-256", "kid": "k1", "x": value, "y": value}]
    )
    with pytest.raises(SignInRefused):
        verify_id_token(token(), keys, EXPECTED, now_s=NOW)
