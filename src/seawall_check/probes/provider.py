"""The judge's own OpenID provider: honest when asked to be, and otherwise lying in exactly one way.

It listens on loopback and answers discovery, keys and token requests. The browser's part (the authorization endpoint)
is played by the control itself: it reads the authorization request that the app made and has a code issued for it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey

REQUEST_MAX_BYTES = 65_536
READ_TIMEOUT_S = 10
OVERSIZED_BYTES = 8 * 1024 * 1024
CLIENT_ID = "judge"
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

Claims = dict[str, Any]
Signature = Literal["honest", "none", "hs256-public-key", "other-key", "embedded-key", "broken", "duplicate-claims"]
Reply = Literal["honest", "oversized", "garbage", "array", "no-token", "number-token"]


@dataclass(frozen=True)
class Lie:
    """How one sign-in deviates. The default is honest.

    Args:
        claims: changes the ID token's claims; a claim set to None is left out.
        signature: how the ID token is signed.
        reply: what the token endpoint answers.
        pkce: whether the code verifier is checked.
    """

    claims: Callable[[Claims], Claims] = field(default=lambda claims: claims)
    signature: Signature = "honest"
    reply: Reply = "honest"
    pkce: bool = True


@dataclass
class Issued:
    """A code and the authorization request that it answers."""

    query: dict[str, str]
    subject: str
    lie: Lie
    used: bool = False


class HostileProvider:
    """Made by `hostile_provider()`. `issuer` is its address."""

    def __init__(self) -> None:
        self.issuer = ""
        self.away = False
        """Answers 503 to everything."""
        self.redemptions: list[dict[str, str]] = []
        """Every form that came to the token endpoint."""
        self._codes: dict[str, Issued] = {}
        self._key = ECKey.generate_key("P-256", parameters={"kid": "judge-1"})
        self._other = ECKey.generate_key("P-256", parameters={"kid": "judge-1"})

    def issue(self, query: dict[str, str], subject: str, lie: Lie | None = None) -> str:
        """A code for the authorization request `query`."""
        code = secrets.token_urlsafe(24)
        self._codes[code] = Issued(query, subject, lie or Lie())
        return code

    # -- endpoints -----------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, body: str) -> tuple[int, bytes]:
        """Status and JSON body for a request."""
        if self.away:
            return 503, b"{}"
        if path == "/.well-known/openid-configuration":
            return 200, _json(self._metadata())
        if path == "/jwks":
            public = {**self._key.as_dict(private=False), "use": "sig"}
            return 200, _json({"keys": [public]})
        if path == "/token" and method == "POST":
            return self._token(dict(parse_qsl(body)))
        return 404, _json({"error": "not_found"})

    def _metadata(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            # Offers what must never be taken, so that the app's own choice is what is tested.
            "id_token_signing_alg_values_supported": ["none", "HS256", "ES256"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": True,
        }

    def _token(self, form: dict[str, str]) -> tuple[int, bytes]:
        self.redemptions.append(form)
        issued = self._codes.get(form.get("code", ""))
        if issued is None or (issued.used and issued.lie.pkce):
            return 400, _json({"error": "invalid_grant"})
        issued.used = True
        if issued.lie.pkce and s256(form.get("code_verifier", "")) != issued.query.get("code_challenge"):
            return 400, _json({"error": "invalid_grant"})
        reply = issued.lie.reply
        if reply == "oversized":
            return 200, b'{"id_token":"' + b"A" * OVERSIZED_BYTES + b'"}'
        if reply == "garbage":
            return 200, b"<html>\xff\x00"
        if reply == "array":
            return 200, b"[1]"
        body: dict[str, Any] = {"access_token": secrets.token_urlsafe(8), "token_type": "Bearer", "expires_in": 60}
        if reply != "no-token":
            body["id_token"] = 7 if reply == "number-token" else self._id_token(issued)
        return 200, _json(body)

    def _id_token(self, issued: Issued) -> str:
        now = int(time.time())
        claims: Claims = {
            "iss": self.issuer,
            "sub": issued.subject,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": issued.query.get("nonce"),
        }
        told = {name: value for name, value in issued.lie.claims(claims).items() if value is not None}
        return self._signed(_json(told), issued.lie.signature)

    def logout_token(self, subject: str, lie: Lie | None = None, *, typ: str = "logout+jwt") -> str:
        """A logout token for everything of a person (Back-Channel Logout 1.0 §2.4); `lie` changes it."""
        now = int(time.time())
        claims: Claims = {
            "iss": self.issuer,
            "sub": subject,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_urlsafe(12),
            "events": {LOGOUT_EVENT: {}},
        }
        lie = lie or Lie()
        told = {name: value for name, value in lie.claims(claims).items() if value is not None}
        return self._signed(_json(told), lie.signature, typ)

    def _signed(self, payload: bytes, how: Signature, typ: str = "JWT") -> str:
        header: dict[str, Any] = {"alg": "ES256", "kid": "judge-1", "typ": typ}
        if how == "none":
            return f"{_b64(_json({'alg': 'none', 'typ': 'JWT'}))}.{_b64(payload)}."
        if how == "hs256-public-key":
            # RFC 8725 §2.1: a verifier that takes the algorithm from the token uses the public key as HMAC secret.
            signing_input = f"{_b64(_json({**header, 'alg': 'HS256'}))}.{_b64(payload)}"
            secret = self._key.as_pem(private=False)
            return f"{signing_input}.{_b64(hmac.digest(secret, signing_input.encode(), 'sha256'))}"
        if how == "duplicate-claims":
            payload = payload[:-1] + b',"sub":"somebody-else"}'
        if how == "embedded-key":
            header |= {"kid": "judge-2", "jwk": self._other.as_dict(private=False)}
        key = self._other if how in {"other-key", "embedded-key"} else self._key
        token = jws.serialize_compact(header, payload, key, algorithms=["ES256"])
        if how == "broken":
            head, _, signature = token.rpartition(".")
            return f"{head}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
        return token


@contextlib.asynccontextmanager
async def hostile_provider() -> AsyncIterator[HostileProvider]:
    """A provider on a free loopback port, for as long as the context lasts."""
    provider = HostileProvider()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, ValueError, asyncio.IncompleteReadError, TimeoutError):
            status, content = provider.answer(*await asyncio.wait_for(_request(reader), READ_TIMEOUT_S))
            head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + content)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=REQUEST_MAX_BYTES)
    async with server:
        port = server.sockets[0].getsockname()[1]
        provider.issuer = f"http://127.0.0.1:{port}"
        yield provider


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, str]:
    """Method, path and body of one request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    length = int(headers.get("content-length", "0"))
    if length > REQUEST_MAX_BYTES:
        raise ValueError("too large")
    body = await reader.readexactly(length)
    return method, urlsplit(target).path, body.decode("utf-8")


def s256(verifier: str) -> str:
    """The S256 code challenge of a verifier (RFC 7636 §4.2)."""
    return _b64(hashlib.sha256(verifier.encode()).digest())


def _b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
