"""A software authenticator: makes passkeys and signs with them, honestly or with one lie at a time.

    passkey = Passkey.for_options(options)
    passkey.registration(options, origin)                      → what a browser would send
    passkey.assertion(options, origin)                         → what a browser would send
    passkey.assertion(options, origin, verified=False)         → the same by an authenticator that checked nobody

The judge's own few lines of WebAuthn (Level 3 §6.1, §6.5.4), so that it shares nothing with the code that it judges.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ELIGIBLE, BACKED_UP, ATTESTED = 0x01, 0x04, 0x08, 0x10, 0x40
ES256 = -7


def b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Passkey:
    """One credential and its key. `count` is the signature counter; 0 for ever when it is `countless`."""

    rp_id: str
    user_handle: bytes
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    count: int = 0
    countless: bool = False

    @classmethod
    def for_options(cls, options: dict[str, Any]) -> Passkey:
        """A new passkey for what `navigator.credentials.create()` was asked."""
        return cls(options["rp"]["id"], unb64(options["user"]["id"]))

    def registration(self, options: dict[str, Any], origin: str, **lies: Any) -> dict[str, Any]:
        """What the browser sends for a new credential, attestation `none`."""
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: ES256, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(cose)
        said = self._said(ATTESTED, lies) + attested
        made = {"fmt": "none", "attStmt": {}, "authData": said}
        response = {"attestationObject": b64(cbor2.dumps(made)), "transports": ["internal"]}
        return self._answer(_client("webauthn.create", options, origin, lies), response)

    def assertion(self, options: dict[str, Any], origin: str, **lies: Any) -> dict[str, Any]:
        """What the browser sends to prove that this passkey is here.

        Args:
            lies: `verified`, `present`, `count`, `rp_id`, `type`, `challenge`, `cross_origin`, `top_origin`, `handle`,
                `key` (signs with another), `backed_up`.
        """
        if not self.countless:
            self.count += 1
        client = _client("webauthn.get", options, origin, lies)
        said = self._said(0, lies)
        key: ec.EllipticCurvePrivateKey = lies.get("key", self.key)
        signature = key.sign(said + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        handle = lies.get("handle", self.user_handle)
        response = {"authenticatorData": b64(said), "signature": b64(signature)}
        if handle is not None:
            response["userHandle"] = b64(handle)
        return self._answer(client, response)

    def _said(self, flags: int, lies: dict[str, Any]) -> bytes:
        """Authenticator data: hash of the RP id, flags, counter."""
        flags |= PRESENT if lies.get("present", True) else 0
        flags |= VERIFIED if lies.get("verified", True) else 0
        flags |= ELIGIBLE | BACKED_UP if lies.get("backed_up", False) else 0
        rp_hash = hashlib.sha256(lies.get("rp_id", self.rp_id).encode()).digest()
        return rp_hash + bytes([flags]) + int(lies.get("count", self.count)).to_bytes(4, "big")

    def _answer(self, client: bytes, response: dict[str, Any]) -> dict[str, Any]:
        return {
            "id": b64(self.id),
            "rawId": b64(self.id),
            "type": "public-key",
            "clientExtensionResults": {},
            "response": {"clientDataJSON": b64(client), **response},
        }


def _client(kind: str, options: dict[str, Any], origin: str, lies: dict[str, Any]) -> bytes:
    """Client data as a browser serialises it (§5.8.1.1)."""
    said: dict[str, Any] = {
        "type": lies.get("type", kind),
        "challenge": lies.get("challenge", options["challenge"]),
        "origin": origin,
        "crossOrigin": lies.get("cross_origin", False),
    }
    if "top_origin" in lies:
        said["topOrigin"] = lies["top_origin"]
    return json.dumps(said, separators=(",", ":")).encode()
