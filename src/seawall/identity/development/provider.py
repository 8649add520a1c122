"""The provider's pages and endpoints.

The browser meets it at `/dev-provider/authorize`; the relying party asks the other endpoints in-process (ASGI), so that
it needs neither a port nor trust in a development certificate. They are served over the network too, for tools that
want to try.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
from fastapi import APIRouter
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from seawall.core.clock import now_s
from seawall.core.decisions import public
from seawall.core.errors import BadRequest, Problem, Refused, TooMany
from seawall.identity.desk import Desk, input_of, onward, page, query_of
from seawall.identity.development.accounts import (
    DEMO_PASSWORD,
    EMAIL_LENGTH_MAX,
    ISSUER,
    Passwords,
    account_of,
    demo_accounts,
    stored_account,
)
from seawall.identity.development.codes import AuthorizationRequest, issue_code, redeem_code
from seawall.identity.fetching import Fetcher
from seawall.store.private import private_file

PATH = urlsplit(ISSUER).path
KEY_FILE = "dev-provider.jwk"
ID_TOKEN_LIFETIME_S = 300
LOGIN_LIMIT = "dev-login"

_METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/authorize",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/jwks",
    "response_types_supported": ["code"],
    "grant_types_supported": ["authorization_code"],
    "subject_types_supported": ["public"],
    "id_token_signing_alg_values_supported": ["ES256"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["none"],
    "scopes_supported": ["openid", "email", "profile"],
    "claims_supported": ["sub", "email", "email_verified", "name", "auth_time", "amr"],
    "authorization_response_iss_parameter_supported": True,
}


class DevelopmentProvider:
    """DEVELOPMENT ONLY.

    Args:
        clients: pairs of client id and name of our own provider, to whose callback it may be sent.

    Raises:
        Refused: in production.
    """

    def __init__(self, desk: Desk, clients: list[tuple[str, str]]) -> None:
        if desk.settings.production:
            raise Refused(
                "a development sign-in provider is configured, and SEAWALL_ENV is production",
                why="anyone who knows the demo password could sign in",
                fix='set kind = "oidc" and the issuer of your provider in [identity.providers.…], and remove the other',
            )
        self._desk = desk
        self._clients = clients
        self._passwords = Passwords()
        path = desk.settings.state_directory / KEY_FILE
        text = private_file(path, _new_key)
        self._key = ECKey.import_key(json.loads(text))
        self.router = APIRouter(include_in_schema=False)
        for suffix, endpoint, method in (
            ("/authorize", self.show, "GET"),
            ("/authorize", self.log_in, "POST"),
            ("/token", self.token, "POST"),
            ("/jwks", self.jwks, "GET"),
            ("/.well-known/openid-configuration", self.metadata, "GET"),
        ):
            self.router.add_api_route(
                f"{PATH}{suffix}",
                endpoint,
                methods=[method],
                dependencies=[public("the development provider is where people sign in")],
                response_model=None,
            )

    def fetcher(self) -> Fetcher:
        """How the relying party reaches the provider: in-process."""
        inside = Starlette(
            routes=[
                Route(f"{PATH}/token", self.token, methods=["POST"]),
                Route(f"{PATH}/jwks", self.jwks),
                Route(f"{PATH}/.well-known/openid-configuration", self.metadata),
            ]
        )
        return Fetcher(lambda: httpx2.AsyncClient(transport=httpx2.ASGITransport(app=inside)))

    def _registered(self, request: Request) -> set[tuple[str, str]]:
        origin = self._desk.origin(request)
        return {(client, f"{origin}/auth/callback/{name}") for client, name in self._clients}

    async def metadata(self, request: Request) -> Response:
        return JSONResponse(_METADATA)

    async def jwks(self, request: Request) -> Response:
        public_key = {**self._key.as_dict(private=False), "use": "sig", "alg": "ES256"}
        return JSONResponse({"keys": [public_key]})

    async def show(self, request: Request) -> Response:
        """The login page."""
        query = query_of(request)
        AuthorizationRequest.parse(query, self._registered(request))
        return await self._page(request, query)

    async def log_in(self, request: Request) -> Response:
        """Check email and password; the answer to a wrong one is the same whether the account exists or not."""
        fields = await input_of(request, *AuthorizationRequest.FIELDS, "email", "password")
        asked = AuthorizationRequest.parse(fields, self._registered(request))
        email = fields.get("email", "").strip().lower()[:EMAIL_LENGTH_MAX]
        limits = (self._desk.account_limit(LOGIN_LIMIT, email), self._desk.network_limit(LOGIN_LIMIT, request))
        try:
            await self._desk.throttle.take(*limits)
            async with self._desk.db.identity() as tx:
                account, stored = await stored_account(tx, email)
            right = await self._passwords.right(stored, fields.get("password", ""))
        except TooMany as slow:
            answer = await self._page(request, fields, problem="Too many attempts. Wait a little.", status=slow.status)
            answer.headers.update(slow.headers)
            return answer
        if account is None or not right:
            return await self._page(request, fields, problem="Wrong e-mail address or password.", status=403)
        await self._desk.throttle.give_back(*limits)
        async with self._desk.db.identity() as tx:
            code = await issue_code(tx, asked, account.user_id)
        answer_query = urlencode({"code": code, "state": asked.state, "iss": ISSUER})
        return onward(f"{asked.redirect_uri}?{answer_query}")

    async def _page(
        self, request: Request, fields: dict[str, str], *, problem: str = "", status: int = 200
    ) -> Response:
        async with self._desk.db.identity() as tx:
            accounts = await demo_accounts(tx)
        kept = {name: fields[name] for name in AuthorizationRequest.FIELDS if name in fields}
        return page(
            request,
            "development",
            status=status,
            kept=kept,
            accounts=accounts,
            demo_password=DEMO_PASSWORD,
            problem=problem,
        )

    async def token(self, request: Request) -> Response:
        """Code for ID token (RFC 6749 §4.1.3). Errors are RFC 6749 §5.2's, without detail."""
        try:
            fields = await input_of(
                request, "grant_type", "code", "redirect_uri", "code_verifier", "client_id", "scope"
            )
        except Problem:
            return _token_error("invalid_request")
        if fields.get("grant_type") != "authorization_code":
            return _token_error("unsupported_grant_type")
        async with self._desk.db.identity() as tx:
            grant = await redeem_code(
                tx,
                code=fields.get("code", ""),
                client_id=fields.get("client_id", ""),
                redirect_uri=fields.get("redirect_uri", ""),
                verifier=fields.get("code_verifier", ""),
            )
            account = None if grant is None else await account_of(tx, grant.user_id)
        if grant is None or account is None:
            return _token_error("invalid_grant")
        issued = now_s()
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": str(account.user_id),
            "aud": fields["client_id"],
            "iat": issued,
            "exp": issued + ID_TOKEN_LIFETIME_S,
            "auth_time": int(grant.auth_time.timestamp()),
            "amr": ["pwd"],
            "email": account.email,
            "email_verified": True,
            "name": account.name,
        }
        if grant.nonce is not None:
            claims["nonce"] = grant.nonce
        token = jwt.encode({"alg": "ES256", "kid": self._key.kid}, claims, self._key, algorithms=["ES256"])
        body = {"access_token": "none", "token_type": "Bearer", "expires_in": ID_TOKEN_LIFETIME_S, "id_token": token}
        return JSONResponse(body, headers={"Cache-Control": "no-store"})


def _new_key() -> str:
    return json.dumps(ECKey.generate_key("P-256", auto_kid=True).as_dict(private=True))


def _token_error(code: str) -> Response:
    return JSONResponse({"error": code}, BadRequest.status, headers={"Cache-Control": "no-store"})
