"""The Authorization API over HTTP: who may ask about whom, and what answers tell."""

# No `from __future__ import annotations`: routes are annotated with local values.

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI
from tests.support.access import (
    ADA,
    ALPHA,
    BOB,
    COURIER,
    MANAGER,
    OWNER,
    POLICIES,
    SCHEMA,
    MemoryRuntime,
    Parcel,
    client_of,
    engine_for,
    later,
    parcel,
)

from seawall.access import Body, check_routes, may
from seawall.access.authzen import AuthZen
from seawall.core.scope import Membership
from seawall.settings import Settings

ASKING = """
@id("team.ask") @title("Owners ask what their people may do")
permit (principal in Role::"owner", action == Action::"evaluate_access", resource is Tenant);
"""
ASKED = 'action "evaluate_access" appliesTo { principal: [User], resource: [Tenant], context: Ctx };'


class RefundIn(Body):
    amount_minor: int
    currency: str


async def refunded(given: Any, body: Any, scope: Any) -> dict[str, int]:
    return {"refunded_minor": 6_000}


class Members:
    async def members(self, scope: Any) -> list[Any]:
        return [
            SimpleNamespace(user_id=ADA, memberships=MANAGER.memberships),
            SimpleNamespace(user_id=BOB, memberships=(Membership("courier"),)),
        ]


@pytest.fixture
def mine() -> Parcel:
    return parcel(courier_id=BOB)


@pytest.fixture
def runtime(tmp_path: Path, mine: Parcel) -> MemoryRuntime:
    return MemoryRuntime(engine_for(tmp_path / "policies", POLICIES + ASKING, SCHEMA + ASKED), rows=[mine])


@pytest.fixture
def client(runtime: MemoryRuntime) -> httpx2.AsyncClient:
    app = FastAPI(openapi_url=None)
    app.include_router(AuthZen(runtime.engine, Members, Settings()).router)  # type: ignore[arg-type]

    @app.post("/parcels/{parcel_id}/refund")
    async def refund(
        given: Annotated[Parcel, may(Parcel, "refund", context=RefundIn, facts=refunded)], body: RefundIn
    ) -> None: ...

    check_routes(app, runtime.engine)
    return client_of(app, runtime, manager=MANAGER, courier=COURIER, owner=later(OWNER, user_id=UUID(int=0x0123)))


def asked(who: Any, action: str, what: Parcel | None = None, **more: Any) -> dict[str, Any]:
    identity = str(what.id) if what is not None else str(ALPHA)
    resource = {"type": "parcel" if what is not None else "tenant", "id": identity}
    return {"subject": {"type": "user", "id": str(who)}, "action": {"name": action}, "resource": resource, **more}


async def post(client: httpx2.AsyncClient, path: str, who: str, document: Any, **headers: str) -> httpx2.Response:
    return await client.post(f"/access/v1/{path}", json=document, headers={"X-Person": who, **headers})


async def test_everybody_asks_about_themself(client: httpx2.AsyncClient, mine: Parcel) -> None:
    assert (await post(client, "evaluation", "courier", asked(BOB, "read", mine))).json() == {"decision": True}
    assert (await post(client, "evaluation", "courier", asked(BOB, "cancel", mine))).json() == {"decision": False}
    assert (await post(client, "evaluations", "courier", asked(BOB, "read", mine))).json() == {"decision": True}


async def test_nobody_without_a_session(client: httpx2.AsyncClient, mine: Parcel) -> None:
    assert (await client.post("/access/v1/evaluation", json=asked(BOB, "read", mine))).status_code == 401


async def test_asking_about_others_is_an_action(
    client: httpx2.AsyncClient, runtime: MemoryRuntime, mine: Parcel
) -> None:
    for path in ("evaluation", "evaluations"):
        assert (await post(client, path, "courier", asked(ADA, "read", mine))).status_code == 403
    everybody = {
        "subject": {"type": "user"},
        "action": {"name": "read"},
        "resource": asked(ADA, "read", mine)["resource"],
    }
    assert (await post(client, "search/subject", "courier", everybody)).status_code == 403
    assert (await post(client, "evaluation", "owner", asked(BOB, "read", mine))).json() == {"decision": True}
    found = (await post(client, "search/subject", "owner", everybody)).json()
    assert {one["id"] for one in found["results"]} == {str(ADA), str(BOB)}
    effects = [(event.action, event.effect) for event in runtime.events]
    assert effects == [("evaluate_access", "deny")] * 3 + [("evaluate_access", "allow")] * 2


async def test_without_the_action_in_the_schema_nobody_asks_about_others(tmp_path: Path, mine: Parcel) -> None:
    runtime = MemoryRuntime(engine_for(tmp_path / "plain"), rows=[mine])
    app = FastAPI(openapi_url=None)
    app.include_router(AuthZen(runtime.engine, Members, Settings()).router)  # type: ignore[arg-type]
    client = client_of(app, runtime, owner=OWNER)
    assert (await post(client, "evaluation", "owner", asked(BOB, "read", mine))).status_code == 403


async def test_one_of_another_among_many_is_asking_about_others(client: httpx2.AsyncClient, mine: Parcel) -> None:
    many = asked(BOB, "read", mine) | {"evaluations": [{}, {"subject": {"type": "user", "id": str(ADA)}}]}
    assert (await post(client, "evaluations", "courier", many)).status_code == 403


