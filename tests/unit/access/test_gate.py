"""Boot gate A: which apps do not start, and what they are told."""

# No `from __future__ import annotations`: several routes here are annotated with local values.

from pathlib import Path
from typing import Annotated, Any, TypedDict
from uuid import UUID

import pytest
from fastapi import APIRouter, Body, Depends, FastAPI, Form, WebSocket
from pydantic import BaseModel
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.access import Parcel, engine_for

from seawall import access
from seawall.access import Engine, Scope, Visible, may, may_list, reveal, seen_with
from seawall.access.gate import check_routes
from seawall.core.decisions import public, self_service
from seawall.core.errors import Refused
from seawall.core.scope import Tenant

PUBLIC = public("a page for everybody")


class RefundIn(access.Body):
    amount_minor: int
    currency: str
    reason: str = ""


class RefundFacts(TypedDict):
    refunded_minor: int


async def refunded(parcel: Parcel, body: RefundIn, scope: Any) -> RefundFacts:
    return {"refunded_minor": 0}


ParcelToRead = Annotated[Parcel, may(Parcel, "read")]
ParcelToRefund = Annotated[Parcel, may(Parcel, "refund", context=RefundIn, facts=refunded)]


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_for(tmp_path / "policies")


@pytest.fixture
def app() -> FastAPI:
    return FastAPI(openapi_url=None)


def refused(app: FastAPI, engine: Engine) -> Refused:
    with pytest.raises(Refused) as caught:
        check_routes(app, engine)
    assert caught.value.why
    assert caught.value.fix
    return caught.value


def test_decided_routes_start(app: FastAPI, engine: Engine) -> None:
    router = APIRouter(prefix="/api")

    @app.get("/", dependencies=[PUBLIC])
    async def home() -> None: ...

    @app.get("/me")
    async def me(who: Annotated[Any, self_service("their own account")]) -> None: ...

    @router.get("/parcels/{parcel_id}")
    async def read(parcel: ParcelToRead, scope: Scope) -> None: ...

    @router.post("/parcels/{parcel_id}/refunds")
    async def refund(parcel: ParcelToRefund, body: RefundIn, scope: Scope) -> None: ...

    @router.get("/parcels")
    async def parcels(visible: Annotated[Visible[Parcel], may_list(Parcel, "read")]) -> None: ...

    @router.post("/team")
    async def team(tenant: Annotated[Tenant, may(Tenant, "manage_team")]) -> None: ...

    app.include_router(router)
    assert check_routes(app, engine) == 6


def test_a_decision_may_stand_in_a_dependency(app: FastAPI, engine: Engine) -> None:
    async def chosen(parcel: ParcelToRead) -> Parcel:
        return parcel

    @app.get("/parcels/{parcel_id}")
    async def read(parcel: ParcelToRead, same: Annotated[Parcel, Depends(chosen)]) -> None: ...

    assert check_routes(app, engine) == 1


def test_an_undeclared_route(app: FastAPI, engine: Engine) -> None:
    @app.get("/secrets")
    async def secrets() -> None: ...

    found = refused(app, engine)
    assert found.what == "GET /secrets: no decision is declared"
    assert "public(" in found.fix


def test_an_undeclared_route_of_an_included_router(app: FastAPI, engine: Engine) -> None:
    inner, outer = APIRouter(prefix="/inner"), APIRouter(prefix="/outer")

    @inner.delete("/secrets")
    async def secrets() -> None: ...

    outer.include_router(inner)
    app.include_router(outer, prefix="/api")
    assert refused(app, engine).what == "DELETE /api/outer/inner/secrets: no decision is declared"


def test_two_decisions(app: FastAPI, engine: Engine) -> None:
    @app.get("/parcels/{parcel_id}", dependencies=[PUBLIC])
    async def read(parcel: ParcelToRead) -> None: ...

    assert "2 decisions are declared: public(), may()" in refused(app, engine).what


