"""Policies as code: what table tests, mutants, walls and differences find, and what is said of bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.notes_policies import POLICIES, SCHEMA, TESTS, WALL, tree
from typer.testing import CliRunner

from seawall.access import Engine, read_policies
from seawall.access.files import FILE_BYTES_MAX
from seawall.access.review import verify
from seawall.access.review.bench import Bench, Person, Request
from seawall.access.review.literals import duration
from seawall.access.review.made import Thing
from seawall.access.review.mutants import mutants
from seawall.access.review.score import Pool
from seawall.access.review.tables import read_tables
from seawall.cli import application
from seawall.core.errors import Refused


def codes(folder: Path, **options: Any) -> set[str]:
    return {finding.code for finding in verify(folder, **options).findings}


# ---- Testing ------------------------------------------------------------------------------------------------------


def test_good_policies_with_good_tests(tmp_path: Path) -> None:
    report = verify(tree(tmp_path / "p"))
    assert report.ok, report.document()
    assert report.walls == ("wall.tenant",)
    assert report.score is not None
    assert report.score.ratio >= 0.9
    assert report.digest == read_policies(tmp_path / "p").digest
    json.dumps(report.document(), default=str)


def test_the_bench_decides_as_the_engine_does(tmp_path: Path) -> None:
    """Every generated request, by the bench and by the policies one by one: a forbid, else a permit, else no."""
    bench = Bench(read_policies(tree(tmp_path / "p")))
    assert isinstance(bench.engine, Engine)
    pool, seen = Pool(bench), set()
    for tried in pool:
        assert tried.prepared is not None
        plain = pool.sieve.seen(tried.prepared)[0]
        forbidden = any(not pool.permits(name) for name in plain.satisfied)
        permitted = any(pool.permits(name) for name in plain.satisfied)
        expected = "allow" if permitted and not forbidden else "deny"
        assert tried.outcome.effect in (expected, "step-up")
        seen.add(tried.outcome.effect)
    assert seen == {"allow", "deny", "step-up"}


def test_a_failing_test_is_told(tmp_path: Path) -> None:
    wrong = TESTS + "  - {why: a wish, who: ed, action: delete, on: shown, expect: allow}\n"
    report = verify(tree(tmp_path / "p", tests=wrong))
    (failed,) = report.failed
    assert (failed.row, failed.who, failed.action, failed.expected, failed.got) == (9, "ed", "delete", "allow", "deny")
    assert not report.ok
    assert report.score is None


def test_a_403_is_not_a_404(tmp_path: Path) -> None:
    wrong = TESTS.replace(
        'who: ed, action: delete, on: shown, expect: "403"', 'who: ed, action: delete, on: shown, expect: "404"'
    )
    (failed,) = verify(tree(tmp_path / "p", tests=wrong)).failed
    assert (failed.expected, failed.got) == ("404", "403")


def test_weak_tests_are_below_the_floor_and_each_survivor_shows_the_missing_test(tmp_path: Path) -> None:
    weak = TESTS.replace("  - {why: small ones only", "  # - {why: small ones only")
    report = verify(tree(tmp_path / "p", tests=weak), floor=0.99)
    assert "floor" in {finding.code for finding in report.findings}
    assert report.score is not None
    survivor = next(one for one in report.score.survivors if one.mistake == "100 → 101")
    assert survivor.policy == "note.own"
    assert survivor.witness is not None
    assert survivor.witness.differs["resource.size"] == 101
    assert (survivor.witness.before, survivor.witness.after) == ("deny", "allow")


def test_a_hole_in_a_wall_that_no_test_would_notice(tmp_path: Path) -> None:
    weak = "\n".join(line for line in TESTS.splitlines() if "eve" not in line)
    report = verify(tree(tmp_path / "p", tests=weak), floor=0.0)
    assert not report.ok
    found = [finding for finding in report.findings if finding.code == "wall-weak"]
    assert found
    assert all(finding.policy == "wall.tenant" and finding.witness is not None for finding in found)


def test_walls_neither_vanish_nor_permit(tmp_path: Path) -> None:
    gone = POLICIES.replace(WALL, "")
    assert "wall-removed" in codes(tree(tmp_path / "gone", gone), mutate=False)
    unmarked = POLICIES.replace(" @wall", "")
    assert "wall-removed" in codes(tree(tmp_path / "unmarked", unmarked), mutate=False)
    permits = POLICIES.replace(
        '"notes")\npermit (principal in Role::"editor"', '"notes") @wall\npermit (principal in Role::"editor"'
    )
    assert {"wall-permits", "wall-unlisted"} <= codes(tree(tmp_path / "permits", permits), mutate=False)
    other = tree(tmp_path / "file", POLICIES.replace(WALL, ""))
    (other / "walls.cedar").write_text(WALL.replace(" @wall", ""))
    assert verify(other, mutate=False).walls == ("wall.tenant",)


def test_unowned_failing_idle_and_untested(tmp_path: Path) -> None:
    more = (
        POLICIES
        + """
