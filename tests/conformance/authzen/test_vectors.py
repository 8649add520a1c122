"""The OpenID AuthZEN interop vectors, through the decision point that the app's endpoints use."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.authzen.scenario import Scenario, engine_of

from seawall.access.authzen import DecisionPoint
from seawall.access.authzen.questions import PAGE_MAX, Page, batch, page, question

SHARED = Path(os.environ.get("SEAWALL_SHARED_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
VECTORS = SHARED / "authzen"


def vectors(name: str) -> dict[str, Any]:
    path = VECTORS / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"the AuthZEN vectors are not here: {path} (SEAWALL_SHARED_DATA names their folder)")
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory) -> DecisionPoint:
    return DecisionPoint(engine_of(tmp_path_factory.mktemp("authzen") / "policies"), Scenario())


async def test_all_126_decisions(point: DecisionPoint) -> None:
    decided = 0
    for name in ("d00", "d01", "d02"):
        document = vectors(name)
        for vector in document["evaluation"]:
            answer = await point.evaluation(question(vector["request"]))
            assert answer == {"decision": vector["expected"]}, (name, vector)
            decided += 1
        for vector in document.get("evaluations", []):
            asked = batch(vector["request"])
            assert asked is not None
            answer = await point.evaluations(asked)
            assert answer["evaluations"] == vector["expected"], (name, vector)
            decided += len(vector["expected"])
    assert decided == 126


@pytest.mark.parametrize(("name", "seeks", "count"), [("s-subject", "subject", 60), ("s-resource", "resource", 18)])
async def test_searches_for_people_and_things(point: DecisionPoint, name: str, seeks: str, count: int) -> None:
    search = {"subject": point.subjects, "resource": point.resources}[seeks]
    found = vectors(name)["evaluation"]
    assert len(found) == count
    for vector in found:
        answer = await search(question(vector["request"], seeks=seeks), page(vector["request"]))
        assert answer["results"] == vector["expected"]["results"], vector
        assert answer["page"]["next_token"] == ""


async def test_searches_for_actions(point: DecisionPoint) -> None:
    found = vectors("s-action")["evaluation"]
    assert len(found) == 120
    for vector in found:
        answer = await point.actions(question(vector["request"], seeks="action"), Page())
        wanted = {one["name"] for one in vector["expected"]["results"]}
        assert {one["name"] for one in answer["results"]} == wanted, vector


async def test_pages_hold_the_same_as_the_whole(point: DecisionPoint) -> None:
    asked = question(
        {"subject": {"type": "user", "id": "bob"}, "action": {"name": "view"}, "resource": {"type": "record"}},
        seeks="resource",
    )
    whole = (await point.resources(asked, Page(PAGE_MAX)))["results"]
    parts, token = [], ""
    for _ in range(20):
        part = await point.resources(asked, page({"page": {"limit": 3, "token": token}}))
        parts += part["results"]
        token = part["page"]["next_token"]
        if not token:
            break
    assert parts == whole
    assert len(whole) == 11


async def test_what_a_search_finds_an_evaluation_allows(point: DecisionPoint) -> None:
    for vector in vectors("s-resource")["evaluation"]:
        asked = question(vector["request"], seeks="resource")
        for one in (await point.resources(asked, Page()))["results"]:
            again = question({**vector["request"], "resource": one})
            assert (await point.evaluation(again))["decision"], one


@pytest.mark.parametrize(
    ("semantic", "decisions"),
    [("execute_all", [True, False, True]), ("deny_on_first_deny", [True, False]), ("permit_on_first_permit", [True])],
)
async def test_the_three_semantics(point: DecisionPoint, semantic: str, decisions: list[bool]) -> None:
    asked = batch(
        {
            "subject": {"type": "user", "id": "bob"},
            "action": {"name": "edit"},
            "options": {"evaluations_semantic": semantic},
            "evaluations": [{"resource": {"type": "record", "id": number}} for number in ("102", "101", "108")],
        }
    )
    assert asked is not None
    answers = (await point.evaluations(asked))["evaluations"]
    assert [answer["decision"] for answer in answers] == decisions


async def test_what_the_caller_says_of_the_owner_changes_nothing(point: DecisionPoint) -> None:
    """access/server-side: Morty edits only his own, whoever he says that Rick's belongs to."""
    ricks = {"type": "todo", "id": "7240d0db-8ff0-41ec-98b2-34a096273b92"}
    mine = {"ownerID": "morty@the-citadel.com", "owner": "morty@the-citadel.com"}
    for resource in (ricks, {**ricks, **mine}, {**ricks, "properties": mine}):
        asked = {
            "subject": {"type": "user", "id": "morty@the-citadel.com", "properties": {"roles": ["admin"]}},
            "action": {"name": "can_update_todo", "properties": {"owner": True}},
            "resource": resource,
            "context": {"owner": "morty@the-citadel.com", "role": "evil_genius"},
        }
        assert await point.evaluation(question(asked)) == {"decision": False}
