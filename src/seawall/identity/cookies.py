"""The cookies of identity, and the ASGI layer that reads the session's.

    __Host-sw_sid     the session; Strict
    __Host-sw_dev     its device's, when the browser could bind it; Strict, of minutes
    __Host-sw_tx      a sign-in on its way; Lax, ten minutes
    __Host-sw_known   "this browser was here before"; Lax, opens nothing and is a signal of risk only

`__Host-` pins a cookie to this host over https with path `/` (RFC 6265bis §4.1.3.2). Strict means that no other site
can make a browser use it. The trip back from the provider is a cross-site navigation, which the Lax ones must
survive.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.requests import Request

from seawall.core.ids import token_hash
from seawall.core.scope import PASSAGE_KEY, Decided, Passage
from seawall.identity.credential import DEVICE_ATTRIBUTES, DEVICE_CLEARED, DEVICE_COOKIE, BrowserSession
from seawall.identity.paths import is_own_path
from seawall.identity.risk.watch import Watch
from seawall.identity.transactions import LIFETIME_S

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

SESSION_COOKIE = "__Host-sw_sid"
TRANSACTION_COOKIE = "__Host-sw_tx"
KNOWN_COOKIE = "__Host-sw_known"
KNOWN_LIFETIME_S = 400 * 86_400
"""As long as browsers keep any cookie (RFC 6265bis §5.5)."""
TRANSACTION_PATHS = ("/auth/callback/", "/auth/tenant")
"""Reached by cross-site navigation without a session, on purpose: the Lax cookie is what they need."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")

_SESSION = "Path=/; Secure; HttpOnly; SameSite=Strict"
_TRANSACTION = "Path=/; Secure; HttpOnly; SameSite=Lax"
CLEARED = (f"{SESSION_COOKIE}=; Max-Age=0; {_SESSION}", DEVICE_CLEARED)


def set_session(response: Response, token: str) -> None:
    """Give the browser its session. No Max-Age: it ends with the browser, and on the server in any case."""
    response.headers.append("set-cookie", f"{SESSION_COOKIE}={token}; {_SESSION}")


def clear_session(response: Response) -> None:
    for cookie in CLEARED:
        response.headers.append("set-cookie", cookie)


def set_device(response: Response, token: str, *, max_age_s: int) -> None:
    """Give the browser the cookie that its key has earned."""
    response.headers.append("set-cookie", f"{DEVICE_COOKIE}={token}; Max-Age={max_age_s}; {DEVICE_ATTRIBUTES}")


def set_known(response: Response, token: str) -> None:
    value = f"{KNOWN_COOKIE}={token}; Max-Age={KNOWN_LIFETIME_S}; {_TRANSACTION}"
    response.headers.append("set-cookie", value)


def known_token(request: Request) -> str | None:
    """What this browser was given at an earlier sign-in, if the cookie has its form."""
    value = request.cookies.get(KNOWN_COOKIE, "")
    return value if _TOKEN.fullmatch(value) else None


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

    def __init__(self, app: ASGIApp, watch: Watch) -> None:
        self._app = app
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passage: Passage | None = scope.get(PASSAGE_KEY)
        if scope["type"] != "http" or passage is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        token = request.cookies.get(SESSION_COOKIE, "")
        if _TOKEN.fullmatch(token):
            device = request.cookies.get(DEVICE_COOKIE, "")
            passage.credential = BrowserSession(
                token_hash(token),
                device_hash=token_hash(device) if _TOKEN.fullmatch(device) else None,
                passage=passage,
                request=request,
                watch=self._watch,
            )
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
