"""Policies without a use, and policies that may fail."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.access import POLICIES, write_policies
from tests.support.crm.models import MODELS

from seawall.access import read_policies
from seawall.access.review.bench import Bench
from seawall.access.review.idle import idle
from seawall.access.review.score import Pool
from seawall.access.review.written import written

MANAGERS = 'permit (principal in Role::"manager", action == Action::"read", resource is Parcel)'
SEES = '@id("sees") @title("x") permit (principal, action == Action::"read", resource) when { resource has tenant };'


def found(folder: Path, policies: str) -> set[tuple[str, str, str]]:
    book = read_policies(write_policies(folder / "p", policies))
    assert all(one.policy.file == "shop.cedar" for one in written(book))
    return {(one.policy.id, one.kind, one.other) for one in written(book)}


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            f'@id("b") @title("x") {MANAGERS} when {{ resource has tenant && resource.rushed }};',
            ("b", "shadowed", "sees"),
        ),
        (
            f'@id("b") @title("x") @step_up("aal=2,max_age_s=60") {MANAGERS} '
            "when { resource has tenant && context.step_up };",
            ("b", "shadowed", "sees"),
        ),
        (
            '@id("no") @title("x") forbid (principal, action, resource is Parcel) when { resource.rushed };'
            f'@id("b") @title("x") {MANAGERS} when {{ resource.rushed && resource.status == "new" }};',
            ("b", "overruled", "no"),
        ),
        (f'@id("b") @title("x") {MANAGERS} when {{ resource.total_minor + 1 > 5 }};', ("b", "may-fail", "")),
        (f'@id("b") @title("x") {MANAGERS};@id("c") @title("x") {MANAGERS};', ("c", "shadowed", "b")),
    ],
)
def test_each_kind(tmp_path: Path, more: str, expected: tuple[str, str, str]) -> None:
    assert found(tmp_path, SEES + more) == {expected}


@pytest.mark.parametrize(
    "more",
    [
        f'@id("b") @title("x") {MANAGERS} when {{ resource.rushed }};',
        '@id("b") @title("x") forbid (principal, action == Action::"read", resource) when { resource has tenant };',
        '@id("b") @title("x") permit (principal, action == Action::"cancel", resource) when { resource has tenant };',
    ],
)
def test_what_has_a_use(tmp_path: Path, more: str) -> None:
    assert {kind for _, kind, _ in found(tmp_path, SEES + more)} <= {"overruled"}
    assert ("b", "shadowed", "sees") not in found(tmp_path, SEES + more)


def test_the_shops_and_the_crms(tmp_path: Path) -> None:
    assert {kind for _, kind, _ in found(tmp_path, POLICIES)} == {"may-fail"}
    crm = Path(__file__).parents[2] / "support" / "crm" / "policies"
    assert MODELS
    assert {(one.policy.id, one.kind) for one in written(read_policies(crm))} == {
        ("deal.shared", "may-fail"), ("deal.discount", "may-fail"), ("note.fresh", "may-fail"),
        ("export.unapproved", "may-fail"),
    }  # fmt: skip


def test_each_is_said_once_and_what_is_certain_first(tmp_path: Path) -> None:
    more = (
        f'@id("b") @title("x") {MANAGERS} when {{ resource has tenant && resource.rushed }};'
        f'@id("odd") @title("x") {MANAGERS} when {{ resource.rushed && !resource.rushed }};'
        f'@id("sum") @title("x") {MANAGERS} when {{ resource.total_minor + 1 > 5 }};'
    )
    pool = Pool(Bench(read_policies(write_policies(tmp_path / "p", SEES + more))))
    said = [(one.policy, one.code, one.severity) for one in idle(pool, ())]
    assert said == [
        ("b", "shadowed", "warning"), ("odd", "unreachable", "warning"), ("sum", "shadowed", "warning"),
        ("sum", "may-fail", "note"),
    ]  # fmt: skip
    assert "sees says already" in next(one.message for one in idle(pool, ()) if one.policy == "b")
    assert ("sum", "may-fail") not in [(one.policy, one.code) for one in idle(pool, ("sum",))]