def test_a_decision_of_the_router_counts(app: FastAPI, engine: Engine) -> None:
    router = APIRouter(dependencies=[PUBLIC])

    @router.get("/parcels/{parcel_id}")
    async def read(parcel: ParcelToRead) -> None: ...

    app.include_router(router)
    assert "2 decisions" in refused(app, engine).what


def test_what_runs_no_dependencies(engine: Engine, tmp_path: Path) -> None:
    async def plain(request: Any) -> PlainTextResponse:
        return PlainTextResponse("hello")

    async def socket(websocket: WebSocket) -> None: ...

    mounted, routed, socketed, fronted, included = (FastAPI(openapi_url=None) for _ in range(5))
    mounted.mount("/files", FastAPI())
    routed.router.routes.append(Route("/plain", plain))
    socketed.add_api_websocket_route("/live", socket)
    fronted.frontend("/site", directory=tmp_path)
    router = APIRouter()
    router.frontend("/site", directory=tmp_path)
    included.include_router(router)
    for app, words in (
        (mounted, "Mount /files"),
        (routed, "Route /plain"),
        (socketed, "APIWebSocketRoute /live"),
        (fronted, "frontend"),
        (included, "frontend"),
    ):
        assert words in refused(app, engine).what


def test_a_path_without_the_parameter(app: FastAPI, engine: Engine) -> None:
    @app.get("/parcel/{parcel_id_of_somebody}")
    async def read(parcel: ParcelToRead, parcel_id_of_somebody: str) -> None: ...

    assert "the path has no parameter 'parcel_id'" in refused(app, engine).what


def test_an_unknown_action(app: FastAPI, engine: Engine) -> None:
    @app.get("/parcels/{parcel_id}")
    async def read(parcel: Annotated[Parcel, may(Parcel, "raed")]) -> None: ...

    found = refused(app, engine)
    assert found.what.startswith("GET /parcels/{parcel_id}: ")
    assert 'no action "raed" on Parcel' in found.what


def test_a_model_that_is_no_row() -> None:
    class Thing: ...

    with pytest.raises(Refused, match="Thing is not a tenanted model"):
        may(Thing, "read")


def test_the_scope_before_the_decision(app: FastAPI, engine: Engine) -> None:
    @app.get("/parcels/{parcel_id}")
    async def read(scope: Scope, parcel: ParcelToRead) -> None: ...

    assert "the scope is asked for before the decision" in refused(app, engine).what


class Loose(BaseModel):
    amount_minor: int


class Nesting(access.Body):
    inside: list[Loose]


class Named(access.Body):
    name: str


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Loose, "the body model Loose lets unknown fields through"),
        (Nesting, "the body model Loose lets unknown fields through"),
        (list[Loose], "the body model Loose lets unknown fields through"),
        (Annotated[Loose, Form()], "the body model Loose lets unknown fields through"),
        (dict[str, Any], "the body parameter 'body' is not a model"),
        (Annotated[str, Body()], "the body parameter 'body' is not a model"),
        (Annotated[str, Form()], "the body parameter 'body' is not a model"),
    ],
)
def test_bodies_that_let_unknown_fields_through(app: FastAPI, engine: Engine, annotation: Any, words: str) -> None:
    async def take(body: annotation) -> None: ...

    app.add_api_route("/take", take, methods=["POST"], dependencies=[PUBLIC])
    assert words in refused(app, engine).what


def test_a_body_in_two_parameters(app: FastAPI, engine: Engine) -> None:
    @app.post("/take", dependencies=[PUBLIC])
    async def take(body: Named, other: Named) -> None: ...

    assert "spread over the parameters body, other" in refused(app, engine).what


def refund_app(app: FastAPI, body: Any, **options: Any) -> None:
    async def refund(parcel: Annotated[Parcel, may(Parcel, "refund", **options)], body: body) -> None: ...

    app.add_api_route("/parcels/{parcel_id}/refunds", refund, methods=["POST"])


