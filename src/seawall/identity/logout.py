"""A provider ends the sessions that it vouched for: OpenID Connect Back-Channel Logout 1.0.

The logout token comes from anywhere and says whom to sign out, so it is checked like an ID token: signature, issuer,
audience, times, the event that it must name, no nonce, and once only. What it may end are sessions that began at
exactly this issuer, never those of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from seawall.audit import append_as
from seawall.core.clock import now_s
from seawall.core.decisions import passage_of, public
from seawall.core.errors import NotFound, Problem
from seawall.core.events import ProviderLogout
from seawall.core.ids import token_hash
from seawall.identity.desk import Desk, input_of
from seawall.identity.providers import Provider
from seawall.identity.refusals import ProviderAway, ProviderUnavailable, SignInRefused
from seawall.identity.tokens import (
    TOKEN_LENGTH_MAX,
    UnknownKey,
    check_audience,
    check_times,
    is_word,
    session_of,
    verified_claims,
)

EVENT = "http://schemas.openid.net/event/backchannel-logout"
SEEN_LIFETIME_S = 900
"""Longer than a token is taken: `iat` may be ten minutes old, and a minute of clock skew lies on each side."""


@dataclass(frozen=True, slots=True)
class ProviderSession:
    """Where a session comes from: the person at the provider and, if it says so, its own session."""

    issuer: str
    subject: str
    sid: str | None = None


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """A verified logout token. At least one of `subject` and `sid` is there."""

    issuer: str
    subject: str | None
    sid: str | None
    id: str


async def remember_origin(tx: Any, session_id: UUID, origin: ProviderSession) -> None:
    """Note which provider vouched for a new session."""
    await tx.execute(
        "INSERT INTO seawall.provider_sessions (session_id, issuer, subject, sid) VALUES ($1, $2, $3, $4)",
        session_id,
        origin.issuer,
        origin.subject,
        origin.sid,
    )


def read_logout_token(token: object, keys: list[dict[str, Any]], provider: Provider, algorithms: Any) -> LogoutToken:
    """Verify a logout token (§2.6).

    Raises:
        UnknownKey: no key of the set has the token's `kid`.
        SignInRefused: naming the check that failed.
    """
    # A provider of before the final specification signs with `typ` JWT or none; an ID token is told apart by its nonce
    # and the missing event.
    claims = verified_claims(token, keys, algorithms, types=("JWT", "LOGOUT+JWT"))
    if claims.get("iss") != provider.issuer:
        raise SignInRefused("token-issuer")
    check_audience(claims, provider.client_id)
    # Early providers send no `exp`; then `iat`, which may be ten minutes old, bounds the token's life.
    check_times({"exp": now_s() + 1, **claims}, now_s())
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise SignInRefused("token-event")
    if "nonce" in claims:
        raise SignInRefused("token-nonce")
    subject, token_id = claims.get("sub"), claims.get("jti")
    if not is_word(token_id) or len(token_id) > 255:
        raise SignInRefused("token-id")
    if subject is not None and (not is_word(subject) or len(subject) > 255):
        raise SignInRefused("token-subject")
    sid = session_of(claims)
    if subject is None and sid is None:
        raise SignInRefused("token-names-nobody")
    return LogoutToken(provider.issuer, subject, sid, token_id)


async def end_provider_sessions(tx: Any, token: LogoutToken) -> int:
    """End what the token names, once; gives how many sessions ended. With `sid`, that one only; else all of the person.

    Raises:
        SignInRefused: the token was used before.
    """
    await tx.execute("DELETE FROM seawall.logout_tokens_seen WHERE expires_at < now()")
    first = await tx.fetchval(
        """INSERT INTO seawall.logout_tokens_seen (key, expires_at) VALUES ($1, now() + make_interval(secs => $2))
           ON CONFLICT DO NOTHING RETURNING 1""",
        token_hash(f"{token.issuer}\0{token.id}"),
        SEEN_LIFETIME_S,
    )
    if first is None:
        raise SignInRefused("token-used")
    ended = await tx.fetch(
        """UPDATE seawall.sessions s SET revoked_at = now(), revoke_reason = 'provider-logout'
           FROM seawall.provider_sessions p
           WHERE p.session_id = s.id AND p.issuer = $1 AND s.revoked_at IS NULL AND s.expires_at > now()
             AND ($2::text IS NULL OR p.subject = $2) AND ($3::text IS NULL OR p.sid = $3)
           RETURNING s.id""",
        token.issuer,
        token.subject,
        token.sid,
    )
    # A sign-in that waits for the choice of a tenant has no session yet, and carries where it comes from
    # (`sign_in.Authentication.dump`). CASE: what else is in that table is not JSON, and PostgreSQL may cast before it
    # compares.
    await tx.execute(
        """DELETE FROM seawall.sign_in_transactions
           WHERE purpose = 'tenant' AND CASE WHEN purpose = 'tenant' THEN assurance::jsonb #>> '{3,0}' = $1
             AND ($2::text IS NULL OR assurance::jsonb #>> '{3,1}' = $2)
             AND ($3::text IS NULL OR assurance::jsonb #>> '{3,2}' = $3) END""",
        token.issuer,
        token.subject,
        token.sid,
    )
    return len(ended)


class BackChannelRoutes:
    """Where a provider sends its logout tokens; the address to register there."""

    def __init__(self, desk: Desk, providers: dict[str, Provider]) -> None:
        self._desk = desk
        self._providers = providers
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route(
            "/auth/back-channel-logout/{provider}",
            self.log_out,
            methods=["POST"],
            dependencies=[public("a provider proves itself by its token's signature")],
            response_model=None,
        )

    async def log_out(self, request: Request, provider: str) -> Response:
        """§2.7, §2.8: 200 when the sessions are ended (or there were none), 400 for a token that does not hold."""
        known = self._providers.get(provider)
        if known is None:
            raise NotFound()
        try:
            fields = await input_of(request, "logout_token", length_max=TOKEN_LENGTH_MAX)
            token = await self._verified(known, fields.get("logout_token"))
            async with self._desk.db.identity() as tx:
                ended = await end_provider_sessions(tx, token)
                await append_as(tx, [self._event(request, provider, sessions_ended=ended)])
        except ProviderAway:
            raise ProviderUnavailable() from None  # it asks again
        except (SignInRefused, Problem) as refused:
            return await self._refused(request, provider, getattr(refused, "reason", "malformed"))
        return JSONResponse({}, headers={"Cache-Control": "no-store"})

    async def _verified(self, provider: Provider, token: object) -> LogoutToken:
        algorithms = (await provider.metadata()).algorithms
        try:
            return read_logout_token(token, await provider.keys(), provider, algorithms)
        except UnknownKey:
            return read_logout_token(token, await provider.keys(renew=True), provider, algorithms)

    async def _refused(self, request: Request, provider: str, reason: str) -> Response:
        # Anyone may call this, so what it writes into the audit log is bounded by network.
        await self._desk.throttle.take(self._desk.network_limit("logout-refused", request))
        async with self._desk.db.identity() as tx:
            await append_as(tx, [self._event(request, provider, reason=reason)])
        return JSONResponse({"error": "invalid_request"}, 400, headers={"Cache-Control": "no-store"})

    def _event(self, request: Request, provider: str, *, sessions_ended: int = 0, reason: str = "") -> ProviderLogout:
        return ProviderLogout(
            outcome="refused" if reason else "success",
            provider=provider,
            sessions_ended=sessions_ended,
            reason=reason,
            trace_id=passage_of(request).trace_id,
        )