async def test_what_does_not_exist_is_denied_like_anything_else(
    client: httpx2.AsyncClient, runtime: MemoryRuntime, mine: Parcel
) -> None:
    nothing, hidden = parcel(), parcel()
    runtime.rows.append(hidden)
    for action, context, said in (
        ("read_payment", {}, {"decision": False}),
        ("refund", {"amount_minor": 1, "currency": "USD"}, {"decision": False}),
        ("refund", {}, {"decision": False, "context": {"reason": "context-incomplete"}}),
        (
            "refund",
            {"amount_minor": 2**63, "currency": "USD"},
            {"decision": False, "context": {"reason": "context-incomplete"}},
        ),
    ):
        for thing in (nothing, hidden):
            answer = await post(client, "evaluation", "courier", asked(BOB, action, thing, context=context))
            assert answer.json() == said, action
    odd = asked(BOB, "read", mine) | {"resource": {"type": "parcel", "id": "' or 1=1 --"}}
    assert (await post(client, "evaluation", "courier", odd)).json() == {"decision": False}
    assert (await post(client, "evaluation", "courier", asked(BOB, "no-such-action", mine))).json() == {
        "decision": False
    }


async def test_claims_are_the_bodys_and_facts_the_servers(client: httpx2.AsyncClient, mine: Parcel) -> None:
    """6000 were refunded, says the server: another 4000 is within the limit, 4001 is not, whatever the caller says."""
    for amount, said in ((4_000, True), (4_001, False)):
        question = asked(ADA, "refund", mine, context={"amount_minor": amount, "currency": "USD"})
        answer = (await post(client, "evaluation", "manager", question)).json()
        assert answer["decision"] is said
    assert answer["context"] == {"reason": "step-up", "acr_values": "aal2", "max_age": 300}
    lying = asked(ADA, "refund", mine, context={"amount_minor": 4_001, "currency": "USD", "refunded_minor": 0})
    answer = (await post(client, "evaluation", "manager", lying)).json()
    assert answer == {"decision": False, "context": {"reason": "context-incomplete"}}
    bare = (await post(client, "evaluation", "manager", asked(ADA, "refund", mine))).json()
    assert bare == {"decision": False, "context": {"reason": "context-incomplete"}}


async def test_searching_for_things_and_actions(client: httpx2.AsyncClient, mine: Parcel) -> None:
    things = {"subject": {"type": "user", "id": str(BOB)}, "action": {"name": "read"}, "resource": {"type": "parcel"}}
    found = (await post(client, "search/resource", "courier", things)).json()
    assert found == {"results": [{"type": "parcel", "id": str(mine.id)}], "page": {"next_token": "", "count": 1}}
    actions = {"subject": things["subject"], "resource": {"type": "parcel", "id": str(mine.id)}}
    assert [one["name"] for one in (await post(client, "search/action", "courier", actions)).json()["results"]] == [
        "read"
    ]


async def test_the_request_id_comes_back(client: httpx2.AsyncClient, mine: Parcel) -> None:
    answer = await post(client, "evaluation", "courier", asked(BOB, "read", mine), **{"X-Request-ID": "abc-1"})
    assert answer.headers["X-Request-ID"] == "abc-1"
    answer = await post(client, "evaluation", "courier", asked(BOB, "read", mine), **{"X-Request-ID": "a" * 129})
    assert "X-Request-ID" not in answer.headers


async def test_where_it_is(client: httpx2.AsyncClient, runtime: MemoryRuntime) -> None:
    found = (await client.get("/.well-known/authzen-configuration")).json()
    assert found["policy_decision_point"] == "https://shop.test"
    assert found["access_evaluation_endpoint"] == "https://shop.test/access/v1/evaluation"
    assert found["seawall_policies_sha256"] == runtime.engine.book.digest


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        {},
        {"subject": {"type": "user", "id": str(BOB)}},
        {"subject": {"type": "user", "id": 7}, "action": {"name": "read"}, "resource": {"type": "parcel", "id": "1"}},
        {
            "subject": {"type": "user", "id": "x" * 300},
            "action": {"name": "read"},
            "resource": {"type": "p", "id": "1"},
        },
        {"subject": "me", "action": "read", "resource": "it"},
        {"evaluations": "all"},
        {"evaluations": [{}] * 101},
        {"evaluations": [{}], "options": {"evaluations_semantic": "perhaps"}},
    ],
)
async def test_malformed_questions(client: httpx2.AsyncClient, document: Any) -> None:
    answer = await post(client, "evaluations", "courier", document)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "bad-request"


async def test_a_malformed_question_among_good_ones_is_answered_no(client: httpx2.AsyncClient, mine: Parcel) -> None:
    many = {"evaluations": [asked(BOB, "read", mine), {"subject": 7}, asked(BOB, "read", mine)]}
    answers = (await post(client, "evaluations", "courier", many)).json()["evaluations"]
    assert [answer["decision"] for answer in answers] == [True, False, True]
    assert answers[1]["context"]["error"]["status"] == 400


@pytest.mark.parametrize("token", ["!", "a", "x" * 1000, 7, ["a"]])
async def test_tokens_that_were_never_given(client: httpx2.AsyncClient, token: Any) -> None:
    things = {"subject": {"type": "user", "id": str(BOB)}, "action": {"name": "read"}, "resource": {"type": "parcel"}}
    answer = await post(client, "search/resource", "courier", things | {"page": {"token": token}})
    assert answer.status_code == 400
    assert (await post(client, "search/resource", "courier", things | {"page": {"limit": 0}})).status_code == 400


async def test_only_json(client: httpx2.AsyncClient) -> None:
    headers = {"X-Person": "courier", "Content-Type": "text/plain"}
    assert (await client.post("/access/v1/evaluation", content=b"{}", headers=headers)).status_code == 415
    headers["Content-Type"] = "application/json"
    assert (await client.post("/access/v1/evaluation", content=b"{", headers=headers)).status_code == 400
