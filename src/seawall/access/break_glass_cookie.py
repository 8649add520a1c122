"""`__Host-sw_bg`: under which grant a staff person's browser reads. It names the grant and proves nothing.

Who they are is their session, as always; whether the grant holds, is theirs, and their session has a second factor, is
the database's answer at every request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from starlette.requests import Request

from seawall.core.errors import Forbidden
from seawall.core.scope import PASSAGE_KEY, Credential, Passage, Principal, Runtime, SessionToken

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

GRANT_COOKIE = "__Host-sw_bg"
OWN_PATHS = ("/auth/", "/access/")
"""There staff are themselves: signing out, confirming, asking for a grant and ending it."""
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_FLAGS = "Path=/; Secure; HttpOnly; SameSite=Strict"


def set_grant(grant_id: UUID) -> str:
    return f"{GRANT_COOKIE}={grant_id}; {_FLAGS}"


def clear_grant() -> str:
    return f"{GRANT_COOKIE}=; Max-Age=0; {_FLAGS}"


@dataclass(frozen=True, slots=True)
class UnderGrant:
    """A staff person's credential, together with the grant that they want to read under."""

    own: Credential
    grant_id: UUID
    passage: Passage = field(repr=False)

    async def admit(self, runtime: Runtime) -> Principal | None:
        """Two round trips: who they are, then into the grant's tenant.

        Raises:
            Forbidden: the grant does not hold, or the request would change something.
        """
        staff = await self.own.admit(runtime)
        if staff is None:
            return None
        entered = await runtime.enter_break_glass(staff, self.grant_id)
        if entered is None:
            self.passage.extra_cookies.append(clear_grant())
            raise Forbidden("This break-glass grant is over, or not yours.", code="break-glass-over")
        if self.passage.changes:
            raise Forbidden("Break-glass reads; it changes nothing.", code="read-only")
        return entered


class GrantCookie:
    """ASGI layer inside the session's: notes the grant; touches no database."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passage: Passage | None = scope.get(PASSAGE_KEY)
        # an API client's token acts for one person in one tenant, and never for staff elsewhere
        if scope["type"] == "http" and passage is not None and isinstance(passage.credential, SessionToken):
            named = Request(scope).cookies.get(GRANT_COOKIE, "")
            if _ID.fullmatch(named) and not passage.path.startswith(OWN_PATHS):
                passage.credential = UnderGrant(passage.credential, UUID(named), passage)
        await self._app(scope, receive, send)
