"""An API client of the judge's own: code flow with PKCE, DPoP proofs, refresh; honest, or wrong in exactly one way.

    key = Key.fresh()
    api = await signed_in_api(target, await target.fresh("alpha.manager"))
    response = await api.get("/auth/me")                          with a proof for exactly that
    response = await api.get("/auth/me", proof=api.key.proof("GET", other_url, …))

It shares no code with the app and asks no library what a token or a proof should look like, so that it can also make
those that no library would.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from seawall_check.errors import Unproven
from seawall_check.sign_in import Page

JSON = {"Accept": "application/json"}
HTML = {"Accept": "text/html"}
FORM = {**JSON, "Origin": "", "Sec-Fetch-Site": ""}
"""No browser: a client sends neither header. (Empty values make the judge's clients leave them out.)"""


def b64(raw: bytes | str) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(raw.encode() if isinstance(raw, str) else raw).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def dumps(value: Any) -> bytes:
    """JSON; bytes go through as they are, so that JSON can be sent that no library writes."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


@dataclass(frozen=True)
class Key:
    """An EC key on P-256, and what it signs."""

    private: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def fresh(cls) -> Key:
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @property
    def jwk(self) -> dict[str, str]:
        """The public half."""
        numbers = self.private.public_key().public_numbers()
        return {
            "kty": "EC",
            "crv": "P-256",
            "x": b64(numbers.x.to_bytes(32, "big")),
            "y": b64(numbers.y.to_bytes(32, "big")),
        }

    @property
    def private_jwk(self) -> dict[str, str]:
        return {**self.jwk, "d": b64(self.private.private_numbers().private_value.to_bytes(32, "big"))}

    @property
    def thumbprint(self) -> str:
        """RFC 7638: the SHA-256 of the required members in the order of their names."""
        members = {name: self.jwk[name] for name in ("crv", "kty", "x", "y")}
        return b64(hashlib.sha256(dumps(members)).digest())

    def sign(self, header: Any, payload: Any) -> str:
        """A compact JWS with ES256, whatever header and payload say."""
        said = f"{b64(dumps(header))}.{b64(dumps(payload))}"
        r, s = decode_dss_signature(self.private.sign(said.encode(), ec.ECDSA(SHA256())))
        return f"{said}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def proof(
        self,
        method: str,
        url: str,
        *,
        access_token: str | None = None,
        nonce: str | None = None,
        header: Mapping[str, Any] | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """A DPoP proof (RFC 9449 §4.2). `header` and `claims` change it; None leaves a member out."""
        said: dict[str, Any] = {"htm": method, "htu": url, "iat": int(time.time()), "jti": secrets.token_urlsafe(16)}
        if access_token is not None:
            said["ath"] = b64(hashlib.sha256(access_token.encode()).digest())
        if nonce is not None:
            said["nonce"] = nonce
        head = {"typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk, **(header or {})}
        said |= claims or {}
        return self.sign(
            {name: value for name, value in head.items() if value is not None},
            {name: value for name, value in said.items() if value is not None},
        )


@dataclass
class Api:
    """A client that has its tokens. `http` holds no cookies."""

    http: httpx2.AsyncClient
    metadata: dict[str, Any]
    client_id: str
    redirect_uri: str
    key: Key | None
    """None: its tokens are bound to no key."""
    secret: str = ""
    access_token: str = ""
    refresh_token: str = ""
    nonce: str | None = None

    @property
    def origin(self) -> str:
        return str(self.metadata["issuer"])

    def proof(self, method: str, path: str, **changes: Any) -> str:
        """An honest proof for a request with the access token at hand, changed."""
        if self.key is None:
            raise Unproven("this client has no key")
        given: dict[str, Any] = {"access_token": self.access_token, "nonce": self.nonce, **changes}
        return self.key.proof(method, urljoin(self.origin, path.partition("?")[0]), **given)

    async def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        scheme: str | None = None,
        proof: str | None = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> httpx2.Response:
        """A call of the API. Repeats it once when a nonce is asked for, unless the proof is the caller's own."""
        presented = self.access_token if token is None else token
        for _ in range(2):
            sent = {**FORM, "Authorization": f"{scheme or ('DPoP' if self.key else 'Bearer')} {presented}"}
            made = proof
            if made is None and self.key is not None and scheme is None:
                made = self.proof(method, path, access_token=presented)
            if made:
                sent["DPoP"] = made
            response = await self.http.request(method, path, headers={**sent, **(headers or {})}, **options)
            if not self._learned(response) or proof is not None:
                break
        return response

    async def get(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Any) -> httpx2.Response:
        return await self.request("POST", path, **options)

    async def call(
        self,
        endpoint: str,
        form: Mapping[str, str],
        *,
        proof: str | None = None,
        key: Key | None = None,
        authenticate: bool = True,
    ) -> httpx2.Response:
        """Post a form to an endpoint of the metadata, such as `token_endpoint`. An empty `proof` sends none."""
        url = str(self.metadata[endpoint])
        fields = {**({"client_id": self.client_id} if authenticate else {}), **form}
        if self.secret and authenticate:
            fields["client_secret"] = self.secret
        signer = key or self.key
        for _ in range(2):
            made = proof
            if made is None and signer is not None and endpoint == "token_endpoint":
                made = signer.proof("POST", url, nonce=self.nonce)
            headers = {**FORM, **({"DPoP": made} if made else {})}
            response = await self.http.post(url, data=fields, headers=headers)
            if not self._learned(response) or proof is not None:
                break
        return response

    async def redeem(self, code: str, verifier: str, /, **changes: str) -> httpx2.Response:
        """Exchange a code; keeps the tokens."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": verifier,
            **changes,
        }
        return self._keep(await self.call("token_endpoint", form))

    async def refresh(self, token: str | None = None, *, keep: bool = True, **options: Any) -> httpx2.Response:
        """Refresh, with the token at hand or another; keeps the new tokens."""
        form = {"grant_type": "refresh_token", "refresh_token": self.refresh_token if token is None else token}
        response = await self.call("token_endpoint", form, **options)
        return self._keep(response) if keep else response

    async def revoke(self, token: str) -> httpx2.Response:
        return await self.call("revocation_endpoint", {"token": token})

    async def introspect(self, token: str) -> httpx2.Response:
        return await self.call("introspection_endpoint", {"token": token})

    def _keep(self, response: httpx2.Response) -> httpx2.Response:
        if response.status_code == 200:
            self.access_token = response.json()["access_token"]
            self.refresh_token = response.json()["refresh_token"]
        return response

    def _learned(self, response: httpx2.Response) -> bool:
        """Takes in the nonce; whether the request is to be repeated with it (RFC 9449 §8)."""
        self.nonce = response.headers.get("dpop-nonce", self.nonce)
        told = response.headers.get("www-authenticate", "") + (response.text if response.status_code == 400 else "")
        return response.status_code in (400, 401) and "use_dpop_nonce" in told


@dataclass(frozen=True)
class Asking:
    """One authorization request, and the verifier that goes with it."""

    api: Api
    verifier: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    state: str = field(default_factory=lambda: secrets.token_urlsafe(12))

    def query(self, **changes: str | None) -> dict[str, str]:
        said: dict[str, str | None] = {
            "response_type": "code",
            "client_id": self.api.client_id,
            "redirect_uri": self.api.redirect_uri,
            "state": self.state,
            "code_challenge": b64(hashlib.sha256(self.verifier.encode()).digest()),
            "code_challenge_method": "S256",
            **changes,
        }
        return {name: value for name, value in said.items() if value is not None}

    async def consent(
        self, browser: httpx2.AsyncClient, *, decision: str | None = None, **changes: str | None
    ) -> dict[str, str]:
        """Let the person of a signed-in browser decide; what the client gets at its redirect address.

        Raises:
            Unproven: the app shows no form, or does not send the browser on.
        """
        address = str(self.api.metadata["authorization_endpoint"])
        shown = await browser.get(address, params=self.query(**changes), headers=HTML)
        if shown.status_code == 303:
            return self.answer(shown.headers["location"])
        form = Page(shown.text).form_with("client_id") if shown.status_code == 200 else None
        if form is None:
            raise Unproven(f"the app shows no form to agree with: {shown.status_code}")
        fields = form.fields if decision is None else form.fields | {"decision": decision}
        headers = {**HTML, "Origin": self.api.origin, "Sec-Fetch-Site": "same-origin"}
        sent = await browser.post(urljoin(str(shown.url), form.action), data=fields, headers=headers)
        onward = sent.headers.get("location") or Page(sent.text).onward
        if not onward:
            raise Unproven(f"agreeing leads nowhere: {sent.status_code}")
        return self.answer(onward)

    def answer(self, location: str) -> dict[str, str]:
        """The parameters of a redirect, if it goes to the client. Raises Unproven when it goes elsewhere."""
        there, here = urlsplit(location), urlsplit(self.api.redirect_uri)
        if there[:3] != here[:3]:
            raise Unproven("the browser is sent to another address than the client's")
        return dict(parse_qsl(there.query))


async def granted(browser: httpx2.AsyncClient, api: Api) -> Api:
    """`api` with tokens for the person of a signed-in browser. Raises Unproven when it gets none."""
    asking = Asking(api)
    answer = await asking.consent(browser)
    if "code" not in answer:
        raise Unproven(f"the app gives no code: {answer.get('error', answer)}")
    response = await api.redeem(answer["code"], asking.verifier)
    if response.status_code != 200:
        raise Unproven(f"the code gives no tokens: {response.status_code} {response.text[:200]}")
    return api


def header_of(token: str) -> dict[str, Any]:
    return dict(json.loads(unb64(token.split(".", maxsplit=1)[0])))


def claims_of(token: str) -> dict[str, Any]:
    return dict(json.loads(unb64(token.split(".")[1])))
