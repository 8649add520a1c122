"""`/oauth/authorize`: a person, signed in in a browser, lets a client act for them, or does not.

Asked every time and remembered never: a client that asks is one that has lost its refresh token, and a page that nobody
has to look at is what consent phishing lives on (RFC 9700 §4.10). And only soon after a sign-in or a second factor: a
grant lives for weeks under a key of whoever asks, so a cookie stolen for minutes must not be enough to get one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from seawall.audit import append_as
from seawall.core.clock import now
from seawall.core.decisions import passage_of, self_service
from seawall.core.errors import BadRequest
from seawall.core.events import ClientGrant
from seawall.core.scope import Principal
from seawall.identity.clients.codes import FIELDS, CodeRequest, issue_code
from seawall.identity.clients.endpoint import form_of, given_once
from seawall.identity.clients.refusals import OAuthError, RecentSignInRequired
from seawall.identity.clients.registry import LOOPBACK, Client
from seawall.identity.desk import data, onward, own_routes, page, wants_html
from seawall.identity.sign_in import RECENT_SIGN_IN_S

if TYPE_CHECKING:
    from seawall.identity.clients import Clients

PATH = "/oauth/authorize"

Self = Annotated[Principal, self_service("people let apps act for themselves only")]


@dataclass(frozen=True, slots=True)
class Asked:
    """A client that is known, where its answer goes, and all that it asked."""

    client: Client
    redirect_uri: str
    query: Mapping[str, str]
    issuer: str

    def answer(self, **parameters: str) -> str:
        """The redirect address with an answer; `iss` tells the client whose it is (RFC 9207)."""
        state = {"state": self.query["state"]} if "state" in self.query else {}
        joint = "&" if urlsplit(self.redirect_uri).query else "?"
        return self.redirect_uri + joint + urlencode({**parameters, **state, "iss": self.issuer})


class AuthorizeRoutes:
    """The authorization endpoint (RFC 6749 §3.1)."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.router = own_routes(("GET", PATH, self.show), ("POST", PATH, self.decide))

    async def show(self, request: Request, principal: Self) -> Response:
        """The consent page, which says who lets whom do what."""
        asked = self._asked(request, request.url.query)
        if not _is_fresh(principal):
            return _sign_in_again(request, asked)
        try:
            if asked.query.get("prompt") == "none":
                raise OAuthError("consent_required", "The person is asked every time.")
            CodeRequest.parse(
                asked.query, client_id=asked.client.id, redirect_uri=asked.redirect_uri, issuer=asked.issuer
            )
        except OAuthError as error:
            return RedirectResponse(asked.answer(error=error.error, error_description=error.description), 303)
        about = await self._about(principal)
        fields = {name: value for name, value in asked.query.items() if name in FIELDS}
        if not wants_html(request):
            return data({"client": asked.client.title, "client_id": asked.client.id, "decide": PATH, "fields": fields})
        return page(
            request,
            "authorize",
            client=asked.client,
            about=about,
            roles=sorted({role.replace("_", " ") for role in principal.roles}),
            returns_to=_place(asked.redirect_uri),
            fields=fields,
        )

    async def decide(self, request: Request, principal: Self) -> Response:
        """The person has answered. The wall has seen that the form is our own."""
        try:
            form = await form_of(request)
        except OAuthError as error:
            raise BadRequest(error.description) from None
        asked = self._asked(request, urlencode({name: value for name, value in form.items() if name in FIELDS}))
        if not _is_fresh(principal):
            return _sign_in_again(request, asked)
        try:
            code_request = CodeRequest.parse(
                asked.query, client_id=asked.client.id, redirect_uri=asked.redirect_uri, issuer=asked.issuer
            )
            if form.get("decision") != "allow":
                await self._denied(request, principal, asked.client)
                raise OAuthError("access_denied", "The person did not agree.")
            async with self._clients.desk.db.identity() as tx:
                code = await issue_code(tx, code_request, principal.session_id)
            location = asked.answer(code=code)
        except OAuthError as error:
            location = asked.answer(error=error.error, error_description=error.description)
        if not wants_html(request):
            return data({"location": location})
        # A page and not a redirect: `form-action 'self'` holds for where a form's answer redirects to as well.
        return page(request, "authorized", client=asked.client, location=location, allowed="error" not in location)

    def _asked(self, request: Request, query: str) -> Asked:
        """Raises BadAuthorization, or BadRequest: both are shown here, since nobody knows where else to."""
        try:
            found = given_once(parse_qsl(query, keep_blank_values=True))
        except (OAuthError, ValueError):
            raise BadRequest("A parameter occurs twice, or is too long.", code="ambiguous-parameters") from None
        client, redirect_uri = self._clients.registry.to_authorize(found)
        return Asked(client, redirect_uri, found, self._clients.issuer(request))

    async def _about(self, principal: Principal) -> dict[str, Any]:
        async with self._clients.desk.db.identity() as tx:
            row = await tx.fetchrow(
                """SELECT u.name, u.email, t.name AS tenant FROM seawall.users u, seawall.tenants t
                   WHERE u.id = $1 AND t.id = $2""",
                principal.user_id,
                principal.tenant_id,
            )
        return dict(row)

    async def _denied(self, request: Request, principal: Principal, client: Client) -> None:
        event = ClientGrant(
            outcome="refused",
            user_id=str(principal.user_id),
            client_id=client.id,
            grant_id="",
            step="denied",
            trace_id=passage_of(request).trace_id,
        )
        async with self._clients.desk.db.identity() as tx:
            await append_as(
                tx, [event], tenant_id=principal.tenant_id, user_id=principal.user_id, session_id=principal.session_id
            )


def _is_fresh(principal: Principal) -> bool:
    """Whether the person has just proved who they are. A session in doubt counts as authenticated long ago."""
    proved = (principal.assurance.authenticated_at, principal.assurance.second_factor_at)
    return now() - max(at for at in proved if at is not None) <= timedelta(seconds=RECENT_SIGN_IN_S)


def _sign_in_again(request: Request, asked: Asked) -> Response:
    if not wants_html(request):
        raise RecentSignInRequired("Letting an app in needs a sign-in of the last five minutes.")
    here = f"{PATH}?{urlencode(dict(asked.query))}"
    return onward(f"/auth/sign-in?{urlencode({'fresh': '1', 'next': here})}")


def _place(uri: str) -> str:
    """Where the answer goes, as a person can judge it."""
    parts = urlsplit(uri)
    if parts.hostname in LOOPBACK:
        return "a program on this computer"
    return parts.hostname or f"the app that owns {parts.scheme}:"
