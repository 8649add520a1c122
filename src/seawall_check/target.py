"""The running app as a control sees it: personas, signed-in clients, databases, the OpenAPI document, variants.

client = await target.client("alpha.manager")         shared by all controls: never sign it out
client = await target.fresh("alpha.manager")          a session of its own, to sign out, expire or steal
client = await target.half_signed_in("alpha.owner")   one that has proved login and password only
client = target.anonymous()
async with target.db_owner() as db: ...               asyncpg, as the owner (superuser) of the scratch database
async with target.db_app() as db: ...                 asyncpg, as the app's own role
async with target.variant(env={"SEAWALL_SESSION__IDLE_TIMEOUT_S": "1"}) as other: ...
async with target.variant(plant={"routes_x.py": "…"}, edit={"app.py": (old, new)}) as other: ...
refusal = await target.refusal(edit={"policies/orders.cedar": (old, new)})     its refusal text, None if it starts
secret = await target.once("totp:alpha.manager", enrol)          one enrolment, shared by several controls
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx2

from seawall_check.config import CheckConfig
from seawall_check.document import Api, DatabaseAccess, Document, Persona, Sealed, Secrets, SignIn, Tenant, parse
from seawall_check.errors import CheckError, DidNotStart, Unproven
from seawall_check.redact import Redactor
from seawall_check.second_factor import enrol, prove
from seawall_check.sign_in import sign_in
from seawall_check.start import Change, Running, ran, started

if TYPE_CHECKING:
    import asyncpg

    from seawall_check.probes.authenticator import Passkey
    from seawall_check.probes.http import Operation

REQUEST_TIMEOUT_S = 20.0
COMMAND_TIMEOUT_S = 120.0
VARIANTS_AT_ONCE = 2
SIGN_INS_AT_ONCE = 4
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

T = TypeVar("T")


class Target:
    """One started app. Made by `opened`, closed with it."""

    def __init__(
        self,
        config: CheckConfig,
        running: Running,
        redactor: Redactor,
        *,
        change: Change | None = None,
        variants: asyncio.Semaphore | None = None,
    ) -> None:
        self.config = config
        self.document: Document = parse(running.document)
        self.change = change or Change()
        self.redactor = redactor
        self.openapi: dict[str, Any] = {}
        self._running = running
        self._variants = variants or asyncio.Semaphore(VARIANTS_AT_ONCE)
        self._sign_ins = asyncio.Semaphore(SIGN_INS_AT_ONCE)
        self._once: dict[str, asyncio.Task[Any]] = {}
        self._clients: list[httpx2.AsyncClient] = []
        self._tls = authority(self.document.ca_file)
        redactor.learn(*(person.password for person in (*self.document.personas, *self.document.staff)))

    # -- what the app says about itself ---------------------------------------------------------------------------

    @property
    def app(self) -> str:
        return self.document.app

    @property
    def base_url(self) -> str:
        return self.document.base_url

    @property
    def source(self) -> Path:
        """The app's source tree; a variant's own copy when it has one."""
        return self._running.root if self.change.copies else self.document.source or self.config.root

    @property
    def personas(self) -> tuple[Persona, ...]:
        return self.document.personas

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        return self.document.tenants

    @property
    def database(self) -> DatabaseAccess:
        """Raises Unproven when the app gives no database access."""
        if self.document.database is None:
            raise Unproven("target.json names no database")
        return self.document.database

    @property
    def sealed(self) -> Sealed:
        """Raises Unproven when the app names no sealed columns."""
        if self.document.sealed is None or not self.document.sealed.columns:
            raise Unproven("target.json names no sealed columns")
        return self.document.sealed

    @property
    def secrets(self) -> Secrets:
        """Raises Unproven when the app names no vault."""
        if self.document.secrets is None:
            raise Unproven("target.json names no vault")
        return self.document.secrets

    @property
    def sign_in(self) -> SignIn:
        """Raises Unproven when the app names no sign-in form."""
        if self.document.sign_in is None:
            raise Unproven("target.json names no sign-in form")
        return self.document.sign_in

    @property
    def api(self) -> Api:
        """Raises Unproven when the app names no API client."""
        if self.document.api is None:
            raise Unproven("target.json names no API client")
        return self.document.api

    @property
    def expectations(self) -> Mapping[str, Any]:
        """The `[check]` table of seawall.toml: `routes`, `step_up`, `fields`."""
        return self.config.table

    @property
    def operations(self) -> tuple[Operation, ...]:
        """Every operation of the OpenAPI document."""
        from seawall_check.probes.http import operations

        return operations(self.openapi)

    def persona(self, name: str) -> Persona:
        """Raises Unproven when there is none of this name."""
        for persona in self.personas:
            if persona.name == name:
                return persona
        raise Unproven(f"there is no persona {name!r}")

    def who(self, *, role: str | None = None, tenant: str | None = None) -> tuple[Persona, ...]:
        """The personas of a role, of a tenant's id, or both."""
        return tuple(p for p in self.personas if role in (None, p.role) and tenant in (None, p.tenant))

    def tenant(self, tenant_id: str) -> Tenant:
        """Raises Unproven when there is none of this id."""
        for tenant in self.tenants:
            if tenant.id == tenant_id:
                return tenant
        raise Unproven(f"there is no tenant {tenant_id!r}")

    def two_tenants(self) -> tuple[Tenant, Tenant]:
        """The first two tenants that have personas. Raises Unproven when there are fewer."""
        peopled = [tenant for tenant in self.tenants if self.who(tenant=tenant.id)]
        if len(peopled) < 2:
            raise Unproven("two tenants with personas are needed to attack one as the other")
        return peopled[0], peopled[1]

    def log(self) -> str:
        """Everything that the app has printed so far."""
        return self._running.log()

    # -- clients -----------------------------------------------------------------------------------------------------

    def anonymous(self, *, address: str = "", agent: str = "seawall-check") -> httpx2.AsyncClient:
        """A client with an empty cookie jar. It sends `Origin` with changes; `headers={"Origin": ""}` leaves it out.

        Args:
            address: of this machine (127.0.0.0/8), to come from another network.
            agent: its `User-Agent`.
        """
        client = httpx2.AsyncClient(
            base_url=self.base_url,
            verify=self._tls,
            timeout=REQUEST_TIMEOUT_S,
            trust_env=False,
            headers={"User-Agent": agent},
            transport=httpx2.AsyncHTTPTransport(verify=self._tls, local_address=address) if address else None,
            event_hooks={"request": [self._like_a_browser], "response": [self._learn]},
        )
        self._clients.append(client)
        return client

    async def client(self, persona: Persona | str | None = None) -> httpx2.AsyncClient:
        """The shared, signed-in client of a persona; signed in at the first call. None: a shared anonymous one."""
        if persona is None:
            return await self.once("client:", self._anonymous)
        name = persona if isinstance(persona, str) else persona.name
        return await self.once(f"client:{name}", lambda: self.fresh(name))

    async def fresh(self, persona: Persona | str) -> httpx2.AsyncClient:
        """A new session of a persona, on a client of its own, with the second factor that their role demands."""
        who = self.persona(persona) if isinstance(persona, str) else persona
        # before the session: a new factor ends the sessions that are there
        passkey = await self.passkey(who) if who.role in self.sign_in.privileged_roles else None
        client = await self.half_signed_in(who)
        if passkey is not None:
            await prove(client, self.sign_in, passkey, who)
        return client

    async def passkey(self, who: Persona) -> Passkey:
        """The passkey of a privileged persona, for all its sessions; enrolled at the first call."""
        return await self.once(f"passkey:{who.name}", lambda: self._enrolled(who))

    async def half_signed_in(self, persona: Persona | str) -> httpx2.AsyncClient:
        """A new session that has proved login and password only, whatever the role demands."""
        who = self.persona(persona) if isinstance(persona, str) else persona
        client = self.anonymous()
        async with self._sign_ins:
            await sign_in(client, self.sign_in, who)
        return client

    async def _enrolled(self, persona: Persona) -> Passkey:
        passkey, _ = await enrol(await self.half_signed_in(persona), self.sign_in, persona.name)
        return passkey

    def session_token(self, client: httpx2.AsyncClient) -> str:
        """The value of a signed-in client's session cookie. Raises Unproven when it holds none."""
        name = self.sign_in.session_cookie
        for cookie in client.cookies.jar:
            if cookie.name == name and cookie.value:
                return cookie.value
        raise Unproven(f"the signed-in client holds no cookie {name!r}")

    def forget_clients(self) -> None:
        """Let the next control sign its personas in again; an exclusive control may have ended their sessions."""
        for key in [key for key in self._once if key.startswith("client:")]:
            del self._once[key]

    async def _anonymous(self) -> httpx2.AsyncClient:
        return self.anonymous()

    async def _like_a_browser(self, request: httpx2.Request) -> None:
        for name, value in (("origin", self.base_url), ("sec-fetch-site", "same-origin")):
            if request.headers.get(name) == "":
                del request.headers[name]
            elif request.method not in SAFE_METHODS and name not in request.headers:
                request.headers[name] = value

    async def _learn(self, response: httpx2.Response) -> None:
        for cookie in response.headers.get_list("set-cookie"):
            self.redactor.learn(cookie.partition("=")[2].partition(";")[0])

    # -- an operator's commands ------------------------------------------------------------------------------------

    async def command(self, name: str, **values: str) -> tuple[int, str]:
        """Run a command of `target.json` such as `suspend`; gives its exit code and what it printed.

        Raises:
            Unproven: the app names no such command.
        """
        words: tuple[str, ...] = getattr(self.document.commands, name)
        if not words:
            raise Unproven(f"target.json names no command {name!r}")
        filled = tuple(word.format(**values) if "{" in word else word for word in words)
        return await ran(filled, self.source, self.document.commands.env, COMMAND_TIMEOUT_S)

    # -- shared work ---------------------------------------------------------------------------------------------------

    async def once(self, key: str, make: Callable[[], Awaitable[T]]) -> T:
        """Run `make` once for this target and give everybody its result, also when several ask at the same time."""
        task = self._once.get(key)
        if task is None:
            task = self._once[key] = asyncio.ensure_future(_run(make))
        # One control's timeout must not cancel what others wait for.
        return await asyncio.shield(task)

    # -- databases -----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def db_owner(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the scratch database as its superuser. Autocommit."""
        async with self._connection(self.database.owner_url) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def db_app(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection to the scratch database as the app's own role. Autocommit."""
        async with self._connection(self.database.app_url) as connection:
            yield connection

    @contextlib.asynccontextmanager
    async def _connection(self, url: str) -> AsyncIterator[asyncpg.Connection]:
        from seawall_check.probes.database import connect

        connection = await connect(url)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    # -- variants ------------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def variant(
        self,
        *,
        env: Mapping[str, str] | None = None,
        edit: Mapping[str, tuple[str, str]] | None = None,
        plant: Mapping[str, str] | None = None,
    ) -> AsyncIterator[Target]:
        """The same app started again, changed, on a scratch database of its own. Changes add to this target's own.

        At most two variants run at a time. Raises DidNotStart (with the app's text) when it does not start.
        """
        change = Change(
            {**self.change.env, **(env or {})},
            {**self.change.edit, **(edit or {})},
            {**self.change.plant, **(plant or {})},
        )
        async with self._variants, opened(self.config, self.redactor, change=change) as other:
            yield other

    async def refusal(
        self,
        *,
        env: Mapping[str, str] | None = None,
        edit: Mapping[str, tuple[str, str]] | None = None,
        plant: Mapping[str, str] | None = None,
    ) -> str | None:
        """Start a variant that should not start: what it printed when it refused, or None when it started after all."""
        try:
            async with self.variant(env=env, edit=edit, plant=plant):
                return None
        except DidNotStart as refusal:
            return refusal.text

    async def close(self) -> None:
        for task in self._once.values():
            task.cancel()
        await asyncio.gather(*self._once.values(), return_exceptions=True)
        await asyncio.gather(*(client.aclose() for client in self._clients), return_exceptions=True)


