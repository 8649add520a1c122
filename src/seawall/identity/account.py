"""A person's own account: who am I, my factors, my sessions; ending one, others, this one, all."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from seawall.audit import append_as
from seawall.core.decisions import passage_of, public, self_service
from seawall.core.errors import NotFound
from seawall.core.events import SignOut
from seawall.core.scope import Principal, SessionToken
from seawall.identity import cookies
from seawall.identity.desk import Desk, data, onward, page, wants_html
from seawall.identity.factor_gate import recovering
from seawall.identity.paths import ACCOUNT_PATH
from seawall.identity.risk.notices import browser_words, notices_of
from seawall.identity.sessions import (
    EndedSession,
    end_all_sessions,
    end_one_of,
    end_others,
    end_session,
    live_sessions,
)

SIGNED_OUT = "/"

Self = Annotated[Principal, self_service("people see their own account and sign out", before_second_factor=True)]
Manager = Annotated[Principal, self_service("people end their own sessions")]


class AccountRoutes:
    """Routes of one's own account."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.router = APIRouter(include_in_schema=False)
        add = self.router.add_api_route
        add("/auth/me", self.me, methods=["GET"], response_model=None)
        add(ACCOUNT_PATH, self.account, methods=["GET"], response_model=None)
        add(
            "/auth/sign-out",
            self.sign_out,
            methods=["POST"],
            response_model=None,
            # Not self-service: whose session has just ended is signed out too, and gets no error page for asking.
            dependencies=[public("ends the caller's own session, if there is one")],
        )
        add("/auth/sessions/end-others", self.end_others, methods=["POST"], response_model=None)
        add("/auth/sessions/{session_id}/end", self.end_one, methods=["POST"], response_model=None)
        add("/auth/sign-out-everywhere", self.sign_out_everywhere, methods=["POST"], response_model=None)

    async def me(self, principal: Self) -> Response:
        return data(_plain(await self._about(principal)))

    async def _about(self, principal: Principal) -> dict[str, Any]:
        async with self._desk.db.identity() as tx:
            row = await tx.fetchrow(
                """SELECT u.name, u.email, t.name AS tenant,
                     (SELECT count(*) FROM seawall.sessions s WHERE s.user_id = u.id AND s.epoch = u.epoch
                      AND s.kind = 'browser' AND s.revoked_at IS NULL AND s.expires_at > now()) AS sessions
                   FROM seawall.users u, seawall.tenants t WHERE u.id = $1 AND t.id = $2""",
                principal.user_id,
                principal.tenant_id,
            )
            held = await self._desk.factors.held(tx, principal.user_id)
            notify_at = self._desk.settings.identity.risk.notify_at
            notices = await notices_of(tx, principal.user_id, principal.session_id, notify_at=notify_at)
        return {
            "user_id": str(principal.user_id),
            "tenant_id": str(principal.tenant_id),
            "tenant": row["tenant"],
            "name": row["name"],
            "email": row["email"],
            "memberships": [
                {"role": m.role, "scope_type": m.scope_type, "scope_id": str(m.scope_id) if m.scope_id else None}
                for m in principal.memberships
            ],
            "aal": principal.assurance.aal,
            "second_factor_owed": principal.owes_second_factor,
            "factors": held.dump(),
            "totp": held.totp,
            "sessions": row["sessions"],
            "notices": notices,
        }

    async def account(self, request: Request, principal: Self) -> Response:
        """Everything about oneself: factors by name, recovery codes left, every live session."""
        about = await self._about(principal)
        async with self._desk.db.identity() as tx:
            passkeys = await tx.fetch(
                """SELECT id, name, synced, created_at, last_used_at, suspected_at IS NOT NULL AS suspected
                   FROM seawall.passkeys WHERE user_id = $1 ORDER BY id""",
                principal.user_id,
            )
            sessions = await live_sessions(tx, principal.user_id, principal.session_id)
            lost = await recovering(tx, principal)
        if wants_html(request):
            lines = [(line, browser_words(line.family, line.platform)) for line in sessions]
            return page(request, "account", me=about, passkeys=passkeys, sessions=lines, recovering=lost)
        lists = {
            "passkeys": [{name: _json(value) for name, value in row.items()} for row in passkeys],
            "devices": [
                {"device": browser_words(line.family, line.platform)}
                | {name: _json(value) for name, value in asdict(line).items()}
                for line in sessions
            ],
        }
        return data(_plain(about) | lists)

    async def end_one(self, request: Request, session_id: str, principal: Manager) -> Response:
        """End one session, wherever it is. One that is over already is no error: it is as asked for."""
        try:
            wanted = UUID(session_id)
        except ValueError:
            raise NotFound() from None
        async with self._desk.db.identity() as tx:
            mine = await tx.fetchval(
                "SELECT EXISTS (SELECT FROM seawall.sessions WHERE id = $1 AND user_id = $2)", wanted, principal.user_id
            )
            if not mine:
                raise NotFound()
            ended = await end_one_of(tx, principal.user_id, wanted)
            await self._record(tx, request, principal, ended, everywhere=False)
        return _signed_out(request, ended) if wanted == principal.session_id else _ended(request, ended)

    async def end_others(self, request: Request, principal: Manager) -> Response:
        """End every session but this one."""
        async with self._desk.db.identity() as tx:
            ended = await end_others(tx, principal.user_id, principal.session_id)
            await self._record(tx, request, principal, ended, everywhere=False)
        return _ended(request, ended)

    async def sign_out(self, request: Request) -> Response:
        credential = passage_of(request).credential
        if not isinstance(credential, SessionToken):
            return _signed_out(request, 0)
        async with self._desk.db.identity() as tx:
            ended = await end_session(tx, credential.token_hash)
            if ended is not None:
                await self._record(tx, request, ended, 1, everywhere=False)
        return _signed_out(request, 0 if ended is None else 1)

    async def sign_out_everywhere(self, request: Request, principal: Self) -> Response:
        async with self._desk.db.identity() as tx:
            ended = await end_all_sessions(tx, principal.user_id)
            await self._record(tx, request, principal, ended, everywhere=True)
        return _signed_out(request, ended)

    async def _record(
        self, tx: Any, request: Request, who: Principal | EndedSession, ended: int, *, everywhere: bool
    ) -> None:
        event = SignOut(
            user_id=str(who.user_id),
            sessions_ended=ended,
            everywhere=everywhere,
            trace_id=passage_of(request).trace_id,
        )
        await append_as(tx, [event], tenant_id=who.tenant_id, user_id=who.user_id, session_id=who.session_id)


def _ended(request: Request, ended: int) -> Response:
    return onward(ACCOUNT_PATH) if wants_html(request) else data({"sessions_ended": ended})


def _json(value: Any) -> Any:
    return value if value is None or isinstance(value, bool | int) else str(value)


def _plain(about: dict[str, Any]) -> dict[str, Any]:
    """The same with JSON values only."""
    return {**about, "notices": [notice.dump() for notice in about["notices"]]}


def _signed_out(request: Request, ended: int) -> Response:
    response = onward(SIGNED_OUT) if wants_html(request) else data({"sessions_ended": ended})
    cookies.clear_session(response)
    # ASVS 14.3.1: what the app left in the browser goes too. Not "cache": nothing of ours is cacheable, and it is slow.
    response.headers["Clear-Site-Data"] = '"storage"'
    return response
