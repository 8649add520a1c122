"""Rego behind the same interface: Cedar's decisions on every generated request, and no for every error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support.access import BOB, COURIER, MANAGER, SCHEMA, Parcel, engine_for, parcel

from seawall.access import Allow, Deny, StepUp
from seawall.access.policies import PolicyBook
from seawall.access.rego import RegoBook, RegoEngine, read_rego
from seawall.access.review.bench import Bench
from seawall.access.review.score import Pool
from seawall.core.errors import Refused

REGO = """
package seawall

annotations := {
    "wall.tenant": {"title": "Nobody reaches into another tenant"},
    "parcel.read.manager": {"title": "Managers read their venue's parcels"},
    "parcel.read.courier": {"title": "Couriers read the parcels that they carry"},
    "parcel.payment.manager": {"title": "Managers see payments"},
    "parcel.refund.small": {"title": "Managers refund up to 100 a day"},
    "parcel.refund.large": {"title": "Managers refund more with a second factor", "step_up": "aal=2,max_age_s=300"},
    "parcel.change.closed": {"title": "Nothing changes once delivered"},
    "team.owner": {"title": "Owners manage the team"},
}

is_manager if "manager" in input.principal.roles
is_manager_here if {
    is_manager
    input.resource.venue in input.principal.manager_at
}
refundable if {
    is_manager_here
    input.action == "refund"
    input.resource.type == "Parcel"
    input.context.currency == input.resource.currency
    input.context.amount_minor > 0
}
whole := input.context.refunded_minor + input.context.amount_minor

forbid contains "wall.tenant" if {
    input.resource.type != "Tenant"
    input.resource.tenant != input.principal.tenant
}
forbid contains "parcel.change.closed" if {
    input.action in {"refund", "cancel"}
    input.resource.type == "Parcel"
    input.resource.status == "delivered"
}
permit contains "parcel.read.manager" if {
    is_manager_here
    input.action == "read"
    input.resource.type == "Parcel"
}
permit contains "parcel.payment.manager" if {
    is_manager_here
    input.action == "read_payment"
    input.resource.type == "Parcel"
}
permit contains "parcel.read.courier" if {
    "courier" in input.principal.roles
    input.action == "read"
    input.resource.type == "Parcel"
    input.resource.courier == input.principal.id
}
permit contains "parcel.refund.small" if {
    refundable
    whole <= 10000
}
permit contains "parcel.refund.large" if {
    refundable
    whole <= input.resource.total_minor
    input.context.step_up
}
permit contains "team.owner" if {
    "owner" in input.principal.roles
    input.action == "manage_team"
    input.resource.id == input.principal.tenant
}
"""


def rego(folder: Path, text: str = REGO) -> RegoBook:
    folder.mkdir(exist_ok=True)
    (folder / "schema.cedarschema").write_text(SCHEMA)
    (folder / "shop.rego").write_text(text)
    return read_rego(folder)


def test_the_same_decisions_on_every_generated_request(tmp_path: Path) -> None:
    cedar = Bench(engine_for(tmp_path / "cedar").book)
    book = rego(tmp_path / "rego")
    other = Bench(PolicyBook(book.schema, {}), RegoEngine(book))
    other.book = book
    tried, effects = 0, set()
    for one in Pool(cedar):
        outcome = other.outcome(one.request)
        assert (outcome.effect, set(outcome.policies)) == (one.outcome.effect, set(one.outcome.policies)), one.request
        effects.add(outcome.effect)
        tried += 1
    assert effects == {"allow", "deny", "step-up"}
    assert tried > 500


def test_it_decides_on_rows_as_cedar_does(tmp_path: Path) -> None:
    engine = RegoEngine(rego(tmp_path / "rego"))
    ruling = engine.ruling(Parcel, "read")
    assert engine.decide(MANAGER, ruling, parcel()) == Allow(("parcel.read.manager",))
    assert engine.decide(COURIER, ruling, parcel(courier_id=BOB)) == Allow(("parcel.read.courier",))
    assert engine.decide(COURIER, ruling, parcel()) == Deny((), "no-permit")
    refund = engine.ruling(Parcel, "refund")
    facts = {"amount_minor": 10_001, "currency": "USD", "refunded_minor": 0}
    verdict = engine.decide(MANAGER, refund, parcel(), facts)
    assert isinstance(verdict, StepUp)
    assert verdict.obligation.max_age_s == 300
    assert isinstance(engine.decide(MANAGER, refund, parcel(), facts, step_up=True), Allow)


@pytest.mark.parametrize(
    "more",
    [
        'forbid contains "wall.tenant" if 1 / (input.context.auth.aal - 1) == 7',
        'permit contains "never.announced" if true',
    ],
    ids=["division by zero", "an id without annotations"],
)
def test_errors_mean_no(tmp_path: Path, more: str) -> None:
    engine = RegoEngine(rego(tmp_path / "rego", REGO + more))
    assert engine.decide(MANAGER, engine.ruling(Parcel, "read"), parcel()) == Deny((), "evaluation-error")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("package seawall\npermit contains", "shop.rego: does not parse"),
        ('package seawall\npermit contains "a" if true', "have no annotations"),
        ('package seawall\nannotations := {"a": "b"}', "not an object of texts"),
        ('package seawall\nannotations := {"a": {}}', "has no @title"),
        ('package seawall\nannotations := {"A b": {"title": "x"}}', "is not a plain name"),
        ('package seawall\nannotations := {"a": {"title": "x", "bribe": "y"}}', "unknown annotation @bribe"),
    ],
)
def test_what_does_not_start(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refused, match=r".") as refused:
        rego(tmp_path / "rego", text)
    assert says in refused.value.what
    assert "Stack" not in refused.value.what


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "regorus", None)
    with pytest.raises(Refused, match="need the extra `rego`") as refused:
        rego(tmp_path / "rego")
    assert "seawall[rego]" in refused.value.fix


def test_no_policies(tmp_path: Path) -> None:
    (tmp_path / "schema.cedarschema").write_text(SCHEMA)
    with pytest.raises(Refused, match="no Rego policies"):
        read_rego(tmp_path)
