"""A browser that can do Device Bound Session Credentials: it reads the offer of a sign-in, makes a key, binds,
refreshes.

Like a browser it keeps the session's cookies in its jar, lets the bound one die by its Max-Age, and signs challenges
with a key that is in no cookie. Unlike a browser it can also lie in every message.
"""

from __future__ import annotations

import hmac
import json
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

import httpx2
from joserfc import jws
from joserfc.jwk import ECKey, RSAKey

from seawall_check.document import Persona
from seawall_check.errors import Unproven
from seawall_check.sign_in import sign_in
from seawall_check.target import Target

OFFER_HEADER = "secure-session-registration"
PROOF_HEADER = "Secure-Session-Response"
NAME_HEADER = "Sec-Secure-Session-Id"
CHALLENGE_HEADER = "secure-session-challenge"
JSON = {"Accept": "application/json"}

_OFFER = re.compile(r"\(([^)]*)\)(.*)")
_PARAMETER = re.compile(r';\s*([a-z_]+)="([^"]*)"')
_CHALLENGE = re.compile(r'"([^"]+)"\s*;\s*id="([^"]+)"')


@dataclass(frozen=True)
class Offer:
    """`Secure-Session-Registration`: the algorithms, where to register, and what to sign."""

    algorithms: tuple[str, ...]
    path: str
    challenge: str

    @classmethod
    def read(cls, value: str) -> Offer | None:
        found = _OFFER.fullmatch(value.strip())
        parameters = dict(_PARAMETER.findall(found[2])) if found else {}
        if found is None or "path" not in parameters or "challenge" not in parameters:
            return None
        return cls(tuple(found[1].split()), parameters["path"], parameters["challenge"])


def new_key() -> ECKey:
    return ECKey.generate_key("P-256")


def proof(key: ECKey | RSAKey, challenge: str, *, bring: bool = False, **change: Any) -> str:
    """A `dbsc+jwt` over a challenge. `change` replaces header members; `algorithm` may be a lie of its own."""
    algorithm = change.pop("algorithm", "ES256")
    header: dict[str, Any] = {"alg": algorithm, "typ": "dbsc+jwt"}
    if bring:
        header["jwk"] = key.as_dict(private=False)
        header["jwk"].pop("kid", None)
    header |= change
    payload = json.dumps({"jti": challenge}).encode()
    if algorithm in {"none", "HS256"}:
        signed = f"{_part(json.dumps(header).encode())}.{_part(payload)}"
        mac = hmac.digest(key.as_pem(private=False), signed.encode(), "sha256") if algorithm == "HS256" else b""
        return f"{signed}.{_part(mac)}"
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = 2_048  # an RSA key is longer than joserfc's 512 bytes
    return jws.serialize_compact(header, payload, key, registry=registry)


def _part(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


@dataclass
class DeviceBrowser:
    """A signed-in client that binds its session. Made by `signed_in`."""

    target: Target
    client: httpx2.AsyncClient
    offer: Offer | None
    key: ECKey = field(default_factory=new_key)
    name: str = ""
    refresh_path: str = ""
    cookie: str = ""
    """The name of the bound cookie."""
    held: str = ""
    """The newest bound cookie."""

    @classmethod
    async def signed_in(cls, target: Target, persona: Persona) -> DeviceBrowser:
        """A fresh session, and the offer that came with it, if any."""
        client, offers = target.anonymous(), list[str]()

        async def listen(response: httpx2.Response) -> None:
            offers.extend(response.headers.get_list(OFFER_HEADER))

        client.event_hooks["response"].append(listen)
        await sign_in(client, target.sign_in, persona)
        client.event_hooks["response"].remove(listen)
        return cls(target, client, Offer.read(offers[-1]) if offers else None)

    @property
    def offered(self) -> Offer:
        """Raises Unproven when the sign-in offered nothing."""
        if self.offer is None:
            raise Unproven("the sign-in offers no binding (Secure-Session-Registration)")
        return self.offer

    async def register(self, token: str | None = None) -> httpx2.Response:
        """Send the registration; when it is accepted, follow its instructions from then on."""
        offer = self.offered
        sent = proof(self.key, offer.challenge, bring=True) if token is None else token
        response = await self.client.post(offer.path, headers={**JSON, PROOF_HEADER: sent})
        if response.status_code == 200:
            self._follow(response)
        return response

    def _follow(self, response: httpx2.Response) -> None:
        told = response.json()
        self.name, self.refresh_path = str(told.get("session_identifier", "")), str(told.get("refresh_url", ""))
        cookies = [one for one in told.get("credentials", ()) if one.get("type") == "cookie"]
        self.cookie = str(cookies[0]["name"]) if cookies else ""
        self._keep(response)

    def _keep(self, response: httpx2.Response) -> None:
        given = SimpleCookie("; ".join(response.headers.get_list("set-cookie"))).get(self.cookie)
        if given is not None and given.value:
            self.held = given.value
            self.target.redactor.learn(self.held)

    @property
    def jar(self) -> dict[str, str]:
        """Every cookie, as a thief copies them a moment after the newest was given."""
        return {one.name: one.value or "" for one in self.client.cookies.jar} | {self.cookie: self.held}

    async def challenge(self, client: httpx2.AsyncClient | None = None, jar: dict[str, str] | None = None) -> str:
        """Ask to refresh without a proof; the challenge that comes back. Raises Unproven when none does."""
        response = await self.send(None, client, jar)
        found = _CHALLENGE.fullmatch(response.headers.get(CHALLENGE_HEADER, "").strip())
        if response.status_code != 403 or found is None or found[2] != self.name:
            raise Unproven(f"a refresh without a proof is answered {response.status_code} and no challenge")
        return found[1]

    async def send(
        self, token: str | None, client: httpx2.AsyncClient | None = None, jar: dict[str, str] | None = None
    ) -> httpx2.Response:
        """The refresh request, by this browser or by whoever holds `jar`."""
        headers = {**JSON, NAME_HEADER: self.name} | ({PROOF_HEADER: token} if token else {})
        response = await (client or self.client).post(self.refresh_path, headers=headers | cookie_header(jar))
        if client is None and response.status_code == 200:
            self._keep(response)
        return response

    async def refresh(self) -> httpx2.Response:
        """As a browser does it: ask, sign, send."""
        return await self.send(proof(self.key, await self.challenge()))

    async def me(self, jar: dict[str, str] | None = None) -> httpx2.Response:
        """Who am I, by this browser; or by a stranger who holds `jar` and nothing else."""
        if jar is None:
            return await self.client.get(self.target.sign_in.me, headers=JSON)
        return await self.target.anonymous().get(self.target.sign_in.me, headers=JSON | cookie_header(jar))


def cookie_header(jar: dict[str, str] | None) -> dict[str, str]:
    return {} if jar is None else {"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())}
