"""What does not start: policies and schemas that are missing, malformed, ambiguous, or mean other than they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.access import POLICIES, SCHEMA, Parcel, engine_for, write_policies

from seawall.access import Engine, read_policies
from seawall.core.errors import Refused


def refused(folder: Path, policies: str = POLICIES, schema: str = SCHEMA) -> Refused:
    with pytest.raises(Refused) as caught:
        engine_for(folder / "policies", policies, schema).ruling(Parcel, "read")
    assert caught.value.why
    assert caught.value.fix
    return caught.value


def test_good_ones_are_keyed_by_id(tmp_path: Path) -> None:
    book = read_policies(write_policies(tmp_path / "p"))
    assert "parcel.refund.large" in book.policies
    assert book.step_ups["parcel.refund.large"].max_age_s == 300
    assert book.unknown_obligations == frozenset()


def test_a_missing_schema(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"schema\.cedarschema: there is no Cedar schema"):
        read_policies(tmp_path)


def test_no_policies(tmp_path: Path) -> None:
    write_policies(tmp_path / "p")
    (tmp_path / "p" / "shop.cedar").unlink()
    with pytest.raises(Refused, match="there are no policies"):
        read_policies(tmp_path / "p")


def test_the_same_id_twice_across_files(tmp_path: Path) -> None:
    folder = write_policies(tmp_path / "p")
    (folder / "more.cedar").write_text('@id("wall.tenant") @title("x") permit (principal, action, resource);')
    with pytest.raises(Refused, match=r'shop\.cedar: policy @id\("wall\.tenant"\) is already in more\.cedar'):
        read_policies(folder)


PERMIT = 'permit (principal in Role::"manager", action == Action::"read", resource is Parcel)'


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (f'@title("x") {PERMIT};', "policy number 1 has no @id"),
        (f'@id("a") {PERMIT};', '@id("a") has no @title'),
        (f'@id("A b") @title("x") {PERMIT};', "is not a plain name"),
        (f'@id("a") @title("x") {PERMIT}; @id("a") @title("y") {PERMIT};', "is already in"),
        (f'@id("a") @title("x") {PERMIT} when {{ resource.totl == 1 }};', 'policy @id("a") does not validate'),
        (f'@id("a") @title("x") {PERMIT} when {{ resource.status == 1 }};', "does not validate"),
        ('@id("a") @title("x") permit (principal, action == Action::"raed", resource);', "does not validate"),
        (f'@id("a") @title("x") {PERMIT} when {{ resource. }};', "does not parse"),
        ('@id("a") @title("x") permit (principal == ?principal, action, resource);', "contains a template"),
        (f'@id("a") @title("x") @requires_two_keys("finance") {PERMIT};', "unknown annotation @requires_two_keys"),
        (f'@id("a") @title("x") @notify("Big Money!") {PERMIT};', '@notify("Big Money!")'),
        (f'@id("a") @title("x") {PERMIT} when {{ context.step_up }};', "reads context.step_up without @step_up"),
        (f'@id("a") @title("x") @step_up("aal=2,max_age_s=300") {PERMIT};', "never reads context.step_up"),
        (f'@id("a") @title("x") @step_up("aal=9") {PERMIT} when {{ context.step_up }};', '@step_up("aal=9")'),
        (f'@id("a") @title("x") @step_up {PERMIT} when {{ context.step_up }};', '@step_up("")'),
        (
            f'@id("a") @title("x") @step_up("aal=2,max_age_s=9999") {PERMIT} when {{ context.step_up }};',
            "has @step_up",
        ),
        (
            f'@id("a") @title("x") {PERMIT} when {{ resource has courier && resource.courier.tenant == principal.tenant }};',  # noqa: E501
            "resource.courier.tenant",
        ),
        (
            f'@id("a") @title("x") {PERMIT} when {{ resource has courier && resource.courier in Role::"manager" }};',
            "asks whether resource.courier is in something",
        ),
        (
            f'@id("a") @title("x") {PERMIT} when {{ (if resource.rushed then resource.venue else resource.venue).tenant'
            " == principal.tenant };",
            "asks the attribute tenant of something that is not a path",
        ),
    ],
)
def test_policies_that_do_not_start(tmp_path: Path, policy: str, words: str) -> None:
    found = refused(tmp_path, policy)
    assert words in found.what
    assert "shop.cedar" in found.what


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("entity Tenant;", "entity Tenant", "does not parse"),
        ("entity Tenant;", "entity Tenant = { name: String };", "without attributes"),
        ("entity User in [Role]", "entity User", "entity User must be"),
        ("manager_at: Set<Venue>,", "manager_at: Set<Venue>, email: String,", "User.email: String cannot be filled"),
        ("total_minor: Long,", "total_minor: Long, colour: String,", "Parcel has no column colour"),
        ("total_minor: Long,", "total_minor: Long, card_last4: String,", "the column card_last4 may be NULL"),
        ("status: String", "status: Long", "the column status does not fit"),
        ("courier?: User", "courier: User", "the column courier_id may be NULL"),
        ("rushed: Bool", "rushed: ipaddr", "the column rushed does not fit"),
        ("type Ctx = { now: datetime,", "type Ctx = { now: Long,", "context.now is Long"),
        ("entity Parcel =", "entity Parcel in [User] =", "0 columns of Parcel refer to it"),
        ("entity Parcel =", "entity Parcel in [Parcel] =", "0 columns of Parcel refer to it"),
        ("resource: [Parcel, Venue], context: Ctx", "resource: [Venue], context: Ctx", 'no action "read" on Parcel'),
    ],
)
def test_schemas_that_do_not_start(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in SCHEMA
    harmless = '@id("a") @title("x") permit (principal, action, resource);'
    assert words in refused(tmp_path, harmless, SCHEMA.replace(old, new, 1)).what


def test_a_namespace_is_understood(tmp_path: Path) -> None:
    schema = "namespace Shop {" + SCHEMA + "}"
    policy = (
        '@id("a") @title("x") permit (principal in Shop::Role::"manager", action == Shop::Action::"read",'
        " resource is Shop::Parcel) when { resource.tenant == principal.tenant };"
    )
    engine = engine_for(tmp_path / "p", policy, schema)
    assert isinstance(engine, Engine)
    assert engine.ruling(Parcel, "read").slice.ids == {"a"}


def test_two_namespaces_are_not(tmp_path: Path) -> None:
    two = SCHEMA + " namespace Other { entity X; }"
    assert "does not understand" in refused(tmp_path, schema=two).what
