"""Proofs of possession: one honest proof, and every way in which it can be wrong."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.identity.clients.dpop import Nonces, ProofRequest, verify_proof
from seawall.identity.clients.refusals import ProofRefused
from seawall.identity.jose import thumbprint
from seawall_check.probes.oauth import Key, b64, dumps

NOW = int(time.time())
URL = "https://shop.example/api/orders"
TOKEN = "a.b.c"
KEY, OTHER = Key.fresh(), Key.fresh()
NONCES = Nonces(b"n" * 32)
NONCE = NONCES.give(NOW)


def proof(method: str = "GET", url: str = URL, **changes: Any) -> str:
    given = {"access_token": TOKEN, "nonce": NONCE, **changes}
    given["claims"] = {"iat": NOW, **(given.get("claims") or {})}
    return KEY.proof(method, url, **given)


def verify(*headers: str, method: str = "GET", url: str = URL, token: str | None = TOKEN, now_s: int = NOW) -> Any:
    return verify_proof(list(headers), ProofRequest(method, url, token), NONCES, now_s=now_s)


def changed(**members: Any) -> str:
    return proof(claims=members)


def head(**members: Any) -> str:
    return proof(header=members)


WRONG = {
    "no jti": changed(jti=None),
    "an empty jti": changed(jti=""),
    "a long jti": changed(jti="x" * 129),
    "a jti that is a number": changed(jti=1),
    "a jti with NUL": changed(jti="a\0b"),
    "no htm": changed(htm=None),
    "another method": changed(htm="POST"),
    "the method in small letters": changed(htm="get"),
    "no htu": changed(htu=None),
    "another path": changed(htu="https://shop.example/api/order"),
    "a path below": changed(htu=URL + "/1"),
    "another host": changed(htu="https://evil.example/api/orders"),
    "another port": changed(htu="https://shop.example:8443/api/orders"),
    "another scheme": changed(htu="http://shop.example/api/orders"),
    "no scheme": changed(htu="//shop.example/api/orders"),
    "somebody in the address": changed(htu="https://shop.example@shop.example/api/orders"),
    "htu is a list": changed(htu=[URL]),
    "htu is no address": changed(htu="https://[::1/api"),
    "no iat": changed(iat=None),
    "too old": changed(iat=NOW - 61),
    "too new": changed(iat=NOW + 61),
    "90 s behind": changed(iat=NOW - 90),
    "90 s ahead": changed(iat=NOW + 90),
    "iat is a text": changed(iat=str(NOW)),
    "iat is true": changed(iat=True),
    "no ath": changed(ath=None),
    "ath of another token": proof(access_token="x.y.z"),
    "ath that is the token": changed(ath=TOKEN),
    "an access token's typ": head(typ="at+jwt"),
    "no typ": head(typ=None),
    "typ JWT": head(typ="JWT"),
    "alg none": head(alg="none"),
    "alg ES384": head(alg="ES384"),
    "alg HS256": head(alg="HS256"),
    "no key": head(jwk=None),
    "another key": head(jwk=OTHER.jwk),
    "the private key": head(jwk=KEY.private_jwk),
    "a secret as key": head(jwk={"kty": "oct", "k": "AAAA"}),
    "a point that is none": head(jwk={**KEY.jwk, "x": b64(b"\1" * 32)}),
    "another curve": head(jwk={**KEY.jwk, "crv": "P-384"}),
    "a coordinate that is a number": head(jwk={**KEY.jwk, "x": 1}),
    "a coordinate that is too short": head(jwk={**KEY.jwk, "x": b64(b"\1" * 31)}),
    "the key as a text": head(jwk="key"),
    "a kid": head(kid="x"),
    "a critical header": head(crit=["x"], x=1),
    "a key's address": head(jku="https://evil.example"),
    "altered": proof()[:-4] + "AAAA",
    "unsigned": proof().rpartition(".")[0] + ".",
    "a claim twice": KEY.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk}, b'{"htm":"GET","htm":"GET"}'),
    "not JSON": KEY.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk}, b"x"),
    "an array": KEY.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": KEY.jwk}, b"[]"),
    "huge": changed(pad="x" * 5_000),
    "nothing": "",
    "nonsense": "nonsense",
}


def test_an_honest_proof() -> None:
    found = verify(proof())
    assert found.jkt == KEY.thumbprint == thumbprint(KEY.jwk)
    assert len(found.seen_as) == 32
    assert verify(proof()).seen_as != found.seen_as
    assert verify(proof(access_token=None), token=None).jkt == found.jkt


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
def test_every_other_one_is_refused(wrong: str) -> None:
    with pytest.raises(ProofRefused) as refused:
        verify(wrong)
    assert refused.value.problem_code == "invalid-dpop-proof"
    assert not refused.value.nonce


def test_one_header_and_not_two() -> None:
    for headers in ([], [proof(), proof()]):
        with pytest.raises(ProofRefused):
            verify(*headers)


def test_an_unexpected_ath() -> None:
    with pytest.raises(ProofRefused):
        verify(proof(), token=None)


@pytest.mark.parametrize(
    "same",
    [
        URL + "?page=2",
        URL + "#top",
        "HTTPS://SHOP.example/api/orders",
        "https://shop.example:443/api/orders",
        "https://shop.example/api/%6Frders",
    ],
)
def test_the_same_address_in_other_words(same: str) -> None:
    assert verify(changed(htu=same)).jkt == KEY.thumbprint


def test_the_edges_of_the_window() -> None:
    for iat in (NOW - 60, NOW + 60, NOW + 0.5):
        assert verify(changed(iat=iat)).jkt == KEY.thumbprint


OTHER_NONCES = {
    "none": None,
    "nothing": "",
    "a letter": "x",
    "too long": "A" * 43,
    "far too long": "A" * 100,
    "too old": NONCES.give(NOW - 400),
    "from the future": NONCES.give(NOW + 200),
    "under another key": Nonces(b"m" * 32).give(NOW),
    "altered": NONCE[:-1] + ("A" if NONCE[-1] != "A" else "B"),
    "of the right length": b64(dumps("x" * 21)),
}


@pytest.mark.parametrize("nonce", OTHER_NONCES.values(), ids=OTHER_NONCES.keys())
def test_a_nonce_is_ours_and_young(nonce: str | None) -> None:
    with pytest.raises(ProofRefused) as refused:
        verify(proof(nonce=nonce))
    assert refused.value.problem_code == "use-dpop-nonce"
    assert NONCES.is_live(refused.value.headers["DPoP-Nonce"], NOW)
    assert 'error="use_dpop_nonce"' in refused.value.headers["WWW-Authenticate"]
    assert refused.value.for_token_endpoint().error == "use_dpop_nonce"


def test_a_nonce_serves_for_a_while() -> None:
    old = NONCES.give(NOW - 250)
    assert verify(proof(nonce=old)).jkt == KEY.thumbprint
    assert Nonces(b"n" * 32).is_live(old, NOW)  # another process has the same key


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_whatever_comes_is_refused_and_nothing_else_is_raised(text: str) -> None:
    for value in (text, f"{b64(text.encode())}.{b64(text.encode())}.AAAA"):
        with pytest.raises(ProofRefused):
            verify(value)
