"""`seawall policy diff`: what a change of policies flips, in which direction, shown by the smallest request."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.support.notes_policies import POLICIES, SCHEMA, WALL, tree
from typer.testing import CliRunner

from seawall.access.review import compare, read_base
from seawall.cli import application
from seawall.core.errors import Refused

# ---- Differences ---------------------------------------------------------------------------------------------------


def test_nothing_differs_from_itself(tmp_path: Path) -> None:
    one, other = tree(tmp_path / "a"), tree(tmp_path / "b", POLICIES.replace("Authors read", "Writers read"))
    difference = compare(one, other)
    assert not difference.changes
    assert not any(difference.counts.values())
    assert not difference.fails_on("any")


def test_wider_and_narrower_with_a_witness(tmp_path: Path) -> None:
    one = tree(tmp_path / "a")
    wide = tree(tmp_path / "b", POLICIES.replace("resource.size <= 100", "resource.size <= 101"))
    difference = compare(one, wide)
    (group,) = difference.groups
    assert (group.policy, group.change) == ("note.own", "changed")
    assert {flip.direction for flip in group.flips} == {"widened"}
    witness = group.flips[0].witness
    assert witness.differs == {"resource.author": "me", "resource.size": 101} or witness.differs["resource.size"] == 101
    assert difference.fails_on("widened")
    assert not difference.fails_on("narrowed")
    back = compare(wide, one)
    assert {flip.direction for group in back.groups for flip in group.flips} == {"narrowed"}
    assert not back.fails_on("widened")
    assert back.fails_on("any")
    with pytest.raises(Refused, match="--fail-on 'wider'"):
        back.fails_on("wider")


def test_a_lost_step_up_is_wider(tmp_path: Path) -> None:
    one = tree(tmp_path / "a")
    lost = POLICIES.replace(' @step_up("aal=2,max_age_s=60")', "").replace("when { context.step_up }", "when { true }")
    flips = [flip for group in compare(one, tree(tmp_path / "b", lost)).groups for flip in group.flips]
    assert ("widened", "step-up", "allow") in {(f.direction, f.witness.before, f.witness.after) for f in flips}


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda text: text.replace(WALL, ""), "removed"),
        (lambda text: text.replace(" @wall", ""), "removed"),
        (
            lambda text: text.replace("principal.tenant }", 'principal.tenant && !(principal in Role::"editor") }'),
            "weakened",
        ),
        (
            lambda text: text.replace("forbid (principal, action,", 'forbid (principal, action == Action::"read",'),
            "weakened",
        ),
    ],
)
def test_a_wall_that_gives_way_stops_ci_whatever_it_asks_for(tmp_path: Path, change: Any, how: str) -> None:
    difference = compare(tree(tmp_path / "a"), tree(tmp_path / "b", change(POLICIES)))
    assert [(wall.policy, wall.how) for wall in difference.walls] == [("wall.tenant", how)]
    assert difference.fails_on("narrowed")
    assert not difference.fails_on("never")


def test_a_wall_that_grows_is_no_weaker(tmp_path: Path) -> None:
    more = POLICIES.replace("!= principal.tenant }", "!= principal.tenant || resource.size > 400 }")
    difference = compare(tree(tmp_path / "a"), tree(tmp_path / "b", more))
    assert not difference.walls
    assert difference.counts["narrowed"]


def test_a_new_action_and_a_renamed_attribute(tmp_path: Path) -> None:
    schema = SCHEMA.replace("size: Long", "length: Long") + (
        'action "print" appliesTo { principal: [User], resource: [Note], context: { step_up: Bool } };'
    )
    policies = POLICIES.replace("resource.size", "resource.length") + (
        '@id("note.print") @title("Print") @owner("x")\npermit (principal, action == Action::"print", resource);'
    )
    difference = compare(tree(tmp_path / "a"), tree(tmp_path / "b", policies, schema=schema))
    printed = [flip for group in difference.groups if group.policy == "note.print" for flip in group.flips]
    assert {flip.direction for flip in printed} == {"widened"}


def test_recorded_decisions_are_replayed(tmp_path: Path) -> None:
    one, other = tree(tmp_path / "a"), tree(tmp_path / "b", POLICIES.replace('Role::"editor"', 'Role::"reader"'))
    line = {
        "action": "read", "type": "Note", "name": "Note-1", "count": 7, "effect": "allow",
        "person": {"name": "User-1", "tenant": "home", "roles": ["editor"], "scoped": [], "aal": 1, "age_s": 0},
        "attributes": {"tenant": "home", "author": "User-2", "shared": True, "size": 900}, "context": {},
    }  # fmt: skip
    (other / "corpus.jsonl").write_text(json.dumps(line) + "\n")
    difference = compare(one, other)
    recorded = [flip for group in difference.groups for flip in group.flips if flip.source == "recorded"]
    assert [(flip.direction, flip.count) for flip in recorded] == [("narrowed", 7)]
    (other / "corpus.jsonl").write_text(json.dumps(line) + "\n{}\n")
    with pytest.raises(Refused, match=r"corpus\.jsonl: line 2"):
        compare(one, other)


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def test_a_git_revision(tmp_path: Path) -> None:
    app = tmp_path / "app"
    policies = tree(app / "policies")
    git(tmp_path, "init", "-q", str(app))
    git(app, "add", "-A")
    git(app, "commit", "-qm", "one")
    tree(policies, POLICIES.replace("<= 100", "<= 200"))
    with read_base("HEAD", policies) as before:
        assert "<= 100" in (before / "notes.cedar").read_text()
        assert compare(before, policies, base="HEAD").fails_on("widened")
    runner = CliRunner()
    result = runner.invoke(application(), ["policy", "diff", "HEAD", str(app), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.stdout)["widened"]
    assert runner.invoke(application(), ["policy", "diff", "HEAD", str(app), "--fail-on", "never"]).exit_code == 0
    for unknown in ("no-such-branch", "--output=/tmp/x", "HEAD; rm -rf"):
        with pytest.raises(Refused, match="git knows no revision"), read_base(unknown, policies):
            pass


def test_no_repository_and_no_policies(tmp_path: Path) -> None:
    policies = tree(tmp_path / "p")
    with pytest.raises(Refused, match="not in a git repository"), read_base("HEAD", policies):
        pass
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="holds no"), read_base(str(tmp_path / "empty"), policies):
        pass
    broken = tree(tmp_path / "broken", "permit (")
    with pytest.raises(Refused, match=r"at before: notes\.cedar: does not parse"):
        compare(broken, policies, base="before")
