"""Decisions: what the policies say, and that whatever goes wrong means no."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import cedarpy
import orjson
import pytest
import structlog
from tests.support.access import (
    ALPHA,
    BETA,
    BOB,
    COURIER,
    MANAGER,
    NORTH,
    OWNER,
    POLICIES,
    SOUTH,
    Parcel,
    engine_for,
    parcel,
    person,
)

from seawall.access import Allow, Deny, Engine, StepUp
from seawall.access.obligations import StepUpObligation
from seawall.access.policies import Policy, PolicyBook, policy_set
from seawall.core.scope import Membership, Tenant


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_for(tmp_path / "policies")


def decide(engine: Engine, who: Any, action: str, what: Any, **extra: Any) -> Any:
    step_up = extra.pop("step_up", False)
    return engine.decide(who, engine.ruling(type(what), action), what, extra, step_up=step_up)


def refund(engine: Engine, who: Any, amount: int, *, already: int = 0, what: Any = None, **more: Any) -> Any:
    what = what or parcel()
    extra = {"amount_minor": amount, "currency": "USD", "refunded_minor": already, **more}
    return decide(engine, who, "refund", what, **extra)


def test_an_allow_names_its_policy(engine: Engine) -> None:
    assert decide(engine, MANAGER, "read", parcel()) == Allow(("parcel.read.manager",))


def test_nothing_said_means_no(engine: Engine) -> None:
    assert decide(engine, MANAGER, "read", parcel(venue_id=SOUTH)) == Deny((), "no-permit")


def test_a_forbid_wins(engine: Engine) -> None:
    assert decide(engine, MANAGER, "read", parcel(tenant_id=BETA)) == Deny(("wall.tenant",), "forbidden")


def test_a_group_of_actions_matches_its_members(engine: Engine) -> None:
    assert refund(engine, MANAGER, 100) == Allow(("parcel.refund.small",))
    closed = refund(engine, MANAGER, 100, what=parcel(status="delivered"))
    assert closed == Deny(("parcel.change.closed",), "forbidden")


def test_an_optional_attribute_may_be_absent(engine: Engine) -> None:
    assert decide(engine, COURIER, "read", parcel(courier_id=BOB)) == Allow(("parcel.read.courier",))
    assert isinstance(decide(engine, COURIER, "read", parcel(courier_id=None)), Deny)


def test_the_callers_own_tenant_is_a_resource(engine: Engine) -> None:
    assert isinstance(decide(engine, OWNER, "manage_team", Tenant(ALPHA)), Allow)
    assert isinstance(decide(engine, OWNER, "manage_team", Tenant(BETA)), Deny)
    assert isinstance(decide(engine, MANAGER, "manage_team", Tenant(ALPHA)), Deny)


def test_above_the_limit_a_fresh_factor_is_wanted(engine: Engine) -> None:
    wanted = refund(engine, MANAGER, 15_000)
    assert wanted == StepUp(("parcel.refund.large",), StepUpObligation(2, 300))
    assert wanted.obligation.acr == "aal2"
    assert refund(engine, MANAGER, 15_000, step_up=True) == Allow(("parcel.refund.large",))


def test_the_limit_is_cumulative(engine: Engine) -> None:
    assert isinstance(refund(engine, MANAGER, 4_000, already=4_000), Allow)
    assert isinstance(refund(engine, MANAGER, 4_000, already=8_000), StepUp)


def test_no_factor_helps_where_it_would_still_be_denied(engine: Engine) -> None:
    assert isinstance(refund(engine, MANAGER, 60_000), Deny)
    assert isinstance(refund(engine, COURIER, 15_000), Deny)
    assert refund(engine, MANAGER, 15_000, what=parcel(status="delivered")).reason == "forbidden"
    assert isinstance(refund(engine, MANAGER, 60_000, step_up=True), Deny)


def test_a_forbid_may_give_way_to_a_factor(tmp_path: Path) -> None:
    engine = engine_for(
        tmp_path / "p",
        POLICIES
        + """@id("parcel.cancel") @title("x") permit (principal, action == Action::"cancel", resource);
        @id("parcel.cancel.fresh") @title("x") @step_up("aal=2,max_age_s=60")
        forbid (principal, action == Action::"cancel", resource) unless { context.step_up };""",
    )
    assert decide(engine, MANAGER, "cancel", parcel()).obligation == StepUpObligation(2, 60)
    assert isinstance(decide(engine, MANAGER, "cancel", parcel(), step_up=True), Allow)


FAILING = """@id("wall.rate") @title("x") forbid (principal, action == Action::"read", resource is Parcel)
when { resource.total_minor + 9223372036854775807 < 0 };"""


def test_a_forbid_that_fails_is_a_denial_and_an_alert(tmp_path: Path) -> None:
    """Cedar itself would allow: it skips the policy that overflows."""
    engine = engine_for(tmp_path / "p", POLICIES + FAILING)
    with structlog.testing.capture_logs() as logs:
        assert isinstance(decide(engine, MANAGER, "read", parcel(total_minor=0)), Allow)
        assert decide(engine, MANAGER, "read", parcel(total_minor=1)) == Deny((), "evaluation-error")
    assert [(line["event"], line["alert"], line["policies"]) for line in logs] == [
        ("access.evaluation-error", True, ("wall.rate",))
    ]
    assert str(MANAGER.user_id) not in repr(logs)


def test_a_permit_that_fails_is_a_denial_too(tmp_path: Path) -> None:
    failing = FAILING.replace("forbid", "permit")
    engine = engine_for(tmp_path / "p", POLICIES + failing)
    assert decide(engine, MANAGER, "read", parcel(total_minor=1)).reason == "evaluation-error"


def test_an_error_asks_for_no_factor(tmp_path: Path) -> None:
    failing = FAILING.replace('"read"', '"refund"')
    engine = engine_for(tmp_path / "p", POLICIES + failing)
    assert refund(engine, MANAGER, 15_000).reason == "evaluation-error"


@pytest.mark.parametrize(
    "wrong", [{"total_minor": "5"}, {"total_minor": None}, {"total_minor": 2**63}, {"currency": 5}, {"venue_id": 1.5}]
)
def test_a_value_of_another_type_is_a_denial(engine: Engine, wrong: dict[str, Any]) -> None:
    assert refund(engine, MANAGER, 15_000, what=parcel(**wrong), step_up=True).reason == "evaluation-error"


def test_a_missing_fact_is_a_denial(engine: Engine) -> None:
    verdict = decide(engine, MANAGER, "refund", parcel(), amount_minor=1, currency="USD")
    assert verdict == Deny((), "evaluation-error")


def test_an_obligation_nobody_knows_is_a_denial(engine: Engine) -> None:
    known = engine.book.policies["parcel.read.manager"]
    annotations = {**known.annotations, "requires_two_keys": "finance"}
    strange = Policy(known.id, known.file, {**known.est, "annotations": annotations})
    book = PolicyBook(engine.schema, {**engine.book.policies, known.id: strange})
    assert decide(Engine(book), MANAGER, "read", parcel()) == Deny((known.id,), "unknown-obligation")


def test_many_at_once_agree_with_one_by_one(engine: Engine) -> None:
    parcels = [parcel(venue_id=NORTH if n % 3 else SOUTH) for n in range(30)]
    ruling = engine.ruling(Parcel, "read")
    assert engine.decide_all(MANAGER, ruling, parcels) == [engine.decide(MANAGER, ruling, p) for p in parcels]


def test_assurance_is_the_latest_proof(tmp_path: Path) -> None:
    engine = engine_for(
        tmp_path / "p",
        POLICIES
        + """@id("parcel.cancel") @title("x") permit (principal, action == Action::"cancel", resource)
        when { context.auth.aal >= 2 && context.auth.age_s <= 300 && context.now > datetime("2020-01-01") };""",
    )
    venue = Membership("manager", "Venue", NORTH)
    for aal, age_s, expected in ((2, 10, Allow), (2, 400, Deny), (1, 10, Deny), (2, -30, Allow)):
        assert isinstance(decide(engine, person(venue, aal=aal, age_s=age_s), "cancel", parcel()), expected)


def test_slices_and_pruning_change_no_decision(engine: Engine) -> None:
    """5,000 random requests: the engine against Cedar on all policies, with the schema, and the whole entities."""
    whole = policy_set({p.id: p.est for p in engine.book.policies.values()})
    rng = random.Random(7)
    allowed = 0
    for _ in range(5_000):
        who, what, action, extra, step_up = _random_request(rng)
        ruling = engine.ruling(Parcel, action)
        got = engine.decide_all(who, ruling, (what,), extra, step_up=step_up)[0]
        entities = [engine.people.entity(who), engine._maps[Parcel].entity(what)]
        auth = {"aal": who.assurance.aal, "age_s": 10}
        now = {"__extn": {"fn": "datetime", "arg": "2026-11-23T12:00:00Z"}}
        answer = cedarpy.is_authorized(
            {
                "principal": f'User::"{who.user_id}"',
                "action": f'Action::"{action}"',
                "resource": f'Parcel::"{what.id}"',
                "context": {"now": now, "auth": auth, "step_up": step_up, **extra},
            },
            whole,
            cedarpy.Entities.from_json_str(orjson.dumps(entities).decode(), engine.schema.handle),
            engine.schema.handle,
        )
        assert not answer.diagnostics.errors
        assert isinstance(got, Allow) == answer.allowed
        assert set(got.policies) == set(answer.diagnostics.reasons)
        allowed += answer.allowed
    assert 300 < allowed < 4_500  # both answers occur often enough to mean something


def _random_request(rng: random.Random) -> Any:
    roles = ["manager", "courier", "owner"]
    memberships = tuple(
        Membership(rng.choice(roles), *rng.choice([("Venue", NORTH), ("Venue", SOUTH), (None, None)]))
        for _ in range(rng.randrange(4))
    )
    what = parcel(
        tenant_id=rng.choice([ALPHA, ALPHA, ALPHA, BETA]),
        venue_id=rng.choice([NORTH, SOUTH]),
        status=rng.choice(["paid", "delivered", 'odd "status"\n']),
        total_minor=rng.choice([0, 9_999, 10_000, 10_001, 50_000]),
        courier_id=rng.choice([None, BOB]),
        rushed=rng.random() < 0.5,
        made_at=datetime(2026, 11, 1, tzinfo=UTC),
        weight_kg=rng.choice([None, Decimal("1.250")]),
    )
    action = rng.choice(["read", "read_payment", "refund", "refund", "cancel"])
    extra: dict[str, Any] = {}
    if action == "refund":
        extra = {
            "amount_minor": rng.choice([0, 1, 9_999, 10_000, 10_001]),
            "currency": rng.choice(["USD", "EUR"]),
            "refunded_minor": rng.choice([0, 1]),
        }
    return person(*memberships, user_id=BOB), what, action, extra, rng.random() < 0.5


def test_people_are_kept_but_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seawall.access.entities.PEOPLE_KEPT_MAX", 2)
    first = engine.people.of(MANAGER)
    assert engine.people.of(MANAGER) is first
    engine.people.of(COURIER)
    engine.people.of(OWNER)
    assert engine.people.of(MANAGER) is not first


def test_a_changed_membership_is_another_person(engine: Engine) -> None:
    assert isinstance(decide(engine, MANAGER, "read", parcel()), Allow)
    assert isinstance(decide(engine, person(user_id=MANAGER.user_id), "read", parcel()), Deny)


def test_roles_of_the_whole_tenant_are_told_apart(engine: Engine) -> None:
    entity = engine.people.entity(person(Membership("owner"), Membership("manager", "Venue", NORTH)))
    assert entity["attrs"]["tenant_roles"] == ["owner"]
    assert json.dumps(entity["parents"]).count("manager") == 1