@id("note.failing") @title("It overflows")
forbid (principal, action, resource) when { resource.size + 9223372036854775807 < 0 };
@id("note.never") @title("Nobody") @owner("x")
permit (principal, action == Action::"read", resource) when { resource.size < 5 && resource.size > 5 };
@id("note.again") @title("Editors read what is shared, again") @owner("x")
permit (principal in Role::"editor", action == Action::"read", resource) when { resource.shared && resource.size == 7 };
@id("note.away") @title("Other tenants") @owner("x")
permit (principal, action == Action::"read", resource) when { resource.tenant != principal.tenant };
"""
    )
    report = verify(tree(tmp_path / "p", more, tests=None), mutate=False)
    found = {(finding.code, finding.policy) for finding in report.findings}
    assert ("unowned", "note.failing") in found
    assert ("fails", "note.failing") in found
    assert ("no-tests", "") in found
    failing = next(finding for finding in report.findings if finding.code == "fails")
    assert failing.witness is not None
    calm = more.replace("resource.size + 9223372036854775807 < 0", "false")
    idle = {(f.code, f.policy) for f in verify(tree(tmp_path / "calm", calm, tests=None), mutate=False).findings}
    assert {("unreachable", "note.never"), ("shadowed", "note.again"), ("overruled", "note.away")} <= idle


def test_every_mutant_is_another_policy(tmp_path: Path) -> None:
    book = read_policies(tree(tmp_path / "p"))
    for policy in book.policies.values():
        made = list(mutants(policy))
        assert len({json.dumps(m.est, sort_keys=True) for m in made}) == len(made)
        assert all(m.est != policy.est for m in made)
    mistakes = {m.mistake for m in mutants(book.policies["note.own"])}
    assert "resource.size <= 100 → resource.size < 100" in mistakes
    assert "action 'delete' is left out" in mistakes


def test_time_stands_still(tmp_path: Path) -> None:
    schema = SCHEMA.replace("context: { step_up: Bool }", "context: { step_up: Bool, now: datetime }").replace(
        "size: Long", "size: Long, at: datetime"
    )
    policies = (
        WALL
        + """
@id("note.fresh") @title("For a day") @owner("x")
permit (principal, action == Action::"read", resource) unless { context.now >= resource.at.offset(duration("1d")) };
"""
    )
    tests = """
now: 2026-01-15T12:00:00Z
walls: [wall.tenant]
principals: {ann: {}}
objects: {it: {is: Note, author: ann, shared: false, size: 1, at: 24h ago}}
tests:
  - {why: to the millisecond, who: ann, action: read, on: it, expect: deny}
  - {why: to the millisecond, who: ann, action: read, on: it, given: {at: 23h59m59s999ms ago}, expect: allow}
  - {why: a date, who: ann, action: read, on: it, given: {at: 2026-01-14T12:00:00.001Z}, expect: allow}
