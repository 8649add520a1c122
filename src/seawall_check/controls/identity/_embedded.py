"""The app's own sign-in form, when it has one: as a browser and as a client see it. Shared by controls of identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx2

from seawall_check.errors import Unproven
from seawall_check.probes.provider import s256
from seawall_check.sign_in import Page
from seawall_check.target import Target

HTML = {"Accept": "text/html"}


@dataclass
class Embedded:
    """An OpenID provider on the app's own origin. `asked` is the authorization request that the app makes."""

    target: Target
    path: str
    asked: dict[str, str]
    client: httpx2.AsyncClient

    @classmethod
    async def find(cls, target: Target) -> Embedded | None:
        """None when the app's sign-in leads to another origin: that provider is not ours to attack.

        Raises:
            Unproven: it leads nowhere.
        """
        client = target.anonymous()
        response = await client.get(target.sign_in.start, headers=HTML)
        if not response.is_redirect:
            raise Unproven(f"{target.sign_in.start} says {response.status_code} and leads to no provider")
        url = urlsplit(urljoin(target.base_url, response.headers.get("location", "")))
        if f"{url.scheme}://{url.netloc}" != target.base_url or not url.path.endswith("/authorize"):
            return None
        return cls(target, url.path, dict(parse_qsl(url.query)), client)

    def query(self, change: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """The authorization request, changed; None leaves a parameter out."""
        changed: dict[str, str | None] = {**self.asked, **(change or {})}
        return {name: value for name, value in changed.items() if value is not None}

    async def page(self, query: dict[str, str]) -> httpx2.Response:
        return await self._fresh().get(f"{self.path}?{urlencode(query)}", headers=HTML)

    async def submit(
        self,
        query: dict[str, str],
        login: str,
        password: str,
        *,
        headers: Mapping[str, str] | None = None,
        client: httpx2.AsyncClient | None = None,
    ) -> httpx2.Response:
        """Post the form with these credentials and this authorization request, without any cookie."""
        how = self.target.sign_in
        fields = {**query, how.login_field: login, how.password_field: password}
        address, client = await self._action(), client or self._fresh()
        return await client.post(address, data=fields, headers={**HTML, **(headers or {})})

    async def log_in(self, query: dict[str, str]) -> httpx2.Response:
        """Post the form as the first persona, with the right password."""
        persona = self.target.personas[0]
        return await self.submit(query, persona.login, persona.password)

    async def code(self, verifier: str) -> str:
        """A fresh code, bound to the challenge of `verifier`. Raises Unproven when there is none."""
        response = await self.log_in(self.query({"code_challenge": s256(verifier)}))
        answer = dict(parse_qsl(urlsplit(response.headers.get("location", "")).query))
        if "code" not in answer:
            raise Unproven(f"the embedded provider gives no code: {response.status_code}")
        return answer["code"]

    async def redeem(self, code: str, verifier: str, **change: str) -> httpx2.Response:
        """Ask the token endpoint."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self.asked.get("client_id", ""),
            "redirect_uri": self.asked.get("redirect_uri", ""),
            **({"code_verifier": verifier} if verifier else {}),
            **change,
        }
        path = f"{self.path.removesuffix('/authorize')}/token"
        return await self._fresh().post(path, data=form, headers={"Accept": "application/json"})

    def _fresh(self) -> httpx2.AsyncClient:
        """A browser without cookies, on a connection that is already open."""
        self.client.cookies.clear()
        return self.client

    async def _action(self) -> str:
        async def read() -> str:
            form = Page((await self.page(self.query())).text).form_with(self.target.sign_in.password_field)
            return urljoin(self.path, form.action) if form and form.action else self.path

        return await self.target.once("embedded:action", read)
