"""WebAuthn without a database: what is verified, what is refused, and that nothing else than a refusal is raised."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given as drawn
from hypothesis import strategies as st

from seawall.identity.ceremony import (
    PasskeyProblem,
    RelyingParty,
    creation_options,
    decoded,
    encoded,
    parse,
    request_options,
    verify_assertion,
    verify_creation,
)
from seawall.identity.passkey_challenges import Binding
from seawall_check.controls.identity._passkey_person import ASSERTION_LIES, REGISTRATION_LIES
from seawall_check.probes.authenticator import Passkey

ORIGIN = "https://shop.example:8443"
RP = RelyingParty(ORIGIN, "Shop")
CHALLENGE = b"c" * 32
CREATION = creation_options(RP, handle=b"h" * 32, account="ann@example.com", challenge=CHALLENGE, existing=[])
REQUEST = request_options(RP, challenge=CHALLENGE, allowed=[(b"id", ["internal"])])
# Without a database there is neither a counter nor a handle to compare with; tests/integration has those.
STATEFUL = {"with another person's handle", "with a counter that goes backwards, as a copy's does",
            "with flags that a credential cannot change"}  # fmt: skip


def placed(lies: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    rest = dict(lies)
    return str(rest.pop("origin", ORIGIN)).format(host="shop.example:8443", name="shop.example"), rest


def made(**lies: Any) -> tuple[Passkey, dict[str, Any]]:
    passkey = Passkey.for_options(CREATION)
    return passkey, passkey.registration(CREATION, ORIGIN, **lies)


def test_options_demand_what_is_verified() -> None:
    assert CREATION["rp"] == {"id": "shop.example", "name": "Shop"}
    assert CREATION["authenticatorSelection"]["userVerification"] == "required"
    assert CREATION["authenticatorSelection"]["residentKey"] == "required"
    assert CREATION["attestation"] == "none"
    assert {one["alg"] for one in CREATION["pubKeyCredParams"]} == {-7, -8, -257}
    assert REQUEST["userVerification"] == "required"
    assert REQUEST["allowCredentials"] == [{"type": "public-key", "id": encoded(b"id"), "transports": ["internal"]}]


def test_an_honest_passkey_is_taken() -> None:
    passkey, answer = made()
    new = verify_creation(RP, parse(answer), CHALLENGE)
    assert (new.credential_id, new.sign_count, new.synced) == (passkey.id, 0, False)
    credential = parse(passkey.assertion(REQUEST, ORIGIN))
    assert (credential.id, credential.challenge, credential.user_handle) == (passkey.id, CHALLENGE, b"h" * 32)
    assert verify_assertion(RP, credential, CHALLENGE, new.public_key).sign_count == 1
    assert verify_creation(RP, parse(made(backed_up=True)[1]), CHALLENGE).synced


@pytest.mark.parametrize("lie", sorted(REGISTRATION_LIES))
def test_a_lie_at_registration(lie: str) -> None:
    origin, lies = placed(REGISTRATION_LIES[lie])
    answer = Passkey.for_options(CREATION).registration(CREATION, origin, **lies)
    with pytest.raises(PasskeyProblem):
        verify_creation(RP, parse(answer), CHALLENGE)


@pytest.mark.parametrize("lie", sorted(set(ASSERTION_LIES) - STATEFUL))
def test_a_lie_at_an_assertion(lie: str) -> None:
    passkey, answer = made()
    new = verify_creation(RP, parse(answer), CHALLENGE)
    origin, lies = placed(ASSERTION_LIES[lie])
    with pytest.raises(PasskeyProblem):
        verify_assertion(RP, parse(passkey.assertion(REQUEST, origin, **lies)), CHALLENGE, new.public_key)


def test_a_weak_rsa_key_is_refused() -> None:
    numbers = rsa.generate_private_key(65537, 1024).public_key().public_numbers()  # noqa: S505 - that is the point
    key = {1: 3, 3: -257, -1: numbers.n.to_bytes(128, "big"), -2: b"\x01\x00\x01"}
    passkey, answer = made()
    said = cbor2.loads(decoded(answer["response"]["attestationObject"]))
    start = said["authData"].index(passkey.id) + len(passkey.id)
    said["authData"] = said["authData"][:start] + cbor2.dumps(key)
    answer["response"]["attestationObject"] = encoded(cbor2.dumps(said))
    with pytest.raises(PasskeyProblem, match="weak-key"):
        verify_creation(RP, parse(answer), CHALLENGE)


NAMES = st.sampled_from(["id", "rawId", "response", "clientDataJSON", "type"]) | st.text()
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner)
)


@drawn(ANYTHING)
def test_whatever_is_sent_is_refused_and_nothing_else(sent: Any) -> None:
    with pytest.raises(PasskeyProblem):
        verify_assertion(RP, parse(sent), CHALLENGE, b"")


@drawn(st.binary(max_size=400), st.integers(0, 3))
def test_whatever_bytes_are_inside_are_refused_and_nothing_else(noise: bytes, where: int) -> None:
    passkey, answer = made()
    new = verify_creation(RP, parse(answer), CHALLENGE)
    name = ("attestationObject", "clientDataJSON", "authenticatorData", "signature")[where]
    broken = answer if where == 0 else passkey.assertion(REQUEST, ORIGIN)
    broken["response"][name] = encoded(noise)

    def verify() -> Any:
        credential = parse(broken)
        if where == 0:
            return verify_creation(RP, credential, CHALLENGE)
        return verify_assertion(RP, credential, CHALLENGE, new.public_key)

    with pytest.raises(PasskeyProblem):
        verify()


def test_a_challenge_commits_to_purpose_session_and_action() -> None:
    session, nonce = uuid4(), b"n" * 32
    bindings = [
        Binding("enrol", session),
        Binding("prove", session),
        Binding("step-up", session, b"a" * 48),
        Binding("step-up", session, b"b" * 48),
        Binding("prove", uuid4()),
    ]
    assert len({one.challenge(nonce) for one in bindings}) == len(bindings)
    assert bindings[0].challenge(nonce) == Binding("enrol", session).challenge(nonce)
    assert bindings[0].challenge(nonce) != bindings[0].challenge(b"m" * 32)
