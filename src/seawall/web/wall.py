"""The outermost wall: the first code a request meets and the last that an answer passes.

It makes the `Passage`, refuses malformed and cross-site requests, and holds the third gate: an answer below 400 that no
decision covered does not leave. It alone ends the request's transaction, and it does so *before* the first byte of the
answer: whoever reads a 200 can rely on the change being committed, whoever reads a refusal on nothing having happened.

Plain ASGI and no BaseHTTPMiddleware, which would copy the context and run the app in another task.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from starlette.requests import Request

from seawall.core.ids import new_trace_id
from seawall.core.scope import PASSAGE_KEY, Passage, Runtime
from seawall.settings import Settings
from seawall.web import csrf, errors
from seawall.web.intake import METHODS, Gone, Headers, Intake
from seawall.web.logs import request_line
from seawall.web.outlet import Broken, Outlet

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

NONCE_BYTES = 18
"""144 bits; CSP 3 §7.1 wants at least 128. A multiple of 3, so that base64 needs no padding."""

_LOG = structlog.get_logger("seawall.web")


class Wall:
    """The ASGI app around everything.

    Args:
        app: what it protects.
        runtime: ends transactions and renders pages.
        settings: limits and the public origin.
    """

    def __init__(self, app: App, *, runtime: Runtime, settings: Settings) -> None:
        self._app = app
        self._runtime = runtime
        self._intake = Intake(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _passage(self, scope: Scope, method: str) -> Passage:
        passage = Passage(
            runtime=self._runtime,
            trace_id=new_trace_id(),
            nonce=secrets.token_urlsafe(NONCE_BYTES),
            method=method,
            path=scope["path"],
            wants_html=False,
        )
        scope[PASSAGE_KEY] = passage
        return passage

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = time.perf_counter()
        passage = self._passage(scope, scope["method"])
        outlet = Outlet(passage, send)
        try:
            body = await self._admit_message(scope, receive, passage)
            await self._app(scope, receive if body is None else _replay(body, receive), outlet.send)
            await outlet.finish()
        except Gone:
            outlet.abandon()
        except Exception as error:
            await self._refuse(scope, passage, outlet, error)
        finally:
            # Also when the task is cancelled: no transaction outlives its request.
            await outlet.close()
        request_line(
            # A method of our own table or none: the caller's word is not written down.
            method=passage.method if passage.method in METHODS else "-",
            route=getattr(scope.get("route"), "path", "-"),
            status=outlet.status,
            elapsed_s=time.perf_counter() - started_s,
            trace_id=passage.trace_id,
        )

    async def _admit_message(self, scope: Scope, receive: Receive, passage: Passage) -> bytes | None:
        """Every check that needs no code of the app. The body, if there is one."""
        found: Headers = {}
        try:
            self._intake.read_headers(scope["headers"], found)
        finally:
            passage.wants_html = _wants_html(found)
        self._intake.check_target(passage.method, scope.get("raw_path") or passage.path.encode(), scope["query_string"])
        own_origin = self._intake.own_origin(scope["scheme"], found)
        csrf.prove(passage.method, found, own_origin)
        return await self._intake.read_body(found, receive)

    async def _refuse(self, scope: Scope, passage: Passage, outlet: Outlet, error: Exception) -> None:
        if outlet.started:
            # Too late for words: the status is out. Cutting the answer short tells the client that it is incomplete.
            _LOG.error("failed after the answer began", trace_id=passage.trace_id, exc_info=error)
            raise error
        if not await outlet.roll_back():
            error = Broken()  # in place of words that may hold what was read
        request = Request(scope)
        response = errors.answer(request, passage, error)
        outlet.renew()
        await response(scope, _nothing, outlet.send)
        await outlet.finish()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A socket opens only from our own origin and only when a decision covers it. It keeps no transaction."""
        passage = self._passage(scope, "GET")
        found: Headers = {}
        accepted = closed = False

        async def guarded(message: Message) -> None:
            nonlocal accepted, closed
            if message["type"] == "websocket.accept" and passage.decision is None:
                _LOG.error("undecided socket refused", alert=True, trace_id=passage.trace_id)
                closed = True
                await send({"type": "websocket.close", "code": 1008})
                return
            accepted = accepted or message["type"] == "websocket.accept"
            if not closed:
                await send(message)

        try:
            self._intake.read_headers(scope["headers"], found)
            scheme = "https" if scope["scheme"] == "wss" else "http"
            if found.get(b"origin") != self._intake.own_origin(scheme, found):
                raise csrf.refusal()
            await self._app(scope, receive, guarded)
        except Exception as error:
            _LOG.error("socket failed", trace_id=passage.trace_id, exc_info=error)
            if not closed:
                closed = True
                await send({"type": "websocket.close", "code": 1011 if accepted else 1008})
        finally:
            if passage.transaction is not None:
                await passage.runtime.rollback(passage.transaction)


def _wants_html(headers: Headers) -> bool:
    """Whether a person's browser asks: it names text/html, and not after JSON."""
    if b"hx-request" in headers:
        return True
    accept = headers.get(b"accept", b"")
    at = accept.find(b"text/html")
    if at < 0:
        return False
    json_at = accept.find(b"json")
    return json_at < 0 or at < json_at


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, once, and then what the server says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
