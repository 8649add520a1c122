"""`/privacy/me`: what is known about me, all of it; and being forgotten (GDPR articles 15, 17 and 20).

A copy is everything at once, so it is asked for by the person themself only. Being forgotten cannot be undone, so it
needs a second factor approved for exactly that.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated

import asyncpg
import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from seawall.core.decisions import passage_of, self_service
from seawall.core.errors import Conflict
from seawall.core.events import Erasure, Grant, SubjectCopy
from seawall.core.scope import Principal
from seawall.core.stepup import Intent, Resume
from seawall.privacy.subjects import Holding, as_document, copy_of, erase_in, personal_map
from seawall.store.lease import Lease

HERE = "/privacy/me"
FILE = "my-data.json"
MAX_AGE_S = 300

Self = Annotated[Principal, self_service("people see what is known about them, and may be forgotten")]


class PrivacyRoutes:
    """Routes of a person's own data."""

    def __init__(self) -> None:
        self.router = APIRouter(include_in_schema=False)
        add = self.router.add_api_route
        add(HERE, self.show, methods=["GET"], response_model=None)
        add(f"{HERE}/copy", self.copy, methods=["GET"], response_model=None)
        add(f"{HERE}/erase", self.erase, methods=["POST"], response_model=None)

    async def show(self, request: Request, principal: Self) -> Response:
        passage = passage_of(request)
        return passage.runtime.render(request, "privacy/me.html", {"copy_url": f"{HERE}/copy"})

    async def copy(self, request: Request, principal: Self) -> Response:
        """Everything about the caller in their tenant, as one JSON file."""
        passage, lease = passage_of(request), await _lease(request)
        about = orjson.loads((await lease.fetchrow("SELECT seawall.about_me()::text AS about"))["about"])  # type: ignore[index]
        tables = await copy_of(lease, principal.user_id, _holdings())
        rows = sum(map(len, tables.values()))
        passage.events.append(SubjectCopy(user_id=str(principal.user_id), rows=rows, trace_id=passage.trace_id))
        return Response(
            as_document(about, tables),
            media_type="application/json",
            headers={"Content-Disposition": f'attachment; filename="{FILE}"'},
        )

    async def erase(self, request: Request, principal: Self) -> Response:
        """Forget the caller: their data in every table, then their account. Their sessions end with it."""
        passage, lease = passage_of(request), await _lease(request)
        intent = Intent(
            action="erase_person",
            resource=f'User::"{principal.user_id}"',
            summary="Erase everything that is known about you here. It cannot be undone.",
            resume=Resume(f"{HERE}/erase", {}) if passage.wants_html else None,
        )
        step_ups = passage.runtime.step_ups
        if await step_ups.consume(lease, intent) is None:
            raise await step_ups.challenge(principal, intent, acr="aal2", max_age_s=MAX_AGE_S)
        rows = await erase_in(lease, principal.user_id, _holdings())
        try:
            gone = (await lease.fetchrow("SELECT seawall.forget_me() AS gone"))["gone"]  # type: ignore[index]
        except asyncpg.CheckViolationError:
            raise Conflict(
                "You are the last who holds a role that your group cannot be without. Give it to somebody first.",
                code="last-of-role",
            ) from None
        passage.events += [
            *(
                Grant(
                    user_id=str(principal.user_id),
                    role=one.role,
                    scope_type=one.scope_type or "",
                    scope_id=str(one.scope_id or ""),
                    change="revoked",
                    trace_id=passage.trace_id,
                )
                for one in principal.memberships
            ),
            Erasure(user_id=str(principal.user_id), rows=rows, gone=gone, trace_id=passage.trace_id),
        ]
        if passage.wants_html:
            return passage.runtime.render(request, "privacy/erased.html", {})
        return Response(orjson.dumps({"erased": True, "rows": rows}), media_type="application/json")


@cache
def _holdings() -> list[Holding]:
    """The map, once all models are known: the start has looked at it already."""
    return personal_map()


async def _lease(request: Request) -> Lease:
    transaction = await passage_of(request).begin()
    assert isinstance(transaction, Lease)  # noqa: S101 - the runtime has no other kind
    return transaction
