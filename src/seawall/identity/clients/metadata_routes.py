"""`/.well-known`: where things are (RFC 8414) and which keys sign (RFC 7517)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from seawall.core.decisions import public
from seawall.identity.clients.authorize_route import PATH as AUTHORIZE
from seawall.identity.clients.refusals import ALGORITHM
from seawall.identity.clients.revocation_routes import INTROSPECT, REVOKE
from seawall.identity.clients.token_route import PATH as TOKEN

if TYPE_CHECKING:
    from seawall.identity.clients import Clients

KEYS = "/.well-known/jwks.json"
METADATA = "/.well-known/oauth-authorization-server"
KEPT = {"Cache-Control": "public, max-age=300"}

CONFIDENTIAL = ["client_secret_basic", "client_secret_post"]


class MetadataRoutes:
    """What a client finds out by itself."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.router = APIRouter(include_in_schema=False)
        why = public("where clients begin, and whose signature to trust; nothing in it is secret")
        for path, endpoint in ((METADATA, self.metadata), (KEYS, self.keys)):
            self.router.add_api_route(path, endpoint, methods=["GET"], response_model=None, dependencies=[why])

    async def metadata(self, request: Request) -> Response:
        issuer = self._clients.issuer(request)
        document = {
            "issuer": issuer,
            "authorization_endpoint": issuer + AUTHORIZE,
            "token_endpoint": issuer + TOKEN,
            "revocation_endpoint": issuer + REVOKE,
            "introspection_endpoint": issuer + INTROSPECT,
            "jwks_uri": issuer + KEYS,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": ["none", *CONFIDENTIAL],
            "revocation_endpoint_auth_methods_supported": ["none", *CONFIDENTIAL],
            "introspection_endpoint_auth_methods_supported": CONFIDENTIAL,
            "dpop_signing_alg_values_supported": [ALGORITHM],
            "authorization_response_iss_parameter_supported": True,
        }
        return JSONResponse(document, headers=KEPT)

    async def keys(self, _request: Request) -> Response:
        return JSONResponse({"keys": await self._clients.keys.published()}, headers=KEPT)
