"""`/auth/passkeys`: enrolling a passkey, naming it, removing it."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from seawall.core.decisions import self_service
from seawall.core.errors import NotFound, Problem, Unprocessable
from seawall.core.scope import Principal
from seawall.identity import cookies
from seawall.identity.desk import (
    Desk,
    credential_input,
    data,
    input_of,
    onward,
    own_routes,
    page,
    query_of,
    wants_html,
)
from seawall.identity.factor_gate import FactorGate, change_of_factors
from seawall.identity.factor_removal import Removal, remove_factor
from seawall.identity.factors import change_event
from seawall.identity.passkeys import NAME_LENGTH_MAX, Passkeys
from seawall.identity.paths import ACCOUNT_PATH, own_path

ENROL_PATH = "/auth/passkeys/new"

Newcomer = Annotated[Principal, self_service("people enrol their own passkeys", before_second_factor=True)]
Self = Annotated[Principal, self_service("people manage their own passkeys")]


class PasskeyRoutes:
    """Routes of one's own passkeys."""

    def __init__(self, desk: Desk, passkeys: Passkeys, gate: FactorGate) -> None:
        self._desk = desk
        self._passkeys = passkeys
        self._gate = gate
        self.router = own_routes(
            ("GET", ENROL_PATH, self.start),
            ("POST", "/auth/passkeys", self.enrol),
            ("POST", "/auth/passkeys/{passkey_id}", self.rename),
            ("POST", "/auth/passkeys/{passkey_id}/remove", self.remove),
        )

    async def start(self, request: Request, principal: Newcomer) -> Response:
        """Options for a new passkey, on a page or as JSON."""
        after = own_path(query_of(request).get("next") or ACCOUNT_PATH)
        return await self._enrolment(request, principal, after)

    async def _enrolment(self, request: Request, principal: Principal, after: str) -> Response:
        intent = change_of_factors(principal, "Add a passkey that can confirm your actions.", add="passkey")
        async with self._gate.opened(principal, intent, (ENROL_PATH, {"next": after})) as tx:
            options = await self._passkeys.enrolment_options(tx, request, principal)
        if wants_html(request):
            return page(request, "passkey", options=options, next=after, name_length_max=NAME_LENGTH_MAX)
        return data({"options": options})

    async def enrol(self, request: Request, principal: Newcomer) -> Response:
        """Take the new passkey; from then on it counts, and every other session ends."""
        fields, credential = await credential_input(request, "name", "next")
        name, after = _name(fields.get("name") or "Passkey"), own_path(fields.get("next") or ACCOUNT_PATH)
        try:
            new, transports = await self._passkeys.verified_new(request, principal, credential)
            async with self._desk.db.identity() as tx:
                passkey_id = await self._passkeys.add(tx, principal, new, transports, name)
                event = change_event(request, principal, "passkey", "enrolled", passkey=str(passkey_id))
                changed = await self._desk.factors.settle(tx, principal, event, method="swk" if new.synced else "hwk")
        except Problem as why:
            if not wants_html(request):
                raise
            return page(request, "passkey_failed", status=why.status, why=why, next=after)
        if wants_html(request):
            answer = page(request, "factor_done", factor="passkey", recovery=changed.recovery_codes, next=after)
        else:
            body = {"enrolled": True, "passkey": str(passkey_id), "recovery_codes": changed.recovery_codes}
            answer = data(body)
        cookies.set_session(answer, changed.token)
        return answer

    async def rename(self, request: Request, passkey_id: str, principal: Self) -> Response:
        name = _name((await input_of(request, "name")).get("name", ""))
        async with self._desk.db.identity() as tx:
            found = await tx.fetchval(
                "UPDATE seawall.passkeys SET name = $3 WHERE id = $1 AND user_id = $2 RETURNING 1",
                _id(passkey_id),
                principal.user_id,
                name,
            )
        if found is None:
            raise NotFound()
        return onward(ACCOUNT_PATH) if wants_html(request) else data({"name": name})

    async def remove(self, request: Request, passkey_id: str, principal: Self) -> Response:
        """Take a passkey away, confirmed with a factor; every other session ends."""
        wanted = _id(passkey_id)
        async with self._desk.db.identity() as tx:
            name = await tx.fetchval(
                "SELECT name FROM seawall.passkeys WHERE id = $1 AND user_id = $2", wanted, principal.user_id
            )
            if name is None:
                raise NotFound()
            held = await self._desk.factors.held(tx, principal.user_id)

        async def delete(tx: Any) -> bool:
            gone = "DELETE FROM seawall.passkeys WHERE id = $1 AND user_id = $2 RETURNING 1"
            return await tx.fetchval(gone, wanted, principal.user_id) is not None

        removal = Removal(
            factor="passkey",
            name=str(wanted),
            summary=f"Remove the passkey “{name}”.",
            path=f"/auth/passkeys/{wanted}/remove",
            left=held.totp or held.passkeys > 1,
            delete=delete,
        )
        return await remove_factor(self._desk, self._gate, request, principal, removal)


def _name(text: str) -> str:
    name = " ".join(text.split())
    if not 1 <= len(name) <= NAME_LENGTH_MAX:
        raise Unprocessable(f"A name has 1 to {NAME_LENGTH_MAX} characters.")
    return name


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound() from None
