"""identity: who is calling.

    sign_in         /auth/sign-in → provider → /auth/callback: OIDC code flow with PKCE
    identities      linking further providers; logout: a provider ends its sessions (back-channel)
    development/    the embedded provider of the first run
    sessions        opaque server-side sessions; cookies reads the cookie, `seawall.admit()` reads the session
    clients/        programs that act for a person: OAuth endpoints, access tokens, DPoP
    devices/        sessions bound to their browser's key; risk/ how unusual a sign-in or a request is
    reach           no session makes a way into more than it could enter itself
    factors         second factors: totp, passkeys (ceremony, passkey_challenges), recovery; factor_gate says who may
                    change them, factor_removal takes one away; privileged says whose role demands one;
                    resets: an operator takes all of them away
    stepup          approvals bound to one exact action
    account         what people see of themselves: factors, sessions, recovery codes
    people          roles of the caller's tenant

Start at `sign_in.SignInRoutes.callback`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI

from seawall.core.errors import Refused
from seawall.core.master import MasterSecret
from seawall.core.master_seal import Seal
from seawall.identity.account import AccountRoutes
from seawall.identity.clients import Clients
from seawall.identity.cookies import SessionCookie
from seawall.identity.desk import Desk, IdentityDatabase
from seawall.identity.development import ISSUER, DevelopmentProvider, add_development_account
from seawall.identity.devices import bindings
from seawall.identity.devices.challenges import Challenges
from seawall.identity.devices.instructions import Offer
from seawall.identity.devices.routes import DeviceRoutes
from seawall.identity.factor_gate import FactorGate
from seawall.identity.factor_pages import FactorRoutes
from seawall.identity.factors import Factors
from seawall.identity.fetching import Fetcher
from seawall.identity.identities import IdentityRoutes
from seawall.identity.logout import BackChannelRoutes
from seawall.identity.passkey_pages import PasskeyRoutes
from seawall.identity.passkeys import Passkeys
from seawall.identity.people import Member, People
from seawall.identity.privileged import set_privileged_roles
from seawall.identity.providers import Provider, Trust
from seawall.identity.risk.arrivals import Arrivals
from seawall.identity.risk.places import Places
from seawall.identity.risk.watch import Watch
from seawall.identity.secret_sources import Leases, no_vault, source_of
from seawall.identity.sign_in import SignInRoutes
from seawall.identity.stepup import DatabaseStepUps
from seawall.identity.stepup_pages import StepUpRoutes
from seawall.identity.throttle import Throttle
from seawall.identity.totp import TotpFactors
from seawall.identity.totp_pages import TotpRoutes
from seawall.settings import IdentitySection, Settings
from seawall.store.resealing import Resealer, SealedColumn

__all__ = ["TEMPLATES", "Identity", "Member", "People", "SessionCookie", "add_development_account", "include"]

TEMPLATES = Path(__file__).parent / "templates"
_PROVIDER_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")


class Later:
    """The database, which opens only when the app starts."""

    def __init__(self, database: Callable[[], IdentityDatabase]) -> None:
        self._database = database

    def identity(self) -> AbstractAsyncContextManager[Any]:
        return self._database().identity()


@dataclass(frozen=True)
class Identity:
    """What other parts of the app use of identity."""

    step_ups: DatabaseStepUps
    people: People
    router: APIRouter
    clients: Clients
    middleware: Callable[[Any], Any]
    """The ASGI layers that find a request's credential: the cookie's, and inside it the token's."""
    providers: dict[str, Provider]
    desk: Desk
    reseal: Resealer
    _start: Callable[[], Awaitable[None]]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """For the life of the process: reads the keys of tokens, tells the database which roles are privileged, closes
        connections to providers at its end.
        """
        await self._start()
        await self.clients.open()
        async with self.desk.db.identity() as tx:
            await set_privileged_roles(tx, self.desk.settings.identity.privileged_roles)
        try:
            yield
        finally:
            for provider in self.providers.values():
                await provider.close()


