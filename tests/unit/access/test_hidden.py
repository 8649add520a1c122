"""Who may not know of an object is told the same as of one that is not there, whatever the app's code says of it."""

# No `from __future__ import annotations`: routes are annotated with local values.

from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI
from tests.support.access import COURIER, MANAGER, MemoryRuntime, Parcel, client_of, engine_for, parcel

from seawall.access import Body, may
from seawall.core.errors import Conflict


class RefundIn(Body):
    amount_minor: int
    currency: str = "USD"


async def closed(parcel: Parcel, body: RefundIn, scope: Any) -> dict[str, Any]:
    """What the server finds out is found out before the decision, and may end in a refusal of the app's own."""
    raise Conflict(code="refunded-already")


async def test_what_facts_refuse_is_told_to_whom_may_see_the_object(tmp_path: Path) -> None:
    app = FastAPI(openapi_url=None)

    @app.post("/parcels/{parcel_id}/refunds")
    async def refund(
        parcel: Annotated[Parcel, may(Parcel, "refund", context=RefundIn, facts=closed)], body: RefundIn
    ) -> None: ...

    runtime = MemoryRuntime(engine_for(tmp_path / "policies"), rows=[parcel()])
    client = client_of(app, runtime, manager=MANAGER, courier=COURIER)
    there, nowhere = runtime.rows[0].id, parcel().id
    told = []
    for who, identity in (("manager", there), ("courier", there), ("courier", nowhere)):
        path = f"/parcels/{identity}/refunds"
        answer = await client.post(path, headers={"X-Person": who}, json={"amount_minor": 1})
        told.append((answer.status_code, answer.json()["code"]))
    assert told == [(409, "refunded-already"), (404, "not-found"), (404, "not-found")]
    assert [event.effect for event in runtime.events] == ["deny", "deny"]
