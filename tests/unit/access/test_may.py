"""`may()` at the request: who gets the object, who a 404, who a 403, who a challenge, and what is written down."""

# No `from __future__ import annotations`: routes are annotated with local values.

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import httpx2
import pytest
from fastapi import Depends, FastAPI, Form
from pydantic import BaseModel
from sqlalchemy import inspect
from tests.support.access import (
    BETA,
    BOB,
    COURIER,
    MANAGER,
    OWNER,
    SOUTH,
    MemoryRuntime,
    Parcel,
    client_of,
    engine_for,
    parcel,
    person,
)

from seawall.access import Body, Scope, Visible, may, may_list, reveal, seen_with
from seawall.access.gate import check_routes
from seawall.core.errors import Unprocessable
from seawall.core.scope import Membership, Tenant


class RefundIn(Body):
    amount_minor: int
    currency: str = "USD"
    reason: str = ""


class ParcelView(BaseModel):
    id: UUID
    status: str
    total: int = 0
    card_last4: Annotated[str | None, seen_with("read_payment")] = None


async def refunded(parcel: Parcel, body: RefundIn, scope: Any) -> dict[str, int]:
    assert scope.principal.tenant_id == parcel.tenant_id
    return {"refunded_minor": 0}


def describe(parcel: Parcel, body: RefundIn) -> str:
    return f"Refund {body.amount_minor} {body.currency}"


ToRead = Annotated[Parcel, may(Parcel, "read")]
ToRefund = Annotated[Parcel, may(Parcel, "refund", context=RefundIn, facts=refunded, describe=describe)]
ToRefundForm = Annotated[Parcel, may(Parcel, "refund", context=Annotated[RefundIn, Form()], facts=refunded)]


async def fussy(scope: Scope) -> UUID:
    return scope.principal.user_id


def build_app() -> FastAPI:
    app = FastAPI()

    @app.get("/parcels/{parcel_id}", response_model_exclude_unset=True)
    async def read(parcel: ToRead, scope: Scope) -> ParcelView:
        assert inspect(parcel).detached
        return reveal(ParcelView, parcel, scope, total=parcel.total_minor)

    @app.post("/parcels/{parcel_id}/refunds")
    async def refund(
        parcel: ToRefund, body: RefundIn, scope: Scope, who: Annotated[UUID, Depends(fussy)]
    ) -> dict[str, Any]:
        return {"amount_minor": body.amount_minor, "status": parcel.status, "who": who}

    @app.post("/parcels/{parcel_id}/refund-form")
    async def refund_form(parcel: ToRefundForm, body: Annotated[RefundIn, Form()]) -> dict[str, int]:
        return {"amount_minor": body.amount_minor}

    @app.post("/parcels/{parcel_id}/cancel")
    async def cancel(parcel: Annotated[Parcel, may(Parcel, "cancel")]) -> None: ...

    @app.get("/parcels", response_model_exclude_unset=True)
    async def parcels(visible: Annotated[Visible[Parcel], may_list(Parcel, "read")], scope: Scope) -> list[ParcelView]:
        return [reveal(ParcelView, one, scope) for one in await visible.all(Parcel.status == "paid", limit=3)]

    @app.post("/parcels/{parcel_id}/refunds/to/{account}")
    async def refund_to(parcel: ToRefund, body: RefundIn, account: str) -> None: ...

    @app.get("/team")
    async def team(tenant: Annotated[Tenant, may(Tenant, "manage_team")]) -> UUID:
        return tenant.id

    return app


@pytest.fixture
def runtime(tmp_path: Path) -> MemoryRuntime:
    return MemoryRuntime(engine_for(tmp_path / "policies"))


@pytest.fixture
def client(runtime: MemoryRuntime) -> httpx2.AsyncClient:
    app = build_app()
    app.openapi_url = None
    app.router.routes[:] = [r for r in app.router.routes if getattr(r, "dependant", None) is not None]
    check_routes(app, runtime.engine)
    south = person(Membership("manager", "Venue", SOUTH))
    return client_of(app, runtime, manager=MANAGER, courier=COURIER, owner=OWNER, south=south)


def as_(name: str) -> dict[str, str]:
    return {"X-Person": name}


