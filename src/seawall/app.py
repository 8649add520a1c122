"""`Seawall(app)`: the one ordered list of what an app inherits — the map of the library.

    app = FastAPI()
    sea = Seawall(app, edition="2026.11")

From outside to inside, a request passes `web.Wall` (limits, CSRF, headers, errors, the last gate), identity's session
cookie, staff's break-glass grant, FastAPI's routing, then the route's one decision, then the handler. At start, before
the first request, every gate that can refuse does: settings, policies, routes, the database's role, every table's wall,
the clock.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import structlog
from fastapi import FastAPI
from sqlalchemy.exc import IntegrityError

from seawall import access, audit, identity, privacy, secrets, tenancy, web
from seawall.core.errors import Conflict, Refused
from seawall.core.events import Event
from seawall.core.rotation import Rotator
from seawall.core.scope import GrantUse, Principal
from seawall.core.vault import Vault
from seawall.modules import import_module
from seawall.settings import Settings, load
from seawall.store.database import Database
from seawall.store.lease import Lease
from seawall.store.models import Tenanted
from seawall.store.roles import APP
from seawall.store.sealed import sealed_models

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

EDITIONS = ("2026.11",)
"""Each edition promises what is enforced: a new control warns under an older edition, and enforces under its own."""

_log = structlog.get_logger("seawall")


class Seawall:
    """An app's security, wired. Call it once, right after `FastAPI()`; routes come after it.

    Args:
        app: the FastAPI app to wall.
        edition: the year and month of the promises the app was made under.
        settings: for tests; by default `seawall.toml` and the environment.

    Raises:
        Refused: settings or policies do not hold. Routes and the database are checked when the app starts.
    """

    def __init__(self, app: FastAPI, *, edition: str | None = None, settings: Settings | None = None) -> None:
        self.settings = settings or load()
        self.edition = edition or self.settings.app.edition
        if self.edition not in EDITIONS:
            raise Refused(
                f"edition {self.edition!r} is not known to this Seawall",
                why="an edition says which controls are enforced, so an unknown one may promise what is not there",
                fix=f'use edition="{EDITIONS[-1]}", or upgrade Seawall',
            )
        self.app = app
        self._database: Database | None = None
        self._reads: audit.ReadBatch | None = None
        app.state.seawall = self

        # The map. Order matters only where a comment says so.
        templates = [
            ("identity", identity.TEMPLATES),
            ("access", access.TEMPLATES),
            ("privacy", privacy.TEMPLATES),
        ]
        self.pages = web.include(app, settings=self.settings, template_packages=templates)
        self.secrets = secrets.include(self.settings)
        self.identity = identity.include(
            app,
            settings=self.settings,
            database=lambda: self.database,
            master=self.secrets.master,
            provider_secret=self.secrets.provider_secret,
            client_secret=self.secrets.client_secret,
            unbound_paths=(web.STATIC_PATH,),
        )
        self.access = access.include(
            app,
            settings=self.settings,
            policies=self.settings.root / "policies",
            database=lambda: self.database,
            master=self.secrets.master,
            members=lambda: self.people,
        )
        privacy.include(app)
        self._wall(app)
        self._live_with(app)

    # What headings may use of each other, as `core.scope.Runtime` ------------------------------------------------

    @property
    def database(self) -> Database:
        """The open database; there is none before the app has started."""
        if self._database is None:
            raise Refused(
                "the database is not open",
                why="Seawall opens it when the app starts and closes it when the app ends",
                fix="run the app with `seawall dev`, `seawall serve`, or within its lifespan",
            )
        return self._database

    @property
    def vault(self) -> Vault:
        """The app's vault.

        Raises:
            Refused: there is none: what needs keys that never leave a vault cannot run.
        """
        if self.secrets.vault is None:
            raise Refused(
                "there is no vault: [secrets] address is not set",
                why="the keys of tenants never leave it",
                fix="run the app with `seawall dev` (it brings one), or set [secrets] address, docs/guide/secrets.md",
            )
        return self.secrets.vault

    @property
    def step_ups(self) -> Any:
        return self.identity.step_ups

    @property
    def engine(self) -> access.Engine:
        return self.access.engine

    @property
    def approvals(self) -> Any:
        return self.access.approvals

    @property
    def people(self) -> Any:
        """Members of the caller's tenant and their roles."""
        return self.identity.people

    async def admit(self, token_hash: bytes, device_hash: bytes | None = None) -> Principal | None:
        return await self.database.admit(token_hash, device_hash)

    async def admit_grant(self, use: GrantUse) -> Principal | None:
        return await self.database.admit_grant(use)

    async def enter_break_glass(self, staff: Principal, grant_id: UUID) -> Principal | None:
        return await self.database.enter_break_glass(staff, grant_id)

    async def begin(self, principal: Principal) -> Lease:
        return await self.database.begin(principal)

    async def commit(self, transaction: Any, events: list[Event]) -> None:
        """Flush, append the events, commit: one transaction. An integrity error means that the state has changed."""
        try:
            await transaction.flush()
            await audit.append(transaction, events)
            await transaction.commit()
        except (IntegrityError, asyncpg.IntegrityConstraintViolationError) as error:
            await transaction.rollback()
            _log.warning("conflict", reason=type(error.__cause__ or error).__name__)
            raise Conflict("The change collides with another one, or breaks a rule of the data.") from None
        except BaseException:
            await transaction.rollback()
            raise

    async def rollback(self, transaction: Any) -> None:
        await transaction.rollback()

    async def record_refusals(self, principal: Principal | None, events: list[Event]) -> None:
        """Write the events of a request that changed nothing, in a transaction of their own."""
        if not events:
            return
        if principal is None:
            async with self.database.as_app() as connection:
                await audit.append(connection, events)
            return
        lease = await self.database.begin(principal)
        try:
            await audit.append(lease, events)
        except BaseException:
            await lease.rollback()
            raise
        await lease.commit()

    def note_read(self, principal: Principal, event: Event) -> None:
        if self._reads is not None:
            self._reads.note(principal.context, event)

    def render(self, request: Request, template: str, context: dict[str, Any], *, status: int = 200) -> Response:
        return self.pages.render(request, template, context, status=status)

    def check_routes(self) -> int:
        """Boot gate A: every route carries exactly one decision that the policies know. Gives how many there are.

        Raises:
            Refused: naming the first route that is not fit to start.
        """
        return access.check_routes(self.app, self.engine)

    async def check(self) -> None:
        """Run every gate that the start runs, without serving.

        Raises:
            Refused: by the first gate that finds something.
        """
        self.check_routes()
        async with self.secrets.running(), self._connected():
            pass

    @asynccontextmanager
    async def rotation(self, *, wait: bool = True) -> AsyncIterator[secrets.Rotation]:
        """What `seawall rotate` works with: the app's settings with the operator's identity, not serving.

        Args:
            wait: leave what is in use its time before the old secret is refused.

        Raises:
            Refused: there is no vault, or it or the database does not let the operator in.
        """
        async with self.secrets.running(), self._connected() as self._database:
            # headings that keep keys of their own add their rotators here
            rotators = self.secrets.rotators(self.settings, [self.identity.reseal, self.access.reseal], wait=wait)
            assert self.secrets.vault is not None  # noqa: S101 - or there would be no rotators
            who = await self.secrets.vault.identity()
            rotators = [*rotators, self.identity.clients.rotator(wait=wait), *self._tenant_keys(who)]
            yield secrets.Rotation(self.secrets.vault, rotators, self._record_rotation)
        self._database = None

    async def _record_rotation(self, event: Event) -> None:
        async with self.database.identity() as transaction:
            await audit.append_as(transaction, [event])

    def _tenant_keys(self, who: str) -> list[Rotator]:
        """The rotator of tenants' keys, where models seal anything."""
        database = self.settings.database
        if not sealed_models or database.migrator_url is None or database.worker_url is None:
            return []
        password, transit = self.secrets.password, self.vault.transit

        def opened() -> AbstractAsyncContextManager[privacy.Operating]:
            return privacy.operating(database, transit, who=who, password=password, models=sealed_models)

        return [privacy.TenantKeysRotator(opened)]

    # Wiring ------------------------------------------------------------------------------------------------------

    def _wall(self, app: FastAPI) -> None:
        """Put the wall outside everything, Starlette's own error handler included."""
        build = app.build_middleware_stack

        def walled() -> Any:
            return web.Wall(
                self.identity.middleware(self.access.middleware(build())), runtime=self, settings=self.settings
            )

        app.build_middleware_stack = walled  # type: ignore[method-assign]

    def _live_with(self, app: FastAPI) -> None:
        inner = app.router.lifespan_context

        @asynccontextmanager
        async def lifespan(running: FastAPI) -> AsyncIterator[Any]:
            self.check_routes()
            async with self._open(), inner(running) as state:
                # what start-up made stays for the life of the process: the collector need not walk it at every pass
                gc.freeze()
                gc.enable()
                yield state

        app.router.lifespan_context = lifespan

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Database]:
        """The database, open and inspected."""
        privacy.check_models(mapper.class_ for mapper in Tenanted.registry.mappers)
        database = self.settings.database
        if database.url is None or database.identity_url is None:
            raise Refused(
                "there is no database: DATABASE_URL is not set",
                why="sessions, tenants and every row live in PostgreSQL",
                fix="run `seawall dev` (it brings one), or set DATABASE_URL and SEAWALL_DATABASE__IDENTITY_URL",
            )
        opened = await Database.open(
            database.url.get_secret_value(),
            database.identity_url.get_secret_value(),
            break_glass_url=database.break_glass_url.get_secret_value() if database.break_glass_url else None,
            size=database.pool_size,
            statement_timeout_ms=database.statement_timeout_ms,
            passwords=self.secrets.password,
        )
        try:
            async with opened.as_app() as connection:
                await tenancy.inspect(connection)
                sealed = await privacy.check_columns(connection, sealed_models)
            async with self._keys(opened) if sealed else nullcontext():
                yield opened
        finally:
            await opened.close()

    @asynccontextmanager
    async def _keys(self, opened: Database) -> AsyncIterator[None]:
        """The keyring that opens sealed columns, in every transaction of this process."""
        database = self.settings.database
        assert database.url is not None  # noqa: S101 - for the type checker
        async with privacy.keyring(
            database.url.get_secret_value(),
            self.vault.transit,
            password=self.secrets.password(APP),
            statement_timeout_ms=database.statement_timeout_ms,
        ) as ring:
            opened.use(ring)
            yield

    @asynccontextmanager
    async def _open(self) -> AsyncIterator[None]:
        async with self.secrets.running(), self._connected() as self._database:
            self._reads = audit.ReadBatch(self._database)
            self._reads.start()
            try:
                async with self.identity.running():
                    yield
            finally:
                await self._reads.stop()
                self._reads = None
        self._database = None


def import_app(settings: Settings) -> Any:
    """The app named by `[app] module`.

    Raises:
        Refused: there is no such module or attribute.
    """
    module_name, _, attribute = settings.app.module.partition(":")
    try:
        module = import_module(settings, module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise Refused(
            f"there is no module {module_name!r} in {settings.root}",
            why="[app] module says where the FastAPI app is",
            fix='set module = "package.app:app" under [app] in seawall.toml',
        ) from None
    if not hasattr(module, attribute or "app"):
        raise Refused(
            f"{module_name} has no {attribute or 'app'!r}",
            why="[app] module says where the FastAPI app is",
            fix='set module = "package.app:app" under [app] in seawall.toml',
        )
    app = getattr(module, attribute or "app")
    if getattr(getattr(app, "state", None), "seawall", None) is None:
        raise Refused(
            "the app has no Seawall",
            why="without it no route is decided and no tenant is walled",
            fix="write `sea = Seawall(app)` right after `app = FastAPI()`",
        )
    return app
