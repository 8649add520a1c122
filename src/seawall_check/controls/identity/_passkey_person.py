"""One persona with a software passkey, and the ways to use it: enrol, prove, approve, sign in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec

from seawall_check.controls._factor import JSON, Action, approval_address
from seawall_check.document import Passkeys, Persona
from seawall_check.errors import Unproven
from seawall_check.probes.authenticator import Passkey
from seawall_check.second_factor import options_from, routes_of
from seawall_check.target import Target

EVIL = "https://evil.example"
LIES: dict[str, dict[str, Any]] = {
    "by an authenticator that verified nobody": {"verified": False},
    "without anybody's touch": {"present": False},
    "from another site": {"origin": EVIL},
    "from a subdomain": {"origin": "https://sub.{host}"},
    "from another port": {"origin": "https://{name}:1"},
    "without encryption": {"origin": "http://{host}"},
    "for another RP id": {"rp_id": "evil.example"},
    "framed by another site": {"cross_origin": True},
    "framed, by what it says of the page on top": {"top_origin": EVIL},
    "for an invented challenge": {"challenge": "A" * 43},
}
ASSERTION_LIES: dict[str, dict[str, Any]] = LIES | {
    "of the other ceremony's type": {"type": "webauthn.create"},
    "signed by another key": {"key": ec.generate_private_key(ec.SECP256R1())},
    "with another person's handle": {"handle": b"\x07" * 32},
    "with flags that a credential cannot change": {"backed_up": True},
    "with a counter that goes backwards, as a copy's does": {"count": 1},
}
REGISTRATION_LIES: dict[str, dict[str, Any]] = LIES | {"of the other ceremony's type": {"type": "webauthn.get"}}


@dataclass
class Person:
    """A persona, their signed-in client and passkey."""

    target: Target
    persona: Persona
    client: httpx2.AsyncClient
    passkey: Passkey | None = None
    id: str = ""
    """The passkey's, at the app."""
    routes: Passkeys = field(init=False)

    def __post_init__(self) -> None:
        self.routes = routes_of(self.target.sign_in)

    @classmethod
    async def of(cls, target: Target, persona: Persona) -> Person:
        return cls(target, persona, await target.fresh(persona))

    @property
    def own(self) -> Passkey:
        if self.passkey is None:
            raise Unproven(f"{self.persona.name} has no passkey")
        return self.passkey

    def origin(self, lies: dict[str, Any]) -> str:
        """Where the browser says that it is."""
        url = httpx2.URL(self.target.base_url)
        host = url.netloc.decode() if isinstance(url.netloc, bytes) else str(url.netloc)
        return str(lies.pop("origin", self.target.base_url)).format(host=host, name=url.host)

    def signed(self, options: dict[str, Any], lies: dict[str, Any] | None = None) -> dict[str, Any]:
        """An assertion of this person's passkey, with one lie."""
        lies = dict(lies or {})
        origin = self.origin(lies)
        return self.own.assertion(options, origin, **lies)

    async def enrol(self, lies: dict[str, Any] | None = None) -> tuple[Passkey, httpx2.Response]:
        """Try to enrol a new passkey."""
        lies = dict(lies or {})
        origin = self.origin(lies)
        options = await options_from(await self.client.get(self.routes.enrol, headers=JSON), self.routes.enrol)
        passkey = Passkey.for_options(options)
        answer = passkey.registration(options, origin, **lies)
        return passkey, await self.register(answer)

    async def register(self, answer: Any, client: httpx2.AsyncClient | None = None) -> httpx2.Response:
        body = {"credential": answer, "name": "judge"}
        return await (client or self.client).post(self.routes.add, json=body, headers=JSON)

    async def prove_options(self, client: httpx2.AsyncClient | None = None) -> dict[str, Any]:
        return await options_from(await (client or self.client).get(self.routes.prove, headers=JSON), self.routes.prove)

    async def prove(self, answer: Any, client: httpx2.AsyncClient | None = None) -> httpx2.Response:
        return await (client or self.client).post(self.routes.prove, json={"credential": answer}, headers=JSON)

    async def at_the_door(self) -> tuple[httpx2.AsyncClient, dict[str, Any]]:
        """A browser that nobody is signed in on, and options for signing in with a passkey."""
        client = self.target.anonymous()
        response = await client.post(self.routes.sign_in_options, json={}, headers=JSON)
        return client, await options_from(response, self.routes.sign_in_options)

    async def enter(self, client: httpx2.AsyncClient, answer: Any) -> httpx2.Response:
        return await client.post(self.routes.sign_in, json={"credential": answer}, headers=JSON)

    async def sign_in(self, lies: dict[str, Any] | None = None) -> httpx2.Response:
        client, options = await self.at_the_door()
        return await self.enter(client, self.signed(options, lies))

    async def step_up_options(self, address: str) -> dict[str, Any]:
        return await options_from(await self.client.get(address, headers=JSON), address)

    async def approve(self, address: str, answer: Any = None) -> httpx2.Response:
        """Approve at this address, by default with an honest assertion for it."""
        signed = self.signed(await self.step_up_options(address)) if answer is None else answer
        return await self.client.post(address, json={"credential": signed}, headers=JSON)

    async def challenges(self, action: Action, count: int) -> list[str]:
        """Addresses of so many different step-ups. Some objects may not allow the action at all."""
        found: list[str] = []
        for path in action.objects(self.persona):
            response = await action.send(self.client, path, action.above)
            if response.status_code == 401 and len(found) < count:
                found.append(approval_address(response))
        if len(found) < count:
            raise Unproven(f"{len(found)} objects of {self.persona.name} lead to a step-up; {count} are needed")
        return found
