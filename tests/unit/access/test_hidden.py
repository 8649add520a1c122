"""Who may not know of an object is told the same as of one that is not there, whatever the app's code says of it."""

# No `from __future__ import annotations`: routes are annotated with local values.

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from tests.support.access import BOB, COURIER, MANAGER, MemoryRuntime, Parcel, client_of, engine_for, parcel

from seawall.access import Body, Scope, check_routes, may, reveal, seen_with
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


class ParcelView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    card_last4: Annotated[str | None, seen_with("read_payment")] = None


class Around(BaseModel):
    id: UUID
    inner: ParcelView


ToRead = Annotated[Parcel, may(Parcel, "read")]


def app_of_views() -> FastAPI:
    """Three handlers that forget to reveal, or to reveal what is inside, and one that does not."""
    app = FastAPI(openapi_url=None)

    @app.get("/object/{parcel_id}", response_model=ParcelView, response_model_exclude_unset=True)
    async def the_object(parcel: ToRead) -> Parcel:
        return parcel

    @app.get("/validated/{parcel_id}", response_model_exclude_unset=True)
    async def validated(parcel: ToRead) -> ParcelView:
        return ParcelView.model_validate(parcel)

    @app.get("/inside/{parcel_id}", response_model_exclude_unset=True)
    async def inside(parcel: ToRead, scope: Scope) -> Around:
        return reveal(Around, parcel, scope, inner=parcel)

    @app.get("/revealed/{parcel_id}", response_model_exclude_unset=True)
    async def revealed(parcel: ToRead, scope: Scope) -> Around:
        return reveal(Around, parcel, scope, inner=reveal(ParcelView, parcel, scope))

    return app


async def test_a_guarded_field_leaves_by_reveal_only(tmp_path: Path) -> None:
    app, one = app_of_views(), parcel(courier_id=BOB)
    runtime = MemoryRuntime(engine_for(tmp_path / "policies"), rows=[one])
    check_routes(app, runtime.engine)
    client = client_of(app, runtime, manager=MANAGER, courier=COURIER)
    for path in ("object", "validated", "inside"):
        for who in ("courier", "manager"):
            with pytest.raises(RuntimeError, match="reveal"):
                await client.get(f"/{path}/{one.id}", headers={"X-Person": who})
    shown = {
        who: (await client.get(f"/revealed/{one.id}", headers={"X-Person": who})).json()["inner"]
        for who in ("courier", "manager")
    }
    assert shown == {"courier": {"id": str(one.id)}, "manager": {"id": str(one.id), "card_last4": "4242"}}
