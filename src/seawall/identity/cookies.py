"""The two cookies of identity, and the ASGI layer that reads the session's.

`__Host-` pins a cookie to this host over https with path `/` (RFC 6265bis §4.1.3.2). The session is SameSite=Strict: no
other site can make a browser use it. The sign-in transaction must survive the trip back from the provider, which is a
cross-site navigation, so it alone is Lax, and lives for ten minutes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import Request

from seawall.core.ids import token_hash
from seawall.core.scope import PASSAGE_KEY, Decided, Passage, SessionToken
from seawall.identity.paths import is_own_path
from seawall.identity.transactions import LIFETIME_S

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

SESSION_COOKIE = "__Host-sw_sid"
TRANSACTION_COOKIE = "__Host-sw_tx"
TRANSACTION_PATHS = ("/auth/callback/", "/auth/tenant")
"""Reached by cross-site navigation without a session, on purpose: the Lax cookie is what they need."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")

_SESSION = "Path=/; Secure; HttpOnly; SameSite=Strict"
_TRANSACTION = "Path=/; Secure; HttpOnly; SameSite=Lax"


def set_session(response: Response, token: str) -> None:
    """Give the browser its session. No Max-Age: it ends with the browser, and on the server in any case."""
    response.headers.append("set-cookie", f"{SESSION_COOKIE}={token}; {_SESSION}")


def clear_session(response: Response) -> None:
    response.headers.append("set-cookie", f"{SESSION_COOKIE}=; Max-Age=0; {_SESSION}")


def set_transaction(response: Response, transaction_id: str) -> None:
    value = f"{TRANSACTION_COOKIE}={transaction_id}; Max-Age={LIFETIME_S}; {_TRANSACTION}"
    response.headers.append("set-cookie", value)


def clear_transaction(response: Response) -> None:
    response.headers.append("set-cookie", f"{TRANSACTION_COOKIE}=; Max-Age=0; {_TRANSACTION}")


def transaction_id(request: Request) -> str | None:
    """The transaction's id, if the cookie has its form."""
    value = request.cookies.get(TRANSACTION_COOKIE, "")
    return value if _TOKEN.fullmatch(value) else None


class SessionCookie:
    """ASGI layer just inside the wall: notes the hash of the session cookie; touches no database.

    A link from another site (a mail, a chat) arrives without the Strict cookie even if the person is signed in. Such a
    navigation is answered once with a page that goes to the same address: that second navigation is our own, so it
    carries the cookie, and `Sec-Fetch-Site` is then `same-origin`, so there is no loop.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passage: Passage | None = scope.get(PASSAGE_KEY)
        if scope["type"] != "http" or passage is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        token = request.cookies.get(SESSION_COOKIE, "")
        if _TOKEN.fullmatch(token):
            passage.credential = SessionToken(token_hash(token))
        elif _came_from_elsewhere(request):
            target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            if is_own_path(target):
                passage.decision = Decided("public", "a page that only repeats the navigation; it holds nothing")
                response = passage.runtime.render(request, "web/bounce.html", {"location": target})
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _came_from_elsewhere(request: Request) -> bool:
    headers = request.headers
    return (
        request.method == "GET"
        and headers.get("sec-fetch-site") == "cross-site"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest", "document") == "document"
        and not request.url.path.startswith(TRANSACTION_PATHS)
    )