def include(
    app: FastAPI,
    *,
    settings: Settings,
    database: Callable[[], IdentityDatabase],
    master: MasterSecret,
    provider_secret: Leases = no_vault,
    client_secret: Leases = no_vault,
    unbound_paths: tuple[str, ...] = (),
) -> Identity:
    """Add identity's routes to the app.

    Args:
        app: the app.
        settings: the app's.
        database: opens later.
        master: what small secrets are sealed under.
        provider_secret: how our secret at a provider, by its name, is leased from the vault.
        client_secret: the same for the secret of an API client, by its id.
        unbound_paths: where nobody's data is (static files): a device-bound browser asks for them without its key.

    Raises:
        Refused: a provider is misconfigured, or is the development one in production.
    """
    db, section = Later(database), settings.identity
    totp_seal, challenges = Seal(master, "totp"), Challenges(master)
    watch = Watch(section.risk, Places(section.risk, master), db.identity)
    desk = Desk(
        settings=settings,
        db=db,
        factors=Factors(TotpFactors(totp_seal)),
        throttle=Throttle(db.identity),
        arrivals=Arrivals(section, watch, Offer(section.devices, challenges)),
    )
    embedded = _development(desk)
    providers = _providers(settings, embedded, provider_secret)
    clients = Clients(desk, master, client_secret)
    step_ups = DatabaseStepUps(db, master, lifetime_s=settings.identity.step_up_lifetime_s)
    passkeys = Passkeys(desk)
    gate = FactorGate(desk, step_ups)
    router = APIRouter()
    sign_in = SignInRoutes(desk, providers, passkeys)
    for part in (
        sign_in.router,
        BackChannelRoutes(desk, providers).router,
        IdentityRoutes(desk, step_ups, sign_in, providers).router,
        AccountRoutes(desk).router,
        DeviceRoutes(desk, challenges, unbound_paths).router,
        FactorRoutes(desk, passkeys, gate).router,
        PasskeyRoutes(desk, passkeys, gate).router,
        TotpRoutes(desk, gate).router,
        StepUpRoutes(desk, step_ups, passkeys, client_title=clients.registry.title_of).router,
        clients.router,
        *(provider.router for provider in embedded),
    ):
        router.include_router(part)
    app.include_router(router)
    sealed = [SealedColumn(table, totp_seal) for table in ("seawall.totp_factors", "seawall.totp_pending")]
    sealed += [*clients.sealed, step_ups.sealed]
    return Identity(
        step_ups,
        People(db, settings.access.grants),
        router,
        clients,
        lambda app: SessionCookie(clients.layer(app), watch=watch),
        providers,
        desk,
        Resealer(db.identity, sealed),
        partial(_let_go, db, section),
    )


async def _let_go(db: Later, section: IdentitySection) -> None:
    """The kill switch of device binding takes effect when the app starts."""
    if not section.devices.binding:
        async with db.identity() as tx:
            await bindings.let_go(tx)


def _development(desk: Desk) -> list[DevelopmentProvider]:
    providers = desk.settings.identity.providers
    clients = [(section.client_id, name) for name, section in providers.items() if section.kind == "development"]
    return [DevelopmentProvider(desk, clients)] if clients else []


def _providers(
    settings: Settings,
    embedded: list[DevelopmentProvider],
    provider_secret: Leases,
) -> dict[str, Provider]:
    made = {}
    for name, section in settings.identity.providers.items():
        if not _PROVIDER_NAME.fullmatch(name):
            raise Refused(
                f"identity.providers.{name} is not a name",
                why="it is part of the callback's address, which must be registered exactly",
                fix="use lower-case letters, digits and inner dashes, at most 32",
            )
        development = section.kind == "development"
        issuer = ISSUER if development else section.issuer
        made[name] = Provider(
            name,
            issuer=issuer,
            client_id=section.client_id,
            client_secret=source_of(provider_secret, name, section.client_secret),
            title=section.title or ("Development sign-in" if development else name),
            trust=Trust.of(section),
            fetcher=embedded[0].fetcher() if development else Fetcher.over_network(issuer),
            production=settings.production,
            own_host=development,
        )
    return made
