"""`/auth/device`: a browser binds its session to a key of its machine, and proves that key every few minutes.

Only one thing here ends a session: a proof that signs *our live challenge* with another key. Whoever sends that holds
the cookies and not the device. Everything older, broken or repeated is answered with a fresh challenge and changes
nothing, so that lost answers and parallel refreshes log nobody out.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import structlog
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from seawall.audit import append_as
from seawall.core.clock import now_s
from seawall.core.decisions import passage_of, public, self_service
from seawall.core.errors import BadRequest, Conflict, NotFound, NotSignedIn
from seawall.core.events import Device
from seawall.core.scope import Principal
from seawall.identity import cookies
from seawall.identity.desk import Desk, data
from seawall.identity.devices import bindings
from seawall.identity.devices.bindings import Binding, Earned
from seawall.identity.devices.challenges import Challenges, for_binding, for_refresh
from seawall.identity.devices.instructions import BIND_PATH, REFRESH_PATH, instructions
from seawall.identity.devices.proof import read_proof
from seawall.identity.devices.refusals import CHALLENGE_HEADER, BindingOver, ProofRefused, ProofWanted, WrongKey

PROOF_HEADER = "secure-session-response"
NAME_HEADER = "sec-secure-session-id"
SPARE_S = 300
"""How much longer than the cookie a challenge lives: the browser keeps it from one refresh to the next."""

Self = Annotated[Principal, self_service("a browser binds its own session")]

_NAME = re.compile(r"[A-Za-z0-9_-]{24}")
_log = structlog.get_logger("seawall.identity")


class WrongProof(BadRequest):
    """One answer for every proof that does not bind."""

    code = "device-proof"
    title = "This proof does not bind the session"


class DeviceRoutes:
    """Routes of binding and refreshing."""

    def __init__(self, desk: Desk, challenges: Challenges, unbound_paths: tuple[str, ...]) -> None:
        self._desk = desk
        self._unbound_paths = unbound_paths
        self._section = desk.settings.identity.devices
        self._challenges = challenges
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route(BIND_PATH, self.bind, methods=["POST"], response_model=None)
        self.router.add_api_route(
            REFRESH_PATH,
            self.refresh,
            methods=["POST"],
            response_model=None,
            # Not self-service: the bound cookie is over, so admission refuses; the signature is what counts here.
            dependencies=[public("proved by the session cookie and the device's signature")],
        )

    async def bind(self, request: Request, principal: Self) -> Response:
        """The browser shows its public key and signs the challenge of its sign-in."""
        self._check_switch()
        try:
            proof = read_proof(request.headers.get(PROOF_HEADER, ""))
            subject = for_binding(principal.session_id)
            self._challenges.generation_of(proof.challenge, subject, now_s=now_s())
            if proof.key is None:
                raise ProofRefused("key-missing")
            proof.verify(proof.algorithm, proof.key)
        except ProofRefused as refused:
            # Anyone signed in may call this, so what it writes into the audit log is bounded.
            await self._desk.throttle.take(self._desk.account_limit("device", str(principal.session_id)))
            async with self._desk.db.identity() as tx:
                await _record(tx, request, principal, "refused", refused.reason)
            raise WrongProof("Sign in again for a fresh challenge.") from None
        async with self._desk.db.identity() as tx:
            earned = await bindings.bind(
                tx,
                principal.session_id,
                algorithm=proof.algorithm,
                public_key=proof.key,
                lifetime_s=self._section.cookie_lifetime_s,
                grace_s=self._section.grace_s,
            )
            if earned is not None:
                await _record(tx, request, principal, "bound")
        if earned is None:
            raise Conflict("This session is bound already.", code="device-bound")
        return self._answer(request, earned)

    async def refresh(self, request: Request) -> Response:
        """The browser signs a challenge and gets its next cookie."""
        self._check_switch()
        name = request.headers.get(NAME_HEADER, "").strip().strip('"')
        session_hash = passage_of(request).token_hash
        if session_hash is None or not _NAME.fullmatch(name):
            raise BindingOver()
        async with self._desk.db.identity() as tx:
            binding = await bindings.find(tx, session_hash, name)
        if binding is None:
            raise BindingOver()
        value = request.headers.get(PROOF_HEADER)
        if not value:
            raise self._wanted(binding)
        try:
            self._prove(binding, value)
        except WrongKey as refused:
            raise await self._revoked(request, binding, refused.reason) from None
        except ProofRefused as refused:
            _log.info("device_proof_refused", reason=refused.reason, session_id=str(binding.session_id))
            raise self._wanted(binding) from None
        async with self._desk.db.identity() as tx:
            earned = await bindings.rotate(tx, binding, lifetime_s=self._section.cookie_lifetime_s)
            latest = binding if earned is not None else await bindings.find(tx, session_hash, name)
        if earned is None:
            raise BindingOver() if latest is None else self._wanted(latest)
        response = self._answer(request, earned)
        # So the next refresh needs one round trip. Not at registration: there it is an error to browsers.
        challenge = self._challenge(binding, earned.generation)
        response.headers[CHALLENGE_HEADER] = f'"{challenge}";id="{earned.name}"'
        return response

    def _check_switch(self) -> None:
        if not self._section.binding:
            raise NotFound("Sessions are not bound to devices here.")

    def _prove(self, binding: Binding, value: str) -> None:
        proof = read_proof(value)
        subject = for_refresh(binding.session_id, binding.name)
        generation = self._challenges.generation_of(proof.challenge, subject, now_s=now_s())
        if generation != binding.generation:
            raise ProofRefused("challenge-used")
        proof.verify(binding.algorithm, binding.public_key)

    def _challenge(self, binding: Binding, generation: int) -> str:
        until_s = now_s() + self._section.cookie_lifetime_s + SPARE_S
        return self._challenges.issue(for_refresh(binding.session_id, binding.name), generation, until_s=until_s)

    def _wanted(self, binding: Binding) -> ProofWanted:
        return ProofWanted(self._challenge(binding, binding.generation), binding.name)

    async def _revoked(self, request: Request, binding: Binding, reason: str) -> NotSignedIn:
        async with self._desk.db.identity() as tx:
            await bindings.revoke(tx, binding)
            await _record(tx, request, binding, "revoked", reason)
        _log.error("session revoked: proof by another key", alert=True, session_id=str(binding.session_id))
        passage_of(request).extra_cookies.extend(cookies.CLEARED)
        return BindingOver()

    def _answer(self, request: Request, earned: Earned) -> Response:
        response = data(instructions(earned.name, self._desk.origin(request), self._unbound_paths))
        cookies.set_device(response, earned.cookie, max_age_s=self._section.cookie_lifetime_s)
        return response


async def _record(tx: Any, request: Request, who: Principal | Binding, step: Any, reason: str = "") -> None:
    event = Device(
        outcome="refused" if step in {"refused", "revoked"} else "success",
        user_id=str(who.user_id),
        session_id=str(who.session_id),
        step=step,
        reason=reason,
        trace_id=passage_of(request).trace_id,
    )
    await append_as(tx, [event], tenant_id=who.tenant_id, user_id=who.user_id, session_id=who.session_id)
