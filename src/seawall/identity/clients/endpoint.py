"""What the endpoints for clients share: reading a form as RFC 6749 says, and answering in its words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from seawall.core.errors import BadRequest, TooMany
from seawall.identity.clients.refusals import OAuthError
from seawall.identity.desk import FIELD_LENGTH_MAX, FIELDS_MAX

if TYPE_CHECKING:
    from seawall.identity.clients import Clients

Endpoint = Callable[[Request, Mapping[str, str]], Awaitable[Response]]


async def form_of(request: Request) -> dict[str, str]:
    """The parameters of a form. Unknown ones are ignored, empty ones count as left out (RFC 6749 §3.2).

    Raises:
        OAuthError: it does not parse, or a parameter occurs twice.
    """
    if "json" in request.headers.get("content-type", ""):
        raise OAuthError("invalid_request", "Send application/x-www-form-urlencoded.")
    try:
        pairs = parse_qsl((await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise OAuthError("invalid_request", "The form does not parse.") from None
    return given_once(pairs)


def given_once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name.

    Raises:
        OAuthError: one occurs twice, is too long, or holds what no parameter may.
    """
    found = dict(pairs)
    if len(found) != len(pairs) or len(pairs) > FIELDS_MAX:
        raise OAuthError("invalid_request", "A parameter occurs twice, or there are too many.")
    # printable: neither NUL nor half a surrogate pair, on which a database or an encoder would stumble
    if any(len(value) > FIELD_LENGTH_MAX or not value.isprintable() for value in found.values()):
        raise OAuthError("invalid_request", "A parameter is too long or not plain text.")
    return {name: value for name, value in found.items() if value}


def answered(clients: Clients, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """A route that reads the form and turns an `OAuthError` into its JSON.

    What is refused is counted by network: who may call is anyone, and refusals write into the audit log.
    """

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request, await form_of(request))
        except OAuthError as refused:
            error = refused
        except BadRequest:
            error = OAuthError("invalid_request", "The request is malformed.")
        if error.error != "use_dpop_nonce":
            try:
                await clients.desk.throttle.take(clients.desk.network_limit("oauth-refused", request))
            except TooMany as slow:
                error = OAuthError("slow_down", "Too many refused requests.", status=429, headers=slow.headers)
        return JSONResponse(
            {"error": error.error, "error_description": error.description}, error.status, headers=error.headers
        )

    return answer


def data(body: dict[str, Any], headers: dict[str, str] | None = None) -> Response:
    """An answer that nobody keeps; `Cache-Control: no-store` is the wall's (RFC 6749 §5.1)."""
    return JSONResponse(body, headers={"Pragma": "no-cache", **(headers or {})})
