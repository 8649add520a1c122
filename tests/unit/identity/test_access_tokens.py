"""Access tokens: one honest token, and every way in which it can be wrong."""

from __future__ import annotations

import base64
import hmac
import json
import math
from typing import Any
from uuid import uuid4

import pytest
from joserfc.jwk import ECKey

from seawall.identity.clients.access_token import AccessClaims, Subject, read_token, write_token
from seawall.identity.clients.signing_keys import SigningKey
from seawall.identity.jose import KeySet, NotVerified
from seawall_check.probes.oauth import Key, b64, claims_of, dumps, header_of

NOW = 1_800_000_000
ISSUER = "https://shop.example"
KEY, NEXT, STRANGER = Key.fresh(), Key.fresh(), Key.fresh()
KID = KEY.thumbprint
JKT = Key.fresh().thumbprint
PERSON = "p_0198f00000007000800000000000000f"
CLAIMS: dict[str, Any] = {
    "iss": ISSUER,
    "aud": ISSUER,
    "sub": PERSON,
    "client_id": "cli",
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 300,
    "jti": str(uuid4()),
    "sid": str(uuid4()),
    "epoch": 1,
    "gen": 0,
    "cnf": {"jkt": JKT},
}
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": KID}


class Keys:
    """Stands for `SigningKeys`, whose database is not the matter here."""

    def __init__(self) -> None:
        jwks = [{**key.jwk, "kid": key.thumbprint, "use": "sig", "alg": "ES256"} for key in (KEY, NEXT)]
        self._set = KeySet(jwks)

    async def verifying(self, kid: object) -> KeySet:
        return self._set


async def read(token: str, now_s: int = NOW) -> AccessClaims:
    return await read_token(token, Keys(), issuer=ISSUER, now_s=now_s)  # type: ignore[arg-type]


def claims(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}


def signed(header: dict[str, Any] | None = None, key: Key = KEY, **changes: Any) -> str:
    head = {name: value for name, value in {**HEADER, **(header or {})}.items() if value is not None}
    return key.sign(head, claims(**changes))


def raw(payload: bytes) -> str:
    return KEY.sign(HEADER, payload)


def mac(secret: bytes, algorithm: str = "HS256") -> str:
    said = f"{b64(dumps({**HEADER, 'alg': algorithm}))}.{b64(dumps(CLAIMS))}"
    return f"{said}.{b64(hmac.digest(secret, said.encode(), 'sha256'))}"


def unsigned(algorithm: str, signature: str = "") -> str:
    return f"{b64(dumps({**HEADER, 'alg': algorithm}))}.{b64(dumps(CLAIMS))}.{signature}"


def embedded(**header: Any) -> str:
    return signed({"kid": STRANGER.thumbprint, **header}, STRANGER)


PEM = ECKey.import_key(KEY.jwk).as_pem(private=False)
TWICE = json.dumps(CLAIMS)[:-1].encode()
GOOD = signed()

