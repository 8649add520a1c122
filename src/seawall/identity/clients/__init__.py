"""identity/clients: programs that act for a person, with tokens in place of a browser's cookie.

    registry            which clients there are: `[identity.clients.NAME]`
    authorize_route     the person agrees, the client gets a code (codes)
    token_route         the code becomes a grant with its tokens (grants, access_token, refresh)
    credential          a token on its way in: verified, its proof too (dpop), admitted by the database
    revocation_routes   ending tokens, asking about them
    own_routes          what a person has let in, and ending it
    signing_keys        ES256, sealed, rotated; metadata_routes publishes them

Start at `credential.AccessToken.admit` for a request, at `token_route.TokenRoutes.token` for where tokens come from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request

from seawall.core.master import MasterSecret
from seawall.core.master_seal import Seal
from seawall.identity.clients.authorize_route import AuthorizeRoutes
from seawall.identity.clients.credential import AccessToken, TokenLayer
from seawall.identity.clients.dpop import Nonces
from seawall.identity.clients.grants import AdmissionKey
from seawall.identity.clients.metadata_routes import MetadataRoutes
from seawall.identity.clients.own_routes import OwnRoutes
from seawall.identity.clients.refresh import RefreshKey
from seawall.identity.clients.registry import Registry
from seawall.identity.clients.revocation_routes import RevocationRoutes
from seawall.identity.clients.rotator import SigningKeyRotator
from seawall.identity.clients.signing_keys import SigningKeys
from seawall.identity.clients.token_root import TokenRoot
from seawall.identity.clients.token_route import TokenRoutes
from seawall.identity.desk import Desk
from seawall.identity.secret_sources import Leases, no_vault
from seawall.store.resealing import SealedColumn

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["AccessToken", "Clients"]


class Clients:
    """API clients of one app, wired.

    Args:
        desk: shared with identity's other routes.
        master: the app's master secret, under which keys are sealed.
        leases: how clients' secrets are leased from the vault.

    Raises:
        Refused: a client is declared in a way that would not be safe.
    """

    def __init__(self, desk: Desk, master: MasterSecret, leases: Leases = no_vault) -> None:
        section = desk.settings.identity
        key_seal, root_seal = Seal(master, "signing-keys"), Seal(master, "token-root")
        self.desk = desk
        self.registry = Registry(section.clients, leases)
        self.keys = SigningKeys(
            desk.db,
            key_seal,
            lifetime_s=section.signing_key_lifetime_s,
            token_lifetime_s=section.access_token_lifetime_s,
        )
        self.sealed = [
            SealedColumn("seawall.signing_keys", key_seal, ("id",)),
            SealedColumn("seawall.token_root", root_seal, ("id",)),
        ]
        self._root = TokenRoot(desk.db, root_seal)
        self.router = APIRouter()
        for part in (AuthorizeRoutes, TokenRoutes, RevocationRoutes, MetadataRoutes, OwnRoutes):
            self.router.include_router(part(self).router)

    async def open(self) -> None:
        """Read what tokens are made of. Call it before the first request.

        Raises:
            Refused: it does not open.
        """
        await self._root.open()
        self.admission = AdmissionKey(self._root.key("grant-admission"))
        self.refresh = RefreshKey(self._root.key("refresh-tokens"))
        self.nonces = Nonces(self._root.key("dpop-nonces"))

    def rotator(self, *, wait: bool) -> SigningKeyRotator:
        """What `seawall rotate` renews."""
        return SigningKeyRotator(self.keys, wait=wait)

    def issuer(self, request: Request) -> str:
        """Who makes the tokens and for whom: this app's origin."""
        return self.desk.origin(request)

    def layer(self, app: ASGIApp) -> ASGIApp:
        """The ASGI layer that finds access tokens."""
        return TokenLayer(app, self)
