"""WebAuthn's two ceremonies, as values in and values out (WebAuthn Level 3 §7.1 and §7.2). No I/O.

The `webauthn` package verifies signatures and flags; user verification is off by default there, and `crossOrigin`,
`topOrigin` and whose credential it is are not its matter. They are checked here and in `passkeys`.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import webauthn
from webauthn.helpers import decode_credential_public_key
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.decode_credential_public_key import DecodedRSAPublicKey
from webauthn.helpers.structs import AttestationFormat, CredentialDeviceType

from seawall.core.errors import SeawallError
from seawall.identity.tokens import strict_object

USER_VERIFICATION = True
"""A passkey is two factors only if it checks a finger, a face or a PIN (NIST SP 800-63B §3.1.7)."""
TIMEOUT_MS = 180_000
ALGORITHMS = (
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,  # older Windows Hello knows nothing else
)
FORMATS = (AttestationFormat.NONE, AttestationFormat.PACKED)
"""We ask for none; authenticators that sign their own may send it all the same. Less to parse than all six."""
TRANSPORTS = frozenset({"usb", "nfc", "ble", "smart-card", "hybrid", "internal"})
FIELD_BYTES_MAX = 8_192
CREDENTIAL_ID_BYTES_MAX = 1_023
RSA_BITS_MIN = 2_048

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class PasskeyProblem(SeawallError):
    """A ceremony did not hold.

    Args:
        reason: a stable code such as `origin`; recorded, never shown.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """Us, as browsers know us. The id is the host alone, so a passkey works on every port of it (WebAuthn §5.1.2)."""

    origin: str
    name: str

    @property
    def id(self) -> str:
        return urlsplit(self.origin).hostname or ""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a browser sent, parsed and bounded, but not yet verified."""

    raw: dict[str, Any]
    id: bytes
    challenge: bytes
    user_handle: bytes | None
    transports: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """A verified registration."""

    credential_id: bytes
    public_key: bytes
    sign_count: int
    aaguid: UUID
    synced: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """A verified assertion. Its counter has not been compared yet."""

    sign_count: int
    synced: bool


def encoded(raw: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(text: Any) -> bytes:
    """Strict base64url without padding.

    Raises:
        PasskeyProblem: it is not text, too long, or holds anything else.
    """
    if not isinstance(text, str) or len(text) > FIELD_BYTES_MAX * 4 // 3 or not _BASE64URL.fullmatch(text):
        raise PasskeyProblem("malformed")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        raise PasskeyProblem("malformed") from None


def creation_options(
    rp: RelyingParty, *, handle: bytes, account: str, challenge: bytes, existing: list[tuple[bytes, list[str]]]
) -> dict[str, Any]:
    """`PublicKeyCredentialCreationOptionsJSON` for a discoverable credential with user verification."""
    return {
        "rp": {"id": rp.id, "name": rp.name},
        "user": {"id": encoded(handle), "name": account, "displayName": account},
        "challenge": encoded(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": int(algorithm)} for algorithm in ALGORITHMS],
        "timeout": TIMEOUT_MS,
        "excludeCredentials": _descriptors(existing),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


def request_options(rp: RelyingParty, *, challenge: bytes, allowed: list[tuple[bytes, list[str]]]) -> dict[str, Any]:
    """`PublicKeyCredentialRequestOptionsJSON`; without `allowed` the browser offers what it has."""
    return {
        "rpId": rp.id,
        "challenge": encoded(challenge),
        "timeout": TIMEOUT_MS,
        "userVerification": "required",
        "allowCredentials": _descriptors(allowed),
    }


def _descriptors(known: list[tuple[bytes, list[str]]]) -> list[dict[str, Any]]:
    return [{"type": "public-key", "id": encoded(raw), "transports": transports} for raw, transports in known]


def parse(given: Any) -> Credential:
    """Read a `RegistrationResponseJSON` or `AuthenticationResponseJSON`, as object or as text.

    Raises:
        PasskeyProblem: it has not their form.
    """
    try:
        raw = strict_object(given) if isinstance(given, str) else given
    except ValueError:
        raise PasskeyProblem("malformed") from None
    if not isinstance(raw, dict) or not isinstance(raw.get("response"), dict):
        raise PasskeyProblem("malformed")
    response = raw["response"]
    credential_id = decoded(raw.get("rawId"))
    if raw.get("id") != raw["rawId"] or len(credential_id) > CREDENTIAL_ID_BYTES_MAX:
        raise PasskeyProblem("malformed")
    for name in ("attestationObject", "authenticatorData", "signature"):
        if name in response:
            decoded(response[name])
    said = response.get("transports")
    transports = tuple(sorted({t for t in said if isinstance(t, str)} & TRANSPORTS)) if isinstance(said, list) else ()
    handle = response.get("userHandle")
    client = _client_data(response)
    return Credential(
        {**raw, "response": response},
        credential_id,
        decoded(client.get("challenge")),
        None if handle is None else decoded(handle),
        transports,
    )


def _client_data(response: dict[str, Any]) -> dict[str, Any]:
    try:
        client = strict_object(decoded(response.get("clientDataJSON")))
    except ValueError:
        raise PasskeyProblem("malformed") from None
    # A page of another site that frames us could have the person sign for it (WebAuthn §13.4.2). We are never framed.
    if client.get("crossOrigin", False) is not False or "topOrigin" in client:
        raise PasskeyProblem("cross-origin")
    return client


def verify_creation(rp: RelyingParty, credential: Credential, challenge: bytes) -> NewPasskey:
    """Verify a registration against the challenge that was taken for it.

    Raises:
        PasskeyProblem: with the reason `creation`, `format` or `weak-key`.
    """
    try:
        made = webauthn.verify_registration_response(
            credential=credential.raw,
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=rp.origin,
            require_user_verification=USER_VERIFICATION,
            supported_pub_key_algs=list(ALGORITHMS),
        )
        aaguid, key = UUID(made.aaguid), decode_credential_public_key(made.credential_public_key)
    except Exception:  # of what strangers send, the parsers below raise anything: KeyError, RecursionError, …
        raise PasskeyProblem("creation") from None
    if made.fmt not in FORMATS:
        raise PasskeyProblem("format")
    if isinstance(key, DecodedRSAPublicKey) and len(key.n.lstrip(b"\0")) * 8 < RSA_BITS_MIN:
        raise PasskeyProblem("weak-key")
    if made.credential_id != credential.id:
        raise PasskeyProblem("creation")
    synced = made.credential_device_type == CredentialDeviceType.MULTI_DEVICE
    return NewPasskey(made.credential_id, made.credential_public_key, made.sign_count, aaguid, synced)


def verify_assertion(rp: RelyingParty, credential: Credential, challenge: bytes, public_key: bytes) -> Verified:
    """Verify an assertion against the challenge that was taken for it and the key of the credential.

    Raises:
        PasskeyProblem: with the reason `assertion`.
    """
    try:
        said = webauthn.verify_authentication_response(
            credential=credential.raw,
            expected_challenge=challenge,
            expected_rp_id=rp.id,
            expected_origin=rp.origin,
            credential_public_key=public_key,
            credential_current_sign_count=0,  # compared by the database, in the statement that stores it
            require_user_verification=USER_VERIFICATION,
        )
    except Exception:  # as above
        raise PasskeyProblem("assertion") from None
    return Verified(said.new_sign_count, said.credential_device_type == CredentialDeviceType.MULTI_DEVICE)
