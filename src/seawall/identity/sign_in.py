"""The way in: `/auth/sign-in` → provider → `/auth/callback/{provider}` → a session. A passkey needs no provider.

Authorization code flow with PKCE S256, state, nonce and issuer check (RFC 9700). The transaction behind a callback is
taken away before anything else is looked at, so a callback works once, whatever comes of it.
"""

from __future__ import annotations

import hmac
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from seawall.audit import append_as
from seawall.core.clock import now
from seawall.core.decisions import passage_of, public
from seawall.core.errors import NotFound, Problem, Unavailable
from seawall.core.events import Link, SignIn
from seawall.identity import cookies, reach
from seawall.identity.ceremony import PasskeyProblem
from seawall.identity.desk import Desk, credential_input, data, input_of, onward, page, query_of, wants_html
from seawall.identity.linking import TenantChoice, check_enabled, find_person, issuers_of, link_to_session, tenants_of
from seawall.identity.logout import ProviderSession, remember_origin
from seawall.identity.passkeys import Passkeys
from seawall.identity.paths import own_path
from seawall.identity.providers import Provider
from seawall.identity.refusals import ProviderAway, ProviderUnavailable, SignInProblem, SignInRefused
from seawall.identity.sessions import begin_session
from seawall.identity.tokens import IdClaims
from seawall.identity.transactions import (
    Secrets,
    SignInTransaction,
    open_transaction,
    passkey_challenge,
    use_transaction,
)

PASSKEY_PATH = "/auth/sign-in/passkey"
PASSKEY_PROVIDER = "passkey"
"""What stands in for a provider's name in transactions and events."""
RECENT_SIGN_IN_S = 300
"""What counts as having just signed in, for enrolling a factor."""


@dataclass(frozen=True, slots=True)
class Authentication:
    """That a provider has just vouched for a person, or a passkey has, and how."""

    user_id: UUID
    authenticated_at: datetime
    amr: tuple[str, ...]
    aal: int = 1
    """2 for a passkey, which is two factors by itself. What a provider says of its own factors is not counted."""
    origin: ProviderSession | None = None
    """None when no provider vouched for the person now."""

    @classmethod
    def of(cls, user_id: UUID, claims: IdClaims) -> Authentication:
        at = now() if claims.auth_time is None else min(now(), datetime.fromtimestamp(claims.auth_time, UTC))
        origin = ProviderSession(claims.issuer, claims.subject, claims.session)
        return cls(user_id, at, claims.amr, origin=origin)

    def dump(self) -> str:
        origin = None if self.origin is None else astuple(self.origin)
        return orjson.dumps([self.authenticated_at.timestamp(), self.amr, self.aal, origin]).decode()

    @classmethod
    def load(cls, user_id: UUID, text: str) -> Authentication:
        at, amr, aal, origin = orjson.loads(text)
        origin = None if origin is None else ProviderSession(*origin)
        return cls(user_id, datetime.fromtimestamp(at, UTC), tuple(amr), aal, origin)


