"""Rows near an object in tests, made-up requests, mutants and differences: `resource.deal.owner`."""

from __future__ import annotations

from pathlib import Path

import pytest

from seawall.access import read_policies
from seawall.access.review import compare, verify
from seawall.access.review.bench import Bench, Person, Request, Scoped
from seawall.access.review.boundary import Space
from seawall.access.review.made import Thing
from seawall.access.review.near import reached
from seawall.access.review.score import Pool
from seawall.access.review.tables import read_tables
from seawall.core.errors import Refused

CRM = Path(__file__).parents[2] / "support" / "crm" / "policies"
POLICIES = """
@id("wall.suspended") @title("What is in a suspended account is for nobody") @owner("crm") @wall
forbid (principal, action, resource is Note) when { resource.deal.account.suspended };
@id("note.owner") @title("A deal's owner edits its notes while it is new") @owner("crm")
permit (principal, action == Action::"edit", resource is Note)
when { resource.deal.owner == principal && resource.deal.stage == "new" };
@id("note.lead") @title("The team's leads edit all notes") @owner("crm")
permit (principal in Role::"lead", action == Action::"edit", resource is Note) when { resource in principal.lead_at };
"""
TESTS = """
walls: [wall.suspended]
principals:
  ann: {}
  lea: {roles: [lead], lead_at: [north]}
  leo: {roles: [lead], lead_at: [south]}
objects:
  acme: {is: Account, team: north, owner: zed, name: Acme, tier: 1, suspended: false}
  dead: {is: Account, team: north, owner: zed, name: Dead, tier: 1, suspended: true}
  memo: {is: Note, deal: big, author: zed, confidential: false, words: 1, written_at: 1h ago, text: x}
  big: {is: Deal, account: acme, owner: ann, stage: new, amount_minor: 1, shared_with: []}
  won: {is: Deal, account: acme, owner: ann, stage: won, amount_minor: 1, shared_with: []}
  sunk: {is: Deal, account: dead, owner: ann, stage: new, amount_minor: 1, shared_with: []}
tests:
  - {why: owner and leads edit, action: edit, on: memo, only: [ann, lea]}
  - {why: of a deal that is new, who: ann, action: edit, on: memo, given: {deal: won}, expect: deny}
  - {why: of an account in use, who: [ann, lea], action: edit, on: memo, given: {deal: sunk}, expect: deny}
"""


def tree(folder: Path, policies: str = POLICIES, tests: str = TESTS) -> Path:
    (folder / "tests").mkdir(parents=True)
    (folder / "schema.cedarschema").write_text((CRM / "schema.cedarschema").read_text())
    (folder / "crm.cedar").write_text(policies)
    (folder / "tests" / "crm.yaml").write_text(tests)
    return folder


def test_what_is_reached_is_what_the_running_app_loads() -> None:
    book = read_policies(CRM)
    bench = Bench(book)
    assert bench.near("edit", "Note") == {("deal",): "Deal", ("deal", "account"): "Account"}
    assert bench.near("read", "Contact") == {("account",): "Account", ("account", "team"): "Team"}
    assert bench.near("read", "Export") == {}
    assert reached(book.schema, "Team", [policy.est for policy in book.policies.values()]) == {}


def test_tables_mutants_and_boundaries_know_the_rows_near(tmp_path: Path) -> None:
    report = verify(tree(tmp_path / "p"), floor=0.7)
    assert report.ok, report.document()
    assert report.score is not None
    assert all(survivor.mistake.startswith("the scope of") for survivor in report.score.survivors)
    assert not [finding for finding in report.findings if finding.code == "fails"]


def test_a_mistake_about_a_row_near_lives_without_its_test_and_the_witness_names_it(tmp_path: Path) -> None:
    weak = "\n".join(line for line in TESTS.splitlines() if "given: {deal: won}" not in line)
    report = verify(tree(tmp_path / "p", tests=weak), floor=0.0)
    assert report.score is not None
    mistake = "→ (resource.deal.owner) == principal"
    survivor = next(one for one in report.score.survivors if one.mistake.endswith(mistake))
    assert survivor.witness is not None
    assert survivor.witness.differs["resource.deal.stage"] == "another"
    assert (survivor.witness.before, survivor.witness.after) == ("deny", "allow")


def test_a_hole_in_a_wall_two_rows_away_is_noticed(tmp_path: Path) -> None:
    weak = "\n".join(line for line in TESTS.splitlines() if "given: {deal: sunk}" not in line)
    found = [f for f in verify(tree(tmp_path / "p", tests=weak), floor=0.0).findings if f.code == "wall-weak"]
    assert found
    assert all(one.witness is not None and one.witness.differs["resource.deal.account.suspended"] for one in found)


def test_a_difference_about_a_row_near_is_shown(tmp_path: Path) -> None:
    after = POLICIES.replace('resource.deal.stage == "new"', '["new", "won"].contains(resource.deal.stage)')
    difference = compare(tree(tmp_path / "before"), tree(tmp_path / "after", after))
    (group,) = difference.groups
    (flip,) = group.flips
    assert (group.policy, flip.direction) == ("note.owner", "widened")
    assert flip.witness.differs == {"resource.deal.stage": "won"}


def test_a_row_that_policies_read_must_be_described(tmp_path: Path) -> None:
    missing = "\n".join(line for line in TESTS.splitlines() if not line.startswith("  dead:"))
    folder = tree(tmp_path / "p", tests=missing)
    with pytest.raises(Refused, match=r"test 3: memo\.deal\.account is 'dead', which is not among the objects"):
        read_tables(folder, Bench(read_policies(folder)))


def test_objects_near_one_another_are_refused(tmp_path: Path) -> None:
    schema = """
entity Tenant; entity Role; entity User in [Role] = { tenant: Tenant };
entity Box = { tenant: Tenant, twin: Box };
action "read" appliesTo { principal: [User], resource: [Box], context: {} };
"""
    folder = tree(
        tmp_path / "p",
        '@id("box") @title("x") permit (principal, action, resource) when { resource.twin.twin == resource };',
        "objects: {one: {is: Box, twin: other}, other: {is: Box, twin: one}}",
    )
    (folder / "schema.cedarschema").write_text(schema)
    with pytest.raises(Refused, match="object one is near itself: one → other → one"):
        read_tables(folder, Bench(read_policies(folder)))


def test_generated_and_named_objects_are_decided_alike(tmp_path: Path) -> None:
    """The bench, on an object with the rows near it, says what its policies say; and every generated row is whole."""
    bench = Bench(read_policies(tree(tmp_path / "p")))
    account = Thing("Account", "a", {"tenant": "home", "team": "north", "owner": "zed", "suspended": False})
    deal = Thing("Deal", "d", {"tenant": "home", "account": account, "owner": "me", "stage": "new"})
    note = Thing("Note", "n", {"tenant": "home", "deal": deal, "author": "zed"})
    assert bench.outcome(Request(Person(), "edit", note)).effect == "allow"
    assert bench.outcome(Request(Person("zed"), "edit", note)).effect == "deny"
    lead = Person("zed", roles=("lead",), scoped=(Scoped("lead", "Team", "north"),))
    assert bench.outcome(Request(lead, "edit", note)).effect == "allow"
    names = {dimension.name for dimension in Space(bench, "edit", "Note").dimensions}
    assert {"resource.deal", "resource.deal.stage", "resource.deal.account.suspended"} <= names
    (_, group), *_ = Pool(bench).groups([("edit", "Note")])
    assert {tried.outcome.reason for tried in group} <= {"", "forbidden", "no-permit"}
    assert {tried.outcome.effect for tried in group} == {"allow", "deny"}
