"""What a caller is told when something is refused or breaks: RFC 9457 problem details, or a page for people.

One mapping for every exception. The caller gets a status, a stable code, a sentence that we wrote and the trace id; the
log gets the stack (ASVS 16.5.1). Text of exceptions that we did not write never leaves: it quotes rows, SQL and input.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import asyncpg
import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from seawall.core.errors import NotSignedIn, Problem, SecondFactorRequired
from seawall.core.scope import Decided, Passage

PROBLEM_TYPE = "application/problem+json"
SIGN_IN_PATH = "/auth/sign-in"
ERROR_TEMPLATE = "web/error.html"

CHAIN_MAX = 8
FIELDS_MAX = 20
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}\Z")

_KEPT_HEADERS = ("allow", "retry-after", "www-authenticate")
"""Headers of a Starlette `HTTPException` that are part of the protocol."""

_LOG = structlog.get_logger("seawall.web")


@dataclass(frozen=True, slots=True)
class Told:
    """What the caller is told."""

    status: int
    code: str
    title: str
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    location: str = ""
    """Where people go instead of an error page."""


_INTERNAL = Told(500, "internal", "Something went wrong", "It has been recorded. Quote the trace id when asking.")

_STATUS_CODES = {
    400: ("bad-request", "The request is malformed"),
    401: ("not-signed-in", "Sign in first"),
    403: ("forbidden", "You may not do this"),
    404: ("not-found", "There is nothing here"),
    405: ("method-not-allowed", "This method is not allowed here"),
    409: ("conflict", "The state has changed"),
    413: ("too-large", "The request is too large"),
    415: ("wrong-content-type", "This content type is not accepted here"),
    422: ("unprocessable", "The request does not validate"),
    429: ("too-many", "Slow down"),
    503: ("unavailable", "Temporarily unavailable"),
}

_SQLSTATE = {
    # Serialization failure and deadlock: nothing is wrong with the request, and nothing of it happened. It is not
    # repeated here: what the handler has told others than the database meanwhile cannot be taken back.
    "40": Told(409, "conflict", "The state has changed", "Two changes met; send it again.", {"Retry-After": "1"}),
    "23": Told(409, "conflict", "The state has changed", "It contradicts what is stored."),
    "22": Told(422, "unprocessable", "The request does not validate", "A value is outside what can be stored."),
    "53": Told(503, "unavailable", "Temporarily unavailable", headers={"Retry-After": "5"}),
    "57": Told(503, "unavailable", "Temporarily unavailable", headers={"Retry-After": "5"}),
    "08": Told(503, "unavailable", "Temporarily unavailable", headers={"Retry-After": "5"}),
}
"""By class of SQLSTATE (PostgreSQL, appendix A). Anything else is our mistake and a 500."""


def told(error: BaseException) -> Told:
    """What the caller is told about `error`. Total: whatever is not known is `internal`."""
    error = _single(error)
    if isinstance(error, Problem):
        shown = (error.status, error.problem_code, error.title, error.detail)
        return Told(*shown, error.headers, error.extra, error.location)
    if isinstance(error, RequestValidationError):
        fields = list(_fields(error.errors()))
        return Told(422, "unprocessable", "The request does not validate", extra={"errors": fields})
    if isinstance(error, HTTPException):
        return _told_http(error)
    return _told_database(error) or _INTERNAL


def told_status(status: int) -> Told:
    """What is told about a status that came without words of ours."""
    if status >= 500 and status != 503:
        return _INTERNAL
    code, title = _STATUS_CODES.get(status, ("refused", _phrase(status)))
    return Told(status, code, title)


def _single(error: BaseException) -> BaseException:
    """What a task group wrapped: a handler that does two things at once fails with the one that failed."""
    for _ in range(CHAIN_MAX):
        if not isinstance(error, BaseExceptionGroup) or len(error.exceptions) != 1:
            break
        [error] = error.exceptions
    return error


def _told_http(error: HTTPException) -> Told:
    # `detail` is dropped: `HTTPException(400, str(error))` is how stack texts leave. A `Problem` may speak.
    base = told_status(error.status_code)
    sent = {name.lower(): value for name, value in (error.headers or {}).items()}
    headers = {name: sent[name] for name in _KEPT_HEADERS if name in sent}
    return Told(base.status, base.code, base.title, base.detail, headers)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "The request was refused"


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    for _ in range(CHAIN_MAX):
        if current is None:
            return
        yield current
        current = getattr(current, "orig", None) or current.__cause__


def _told_database(error: BaseException) -> Told | None:
    for link in _chain(error):
        sqlstate = getattr(link, "sqlstate", None) or getattr(link, "pgcode", None)
        if isinstance(sqlstate, str):
            return _SQLSTATE.get(sqlstate[:2])
        if isinstance(link, asyncpg.InterfaceError) and type(link).__name__ == "DataError":
            # asyncpg's own, not PostgreSQL's of the same name: the value did not fit its column and was never sent.
            return _SQLSTATE["22"]
    return None


def _fields(errors: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Location, type and a message for each invalid field; never the input, which may be a secret or an attack."""
    for error in list(errors)[:FIELDS_MAX]:
        location = [part if isinstance(part, int) or _NAME.match(part) else "?" for part in error.get("loc", ())]
        kind = str(error.get("type", ""))
        if kind == "extra_forbidden":
            location[-1:] = ["?"]  # the name of an unknown field is the caller's own word
        context = error.get("ctx") or {}
        # Messages made from `ctx.error` quote the input ("found `q` at 1"); the others are made from the schema only.
        message = "does not parse" if "error" in context else str(error.get("msg", ""))
        yield {"loc": location, "type": kind, "msg": message}