class SignInRoutes:
    """Routes of signing in."""

    def __init__(self, desk: Desk, providers: dict[str, Provider], passkeys: Passkeys) -> None:
        self._desk = desk
        self._providers = providers
        self._passkeys = passkeys
        self.router = APIRouter(include_in_schema=False)
        for path, endpoint, method, why in (
            ("/auth/sign-in", self.start, "GET", "who is not signed in must be able to begin"),
            ("/auth/callback/{provider}", self.callback, "GET", "the provider sends the browser back here"),
            ("/auth/tenant", self.choose, "POST", "the last step of a sign-in, bound to its transaction"),
            (f"{PASSKEY_PATH}/options", self.passkey_options, "POST", "who is not signed in must be able to begin"),
            (PASSKEY_PATH, self.passkey, "POST", "a passkey proves who it is, bound to the browser's transaction"),
        ):
            self.router.add_api_route(path, endpoint, methods=[method], dependencies=[public(why)], response_model=None)

    async def start(self, request: Request) -> Response:
        """Begin: record a transaction and send the browser to the provider. Without `provider`, offer the choice."""
        query = query_of(request)
        fresh = query.get("fresh") == "1"
        name = query.get("provider") or self._only_way()
        if not name:
            return self._offer(request, own_path(query.get("next")), fresh=fresh)
        provider = self._providers.get(name)
        if provider is None:
            raise NotFound()
        transaction = SignInTransaction(
            purpose="callback",
            provider=name,
            redirect_uri=self.redirect_uri(request, name),
            next=own_path(query.get("next")),
            replaces=passage_of(request).token_hash,
            max_age_s=RECENT_SIGN_IN_S if fresh else None,
        )
        return await self.send_to(provider, request, transaction)

    def _only_way(self) -> str:
        """The provider's name when there is one and nothing else to choose from."""
        alone = len(self._providers) == 1 and not self._desk.settings.identity.passkey_sign_in
        return next(iter(self._providers)) if alone else ""

    def redirect_uri(self, request: Request, provider: str) -> str:
        return f"{self._desk.origin(request)}/auth/callback/{provider}"

    async def send_to(self, provider: Provider, request: Request, transaction: SignInTransaction) -> Response:
        """Record the transaction and send the browser to the provider. How many may begin is bounded by network."""
        await self._desk.throttle.take(self._desk.sign_in_limit(request))
        async with self._desk.db.identity() as tx:
            transaction_id = await open_transaction(tx, transaction)
        try:
            url = await provider.authorization_url(
                Secrets.of(transaction_id), transaction.redirect_uri, max_age_s=transaction.max_age_s
            )
        except SignInRefused as refused:
            return await self._refused(request, provider.name, refused)
        response = onward(url)
        cookies.set_transaction(response, transaction_id)
        return response

    def _offer(self, request: Request, after: str, *, fresh: bool) -> Response:
        offers = []
        for provider in self._providers.values():
            query = {"provider": provider.name, "next": after, **({"fresh": "1"} if fresh else {})}
            url = f"/auth/sign-in?{urlencode(query)}"
            offers.append({"name": provider.name, "title": provider.title, "url": url})
        passkey = PASSKEY_PATH if self._desk.settings.identity.passkey_sign_in else ""
        if wants_html(request):
            return page(request, "sign_in", providers=offers, next=after, passkey_path=passkey)
        return data({"providers": offers, "passkey": f"{passkey}/options" if passkey else None})

    async def passkey_options(self, request: Request) -> Response:
        """Begin to sign in with a passkey: options whose challenge only this browser can use, once."""
        self._check_passkeys_sign_in()
        fields = await input_of(request, "next")
        await self._desk.throttle.take(self._desk.sign_in_limit(request))
        transaction = SignInTransaction(
            purpose="passkey",
            provider=PASSKEY_PROVIDER,
            redirect_uri="",
            next=own_path(fields.get("next")),
            replaces=passage_of(request).token_hash,
        )
        async with self._desk.db.identity() as tx:
            transaction_id = await open_transaction(tx, transaction)
        response = data({"options": self._passkeys.sign_in_options(request, passkey_challenge(transaction_id))})
        cookies.set_transaction(response, transaction_id)
        return response

    def _check_passkeys_sign_in(self) -> None:
        if not self._desk.settings.identity.passkey_sign_in:
            raise NotFound()

    async def passkey(self, request: Request) -> Response:
        """Sign in with the passkey's answer. As at the callback, the transaction is taken away first."""
        self._check_passkeys_sign_in()
        _, credential = await credential_input(request)
        transaction_id = cookies.transaction_id(request)
        try:
            if transaction_id is None:
                raise SignInRefused("transaction-missing")
            async with self._desk.db.identity() as tx:
                transaction = await use_transaction(tx, transaction_id, "passkey")
            if transaction is None:
                raise SignInRefused("transaction-used")
            try:
                passkey = await self._passkeys.prove_anybody(request, credential, passkey_challenge(transaction_id))
            except PasskeyProblem as problem:
                raise SignInRefused(f"passkey-{problem.reason}") from None
            async with self._desk.db.identity() as tx:
                await check_enabled(tx, passkey.user_id)
            who = Authentication(passkey.user_id, now(), (passkey.method, "user"), aal=2)
            return await self._enter_or_choose(request, transaction, who)
        except SignInRefused as refused:
            return await self._refused(request, PASSKEY_PROVIDER, refused)

    async def callback(self, request: Request, provider: str) -> Response:
        """The browser is back. Any check that fails ends in the one generic refusal."""
        known = self._providers.get(provider)
        if known is None:
            raise NotFound()
        try:
            transaction, claims = await self._verified(request, known)
            if transaction.purpose == "link":
                return await self._linked(request, transaction, claims)
            async with self._desk.db.identity() as tx:
                person = await find_person(tx, claims, known.trust.email_domains)
            return await self._enter_or_choose(request, transaction, Authentication.of(person, claims))
        except SignInRefused as refused:
            return await self._refused(request, provider, refused)
        except Unavailable:
            raise
        except Problem:
            return await self._refused(request, provider, SignInRefused("callback-malformed"))

    async def _verified(self, request: Request, provider: Provider) -> tuple[SignInTransaction, IdClaims]:
        transaction_id = cookies.transaction_id(request)
        if transaction_id is None:
            raise SignInRefused("transaction-missing")
        async with self._desk.db.identity() as tx:
            transaction = await use_transaction(tx, transaction_id, "callback", "link")
        if transaction is None:
            raise SignInRefused("transaction-used")
        answer = query_of(request)
        secrets = Secrets.of(transaction_id)
        if not hmac.compare_digest(answer.get("state", "").encode(), secrets.state.encode()):
            raise SignInRefused("state-mismatch")
        # The path names the provider that was asked; an answer on another provider's path is a mix-up (RFC 9700 §4.4).
        if transaction.provider != provider.name:
            raise SignInRefused("provider-mismatch")
        claims = await provider.exchange(answer, secrets, transaction.redirect_uri, transaction.max_age_s)
        return transaction, claims

    async def _enter_or_choose(self, request: Request, transaction: SignInTransaction, who: Authentication) -> Response:
        tenants = await self._tenants(transaction, who.user_id)
        if not tenants:
            raise SignInRefused("no-membership")
        if len(tenants) == 1:
            return await self._enter(request, transaction, who, tenants[0].id)
        waiting = replace(transaction, purpose="tenant", user_id=who.user_id, assurance=who.dump())
        async with self._desk.db.identity() as tx:
            transaction_id = await open_transaction(tx, waiting)
        response = self._tenant_choice(request, tenants)
        cookies.set_transaction(response, transaction_id)
        return response

    def _known(self, transaction: SignInTransaction) -> bool:
        return transaction.provider in self._providers or transaction.provider == PASSKEY_PROVIDER

    async def _tenants(self, transaction: SignInTransaction, user_id: UUID) -> list[TenantChoice]:
        """Where the person may enter through the provider that vouched for them. With a passkey, where they may through
        every one of the providers that their account is linked with: it is no way around what one is trusted for.
        """
        async with self._desk.db.identity() as tx:
            if transaction.provider == PASSKEY_PROVIDER:
                only = reach.of_passkeys(await issuers_of(tx, user_id), self._providers.values())
            else:
                only = self._providers[transaction.provider].trust.tenants or None
            return await tenants_of(tx, user_id, only)

    async def _linked(self, request: Request, transaction: SignInTransaction, claims: IdClaims) -> Response:
        """Somebody who is signed in has proved an account at one more provider: it is theirs from now on."""
        async with self._desk.db.identity() as tx:
            session = await link_to_session(tx, claims, transaction.user_id, transaction.replaces)
            event = Link(
                user_id=str(transaction.user_id),
                provider=transaction.provider,
                change="linked",
                trace_id=passage_of(request).trace_id,
            )
            await append_as(
                tx, [event], tenant_id=session.tenant_id, user_id=transaction.user_id, session_id=session.id
            )
        response = passage_of(request).runtime.render(request, "web/bounce.html", {"location": transaction.next})
        cookies.clear_transaction(response)
        return response

    def _tenant_choice(self, request: Request, tenants: list[TenantChoice]) -> Response:
        if wants_html(request):
            return page(request, "tenant", tenants=tenants)
        return data({"tenants": [{"id": str(t.id), "name": t.name} for t in tenants], "choose": "/auth/tenant"})

    async def choose(self, request: Request) -> Response:
        """A person of several tenants says which one; verified again, since the choice comes from the browser."""
        fields = await input_of(request, "tenant_id")
        transaction_id = cookies.transaction_id(request)
        try:
            if transaction_id is None:
                raise SignInRefused("transaction-missing")
            async with self._desk.db.identity() as tx:
                transaction = await use_transaction(tx, transaction_id, "tenant")
            if transaction is None or transaction.user_id is None or not self._known(transaction):
                raise SignInRefused("transaction-used")
            tenants = await self._tenants(transaction, transaction.user_id)
            chosen = [tenant.id for tenant in tenants if str(tenant.id) == fields.get("tenant_id")]
            if not chosen:
                raise SignInRefused("tenant-not-theirs")
            who = Authentication.load(transaction.user_id, transaction.assurance)
            return await self._enter(request, transaction, who, chosen[0])
        except SignInRefused as refused:
            return await self._refused(request, "", refused)

    async def _enter(
        self, request: Request, transaction: SignInTransaction, who: Authentication, tenant_id: UUID
    ) -> Response:
        async with self._desk.db.identity() as tx:
            session = await begin_session(
                tx,
                self._desk.settings.session,
                user_id=who.user_id,
                tenant_id=tenant_id,
                authenticated_at=who.authenticated_at,
                amr=who.amr,
                replaces=transaction.replaces,
                aal=who.aal,
            )
            if who.origin is not None:
                await remember_origin(tx, session.id, who.origin)
            event = SignIn(
                provider=transaction.provider,
                user_id=str(who.user_id),
                session_id=str(session.id),
                trace_id=passage_of(request).trace_id,
            )
            arrival = await self._desk.arrivals.note(tx, request, session_id=session.id, user_id=who.user_id)
            events = [event, *arrival.events]
            await append_as(tx, events, tenant_id=tenant_id, user_id=who.user_id, session_id=session.id)
        # A page and not a redirect: after a cross-site redirect chain a Strict cookie is not sent, after a navigation
        # that this page starts it is.
        if wants_html(request):
            response = passage_of(request).runtime.render(request, "web/bounce.html", {"location": transaction.next})
        else:
            response = data({"signed_in": True, "next": transaction.next})
        cookies.set_session(response, session.token)
        cookies.clear_transaction(response)
        arrival.dress(response)
        return response

    async def _refused(self, request: Request, provider: str, refused: SignInRefused) -> Response:
        # Anyone may call the callback, so what it writes into the audit log is bounded by network.
        await self._desk.throttle.take(self._desk.network_limit("sign-in-refused", request))
        event = SignIn(
            outcome="refused",
            provider=provider if provider in {*self._providers, PASSKEY_PROVIDER} else "",
            reason=refused.reason,
            trace_id=passage_of(request).trace_id,
        )
        async with self._desk.db.identity() as tx:
            await append_as(tx, [event])
        if isinstance(refused, ProviderAway):
            # Not the person's doing and no secret: say so, as a page or as JSON.
            raise ProviderUnavailable()
        if not wants_html(request):
            raise SignInProblem()
        response = page(request, "refused", status=SignInProblem.status)
        cookies.clear_transaction(response)
        return response
