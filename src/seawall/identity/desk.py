"""What the routes of identity share: settings, database, factors, throttle, and how they read and answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from seawall.core.decisions import passage_of
from seawall.core.errors import BadRequest, Unprocessable
from seawall.identity.factors import Factors
from seawall.identity.risk.arrivals import Arrivals
from seawall.identity.throttle import Limit, Throttle, network_of
from seawall.identity.tokens import strict_object
from seawall.settings import Settings

FIELD_LENGTH_MAX = 4_096
FIELDS_MAX = 32
CREDENTIAL_LENGTH_MAX = 32_768
"""Characters of a passkey's answer as JSON. Real ones have one or two thousand."""
CREDENTIAL = "credential"


class IdentityDatabase(Protocol):
    """The part of `store.Database` that identity uses."""

    def identity(self) -> AbstractAsyncContextManager[Any]:
        """A transaction as `seawall_identity`."""
        ...


CODE_LIMIT, CODES_A_DAY = "totp", "totp-day"
DAY_S = 86_400


@dataclass(frozen=True)
class Desk:
    """Shared by all routes of identity."""

    settings: Settings
    db: IdentityDatabase
    factors: Factors
    throttle: Throttle
    arrivals: Arrivals

    def origin(self, request: Request) -> str:
        """How browsers call us: the configured origin; in development, the host of this request (the wall
        checked it).
        """
        configured = self.settings.web.public_origin
        return configured or f"{request.url.scheme}://{request.headers['host'].lower()}"

    def account_limit(self, kind: str, subject: str) -> Limit:
        section = self.settings.identity
        return Limit(kind, subject, section.attempts_per_account, section.attempts_window_s)

    def network_limit(self, kind: str, request: Request) -> Limit:
        section = self.settings.identity
        return Limit(kind, _network(request), section.attempts_per_network, section.attempts_window_s)

    def code_limits(self, user_id: UUID, code: str) -> list[Limit]:
        """Of tries at a person's second factor. Six digits are guessed by whoever goes on for long enough, so a day has
        its own limit on them (NIST SP 800-63B §3.2.2); a recovery code is not, and its owner may need it just then.
        """
        guessed = code.strip().isdecimal()
        day = [Limit(CODES_A_DAY, str(user_id), self.settings.identity.codes_per_day, DAY_S)] if guessed else []
        return [self.account_limit(CODE_LIMIT, str(user_id)), *day]

    def person_limit(self, kind: str, user_id: UUID, request: Request) -> Limit:
        """Of one person from one network: for what nobody guesses. Who has only their password, and fails on purpose
        elsewhere, does not use it up for them.
        """
        section = self.settings.identity
        subject = f"{user_id}\0{_network(request)}"
        return Limit(kind, subject, section.attempts_per_network, section.attempts_window_s)

    def sign_in_limit(self, request: Request) -> Limit:
        """How many sign-ins a network may begin: each leaves a row for ten minutes."""
        section = self.settings.identity
        return Limit("sign-in-start", _network(request), section.sign_ins_per_network, section.attempts_window_s)


def _network(request: Request) -> str:
    return network_of(request.client.host if request.client else None)


def own_routes(*routes: tuple[str, str, Callable[..., Any]]) -> APIRouter:
    """A router of `("GET", path, endpoint)`: what is ours to answer, and no part of the app's OpenAPI document."""
    router = APIRouter(include_in_schema=False)
    for method, path, endpoint in routes:
        router.add_api_route(path, endpoint, methods=[method], response_model=None)
    return router


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """An HTML page of identity."""
    passage = passage_of(request)
    return passage.runtime.render(
        request, f"identity/{template}.html", {"nonce": passage.nonce, **context}, status=status
    )


def wants_html(request: Request) -> bool:
    return passage_of(request).wants_html


def onward(location: str) -> Response:
    """303: the browser goes on with a GET, whatever it did before (RFC 9110 §15.4.4)."""
    return RedirectResponse(location, 303)


def data(body: dict[str, Any], *, status: int = 200) -> Response:
    return JSONResponse(body, status)


def query_of(request: Request) -> dict[str, str]:
    """The query parameters, each at most once and of bounded length (RFC 6749 §3.1).

    Raises:
        BadRequest: a parameter occurs twice, or there is too much.
    """
    return _once(request.query_params.multi_items())


async def input_of(request: Request, *known: str, length_max: int = FIELD_LENGTH_MAX) -> dict[str, str]:
    """The fields of a form or a JSON object; text only, each once, none unknown, none longer than `length_max`.

    Raises:
        BadRequest: it does not parse, or a field occurs twice.
        Unprocessable: a field is unknown or not text.
    """
    return _checked(await _fields_of(request, length_max), known, length_max)


async def credential_input(request: Request, *known: str) -> tuple[dict[str, str], Any]:
    """The same, with a passkey's answer beside them: the field `credential`, JSON text in a form and an object in JSON.
    None when there is none.
    """
    fields = await _fields_of(request, **{CREDENTIAL: CREDENTIAL_LENGTH_MAX})
    credential = fields.pop(CREDENTIAL, None)
    if isinstance(credential, str) and len(credential) > CREDENTIAL_LENGTH_MAX:
        raise Unprocessable("The credential is too long.")
    return _checked(fields, known), credential


async def _fields_of(request: Request, length_max: int = FIELD_LENGTH_MAX, **longer: int) -> dict[str, Any]:
    raw = await request.body()
    if "json" in request.headers.get("content-type", ""):
        try:
            fields = strict_object(raw or b"{}")
        except ValueError:
            raise BadRequest("The body is not one JSON object.") from None
    else:
        try:
            pairs = parse_qsl(raw.decode("utf-8"), keep_blank_values=True, max_num_fields=FIELDS_MAX)
        except ValueError:
            raise BadRequest("The form does not parse.") from None
        fields = dict(_once(pairs, length_max, longer))
    return fields


def _checked(fields: dict[str, Any], known: tuple[str, ...], length_max: int = FIELD_LENGTH_MAX) -> dict[str, str]:
    for name, value in fields.items():
        if name not in known:
            raise Unprocessable("A field is unknown here.")
        # printable: neither NUL nor half a surrogate pair, on which a database or an encoder would stumble
        if not isinstance(value, str) or len(value) > length_max or not value.isprintable():
            raise Unprocessable("A field is not plain text of bounded length.")
    return fields


def _once(
    pairs: list[tuple[str, str]],
    length_max: int = FIELD_LENGTH_MAX,
    longer: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, str]:
    found = dict(pairs)
    long = any(len(value) > longer.get(name, length_max) for name, value in found.items())
    if len(found) != len(pairs) or len(pairs) > FIELDS_MAX or long:
        raise BadRequest("A parameter occurs twice or is too long.", code="ambiguous-parameters")
    return found
