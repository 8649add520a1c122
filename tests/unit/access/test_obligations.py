"""What policies oblige to: a step-up, somebody else's approval, both, or a notice; and what is not fit to start."""

import re
from pathlib import Path
from typing import Any

import pytest
from tests.support.access import COURIER, MANAGER, POLICIES, SCHEMA, Parcel, engine_for, parcel

from seawall.access import Allow, Deny, Engine, NeedsApproval, StepUp
from seawall.access.obligations import ApprovalObligation, joint, parse_approval
from seawall.core.errors import Refused
from seawall.core.stepup import Intent

APPROVABLE = SCHEMA.replace("step_up: Bool", "step_up: Bool, approved: Bool")
HUGE = """
@id("parcel.refund.huge") @title("x") @requires_approval("role=finance|legal,lifetime_s=3600") @notify("huge-refund")
forbid (principal, action == Action::"refund", resource is Parcel)
when { context.amount_minor > 30000 } unless { context.approved };
"""
CANCEL = """
@id("parcel.cancel.approved") @title("x") @requires_approval("role=legal,lifetime_s=600") @notify("cancelled")
permit (principal in Role::"manager", action == Action::"cancel", resource is Parcel) when { context.approved };
"""


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return engine_for(tmp_path / "policies", POLICIES + HUGE + CANCEL, APPROVABLE)


def refund(engine: Engine, amount: int, who: Any = MANAGER, **met: bool) -> Any:
    extra = {"amount_minor": amount, "currency": "USD", "refunded_minor": 0}
    return engine.decide(who, engine.ruling(Parcel, "refund"), parcel(), extra, **met)


def test_each_is_asked_for_when_it_would_help(engine: Engine) -> None:
    assert isinstance(refund(engine, 5_000), Allow)
    assert isinstance(refund(engine, 15_000), StepUp)
    assert isinstance(refund(engine, 60_000), Deny)
    assert isinstance(refund(engine, 15_000, COURIER), Deny)
    cancel = engine.ruling(Parcel, "cancel")
    assert engine.decide(MANAGER, cancel, parcel()) == NeedsApproval(
        ("parcel.cancel.approved",), ApprovalObligation(frozenset({"legal"}), 600)
    )
    assert isinstance(engine.decide(COURIER, cancel, parcel()), Deny)
    assert isinstance(engine.decide(MANAGER, cancel, parcel(status="delivered")), Deny)


def test_of_both_the_approval_comes_first_and_neither_replaces_the_other(engine: Engine) -> None:
    first = refund(engine, 40_000)
    assert isinstance(first, NeedsApproval)
    assert first.obligation == ApprovalObligation(frozenset({"finance", "legal"}), 3_600)
    assert isinstance(refund(engine, 40_000, step_up=True), NeedsApproval)
    assert isinstance(refund(engine, 40_000, approved=True), StepUp)
    assert isinstance(refund(engine, 40_000, step_up=True, approved=True), Allow)
    assert isinstance(refund(engine, 60_000, step_up=True, approved=True), Deny)


def test_a_notice_is_left_by_the_policies_that_determine(engine: Engine) -> None:
    verdict = engine.decide(MANAGER, engine.ruling(Parcel, "cancel"), parcel(), approved=True)
    assert engine.notices(verdict.policies) == [("parcel.cancel.approved", "cancelled")]
    assert engine.notices(refund(engine, 5_000).policies) == []


@pytest.mark.parametrize(
    "text",
    [
        "", "finance", "role=finance", "lifetime_s=60", "role=,lifetime_s=60", "role=a||b,lifetime_s=60",
        "role=a,lifetime_s=59", "role=a,lifetime_s=604801", "role=a,lifetime_s=1e3", "role=A,lifetime_s=60",
        "role=a,lifetime_s=060", "role=a,lifetime_s=60,", "lifetime_s=60,role=a",
        "role=a|b|c|d|e|f|g|h|i,lifetime_s=60",
    ],
)  # fmt: skip
def test_what_is_not_understood_does_not_start(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        parse_approval(text)
    policies = POLICIES + CANCEL.replace("role=legal,lifetime_s=600", text)
    with pytest.raises(Refused, match="an obligation that is not understood"):
        engine_for(tmp_path / "policies", policies, APPROVABLE)


def test_the_demand_and_where_it_takes_effect_belong_together(tmp_path: Path) -> None:
    without = POLICIES + CANCEL.replace('@requires_approval("role=legal,lifetime_s=600")', "")
    with pytest.raises(Refused, match=r"reads context\.approved without @requires_approval"):
        engine_for(tmp_path / "one", without, APPROVABLE)
    unread = POLICIES + CANCEL.replace("context.approved", "true")
    with pytest.raises(Refused, match=r"never reads context\.approved"):
        engine_for(tmp_path / "two", unread, APPROVABLE)
    with pytest.raises(Refused, match="write approved: Bool"):
        engine_for(
            tmp_path / "three", POLICIES, SCHEMA.replace("step_up: Bool", "step_up: Bool, approved: Long")
        ).ruling(Parcel, "cancel")


def test_one_approval_satisfies_all_policies_or_the_app_does_not_start(tmp_path: Path) -> None:
    some = [parse_approval("role=a|b,lifetime_s=100"), parse_approval("role=b|c,lifetime_s=60")]
    assert joint(some) == ApprovalObligation(frozenset({"b"}), 60)
    assert joint([*some, parse_approval("role=a,lifetime_s=60")]) is None
    other = HUGE.replace("parcel.refund.huge", "other").replace("finance|legal", "board")
    with pytest.raises(Refused, match="have none in common"):
        engine_for(tmp_path / "policies", POLICIES + HUGE + other, APPROVABLE)


def test_what_the_approver_read_is_bound_too() -> None:
    first, second = (Intent("refund", "Parcel", {"amount": 1}, summary=text) for text in ("of 10 left", "of 9 left"))
    assert first.digest == second.digest
    assert first.seen_digest != second.seen_digest
