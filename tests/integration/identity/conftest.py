"""A small app with the wall and identity on a real PostgreSQL, reached in-process, and browsers for it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI, Request
from tests.support.databases import ScratchDatabase

from seawall import audit, identity, web
from seawall.core.decisions import passage_of, public, self_service
from seawall.core.events import Event
from seawall.core.master import FixedMaster, MasterSecret
from seawall.core.scope import GrantUse, Principal
from seawall.core.stepup import Intent, Resume
from seawall.settings import IdentitySection, ProviderSection, Settings
from seawall_check.probes.provider import HostileProvider, hostile_provider

ORIGIN = "https://shop.localhost"
RIGHT = "right horse"
HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)">')

Self = Annotated[Principal, self_service("a test of one's own account")]


@dataclass
class House:
    """The app under test, wired as `seawall.app` does it, without access."""

    settings: Settings
    scratch: ScratchDatabase
    app: FastAPI = field(init=False)
    master: MasterSecret = field(default_factory=lambda: FixedMaster("k" * 43))

    def __post_init__(self) -> None:
        app = self.app = FastAPI()
        packages = [("identity", identity.TEMPLATES)]
        self.pages = web.include(app, settings=self.settings, template_packages=packages)
        self.identity = identity.include(
            app,
            settings=self.settings,
            database=lambda: self.scratch.database,
            master=self.master,
            unbound_paths=("/static",),
        )
        self.asgi = web.Wall(self.identity.middleware(app), runtime=self, settings=self.settings)  # type: ignore[arg-type]
        self.done: list[str] = []
        self._routes(app)

    # core.scope.Runtime
    @property
    def step_ups(self) -> Any:
        return self.identity.step_ups

    def render(self, request: Request, template: str, context: dict[str, Any], *, status: int = 200) -> Any:
        return self.pages.render(request, template, context, status=status)

    async def admit(self, token_hash: bytes, device_hash: bytes | None = None) -> Principal | None:
        return await self.scratch.database.admit(token_hash, device_hash)

    async def admit_grant(self, use: GrantUse) -> Principal | None:
        return await self.scratch.database.admit_grant(use)

    async def begin(self, principal: Principal) -> Any:
        return await self.scratch.database.begin(principal)

    async def commit(self, transaction: Any, events: list[Event]) -> None:
        await audit.append(transaction, events)
        await transaction.commit()

    async def rollback(self, transaction: Any) -> None:
        await transaction.rollback()

    async def record_refusals(self, principal: Principal | None, events: list[Event]) -> None:
        assert not events

    def note_read(self, principal: Principal, event: Event) -> None:
        raise AssertionError("identity notes no reads")

    def _routes(self, app: FastAPI) -> None:
        @app.get("/", dependencies=[public("the home page")])
        async def home() -> dict[str, str]:
            return {"page": "home"}

        @app.post("/pay/{amount}")
        async def pay(request: Request, amount: int, principal: Self, boom: bool = False) -> dict[str, str]:
            """Stands for a business route: consumes an approval in its own transaction."""
            passage = passage_of(request)
            resume = Resume(f"/pay/{amount}", {"note": '"><b>'})
            intent = Intent("pay", 'Bill::"1"', {"amount": amount}, f"Pay {amount}", resume)
            approval = await self.step_ups.consume(await passage.begin(), intent)
            if approval is None:
                raise await self.step_ups.challenge(principal, intent, acr="aal2", max_age_s=300)
            if boom:
                raise RuntimeError("the business transaction fails")
            self.done.append(approval)
            return {"paid": approval}

    # what tests use
    def browser(self, address: str = "192.0.2.7") -> Browser:
        return Browser(self, address)

    async def person(self, email: str, *tenants: UUID, password: str = RIGHT, role: str = "clerk") -> UUID:
        """Somebody with a development account and the role in each tenant."""
        user_id = await self.scratch.person(tenants[0], role, email=email)
        async with self.scratch.owner.transaction():
            for tenant in tenants[1:]:
                await self.scratch.owner.execute(
                    "INSERT INTO seawall.memberships (tenant_id, user_id, role) VALUES ($1, $2, $3)",
                    tenant,
                    user_id,
                    role,
                )
                await self.scratch.owner.execute(
                    "SELECT seawall.audit_append_as($1, NULL, NULL, $2)",
                    tenant,
                    ['{"kind":"access.grant","outcome":"success"}'],
                )
            await identity.add_development_account(self.scratch.owner, user_id, email=email, password=password)
        return user_id

    async def events(self, kind: str) -> list[dict[str, Any]]:
        import json

        rows = await self.scratch.owner.fetch(
            "SELECT *, body::text AS text FROM seawall.audit_events WHERE kind = $1 ORDER BY id", kind
        )
        return [{**dict(row), **json.loads(row["text"])} for row in rows]


class Browser:
    """An HTTP client with cookies and a browser's headers."""

    def __init__(self, house: House, address: str = "192.0.2.7") -> None:
        self.house = house
        transport = httpx2.ASGITransport(app=house.asgi, client=(address, 1234), raise_app_exceptions=False)
        self.http = httpx2.AsyncClient(transport=transport, base_url=ORIGIN)

    @property
    def token(self) -> str | None:
        return self.http.cookies.get("__Host-sw_sid")

    async def get(self, path: str, headers: dict[str, str] = HTML) -> httpx2.Response:
        return await self.http.get(path, headers=headers)

    async def post(self, path: str, headers: dict[str, str] = HTML, **body: Any) -> httpx2.Response:
        return await self.http.post(
            path, headers={**headers, "Origin": ORIGIN, "Sec-Fetch-Site": "same-origin"}, **body
        )

    async def begin(self, path: str = "/auth/sign-in?provider=dev") -> tuple[str, dict[str, str]]:
        """Start signing in; gives the provider's path and the authorization request."""
        response = await self.get(path)
        assert response.status_code == 303, response.text
        location = urlsplit(response.headers["location"])
        return location.path, dict(parse_qsl(location.query))

    async def log_in(
        self, email: str, password: str = RIGHT, path: str = "/auth/sign-in?provider=dev"
    ) -> httpx2.Response:
        """The development provider's form; gives its answer."""
        endpoint, query = await self.begin(path)
        page = await self.http.get(endpoint, params=query, headers=HTML)
        assert page.status_code == 200, page.text
        hidden = {unescape(n): unescape(v) for n, v in HIDDEN.findall(page.text.split("</form>")[1] + page.text)}
        fields = {
            **{name: value for name, value in hidden.items() if name in query},
            "email": email,
            "password": password,
        }
        return await self.post(endpoint, data=fields)

    async def sign_in(self, email: str, password: str = RIGHT, path: str = "/auth/sign-in?provider=dev") -> str:
        """All of it; gives the session token."""
        answer = await self.log_in(email, password, path)
        assert answer.status_code == 303, answer.text
        landed = await self.get(answer.headers["location"])
        assert landed.status_code == 200, landed.text
        assert self.token
        return self.token

    async def me(self) -> int:
        return (await self.get("/auth/me", JSON)).status_code


@pytest.fixture
async def idp() -> AsyncIterator[HostileProvider]:
    """A provider that does whatever it is told to."""
    async with hostile_provider() as provider:
        yield provider


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        root=tmp_path,
        identity=IdentitySection(
            providers={"dev": ProviderSection(kind="development")}, attempts_per_account=5, attempts_per_network=20
        ),
    )


@pytest.fixture
async def house(settings: Settings, scratch: ScratchDatabase) -> AsyncIterator[House]:
    built = House(settings, scratch)
    async with built.identity.running():
        yield built


@pytest.fixture
async def tenant(scratch: ScratchDatabase) -> UUID:
    return await scratch.tenant()


@pytest.fixture
async def ann(house: House, tenant: UUID) -> UUID:
    """ann@example.com, clerk of `tenant`."""
    return await house.person("ann@example.com", tenant)