class WithNow(RefundIn):
    now: str = ""


class WithStepUp(RefundIn):
    step_up: bool = True


class WithFact(RefundIn):
    refunded_minor: int = 0


class TextAmount(access.Body):
    amount_minor: str
    currency: str


class PerhapsAmount(access.Body):
    amount_minor: int | None = None
    currency: str


class NoAmount(access.Body):
    currency: str


async def no_facts(parcel: Parcel, body: Any, scope: Any) -> dict[str, Any]:
    return {}


@pytest.mark.parametrize(
    ("body", "options", "words"),
    [
        (WithNow, {"context": WithNow, "facts": refunded}, "the body has a field 'now'"),
        (WithStepUp, {"context": WithStepUp, "facts": refunded}, "the body has a field 'step_up'"),
        (WithFact, {"context": WithFact, "facts": refunded}, "'refunded_minor' is both a field of the body and a fact"),
        (TextAmount, {"context": TextAmount, "facts": refunded}, "'amount_minor' does not fit context.amount_minor"),
        (PerhapsAmount, {"context": PerhapsAmount, "facts": refunded}, "it may be None"),
        (NoAmount, {"context": NoAmount, "facts": refunded}, "nothing fills context.amount_minor"),
        (RefundIn, {"context": RefundIn}, "nothing fills context.refunded_minor"),
        (RefundIn, {"facts": refunded}, "may() is not told of the body"),
        (Named, {"context": RefundIn, "facts": refunded}, "told of the body RefundIn"),
    ],
)
def test_claims_that_do_not_fit(app: FastAPI, engine: Engine, body: Any, options: Any, words: str) -> None:
    refund_app(app, body, **options)
    found = refused(app, engine)
    assert words in found.what
    assert found.what.startswith("POST /parcels/{parcel_id}/refunds: ")


def test_facts_that_do_not_say_their_names_are_checked_at_the_request(app: FastAPI, engine: Engine) -> None:
    refund_app(app, RefundIn, context=RefundIn, facts=no_facts)
    assert check_routes(app, engine) == 1


def test_a_list_by_an_action_that_needs_more(app: FastAPI, engine: Engine) -> None:
    @app.get("/parcels")
    async def parcels(visible: Annotated[Visible[Parcel], may_list(Parcel, "refund")]) -> None: ...

    assert "requires more context than a list of rows has" in refused(app, engine).what


class ParcelView(BaseModel):
    id: UUID
    card_last4: Annotated[str | None, seen_with("read_payment")] = None


class OddView(BaseModel):
    card_last4: Annotated[str | None, seen_with("raed_payment")] = None


def view_app(app: FastAPI, view: Any, **options: Any) -> None:
    async def read(parcel: ParcelToRead, scope: Scope) -> view:
        return reveal(view, parcel, scope)

    app.add_api_route("/parcels/{parcel_id}", read, methods=["GET"], **options)


def test_guarded_fields_need_absence(app: FastAPI, engine: Engine) -> None:
    view_app(app, list[ParcelView])
    assert "with unset fields included" in refused(app, engine).what


def test_a_guard_nobody_knows(app: FastAPI, engine: Engine) -> None:
    view_app(app, OddView, response_model_exclude_unset=True)
    assert '"raed_payment", which the schema does not know' in refused(app, engine).what


def test_guarded_fields_that_can_be_absent_start(app: FastAPI, engine: Engine) -> None:
    view_app(app, ParcelView, response_model_exclude_unset=True)
    assert check_routes(app, engine) == 1


def test_a_guarded_field_without_a_default(app: FastAPI, engine: Engine) -> None:
    class Naked(BaseModel):
        card_last4: Annotated[str, seen_with("read_payment")]

    view_app(app, Naked, response_model_exclude_unset=True)
    assert "has no default" in refused(app, engine).what
