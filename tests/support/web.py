"""What the web tests share: a runtime that remembers, and a raw ASGI client that can send what no library would."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict

from seawall import web
from seawall.core.decisions import passage_of, public, self_service
from seawall.core.errors import Conflict, NotFound, SecondFactorRequired, StepUpRequired
from seawall.core.events import Decision
from seawall.core.scope import Assurance, Principal, SessionToken
from seawall.settings import AppSection, Settings, WebSection

HOST = "shop.localhost"
ORIGIN = f"https://{HOST}"

PRINCIPAL = Principal(
    user_id=UUID(int=1),
    tenant_id=UUID(int=2),
    session_id=UUID(int=3),
    memberships=(),
    assurance=Assurance(1, datetime(2026, 11, 1, tzinfo=UTC)),
    context="signed",
)


class MemoryRuntime:
    """Keeps a list of what happened to transactions and events, in order."""

    def __init__(self) -> None:
        self.log: list[Any] = []
        self.commit_error: Exception | None = None
        self.record_error: Exception | None = None
        self.rollback_error: Exception | None = None
        self.pages: web.Pages | None = None
        self.step_ups: Any = None

    def render(self, request: Request, template: str, context: dict[str, Any], *, status: int = 200) -> Response:
        assert self.pages is not None
        return self.pages.render(request, template, context, status=status)

    async def admit(self, token_hash: bytes, device_hash: bytes | None = None) -> Principal | None:
        return PRINCIPAL if token_hash == b"known" else None

    async def begin(self, principal: Principal) -> Any:
        self.log.append("begin")
        return object()

    async def commit(self, transaction: Any, events: list[Any]) -> None:
        if self.commit_error is not None:
            self.log.append("commit failed")
            raise self.commit_error
        self.log.append(("commit", len(events)))

    async def rollback(self, transaction: Any) -> None:
        self.log.append("rollback")
        if self.rollback_error is not None:
            raise self.rollback_error

    async def record_refusals(self, principal: Principal | None, events: list[Any]) -> None:
        if self.record_error is not None:
            raise self.record_error
        self.log.append(("refusals", len(events)))

    def note_read(self, principal: Principal, event: Any) -> None:
        self.log.append("read")


class SignedIn:
    """Stands where identity's ASGI class stands: every request with a cookie is known."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and any(name == b"cookie" for name, _ in scope["headers"]):
            scope["seawall.passage"].credential = SessionToken(b"known")
        await self.app(scope, receive, send)


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    size: int = 0


def routes(app: FastAPI) -> None:
    """Routes of every kind an app may have, good and bad."""
    anyone = [public("a route of the tests")]
    someone = [self_service("a route of the tests")]

    @app.get("/data", dependencies=anyone)
    async def data() -> dict[str, int]:
        return {"one": 1}

    @app.get("/cached", dependencies=anyone)
    async def cached() -> Response:
        headers = {"Cache-Control": "public, max-age=60", "Server": "x", "Access-Control-Allow-Origin": "*"}
        return Response("menu", headers=headers)

    @app.get("/private", dependencies=someone)
    async def private() -> Response:
        return Response("mine", headers={"Cache-Control": "public, max-age=60"})

    @app.get("/page", dependencies=anyone)
    async def html_page(request: Request) -> Response:
        return web.page(request, "hello.html", {"name": "<b>&"})

    _undecided_routes(app)
    _changing_routes(app, someone)
    _refusing_route(app, someone)

    @app.post("/notes", dependencies=anyone)
    async def note(body: Note) -> Note:
        return body

    @app.post("/forms", dependencies=anyone)
    async def form(text: Annotated[str, Form()]) -> PlainTextResponse:
        return PlainTextResponse(text)

    @app.get("/things/{number}", dependencies=anyone)
    async def thing(number: int) -> Response:
        raise NotFound()

    @app.get("/owes", dependencies=anyone)
    async def owes() -> Response:
        raise SecondFactorRequired

    @app.get("/raw-html", dependencies=anyone)
    async def raw_html() -> HTMLResponse:
        return HTMLResponse("<p>hi</p>")


def _refusing_route(app: FastAPI, someone: list[Any]) -> None:
    @app.get("/refused", dependencies=someone)
    async def refused(request: Request, *, words: bool, break_glass: bool) -> Response:
        """What was read stands in the refusal."""
        passage = passage_of(request)
        await passage.begin()
        if break_glass and passage.principal is not None:
            passage.principal = replace(passage.principal, break_glass=UUID(int=4))
        if words:
            raise Conflict("Ada Quinn has it already.")
        return Response("Ada Quinn has it already.", status_code=409)


