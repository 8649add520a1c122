"""`seawall dev`: database, certificates, migrations, seed, then the app over https, in one process.

Order matters: the environment must say where the database is before the app's module is imported, and every gate that
can refuse does so before the port opens.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import socket
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import uvicorn

from seawall.app import Seawall, import_app
from seawall.core.errors import Refused
from seawall.development.certificates import Certificates, ensure
from seawall.development.database import DevelopmentDatabase, development_database
from seawall.development.seeding import Sow
from seawall.development.target import target_document, write_target
from seawall.development.vault import DevelopmentVault, development_vault
from seawall.privacy import keyring
from seawall.settings import SETTINGS_FILE, Settings
from seawall.store.database import Database
from seawall.store.migrate import AppTables
from seawall.store.models import Tenanted
from seawall.store.roles import APP, IDENTITY

TARGET_FILE_VARIABLE = "SEAWALL_TARGET_FILE"
PARENT_VARIABLE = "SEAWALL_PARENT_PID"
"""Set by who starts a scratch app and may be killed before this process can ask who its parent is."""
PARENT_EVERY_S = 1.0


@dataclass(frozen=True)
class Running:
    """What is told when the app answers."""

    base_url: str
    database: DevelopmentDatabase
    certificates: Certificates
    sow: Sow | None
    seconds: float


def serve(
    settings: Settings, *, port: int, scratch: bool, say: Callable[[str], None], ready: Callable[[Running], None]
) -> None:
    """Run the app until SIGINT or SIGTERM.

    Args:
        settings: the app's; its root is where the app is.
        port: 0 picks a free one.
        scratch: use a fresh database and drop it at the end.
        say: gets one line for each step.
        ready: called once, when the first request would be answered.

    Raises:
        Refused: in production, or by any gate.
    """
    started, parent = time.monotonic(), int(os.environ.get(PARENT_VARIABLE) or os.getppid())
    if settings.production:
        raise Refused(
            "`seawall dev` with SEAWALL_ENV=production",
            why="it brings a provider that anyone can sign in at and a database without passwords",
            fix="use `seawall serve` in production",
        )
    if not (settings.root / SETTINGS_FILE).is_file():
        raise Refused(
            f"there is no {SETTINGS_FILE} in {settings.root}",
            why="it says which app this is; without it a database would be made for nobody",
            fix="cd into your app's folder, or start one with `seawall new restaurant shop`",
        )
    listening = _listen(port)
    certificates = ensure(settings.state_directory / "certificates")
    say("certificates: a development CA for localhost")
    with (
        development_database(settings, scratch=scratch) as database,
        development_vault(settings, database, scratch=scratch) as vault,
    ):
        say("vault: an embedded OpenBao; the app's keys and passwords are there")
        _run_loop(
            _Dev(settings, database, vault, certificates, listening, scratch, started, say, ready, parent).serve()
        )


def _run_loop(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


@dataclass(frozen=True)
class _Dev:
    """One run of the app in development."""

    settings: Settings
    database: DevelopmentDatabase
    vault: DevelopmentVault
    certificates: Certificates
    listening: socket.socket
    scratch: bool
    started: float
    say: Callable[[str], None]
    ready: Callable[[Running], None]

    parent: int
    """Who started us; a scratch app ends with it."""

    async def serve(self) -> None:
        os.environ.update(self.database.environment() | self.vault.environment())
        os.environ["SEAWALL_ROOT"] = str(self.settings.root)
        if not self.scratch:  # a scratch app is judged, and logs as production does
            os.environ.setdefault("SEAWALL_WEB__LOG_EXCEPTION_TEXT", "true")
        app = import_app(self.settings)
        app.state.seawall.check_routes()  # first: what a route lacks is known without any database
        try:
            fresh = await self.database.create()
            self.say(f"database: {self.database.name} on the embedded PostgreSQL")
            await self.vault.give_passwords(self.database)
            await self.database.migrate(AppTables(self.settings.root / "migrations", Tenanted.metadata))
            self.say("migrations: up to date, every table walled")
            sow = await _seed(app.state.seawall, self.database, staff=self.scratch) if fresh else None
            if sow is not None:
                self.say(f"seed: {len(sow.tenants)} tenants, {len(sow.personas)} personas")
            orphaned = asyncio.create_task(_end_with(self.parent)) if self.scratch else None
            await _run(app, self.listening, self.certificates, lambda: self._tell(sow))
            if orphaned is not None:
                orphaned.cancel()
        finally:
            if self.scratch:
                await self.database.drop()

    def _tell(self, sow: Sow | None) -> None:
        base_url = f"https://localhost:{self.listening.getsockname()[1]}"
        target = os.environ.get(TARGET_FILE_VARIABLE)
        if target and self.scratch and sow is not None:
            document = target_document(
                self.settings,
                base_url,
                certificates=self.certificates,
                database=self.database,
                vault=self.vault,
                sow=sow,
            )
            write_target(Path(target), document)
        self.ready(Running(base_url, self.database, self.certificates, sow, time.monotonic() - self.started))


async def _end_with(parent: int) -> None:
    """A scratch app lives for whoever started it: when that process is killed, it ends and drops its database."""
    while True:
        await asyncio.sleep(PARENT_EVERY_S)
        if os.getppid() != parent:
            break
    os.kill(os.getpid(), signal.SIGTERM)


STAFF = (("Sasha Quinn", "staff@platform.example"), ("Toni Vale", "staff2@platform.example"))
"""Platform staff of scratch databases, for the judge and for tests. Any other database begins with none."""


async def _seed(sea: Seawall, database: DevelopmentDatabase, *, staff: bool) -> Sow | None:
    if not sea.settings.app.seed:
        return None
    module_name, _, function = sea.settings.app.seed.partition(":")
    seed = getattr(importlib.import_module(module_name), function or "seed")
    owner = await asyncpg.connect(database.owner_url)
    pools = await Database.open(database.url(APP), database.url(IDENTITY), size=2)
    try:
        sow = Sow(owner, pools)
        async with sea.secrets.running(), keyring(database.url(APP), sea.vault.transit, listening=False) as ring:
            pools.use(ring)
            await seed(sow)
        for name, email in STAFF if staff else ():
            await sow.staff_person(name, email)
    except BaseException:
        await pools.close()
        await owner.close()
        await database.drop()  # a half-seeded database would be taken for a whole one at the next start
        raise
    await pools.close()
    await owner.close()
    return sow


class _Server(uvicorn.Server):
    """uvicorn, telling when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


async def _run(app: Any, listening: socket.socket, certificates: Certificates, ready: Callable[[], None]) -> None:
    await app.state.seawall.check()  # before uvicorn, which would bury a refusal under a traceback of its own
    config = uvicorn.Config(
        app,
        lifespan="on",
        loop="none",
        http="httptools",
        ws="none",
        access_log=False,
        server_header=False,
        log_config=None,  # its lines go through our logs, which escape what a request may put into them
        log_level="warning",
        ssl_certfile=str(certificates.certificate),
        ssl_keyfile=str(certificates.key),
        ssl_ciphers="ECDHE+AESGCM:ECDHE+CHACHA20",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=30,  # uvicorn's 5 s are also httpx's: both would let go of a connection at the same moment
    )
    # uvicorn raises the signal that stopped it once more when it is done; the scratch database is still to be dropped
    # then
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    await _Server(config, ready).serve(sockets=[listening])


def _listen(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise Refused(
            f"port {port} is not free: {error.strerror}",
            why="the app needs it",
            fix=f"seawall dev --port {port + 1}, or --port 0 for any free one",
        ) from None
    return listening
