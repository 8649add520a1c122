"""`/oauth/token`: a code becomes a grant with its first tokens; a refresh token becomes the next ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from seawall.core.clock import now_s
from seawall.core.decisions import passage_of, public
from seawall.identity.clients.access_token import Subject, write_token
from seawall.identity.clients.codes import Redeemed, Replayed, redeem_code, remember_grant
from seawall.identity.clients.dpop import Proof, ProofRequest, verify_proof
from seawall.identity.clients.endpoint import answered, data
from seawall.identity.clients.grants import Grant, begin_grant, lock_grant, revoke_grant
from seawall.identity.clients.refresh import rotate
from seawall.identity.clients.refusals import OAuthError, ProofRefused
from seawall.identity.clients.registry import Client
from seawall.store.database import PROOF_KEPT_S

if TYPE_CHECKING:
    from seawall.identity.clients import Clients

PATH = "/oauth/token"


# Classes and not two values: an exception that is raised again and again keeps the frames of every time, and with them
# each request's form. Anybody may have themselves refused.
class _Gone(OAuthError):
    def __init__(self) -> None:
        super().__init__("invalid_grant", "The code or token is not valid here, or not any more.")


class _ByNobody(OAuthError):
    def __init__(self) -> None:
        super().__init__("invalid_dpop_proof", "This proof was used before; make a new one for each request.")


class TokenRoutes:
    """The token endpoint (RFC 6749 §3.2)."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route(
            PATH,
            answered(clients, self.token),
            methods=["POST"],
            response_model=None,
            dependencies=[public("clients authenticate here with what they send, not with a session")],
        )

    async def token(self, request: Request, form: Mapping[str, str]) -> Response:
        """Give tokens, or raise an `OAuthError`."""
        client = await self._clients.registry.authenticated(form, request.headers.get("authorization"))
        # Before anything is used up: a request without the right proof costs nobody their code or token.
        proof = self._proof(request, client)
        kind = form.get("grant_type")
        if kind == "authorization_code":
            return await self._redeem(request, form, client, proof)
        if kind == "refresh_token":
            return await self._refresh(request, form, client, proof)
        raise OAuthError("unsupported_grant_type", "Use authorization_code or refresh_token.")

    def _proof(self, request: Request, client: Client) -> Proof | None:
        headers = request.headers.getlist("dpop")
        if not headers and client.bearer:
            return None
        asked = ProofRequest("POST", self._clients.issuer(request) + PATH)
        try:
            return verify_proof(headers, asked, self._clients.nonces, now_s=now_s())
        except ProofRefused as refused:
            raise refused.for_token_endpoint() from None

    async def _redeem(self, request: Request, form: Mapping[str, str], client: Client, proof: Proof | None) -> Response:
        jkt = proof.jkt if proof else None
        async with self._clients.desk.db.identity() as tx:
            await _use(tx, proof)
            found = await redeem_code(
                tx,
                form.get("code", ""),
                client_id=client.id,
                redirect_uri=form.get("redirect_uri", ""),
                verifier=form.get("code_verifier", ""),
                jkt=jkt,
            )
            grant = None
            if isinstance(found, Replayed) and found.grant_id is not None:
                stolen = await lock_grant(tx, found.grant_id, trace_id=passage_of(request).trace_id)
                if stolen is not None:
                    await revoke_grant(tx, stolen, "code-replay")
            elif isinstance(found, Redeemed):
                grant = await begin_grant(
                    tx,
                    self._clients.admission,
                    self._clients.desk.settings.identity,
                    session_id=found.session_id,
                    client_id=client.id,
                    jkt=jkt,
                    trace_id=passage_of(request).trace_id,
                )
                if grant is not None:
                    await remember_grant(tx, found, grant.id)
            answer = None if grant is None else await self._tokens(tx, request, grant)
        # Outside: what was used up or revoked stays so.
        if answer is None:
            raise _Gone
        return answer

    async def _refresh(
        self, request: Request, form: Mapping[str, str], client: Client, proof: Proof | None
    ) -> Response:
        token = self._clients.refresh.read(form.get("refresh_token", ""))
        if token is None:
            raise _Gone
        if form.get("scope"):
            raise OAuthError("invalid_scope", "There are no scopes here.")
        async with self._clients.desk.db.identity() as tx:
            await _use(tx, proof)
            found = await rotate(
                tx,
                token,
                client_id=client.id,
                jkt=proof.jkt if proof else None,
                retry_s=self._clients.desk.settings.identity.refresh_retry_s,
                trace_id=passage_of(request).trace_id,
            )
            answer = await self._tokens(tx, request, found) if isinstance(found, Grant) else None
        if answer is None:
            raise _Gone
        return answer

    async def _tokens(self, tx: object, request: Request, grant: Grant) -> Response:
        settings = self._clients.desk.settings.identity
        access = write_token(
            Subject(grant.subject, grant.client_id, grant.id, grant.epoch, grant.generation, grant.jkt),
            await self._clients.keys.current(tx),
            issuer=self._clients.issuer(request),
            lifetime_s=settings.access_token_lifetime_s,
            now_s=now_s(),
        )
        return data(
            {
                "access_token": access,
                "token_type": "Bearer" if grant.jkt is None else "DPoP",
                "expires_in": settings.access_token_lifetime_s,
                "refresh_token": self._clients.refresh.write(grant.id, grant.generation),
            },
            {"DPoP-Nonce": self._clients.nonces.give(now_s())} if grant.jkt else None,
        )


async def _use(tx: object, proof: Proof | None) -> None:
    if proof is not None and not await tx.fetchval(  # type: ignore[attr-defined]
        "SELECT seawall.use_proof($1, $2)", proof.seen_as, PROOF_KEPT_S
    ):
        raise _ByNobody