def _undecided_routes(app: FastAPI) -> None:
    @app.get("/undecided")
    async def undecided() -> str:
        return "SECRET-BODY"

    @app.get("/undecided-stream")
    async def undecided_stream() -> Response:
        return StreamingResponse(iter(["SECRET", "-BODY"]))

    @app.get("/undecided-redirect")
    async def undecided_redirect() -> Response:
        return RedirectResponse("/?token=SECRET-BODY")


def _changing_routes(app: FastAPI, someone: list[Any]) -> None:
    @app.get("/write", dependencies=someone)
    @app.post("/write", dependencies=someone)
    async def write(request: Request, status: int = 200, fail: str = "") -> Response:
        passage = passage_of(request)
        await passage.begin()
        passage.events.append(Decision(action="write", resource="x", effect="allow"))
        passage.extra_cookies.append("a=b; Path=/")
        if fail == "crash":
            raise RuntimeError("SECRET-BODY in a message")
        if fail == "conflict":
            raise Conflict("Somebody was faster.")
        if fail == "step-up":
            raise StepUpRequired("c1", acr="aal2", max_age_s=300)
        if fail == "cancel":
            raise asyncio.CancelledError
        return Response("SECRET-BODY" if status >= 500 else "written", status_code=status)

    @app.get("/stream", dependencies=someone)
    async def stream(request: Request) -> Response:
        await passage_of(request).begin()

        async def parts() -> Any:
            yield "one"
            raise RuntimeError("in the middle")

        return StreamingResponse(parts())


def make_app(tmp_path: Any, **web_settings: Any) -> tuple[web.Wall, MemoryRuntime]:
    """An app with `routes`, as `app.py` would wire it."""
    (tmp_path / "templates").mkdir(exist_ok=True)
    (tmp_path / "templates" / "hello.html").write_text(
        '{% extends "web/base.html" %}{% block body %}<p>{{ name }}</p><i>{{ nonce }}</i>{% endblock %}'
    )
    (tmp_path / "static").mkdir(exist_ok=True)
    (tmp_path / "static" / "logo.svg").write_text("<svg/>")
    settings = Settings(root=tmp_path, app=AppSection(name="Shop & Co"), web=WebSection(**web_settings))
    app = FastAPI()
    runtime = MemoryRuntime()
    runtime.pages = web.include(app, settings=settings)
    routes(app)
    return web.Wall(SignedIn(app), runtime=runtime, settings=settings), runtime


@dataclass
class Answer:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    error: BaseException | None = None
    read: int = 0
    """How many messages the app took."""

    def header(self, name: str) -> str:
        """The one value of a header.

        Raises:
            AssertionError: when it is sent twice.
        """
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) <= 1, f"{name} is sent {len(values)} times"
        return values[0] if values else ""

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    body: bytes | list[bytes] = b"",
    host: str | None = HOST,
    length: bool = True,
    raw_path: bytes | None = None,
    disconnect: bool = False,
) -> Answer:
    """Send one request straight into the ASGI app, exactly as given."""
    target, _, query = path.partition("?")
    pairs = [("host", host)] if host is not None else []
    pairs += list(headers.items()) if isinstance(headers, dict) else (headers or [])
    parts = body if isinstance(body, list) else [body]
    if length and any(parts):
        pairs.append(("content-length", str(sum(map(len, parts)))))
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": part, "more_body": index + 1 < len(parts)} for index, part in enumerate(parts)
    ]
    if disconnect:
        messages[-1] = {"type": "http.disconnect"}
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return messages[read - 1] if read <= len(messages) else {"type": "http.disconnect"}

    answer = Answer()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert answer.status == 0, "the answer began twice"
            answer.status = message["status"]
            answer.headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]]
        else:
            answer.body += message.get("body", b"")

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": target,
        "raw_path": raw_path if raw_path is not None else target.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 443),
    }
    try:
        await app(scope, receive, send)
    except BaseException as error:
        answer.error = error
    answer.read = read
    return answer


COOKIE = {"cookie": "__Host-sw_sid=x"}
SAME_ORIGIN = {"origin": ORIGIN, "sec-fetch-site": "same-origin"}
JSON = {"content-type": "application/json"}
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