async def test_the_parameter_is_the_object(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    runtime.rows = [parcel(status="paid")]
    answer = await client.get(f"/parcels/{runtime.rows[0].id}", headers=as_("manager"))
    assert answer.status_code == 200
    assert answer.json() == {
        "id": str(runtime.rows[0].id), "status": "paid", "total": 50_000, "card_last4": "4242"
    }  # fmt: skip
    assert runtime.transactions[0].adopted[0].id == runtime.rows[0].id
    assert "FOR" not in runtime.transactions[0].statements[0]


async def test_a_read_is_noted_and_a_change_recorded(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    runtime.rows = [parcel()]
    await client.get(f"/parcels/{runtime.rows[0].id}", headers=as_("manager"))
    assert [(e.action, e.effect, e.policies, e.route) for e in runtime.reads] == [
        ("read", "allow", ("parcel.read.manager",), "GET /parcels/{parcel_id}")
    ]
    assert runtime.events == []
    await client.post(
        f"/parcels/{runtime.rows[0].id}/refunds", json={"amount_minor": 5_000}, headers=as_("manager")
    )  # fmt: skip
    assert [(e.action, e.resource, e.outcome) for e in runtime.events] == [
        ("refund", f'Parcel::"{runtime.rows[0].id}"', "success")
    ]
    assert runtime.transactions[1].statements[0].endswith("FOR NO KEY UPDATE")


async def test_strangers_are_asked_to_sign_in_before_anything_else(
    client: httpx2.AsyncClient, runtime: MemoryRuntime
) -> None:
    for method, path in (("GET", f"/parcels/{uuid4()}"), ("POST", f"/parcels/{uuid4()}/refunds"), ("GET", "/parcels")):
        answer = await client.request(method, path, json={"nonsense": 1})
        assert (answer.status_code, answer.json()["code"]) == (401, "not-signed-in")
    assert runtime.transactions == []


async def test_absent_foreign_and_hidden_objects_look_alike(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    foreign, hidden = parcel(tenant_id=BETA), parcel(venue_id=SOUTH)
    runtime.rows = [foreign, hidden]
    answers = [
        await client.request(method, f"/parcels/{identity}{path}", json=body, headers=as_("manager"))
        for identity in (uuid4(), foreign.id, hidden.id)
        for method, path, body in (("GET", "", None), ("POST", "/refunds", {"amount_minor": 5}))
    ]
    assert {(a.status_code, a.text) for a in answers} == {(404, answers[0].text)}
    assert {(e.effect, e.reason) for e in runtime.events} == {("deny", "absent"), ("deny", "no-permit")}


async def test_who_may_see_it_is_told_that_they_may_not_do_it(
    client: httpx2.AsyncClient, runtime: MemoryRuntime
) -> None:
    runtime.rows = [parcel(courier_id=BOB)]
    path = f"/parcels/{runtime.rows[0].id}"
    assert (await client.get(path, headers=as_("courier"))).status_code == 200
    answer = await client.post(f"{path}/refunds", json={"amount_minor": 5}, headers=as_("courier"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await client.get("/team", headers=as_("courier"))).status_code == 403
    assert (await client.get("/team", headers=as_("owner"))).status_code == 200


async def test_hidden_fields_are_absent(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    runtime.rows = [parcel(courier_id=BOB)]
    answer = await client.get(f"/parcels/{runtime.rows[0].id}", headers=as_("courier"))
    assert set(answer.json()) == {"id", "status", "total"}


async def test_lists_are_noted_and_asked_about_again(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    runtime.rows = [parcel(), parcel(courier_id=BOB), parcel(tenant_id=BETA)]
    found = (await client.get("/parcels", headers=as_("manager"))).json()
    assert [one["card_last4"] for one in found] == ["4242", "4242"]
    assert {e.resource for e in runtime.reads} == {'Parcel::"*"'}
    # the memory transaction filters nothing: a row that the engine denies must not come out
    with pytest.raises(RuntimeError, match="let through 1 rows that policies deny"):
        await client.get("/parcels", headers=as_("courier"))


async def test_production_asks_about_a_few_rows_and_about_all_once_it_is_wrong(
    client: httpx2.AsyncClient, runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seawall.access.listing.SAMPLE_LISTS", 1.0)
    runtime.engine.production = True
    runtime.rows = [parcel() for _ in range(50)]
    assert len((await client.get("/parcels", headers=as_("manager"))).json()) == 3
    row_filter, asked = runtime.engine.row_filter(Parcel, "read"), []
    whole = runtime.engine.decide_in

    def counting(context: Any, who: Any, ruling: Any, instances: Any) -> Any:
        asked.append((ruling.action, len(instances)))
        return whole(context, who, ruling, instances)

    runtime.engine.decide_in = counting  # type: ignore[method-assign]
    await client.get("/parcels", headers=as_("manager"))
    assert ("read", 3) in asked
    assert not row_filter.doubted
    with pytest.raises(RuntimeError, match="policies deny"):
        await client.get("/parcels", headers=as_("courier"))
    await client.get("/parcels", headers=as_("manager"))
    assert row_filter.doubted
    assert asked.count(("read", 50)) == 1  # all that were fetched: the memory transaction knows no limit


BAD_BODIES: list[Any] = [
    {"amount_minor": 5, "is_admin": True},
    {"amount_minor": 5, "step_up": True},
    {"amount_minor": 5, "refunded_minor": -100},
    {"amount_minor": "much"},
    {},
]


@pytest.mark.parametrize("body", BAD_BODIES)
async def test_unknown_or_wrong_fields_are_refused(
    client: httpx2.AsyncClient, runtime: MemoryRuntime, body: Any
) -> None:
    runtime.rows = [parcel()]
    answer = await client.post(f"/parcels/{runtime.rows[0].id}/refunds", json=body, headers=as_("manager"))
    # another dependency asked for the scope meanwhile: no decision, so no scope, and still the caller's fault
    assert answer.status_code == 422
    assert runtime.transactions == []


async def test_above_the_limit_a_challenge_and_then_exactly_that(
    client: httpx2.AsyncClient, runtime: MemoryRuntime
) -> None:
    runtime.rows = [parcel()]
    path = f"/parcels/{runtime.rows[0].id}/refunds"

    async def refund(amount: int, where: str = path) -> httpx2.Response:
        return await client.post(where, json={"amount_minor": amount}, headers=as_("manager"))

    challenged = await refund(15_000)
    assert (challenged.status_code, challenged.json()["code"]) == (401, "step-up-required")
    assert "insufficient_user_authentication" in challenged.headers["www-authenticate"]
    intent, acr, max_age_s = runtime.step_ups.asked[0]
    assert (acr, max_age_s, intent.summary, intent.resume) == ("aal2", 300, "Refund 15000 USD", None)
    assert intent.params == {"amount_minor": 15_000, "currency": "USD", "reason": ""}
    assert runtime.events[-1].effect == "step-up"

    runtime.step_ups.approved.add(intent.digest)
    assert (await refund(15_001)).status_code == 401
    assert (await refund(15_000, f"{path}?other=1")).status_code == 401
    assert (await refund(15_000)).status_code == 200
    assert (await refund(15_000)).status_code == 401, "an approval works once"


async def test_an_approval_is_bound_to_the_object(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    runtime.rows = [parcel(), parcel()]
    paths = [f"/parcels/{one.id}/refunds" for one in runtime.rows]
    await client.post(paths[0], json={"amount_minor": 15_000}, headers=as_("manager"))
    runtime.step_ups.approved.add(runtime.step_ups.asked[0][0].digest)
    assert (await client.post(paths[1], json={"amount_minor": 15_000}, headers=as_("manager"))).status_code == 401
    assert (await client.post(paths[0], json={"amount_minor": 15_000}, headers=as_("manager"))).status_code == 200


async def test_an_approval_is_bound_to_every_parameter_of_the_path(
    client: httpx2.AsyncClient, runtime: MemoryRuntime
) -> None:
    runtime.rows = [parcel()]
    path = f"/parcels/{runtime.rows[0].id}/refunds/to"
    body = {"amount_minor": 15_000}
    await client.post(f"{path}/ada", json=body, headers=as_("manager"))
    runtime.step_ups.approved.add(runtime.step_ups.asked[0][0].digest)
    assert (await client.post(f"{path}/eve", json=body, headers=as_("manager"))).status_code == 401
    assert (await client.post(f"{path}/ada", json=body, headers=as_("manager"))).status_code == 200


async def test_no_approval_helps_where_it_is_denied(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    runtime.rows = [parcel()]
    path = f"/parcels/{runtime.rows[0].id}/refunds"
    answer = await client.post(path, json={"amount_minor": 60_000}, headers=as_("manager"))
    assert answer.status_code == 403
    assert runtime.step_ups.asked == []


async def test_a_form_can_be_posted_again(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    runtime.rows = [parcel()]
    path = f"/parcels/{runtime.rows[0].id}/refund-form"
    answer = await client.post(path, data={"amount_minor": "15000", "reason": "cold"}, headers=as_("manager"))
    assert answer.status_code == 401
    intent = runtime.step_ups.asked[0][0]
    assert intent.resume.path == path
    assert intent.resume.fields == {"amount_minor": "15000", "reason": "cold"}
    runtime.step_ups.approved.add(intent.digest)
    again = await client.post(intent.resume.path, data=intent.resume.fields, headers=as_("manager"))
    assert (again.status_code, again.json()) == (200, {"amount_minor": 15_000})
    extra = await client.post(path, data={"amount_minor": "1", "is_admin": "1"}, headers=as_("manager"))
    assert extra.status_code == 422


def app_with_facts(facts: Any) -> FastAPI:
    app = FastAPI(openapi_url=None)

    @app.post("/parcels/{parcel_id}/refunds")
    async def refund(
        parcel: Annotated[Parcel, may(Parcel, "refund", context=RefundIn, facts=facts)], body: RefundIn
    ) -> None: ...

    return app


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"refunded_minor": None},
        {"refunded_minor": "0"},
        {"refunded_minor": True},
        {"refunded_minor": 0, "amount_minor": 0},
        {"refunded_minor": 0, "step_up": True},
        {"refunded_minor": 0, "typo": 1},
    ],
)
async def test_facts_that_do_not_fit_deny(runtime: MemoryRuntime, facts: dict[str, Any]) -> None:
    async def compute(parcel: Parcel, body: RefundIn, scope: Any) -> dict[str, Any]:
        return facts

    app = app_with_facts(compute)
    check_routes(app, runtime.engine)
    runtime.rows = [parcel()]
    answer = await client_of(app, runtime, manager=MANAGER).post(
        f"/parcels/{runtime.rows[0].id}/refunds", json={"amount_minor": 1}, headers=as_("manager")
    )
    assert answer.status_code == 403
    assert runtime.events[-1].reason == "evaluation-error"


async def test_facts_are_computed_under_the_lock(runtime: MemoryRuntime) -> None:
    async def compute(parcel: Parcel, body: RefundIn, scope: Any) -> dict[str, Any]:
        assert (await scope.transaction()).statements[0].endswith("FOR NO KEY UPDATE")
        return {"refunded_minor": 9_999}

    runtime.rows = [parcel()]
    client = client_of(app_with_facts(compute), runtime, manager=MANAGER)
    path = f"/parcels/{runtime.rows[0].id}/refunds"
    assert (await client.post(path, json={"amount_minor": 1}, headers=as_("manager"))).status_code == 200
    assert (await client.post(path, json={"amount_minor": 2}, headers=as_("manager"))).status_code == 401


def test_openapi_shows_the_parameter_and_one_body() -> None:
    document = build_app().openapi()
    operation = document["paths"]["/parcels/{parcel_id}/refunds"]["post"]
    assert [(p["name"], p["in"], p["schema"]["format"]) for p in operation["parameters"]] == [
        ("parcel_id", "path", "uuid")
    ]
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/RefundIn"}
    assert document["components"]["schemas"]["RefundIn"]["additionalProperties"] is False


async def test_an_undecided_scope_gives_nothing() -> None:
    from seawall.access.scoped import _Undecided

    with pytest.raises(Unprocessable):
        _ = _Undecided().transaction


async def test_list_limits(runtime: MemoryRuntime) -> None:
    app = FastAPI(openapi_url=None)

    @app.get("/parcels")
    async def parcels(visible: Annotated[Visible[Parcel], may_list(Parcel, "read")]) -> list[int]:
        for limit in (0, 1_001):
            with pytest.raises(ValueError, match="limit must be"):
                await visible.all(limit=limit)
            with pytest.raises(ValueError, match="limit must be"):
                await visible.page(limit=limit)
        with pytest.raises(ValueError, match="at_most must be"):
            await visible.count(at_most=100_001)
        with pytest.raises(ValueError, match="ordered by columns of Parcel"):
            await visible.page(order_by=Parcel.status.nulls_last())
        found = await visible.all(limit=10)
        return [len(found), found.complete]

    runtime.rows = [parcel() for _ in range(11)]
    answer = await client_of(app, runtime, manager=MANAGER).get("/parcels", headers=as_("manager"))
    assert answer.json() == [10, False]
