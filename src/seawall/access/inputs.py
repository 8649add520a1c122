"""What people and clients send to access's own pages: one model, from a form or from JSON, refused alike.

body = await read_input(request, AskIn)
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from seawall.core.decisions import passage_of
from seawall.core.errors import BadRequest, Forbidden, NotFound, Unprocessable

M = TypeVar("M", bound=BaseModel)
FIELDS_MAX = 16
ERRORS_MAX = 8


def _printable(text: str) -> str:
    # neither NUL nor line breaks nor half a surrogate pair: it is shown to others, and one line of it
    if not text.isprintable():
        raise ValueError("not one line of plain text")
    return text


Line = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), AfterValidator(_printable)
]
"""One line that a person wrote, 1 to 500 characters."""


async def read_input(request: Request, model: type[M]) -> M:
    """The body as a model.

    Raises:
        BadRequest: it is neither one JSON object nor a form, or says something twice.
        Unprocessable: it does not validate; says which fields, never what was in them.
    """
    raw = await request.body()
    try:
        if "json" in request.headers.get("content-type", ""):
            fields: Any = json.loads(raw or b"{}", object_pairs_hook=_once)
        else:
            fields = _once(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except (ValueError, RecursionError):
        raise BadRequest("The body is neither one JSON object nor a form, or says something twice.") from None
    if not isinstance(fields, dict):
        raise BadRequest("The body is not one object.")
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False, include_context=False)[:ERRORS_MAX]
        told = [_told(one["loc"], one["type"], model) for one in found]
        raise Unprocessable("A field is missing, unknown, or not as it should be.", extra={"errors": told}) from None


def _told(location: tuple[int | str, ...], kind: str, model: type[BaseModel]) -> dict[str, Any]:
    """Which field and what of it; the name of an unknown one is the caller's own word, and is not repeated."""
    name = location[0] if location and location[0] in model.model_fields else "?"
    return {"loc": ["body", name], "type": kind, "msg": _words(kind)}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("twice")
    return found


def _words(kind: str) -> str:
    return {
        "missing": "is needed",
        "extra_forbidden": "is unknown here",
        "string_too_long": "is too long",
        "string_too_short": "is empty",
        "value_error": "must be one line of plain text",
    }.get(kind, "does not validate")


def identity_in(text: str) -> UUID:
    """An id from a path.

    Raises:
        NotFound: it is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise NotFound() from None


def in_person(request: Request) -> None:
    """A second pair of eyes is a person's, not a program's to which they once gave access.

    Raises:
        Forbidden: the request came with an access token, not with a browser's session.
    """
    if passage_of(request).token_hash is None:
        raise Forbidden("People decide this themselves, signed in.", code="in-person")


def wants_html(request: Request) -> bool:
    return passage_of(request).wants_html


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """An HTML page of access."""
    passage = passage_of(request)
    return passage.runtime.render(request, f"access/{template}.html", context, status=status)


def data(body: Any, *, status: int = 200) -> Response:
    return JSONResponse(body, status)


def onward(location: str) -> Response:
    """303: the browser goes on with a GET, whatever it did before (RFC 9110 §15.4.4)."""
    return RedirectResponse(location, 303)