MATRIX = {
    "no iss": signed(iss=None),
    "no aud": signed(aud=None),
    "no sub": signed(sub=None),
    "no exp": signed(exp=None),
    "no iat": signed(iat=None),
    "no nbf": signed(nbf=None),
    "no jti": signed(jti=None),
    "no grant": signed(sid=None),
    "no epoch": signed(epoch=None),
    "no client": signed(client_id=None),
    "another issuer": signed(iss="https://evil.example"),
    "the issuer's beginning": signed(iss=ISSUER[:-1]),
    "the issuer with a slash": signed(iss=ISSUER + "/"),
    "the issuer in a list": signed(iss=[ISSUER]),
    "another audience": signed(aud="https://other.example"),
    "the audience in a list": signed(aud=[ISSUER]),
    "several audiences": signed(aud=["https://other.example", ISSUER]),
    "over": signed(iat=NOW - 300, nbf=NOW - 300, exp=NOW),
    "not yet": signed(nbf=NOW + 90, iat=NOW + 90, exp=NOW + 300),
    "made in the future": signed(iat=NOW + 600, nbf=NOW, exp=NOW + 300),
    "ten years": signed(exp=NOW + 315_360_000),
    "a second too long": signed(exp=NOW + 301),
    "ends before it begins": signed(iat=NOW + 50, nbf=NOW + 50, exp=NOW + 10),
    "exp is a text": signed(exp=str(NOW + 300)),
    "exp is true": signed(exp=True),
    "exp is a fraction": signed(exp=NOW + 1.5),
    "exp is infinite": raw(json.dumps(claims(exp=math.inf)).encode()),
    "exp is no number": raw(json.dumps(claims(exp=math.nan)).encode()),
    "exp is huge": raw(TWICE.replace(str(NOW + 300).encode(), b"1e308") + b"}"),
    "exp is negative": signed(exp=-1),
    "epoch is a text": signed(epoch="1"),
    "generation is huge": signed(gen=2**31),
    "sub is no word": signed(sub="' OR 1=1"),
    "sub is a list": signed(sub=[PERSON]),
    "sub is long": signed(sub=PERSON * 2),
    "jti is a list": signed(jti=[CLAIMS["jti"]]),
    "no key in the confirmation": signed(cnf={}),
    "another confirmation": signed(cnf={"x5t#S256": JKT}),
    "two confirmations": signed(cnf={"jkt": JKT, "kid": "x"}),
    "the confirmation is a text": signed(cnf=JKT),
    "a claim twice": raw(TWICE + b',"sub":"' + str(uuid4()).encode() + b'"}'),
    "a claim twice, once escaped": raw(TWICE + b',"\\u0073ub":"' + str(uuid4()).encode() + b'"}'),
    "an array": raw(b"[1]"),
    "nothing": raw(b""),
    "no JSON": raw(b"{"),
    "deep": raw(TWICE + b',"a":' + b"[" * 500 + b"]" * 500 + b"}" * 40),
    "very deep": raw(TWICE + b',"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
    "not UTF-8": raw(b'{"iss":"\xff"}'),
    "large": signed(pad="A" * 4_000),
    "an ID token": signed({"typ": "JWT"}),
    "a logout token": signed({"typ": "logout+jwt"}),
    "a proof": signed({"typ": "dpop+jwt"}),
    "no typ": signed({"typ": None}),
    "typ in capitals": signed({"typ": "AT+JWT"}),
    "typ with its tree": signed({"typ": "application/at+jwt"}),
    "alg none": unsigned("none"),
    "alg nOnE": unsigned("nOnE"),
    "alg none with a signature": unsigned("none", GOOD.split(".")[2]),
    "HS256 with the public key as PEM": mac(PEM),
    "HS256 with the public key as JWK": mac(json.dumps(KEY.jwk).encode()),
    "HS256 with nothing": mac(b""),
    "alg ES384": unsigned("ES384", GOOD.split(".")[2]),
    "alg is missing": signed({"alg": None}),
    "alg is a list": KEY.sign({**HEADER, "alg": ["ES256"]}, CLAIMS),
    "a key of its own": embedded(jwk=STRANGER.jwk),
    "a key at an address": embedded(jku="https://evil.example/jwks"),
    "a certificate of its own": embedded(x5c=["MIIB"]),
    "a certificate at an address": embedded(x5u="https://evil.example/cert"),
    "our kid, another key": signed(key=STRANGER),
    "our kid and a key of its own": signed({"jwk": STRANGER.jwk}, STRANGER),
    "an unknown kid": embedded(),
    "no kid": signed({"kid": None}),
    "a kid that is a path": signed({"kid": "../../dev/null"}),
    "a kid that is SQL": signed({"kid": "' OR 1=1 --"}),
    "the kid of another key of ours": signed({"kid": NEXT.thumbprint}),
    "an unknown critical header": signed({"crit": ["x"], "x": 1}),
    "an unencoded payload": signed({"b64": False, "crit": ["b64"]}),
    "compressed": signed({"zip": "DEF"}),
    "a header twice": KEY.sign(json.dumps(HEADER)[:-1].encode() + b',"alg":"none"}', CLAIMS),
    "two parts": GOOD.rpartition(".")[0],
    "four parts": GOOD + ".x",
    "padded": GOOD + "=",
    "a blank at its end": GOOD + " ",
    "a line end": GOOD + "\n",
    "one bit of the signature": GOOD[:-1] + chr(ord(GOOD[-1]) ^ 1),
    "the signature in DER": GOOD.rpartition(".")[0] + "." + b64(b"\x30\x44" + b"\x02\x20" + b"\x01" * 32),
    "a signature of nothing": GOOD.rpartition(".")[0] + "." + b64(bytes(64)),
    "nothing at all": "",
    "JSON instead": json.dumps({"payload": b64(dumps(CLAIMS)), "protected": b64(dumps(HEADER)), "signature": "A"}),
}


async def test_an_honest_token() -> None:
    found = await read(GOOD)
    assert (found.subject, found.client_id, found.jkt, found.kid) == (PERSON, "cli", JKT, KID)
    assert (await read(signed(cnf=None))).jkt is None


@pytest.mark.parametrize("token", MATRIX.values(), ids=MATRIX.keys())
async def test_every_other_one_is_refused(token: str) -> None:
    with pytest.raises(NotVerified):
        await read(token)


def test_the_matrix_is_about_what_it_says() -> None:
    """A case that is refused for its form alone would prove nothing: nearly all are well-formed and rightly signed."""
    assert len(MATRIX) >= 80
    signed_right = [name for name, token in MATRIX.items() if token.startswith(GOOD.split(".")[0] + ".")]
    assert len(signed_right) > 45


@pytest.mark.parametrize(
    ("skew_s", "good"), [(-90, False), (-60, True), (0, True), (299, True), (300, False), (390, False)]
)
async def test_clocks(skew_s: int, good: bool) -> None:
    """A verifier's clock may be a minute behind the writer's; one that is ahead ends the token early, never late."""
    if good:
        await read(GOOD, NOW + skew_s)
    else:
        with pytest.raises(NotVerified):
            await read(GOOD, NOW + skew_s)


async def test_what_we_write_we_can_read() -> None:
    private = ECKey.import_key(KEY.private_jwk)
    subject = Subject(PERSON, "cli", uuid4(), 3, 7, JKT)
    token = write_token(subject, SigningKey(KID, private), issuer=ISSUER, lifetime_s=9_999, now_s=NOW)
    found = await read(token)
    assert (found.grant_id, found.epoch, found.generation, found.jkt) == (subject.grant_id, 3, 7, JKT)
    assert claims_of(token)["exp"] - claims_of(token)["iat"] == 300  # whatever the setting says
    assert header_of(token) == HEADER
    assert len(token) < 1_000
    assert base64.urlsafe_b64decode(token.split(".")[2] + "==")
