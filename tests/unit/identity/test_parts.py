"""Small parts: time steps, sealing, networks, authorization requests."""

from __future__ import annotations

from uuid import uuid4

import pyotp
import pytest

from seawall.core.master import FixedMaster
from seawall.core.master_seal import Seal, Unsealable
from seawall.identity.development.codes import AuthorizationRefused, AuthorizationRequest
from seawall.identity.throttle import Limit, network_of
from seawall.identity.totp import new_secret, otpauth_uri, step_of


def test_a_code_is_right_in_its_step_and_one_beside_it() -> None:
    secret, at = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", 1_800_000_000
    totp = pyotp.TOTP(secret)
    for beside in (-1, 0, 1):
        assert step_of(secret, totp.at(at + 30 * beside), at) == at // 30 + beside
    for beside in (-10, -2, 2, 10):
        assert step_of(secret, totp.at(at + 30 * beside), at) is None


@pytest.mark.parametrize("code", ["", "12345", "1234567", "12345a", " 12345", "１２３４５６", "-12345", "123456\n"])
def test_what_is_not_six_ascii_digits_is_no_code(code: str) -> None:
    assert step_of(new_secret(), code, 1_800_000_000) is None


def test_the_secret_has_160_bits_and_the_uri_names_the_account() -> None:
    secret = new_secret()
    assert len(secret) == 32
    assert secret != new_secret()
    parsed = pyotp.parse_uri(otpauth_uri(secret, account="ann@example.com", issuer="Shop & Co"))
    assert (parsed.secret, parsed.name, parsed.issuer) == (secret, "ann@example.com", "Shop & Co")


def test_a_sealed_value_opens_only_for_its_owner_with_its_key() -> None:
    owner, other = uuid4().bytes, uuid4().bytes
    seal = Seal(FixedMaster("k" * 43), "totp")
    sealed = seal.seal(b"secret", owner)
    assert seal.open(sealed, owner) == b"secret"
    assert b"secret" not in sealed
    assert sealed != seal.seal(b"secret", owner)
    for attempt in (
        lambda: seal.open(sealed, other),
        lambda: Seal(FixedMaster("j" * 43), "totp").open(sealed, owner),
        lambda: Seal(FixedMaster("k" * 43), "else").open(sealed, owner),
        lambda: seal.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), owner),
        lambda: seal.open(b"\x01" + sealed[1:], owner),
        lambda: seal.open(b"", owner),
        lambda: seal.open(sealed[:5], owner),
    ):
        with pytest.raises(Unsealable):
            attempt()


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("not an address", "unknown"),
        (None, "unknown"),
    ],
)
def test_networks(address: str | None, network: str) -> None:
    assert network_of(address) == network


def test_limits_of_different_kinds_do_not_share_a_key() -> None:
    keys = {Limit("a", "bc", 1, 1).key, Limit("ab", "c", 1, 1).key, Limit("a", "b", 1, 1).key}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)


GOOD = {
    "response_type": "code",
    "client_id": "app",
    "redirect_uri": "https://shop.example/auth/callback/dev",
    "scope": "openid email",
    "code_challenge": "A" * 43,
    "code_challenge_method": "S256",
    "state": "s",
    "nonce": "n",
}
REGISTERED = {("app", "https://shop.example/auth/callback/dev")}


def test_a_good_authorization_request() -> None:
    request = AuthorizationRequest.parse(GOOD, REGISTERED)
    assert (request.state, request.nonce, request.challenge) == ("s", "n", "A" * 43)


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://shop.example/auth/callback/dev/"},
        {"redirect_uri": "https://shop.example/auth/callback/dev?x"},
        {"redirect_uri": "https://SHOP.example/auth/callback/dev"},
        {"redirect_uri": ""},
        {"client_id": "other"},
        {"response_type": "code token"},
        {"scope": "email"},
        {"code_challenge_method": "plain"},
        {"code_challenge_method": ""},
        {"code_challenge": ""},
        {"code_challenge": "A" * 42},
        {"code_challenge": "A" * 42 + "+"},
    ],
)
def test_authorization_requests_that_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(AuthorizationRefused):
        AuthorizationRequest.parse({**GOOD, **change}, REGISTERED)
