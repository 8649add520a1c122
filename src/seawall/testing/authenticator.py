"""An authenticator for tests: one passkey of one person, kept in memory (WebAuthn Level 3 §6.1, §6.5.4)."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

_PRESENT_AND_VERIFIED, _ATTESTED = 0x05, 0x40


@dataclass
class Authenticator:
    """Says yes to whatever it is asked, as a person's finger would."""

    origin: str
    handle: bytes = b""
    rp_id: str = ""
    count: int = 0
    id: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """The answer to `navigator.credentials.create()`."""
        self.rp_id, self.handle = options["rp"]["id"], _unb64(options["user"]["id"])
        point = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32, "big"), -3: point.y.to_bytes(32, "big")}
        attested = bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cbor2.dumps(cose)
        made = {"fmt": "none", "attStmt": {}, "authData": self._data(_ATTESTED) + attested}
        return self._answer(self._client("create", options), {"attestationObject": _b64(cbor2.dumps(made))})

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """The answer to `navigator.credentials.get()`."""
        self.count += 1
        client, data = self._client("get", options), self._data(0)
        signature = self.key.sign(data + hashlib.sha256(client).digest(), ec.ECDSA(SHA256()))
        said = {"authenticatorData": _b64(data), "signature": _b64(signature), "userHandle": _b64(self.handle)}
        return self._answer(client, said)

    def _data(self, flags: int) -> bytes:
        flags |= _PRESENT_AND_VERIFIED
        return hashlib.sha256(self.rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _client(self, ceremony: str, options: dict[str, Any]) -> bytes:
        said = {"type": f"webauthn.{ceremony}", "challenge": options["challenge"], "origin": self.origin}
        return orjson.dumps(said | {"crossOrigin": False})

    def _answer(self, client: bytes, response: dict[str, Any]) -> dict[str, Any]:
        credential_id = _b64(self.id)
        response = {"clientDataJSON": _b64(client), **response}
        return {"id": credential_id, "rawId": credential_id, "type": "public-key", "response": response}


def _b64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _unb64(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
