"""Access tokens on their way in: the ASGI layer that finds them, and the credential that admits them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import Request

from seawall.core.clock import now_s
from seawall.core.scope import PASSAGE_KEY, GrantUse, Passage, Principal, Runtime
from seawall.identity.clients.access_token import AccessClaims, read_token
from seawall.identity.clients.dpop import Proof, ProofRequest, verify_proof
from seawall.identity.clients.refusals import ALGORITHM, AmbiguousCredentials, PersonOnly, TokenRefused
from seawall.identity.jose import NotVerified

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from seawall.identity.clients import Clients

SCHEMES = frozenset({"bearer", "dpop"})
PERSON_PREFIXES = ("/auth/", "/oauth/")
WHO_AM_I = "/auth/me"

_UNAUTHORIZED = f'DPoP algs="{ALGORITHM}"'.encode()


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token that a request came with; nothing about it is believed before `admit`."""

    clients: Clients
    request: Request
    passage: Passage
    scheme: str
    token: str = field(repr=False)

    async def admit(self, runtime: Runtime) -> Principal | None:
        """The person behind the token, live, in one round trip.

        Raises:
            TokenRefused: the token does not count. ProofRefused, ProofReplayed: its proof does not.
        """
        try:
            claims = await read_token(
                self.token, self.clients.keys, issuer=self.clients.issuer(self.request), now_s=now_s()
            )
        except NotVerified:
            raise TokenRefused from None
        proof = self._proved(claims)
        principal = await runtime.admit_grant(
            GrantUse(
                secret=self.clients.admission.secret(claims.grant_id),
                token_id=claims.token_id,
                epoch=claims.epoch,
                kid=claims.kid,
                generation=claims.generation,
                subject=claims.subject,
                proof=None if proof is None else proof.seen_as,
            )
        )
        if principal is None:
            raise TokenRefused
        return principal

    def _proved(self, claims: AccessClaims) -> Proof | None:
        if claims.jkt is None:
            if self.scheme != "bearer" or not self.passage.bearer:
                raise TokenRefused("This needs a token that is bound to a key, with its proof (DPoP, RFC 9449).")
            return None
        # RFC 9449 §7.2: a bound token under the scheme Bearer is a stolen one, or a downgrade.
        if self.scheme != "dpop":
            raise TokenRefused("This token is bound to a key: send it as `DPoP`, with a proof.")
        # Escaped again: the server has unescaped the path once, and a "?" or "%" in it would end it or be read twice: a
        # proof for one address would do for another.
        address = self.clients.issuer(self.request) + quote(self.request.scope["path"])
        asked = ProofRequest(self.request.method, address, self.token)
        proof = verify_proof(self.request.headers.getlist("dpop"), asked, self.clients.nonces, now_s=now_s())
        if proof.jkt != claims.jkt:
            raise TokenRefused("The proof is by another key than the token's.")
        return proof


class TokenLayer:
    """ASGI layer inside the cookie's: notes the access token, and makes refusals speak its scheme.

    Only `Bearer` and `DPoP` are looked at. Other schemes are not ours: a staging site behind Basic authentication must
    still work, and the clients' own endpoints read Basic themselves.
    """

    def __init__(self, app: ASGIApp, clients: Clients) -> None:
        self._app = app
        self._clients = clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passage: Passage | None = scope.get(PASSAGE_KEY)
        if scope["type"] != "http" or passage is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        scheme = scheme.lower()
        if scheme in SCHEMES:
            if passage.credential is not None:
                raise AmbiguousCredentials("Send the session's cookie or an access token, not both.")
            path: str = scope["path"]
            if path.startswith(PERSON_PREFIXES) and path != WHO_AM_I:
                raise PersonOnly("An access token opens the app's own API, not the account of the person.")
            passage.credential = AccessToken(self._clients, request, passage, scheme, token.strip())
        await self._app(scope, receive, self._spoken(send, scheme))

    def _spoken(self, send: Send, scheme: str) -> Send:
        """`send`, with a challenge on every 401 (RFC 9110 §15.5.2) and the next nonce for whoever makes proofs."""

        async def spoken(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(name, _challenge(name, value, scheme)) for name, value in message.get("headers", ())]
                names = {name.lower() for name, _ in headers}
                if message["status"] == 401 and b"www-authenticate" not in names:
                    headers.append((b"www-authenticate", _UNAUTHORIZED))
                if scheme == "dpop" and b"dpop-nonce" not in names:
                    headers.append((b"dpop-nonce", self._clients.nonces.give(now_s()).encode()))
                message = {**message, "headers": headers}
            await send(message)

        return spoken


def _challenge(name: Any, value: bytes, scheme: str) -> bytes:
    """A challenge in the scheme that the request used: a step-up's says `Bearer` (RFC 9470 §3)."""
    if scheme == "dpop" and name.lower() == b"www-authenticate" and value.startswith(b"Bearer "):
        return b"DPoP " + value.removeprefix(b"Bearer ")
    return value