@contextlib.asynccontextmanager
async def opened(
    config: CheckConfig, redactor: Redactor | None = None, *, change: Change | None = None
) -> AsyncIterator[Target]:
    """Start the app and give it as a `Target`.

    Raises:
        DidNotStart: the app refused to start or was not ready in time.
        CheckError: what it says about itself cannot be read.
    """
    async with started(config, change) as running:
        target = Target(config, running, redactor or Redactor(), change=change)
        try:
            target.openapi = await _openapi(target)
            yield target
        finally:
            await target.close()


async def _openapi(target: Target) -> dict[str, Any]:
    path = target.document.openapi_path
    try:
        response = await target.anonymous().get(path, headers={"Accept": "application/json"})
        document = response.json() if response.status_code == 200 else None
    except (httpx2.HTTPError, ValueError) as error:
        raise CheckError(f"cannot read {target.base_url}{path}: {type(error).__name__} {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
        raise CheckError(
            f"{target.base_url}{path} answers {response.status_code} and no OpenAPI document",
            why="the judge walks every operation that it lists",
            fix="correct openapi_path in target.json",
        )
    return document


async def _run(make: Callable[[], Awaitable[T]]) -> T:
    return await make()


def authority(ca_file: str | None) -> ssl.SSLContext | bool:
    """Whose certificates are trusted: that file's, or the system's.

    Raises:
        CheckError: it cannot be read.
    """
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise CheckError(f"target.json: ca_file {ca_file}: {error}") from None


def names(personas: Sequence[Persona]) -> str:
    """`alpha.manager, alpha.courier`."""
    return ", ".join(persona.name for persona in personas)
