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

from seawall.identity.clients.authorize_route import AuthorizeRoutes
from seawall.identity.clients.credential import AccessToken, TokenLayer
from seawall.identity.clients.dpop import Nonces
from seawall.identity.clients.grants import AdmissionKey
from seawall.identity.clients.metadata_routes import MetadataRoutes
from seawall.identity.clients.own_routes import OwnRoutes
from seawall.identity.clients.refresh import RefreshKey
from seawall.identity.clients.registry import Registry
from seawall.identity.clients.revocation_routes import RevocationRoutes
from seawall.identity.clients.signing_keys import SigningKeys
from seawall.identity.clients.token_route import TokenRoutes
from seawall.identity.desk import Desk
from seawall.identity.sealing import Seal, derived_key

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["AccessToken", "Clients"]


class Clients:
    """API clients of one app, wired.

    Args:
        desk: shared with identity's other routes.
        secret: the app's master secret; every key here is derived from it for one purpose.

    Raises:
        Refused: a client is declared in a way that would not be safe.
    """

    def __init__(self, desk: Desk, secret: str) -> None:
        section = desk.settings.identity
        self.desk = desk
        self.registry = Registry(section.clients)
        self.keys = SigningKeys(
            desk.db,
            Seal(secret, "signing-keys"),
            lifetime_s=section.signing_key_lifetime_s,
            token_lifetime_s=section.access_token_lifetime_s,
        )
        self.admission = AdmissionKey(derived_key(secret, "grant-admission"))
        self.refresh = RefreshKey(derived_key(secret, "refresh-tokens"))
        self.nonces = Nonces(derived_key(secret, "dpop-nonces"))
        self.router = APIRouter()
        for part in (AuthorizeRoutes, TokenRoutes, RevocationRoutes, MetadataRoutes, OwnRoutes):
            self.router.include_router(part(self).router)

    def issuer(self, request: Request) -> str:
        """Who makes the tokens and for whom: this app's origin."""
        return self.desk.origin(request)

    def layer(self, app: ASGIApp) -> ASGIApp:
        """The ASGI layer that finds access tokens."""
        return TokenLayer(app, self)