"""
    assert not verify(tree(tmp_path / "p", policies, tests, schema), mutate=False).failed
    assert duration("1d2h3m4s5ms") is not None
    assert duration("later") is None


# ---- Input that is no good -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ("a: &x [1]\nb: *x\n", "anchors and aliases are not taken"),
        ("tests: []\ntests: []\n", "stands there twice"),
        ("tests: " + "[" * 40 + "]" * 40, "nested too deeply"),
        ("tests: [", "line 1"),
        ("[]", "not a mapping"),
        ("nonsense: 1", "unknown key 'nonsense'"),
        ("walls: wall.tenant", "not a list of policy ids"),
        ("now: soon", "is not a time"),
        ("principals: {ann: {role: editor}}", "unknown key 'role'"),
        ("objects: {it: {is: Nothing}}", "which the schema does not know"),
        ("objects: {it: {is: Note, author: ann, shared: false}}", "needs size: Long"),
        ("objects: {it: {is: Note, author: ann, shared: no, size: 1}}", "'no' is not a Bool"),
        ("objects: {it: {is: Note, author: ann, shared: true, size: 1.5}}", "1.5 is not a Long"),
        ("tests: [{who: ann}]", "does not say why"),
        ("tests: [{why: x, who: ann, action: read, on: it}]", "expects nothing"),
        ("tests: [{why: x, action: read, on: it, expect: allow}]", "needs either who or only"),
        ("tests: [{why: x, who: ann, action: read, on: it, expect: allow}]", "there is no principal 'ann'"),
        ("principals: {ann: }\ntests: [{why: x, who: ann, action: read, on: it, expect: allow}]", "no object 'it'"),
        ("tests: [{why: x, only: [], expect: deny, action: read, on: it}]", "only with deny"),
        ("survivors: [{policy: x}]", "policy, mistake and why"),
        ("now: 2026-99-99T12:00:00Z", "a value is malformed"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
    ],
)
def test_tests_that_cannot_be_read(tmp_path: Path, tests: str, says: str) -> None:
    folder = tree(tmp_path / "p", tests=tests)
    with pytest.raises(Refused, match=r"notes\.yaml") as refused:
        read_tables(folder, Bench(read_policies(folder)))
    assert says in refused.value.what
    assert refused.value.fix


@pytest.mark.parametrize("name", ["notes.cedar", "schema.cedarschema", "tests/notes.yaml"])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    for data, says in (
        (b"\xef\xbb\xbf// x", "byte order mark"),
        (b"// caf\xe9", "not UTF-8"),
        (b"/" * (FILE_BYTES_MAX + 1), "larger than"),
    ):
        folder = tree(tmp_path / says.replace(" ", "-"))
        (folder / name).write_bytes(data)
        with pytest.raises(Refused, match=says):
            verify(folder)


def test_an_unknown_action_or_object_is_a_denial(tmp_path: Path) -> None:
    bench = Bench(read_policies(tree(tmp_path / "p")))
    assert bench.outcome(Request(Person(), "fly", Thing("Note"))).effect == "deny"
    incomplete = bench.outcome(Request(Person(), "read", Thing("Note")))
    assert (incomplete.effect, incomplete.reason) == ("deny", "evaluation-error")


def test_the_command(tmp_path: Path) -> None:
    runner = CliRunner()
    app = tmp_path / "app"
    tree(app / "policies")
    result = runner.invoke(application(), ["policy", "test", str(app), "--no-differential", "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["mutation"]["score"] >= 0.9
    shown = runner.invoke(application(), ["policy", "test", str(app), "--no-mutation", "--no-differential"])
    assert shown.exit_code == 0
    assert "4 policies, 1 of them walls" in shown.output
    floor = ["policy", "test", str(app), "--no-differential", "--floor", "1"]
    assert runner.invoke(application(), floor).exit_code == 1
    alone = runner.invoke(application(), ["policy", "test", str(app), "--no-mutation"])
    assert alone.exit_code == 1
    assert "lists and decisions: not tried: there is no seawall.toml" in alone.output
    with pytest.raises(Refused, match="has no policies"):
        runner.invoke(application(), ["policy", "test", str(tmp_path)], catch_exceptions=False)