def problem(passage: Passage, what: Told) -> dict[str, Any]:
    """The members of the problem details object (RFC 9457 §3)."""
    body: dict[str, Any] = {
        "type": f"urn:seawall:problem:{what.code}",
        "title": what.title,
        "status": what.status,
        "code": what.code,
        "trace_id": passage.trace_id,
    }
    if what.detail:
        body["detail"] = what.detail
    for name, value in what.extra.items():
        body.setdefault(name, value)
    return body


def answer(request: Request, passage: Passage, error: BaseException) -> Response:
    """The response for `error`, logged when it is our fault. Marks the passage as refused: nothing is committed."""
    error = _single(error)
    what = told(error)
    if what.status >= 500:
        _LOG.error("failed", trace_id=passage.trace_id, status=what.status, problem=what.code, exc_info=error)
    if isinstance(error, Problem):
        passage.events += [event.model_copy(update={"trace_id": passage.trace_id}) for event in error.events]
    comes_back = isinstance(error, NotSignedIn | SecondFactorRequired)
    if isinstance(error, NotSignedIn) and passage.method == "GET" and not what.location:
        # a browser that is bound to its device renews its cookie before it asks for the same address again
        what = replace(what, location=_own_address(request) if passage.renewable else SIGN_IN_PATH)
        comes_back = not passage.renewable
    return respond(request, passage, what, comes_back=comes_back)


def respond(request: Request, passage: Passage, what: Told, *, comes_back: bool = False) -> Response:
    """`what` as a redirect or page for people, else as problem+json.

    Args:
        comes_back: whether people return to this address from where they are sent.
    """
    passage.decision = Decided("refusal", what.code)
    if passage.wants_html:
        location = what.location
        if location and comes_back and passage.method == "GET" and "?" not in location:
            location += f"?next={quote(_own_address(request), safe='/')}"
        if location and "hx-request" in request.headers:
            # A fetch would follow a redirect silently and put the page into a corner of this one.
            how = {"HX-Refresh": "true"} if passage.renewable else {"HX-Redirect": location}
            return Response(status_code=what.status, headers=how)
        if location:
            return Response(status_code=303, headers={"Location": location})
        page = _page(request, passage, what)
        if page is not None:
            page.headers.update(what.headers)
            return page
    return Response(orjson.dumps(problem(passage, what)), what.status, dict(what.headers), media_type=PROBLEM_TYPE)


def _own_address(request: Request) -> str:
    path = request.scope["path"]
    # `//host` would be another site's address.
    path = "/" + path.lstrip("/")
    query = request.scope.get("query_string", b"").decode("latin-1")
    return f"{path}?{query}" if query else path


def _page(request: Request, passage: Passage, what: Told) -> Response | None:
    context = {"problem": {"detail": "", "errors": [], **problem(passage, what)}, "status": what.status}
    try:
        return passage.runtime.render(request, ERROR_TEMPLATE, context, status=what.status)
    except Exception as broken:  # a broken template must not turn a refusal into a crash
        _LOG.error("error page failed", trace_id=passage.trace_id, exc_info=broken)
        return None
