"""`/oauth/revoke` (RFC 7009) and `/oauth/introspect` (RFC 7662)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from seawall.core.clock import CLOCK_SKEW_MAX_S, now_s
from seawall.core.decisions import passage_of, public
from seawall.identity.clients.access_token import LIFETIME_MAX_S, AccessClaims, read_token
from seawall.identity.clients.endpoint import answered, data
from seawall.identity.clients.grants import is_live, lock_grant, record, revoke_grant
from seawall.identity.clients.refresh import RefreshToken
from seawall.identity.clients.refusals import OAuthError
from seawall.identity.clients.registry import Client
from seawall.identity.jose import NotVerified

if TYPE_CHECKING:
    from seawall.identity.clients import Clients

REVOKE = "/oauth/revoke"
INTROSPECT = "/oauth/introspect"

_INACTIVE = {"active": False}


class RevocationRoutes:
    """Ending tokens, and asking about them."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.router = APIRouter(include_in_schema=False)
        for path, endpoint in ((REVOKE, self.revoke), (INTROSPECT, self.introspect)):
            self.router.add_api_route(
                path,
                answered(clients, endpoint),
                methods=["POST"],
                response_model=None,
                dependencies=[public("clients authenticate here with what they send, not with a session")],
            )

    async def revoke(self, request: Request, form: Mapping[str, str]) -> Response:
        """A refresh token ends its grant, an access token itself. An unknown one is no error (RFC 7009 §2.2)."""
        client = await self._clients.registry.authenticated(form, request.headers.get("authorization"))
        token = _token(form)
        refresh = self._clients.refresh.read(token)
        access = await self._read(request, token) if refresh is None else None
        if refresh is not None:
            await self._end_grant(request, client, refresh)
        elif access is not None:
            await self._end_token(request, client, access)
        return data({})

    async def _end_grant(self, request: Request, client: Client, token: RefreshToken) -> None:
        async with self._clients.desk.db.identity() as tx:
            grant = await lock_grant(tx, token.grant_id, trace_id=passage_of(request).trace_id)
            if grant is not None:
                _must_own(client, grant.client_id)
                await revoke_grant(tx, grant, "client")

    async def _end_token(self, request: Request, client: Client, token: AccessClaims) -> None:
        _must_own(client, token.client_id)
        async with self._clients.desk.db.identity() as tx:
            await tx.execute("DELETE FROM seawall.revoked_tokens WHERE expires_at < now()")
            added = await tx.fetchval(
                """INSERT INTO seawall.revoked_tokens (id, expires_at)
                   VALUES ($1, now() + make_interval(secs => $2)) ON CONFLICT DO NOTHING RETURNING id""",
                token.token_id,
                LIFETIME_MAX_S + 2 * CLOCK_SKEW_MAX_S,
            )
            grant = await lock_grant(tx, token.grant_id, trace_id=passage_of(request).trace_id)
            if added is not None and grant is not None:
                await record(tx, grant, "token-revoked", "client")

    async def introspect(self, request: Request, form: Mapping[str, str]) -> Response:
        """Whether a token would be admitted now. For confidential clients about their own tokens, for resource servers
        about all access tokens.
        """
        client = await self._clients.registry.authenticated(form, request.headers.get("authorization"))
        if not client.confidential:
            raise OAuthError("unauthorized_client", "Only a confidential client may ask about tokens.", status=403)
        token = _token(form)
        refresh = self._clients.refresh.read(token)
        if refresh is not None:
            return data(await self._about_refresh(client, refresh))
        access = await self._read(request, token)
        return data(_INACTIVE if access is None else await self._about_access(request, client, access))

    async def _about_access(self, request: Request, client: Client, token: AccessClaims) -> dict[str, Any]:
        async with self._clients.desk.db.identity() as tx:
            live = await tx.fetchval(
                "SELECT seawall.access_token_is_live($1, $2, $3, $4, $5)",
                token.grant_id,
                token.token_id,
                token.epoch,
                token.kid,
                token.subject,
            )
        if not live or not _may_ask(client, token.client_id):
            return _INACTIVE
        issuer = self._clients.issuer(request)
        return {
            "active": True,
            "token_type": "Bearer" if token.jkt is None else "DPoP",
            "client_id": token.client_id,
            "sub": token.subject,
            "sid": str(token.grant_id),
            "jti": str(token.token_id),
            "iss": issuer,
            "aud": issuer,
            "iat": token.issued_at,
            "exp": token.expires_at,
            **({} if token.jkt is None else {"cnf": {"jkt": token.jkt}}),
        }

    async def _about_refresh(self, client: Client, token: RefreshToken) -> dict[str, Any]:
        async with self._clients.desk.db.identity() as tx:
            grant = await lock_grant(tx, token.grant_id)
            if grant is None or grant.generation != token.generation or not await is_live(tx, grant.id):
                return _INACTIVE
        # Its own client only. A resource server asks what it may let in, and would let in with this, for weeks and
        # without a proof, whoever stole a refresh token that is worth nothing at /oauth/token without its key.
        if client.id != grant.client_id:
            return _INACTIVE
        bound = {} if grant.jkt is None else {"cnf": {"jkt": grant.jkt}}
        return {"active": True, "client_id": grant.client_id, "sub": grant.subject, "sid": str(grant.id), **bound}

    async def _read(self, request: Request, token: str) -> AccessClaims | None:
        try:
            return await read_token(token, self._clients.keys, issuer=self._clients.issuer(request), now_s=now_s())
        except NotVerified:
            return None


def _token(form: Mapping[str, str]) -> str:
    if "token" not in form:
        raise OAuthError("invalid_request", "token is missing.")
    return form["token"]


def _must_own(client: Client, owner: str) -> None:
    if client.id != owner:
        raise OAuthError("invalid_grant", "The token is another client's.")


def _may_ask(client: Client, owner: str) -> bool:
    return client.resource_server or client.id == owner
