"""`seawall policy test`: everything that can be said about a set of policies without running the app.

Policies that do not validate, a test that cannot be read and the like are a `Refused`; what holds but should not is a
`Finding`. The report is plain data, so that a person's terminal, CI and the judge read the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from seawall.access.obligations import WALL
from seawall.access.policies import Policy, PolicyBook, read_policies
from seawall.access.rego import RegoBook, RegoEngine, read_rego
from seawall.access.review.bench import Bench, Outcome, Quiet
from seawall.access.review.differential import Agreement
from seawall.access.review.finding import Finding
from seawall.access.review.idle import failures, idle
from seawall.access.review.score import Mutation, Pool, Score
from seawall.access.review.tables import Case, Table, read_tables

FLOOR = 0.9
FAILED = " (a policy failed)"
WALLS_FILE = "walls.cedar"
Language = Literal["cedar", "rego"]
Step = Callable[[str, int, int], None]
"""Told what is being done, and how much of how much of it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A table test that did not come out as it says."""

    file: str
    row: int
    why: str
    who: str
    action: str
    on: str
    expected: str
    got: str
    policies: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """What `seawall policy test` found."""

    folder: str
    language: Language
    digest: str
    policies: int
    cases: int
    requests: int
    failed: tuple[Failed, ...]
    findings: tuple[Finding, ...]
    score: Score | None
    floor: float
    walls: tuple[str, ...] = field(default=())
    agreement: Agreement | None = None
    """Lists compared with decisions; None where that was left out."""

    def with_agreement(self, agreement: Agreement) -> Report:
        """The same report with what came of comparing, and its findings."""
        return replace(self, agreement=agreement, findings=(*self.findings, *_agreement(agreement)))

    @property
    def ok(self) -> bool:
        return not self.failed and not any(finding.severity == "error" for finding in self.findings)

    def document(self) -> dict[str, Any]:
        """The report as JSON has it."""
        score = self.score
        return {
            "ok": self.ok,
            "folder": self.folder,
            "engine": self.language,
            "policies_sha256": self.digest,
            "policies": self.policies,
            "walls": list(self.walls),
            "cases": self.cases,
            "boundary_requests": self.requests,
            "failed": [asdict(one) for one in self.failed],
            "findings": [asdict(one) for one in self.findings],
            "differential": None if self.agreement is None else self.agreement.document(),
            "mutation": None
            if score is None
            else {
                "total": score.total,
                "killed": score.killed,
                "score": round(score.ratio, 4),
                "floor": self.floor,
                "by_policy": {name: {"killed": k, "total": t} for name, (k, t) in score.by_policy.items()},
                "survivors": [asdict(one) for one in score.survivors],
            },
        }


def verify(
    folder: Path,
    *,
    floor: float = FLOOR,
    mutate: bool = True,
    language: Language = "cedar",
    step: Step = lambda *_: None,
) -> Report:
    """Test the policies of a folder.

    Args:
        folder: the one with `schema.cedarschema`, `*.cedar` and `tests/`.
        floor: the mutation score below which it is an error, 0 to 1.
        mutate: whether to measure it at all.
        language: with `rego`, `*.rego` decides the table tests. Rego is not looked into: nothing else is tried.
        step: told about the progress.

    Raises:
        Refused: policies, schema or tests that cannot be read or do not hold together.
    """
    bench, cedar = _bench(folder, language), language == "cedar"
    table = read_tables(folder, bench)
    failed = tuple(_failed(bench, table, step))
    findings = [*_owners(bench.book), *_walls(bench.book, table), *_tests(table)]
    pool = Pool(bench)
    if cedar and (not failed or any(FAILED in one.got for one in failed)):
        # what a failing test says is mended first; only why a policy fails cannot wait
        kinds = bench.kinds()
        for number, (kind, _) in enumerate(pool.groups(), 1):
            step(f"requests at the boundaries: {kind[0]} {kind[1]}", number, len(kinds))
        failing = list(failures(pool))
        findings += [*failing, *idle(pool, {one.policy for one in failing})]
    score = None
    if cedar and mutate and not failed:
        mutation = Mutation(pool, table.cases, table.survivors)
        score = mutation.measured(lambda done, total: step("mutants", done, total))
        findings += _score(bench.book, score, floor)
    return Report(
        folder=folder.name,
        language=language,
        digest=bench.book.digest,
        policies=len(bench.book.policies),
        cases=len(table.cases),
        requests=pool.size,
        failed=failed,
        findings=tuple(findings),
        score=score,
        floor=floor,
        walls=tuple(sorted(wall.id for wall in walls_of(bench.book))),
    )


def _bench(folder: Path, language: Language) -> Bench:
    if language == "rego":
        book = read_rego(folder)
        return Bench(book, _QuietRego(book))
    return Bench(read_policies(folder))


class _QuietRego(Quiet, RegoEngine):
    """Rego, whose errors alert nobody either."""


def walls_of(book: PolicyBook) -> list[Policy]:
    """The declared walls: what is marked `@wall`, or stands in `walls.cedar`."""
    return [p for p in book.policies.values() if WALL in p.annotations or p.file == WALLS_FILE]


def _failed(bench: Bench, table: Table, step: Step) -> Iterator[Failed]:
    for number, case in enumerate(table.cases, 1):
        outcome = bench.outcome(case.request)
        visible = case.expect not in ("403", "404") or bench.visible(case.request)
        if not case.met(outcome, visible):
            yield _failure(case, outcome, visible)
        step("table tests", number, len(table.cases))


def _failure(case: Case, outcome: Outcome, visible: bool) -> Failed:
    got = outcome.effect
    if got == "deny" and case.expect in ("403", "404"):
        got = "403" if visible else "404"
    if outcome.reason == "evaluation-error":
        got += FAILED
    request = case.request
    return Failed(case.file, case.row, case.why, case.who, request.action, case.on, case.expect, got, outcome.policies)


# What is wrong with the policies as they stand ---------------------------------------------------------------------


def _owners(book: PolicyBook) -> Iterator[Finding]:
    for policy in book.policies.values():
        if not (policy.annotations.get("owner") or "").strip():
            yield Finding(
                "unowned",
                "error",
                policy.id,
                policy.file,
                f"{policy.id} has no @owner",
                'write @owner("team") above it: who answers for it, and reviews its changes',
            )


def _walls(book: PolicyBook, table: Table) -> Iterator[Finding]:
    walls = {wall.id: wall for wall in walls_of(book)}
    for wall in walls.values():
        if wall.est["effect"] != "forbid" and not isinstance(book, RegoBook):  # there, the rule says what it is
            message, fix = f"{wall.id} is marked as a wall but permits", "a wall is a forbid; take @wall away from it"
            yield Finding("wall-permits", "error", wall.id, wall.file, message, fix)
        if wall.id not in table.walls:
            message = f"{wall.id} is a wall, but no test file lists it, so it could vanish unnoticed"
            yield Finding("wall-unlisted", "error", wall.id, wall.file, message, f"walls: [{wall.id}] in tests/*.yaml")
    for name, file in table.walls.items():
        if name not in walls:
            what = "is no longer marked @wall" if name in book.policies else "is gone"
            message, fix = f"the wall {name} {what}", "bring it back: a wall is never removed or weakened"
            yield Finding("wall-removed", "error", name, file, message, fix)


def _tests(table: Table) -> Iterator[Finding]:
    if not table.cases:
        yield Finding("no-tests", "error", "", "tests/", "there are no table tests", "write policies/tests/app.yaml")


def _score(book: PolicyBook, score: Score, floor: float) -> Iterator[Finding]:
    if score.total and score.ratio < floor:
        yield Finding(
            "floor",
            "error",
            "",
            "tests/",
            f"the tests notice {score.killed} of {score.total} mistakes, {score.ratio:.1%}; the floor is {floor:.0%}",
            "add the tests that the survivors' witnesses show, or lower --floor in the open",
        )
    walls = {wall.id for wall in walls_of(book)}
    for survivor in score.survivors:
        if survivor.policy in walls and survivor.witness is not None and survivor.witness.before == "deny":
            yield Finding(
                "wall-weak",
                "error",
                survivor.policy,
                survivor.file,
                f"the tests would not notice this hole in the wall {survivor.policy}: {survivor.mistake}",
                "add a test of that request: of a wall, every hole must be noticed",
                survivor.witness,
            )


def _agreement(agreement: Agreement) -> Iterator[Finding]:
    """What was not compared is an error as well: nobody may take it for agreement."""
    if not agreement.tried:
        message = f"lists were not compared with decisions: {agreement.why}"
        yield Finding("not-compared", "error", "", "", message, "mend that, or leave it out with --no-differential")
    for one in agreement.untried:
        if not one.no_list:
            message = f"lists of {one.type} were not compared with decisions: {one.why}"
            yield Finding("not-compared", "error", "", "", message, "mend that, or leave it out with --no-differential")
    for differing in agreement.differs:
        witness, policies = differing.witness, ", ".join(differing.policies) or "no permit"
        yield Finding(
            "list-differs",
            "error",
            differing.policies[0] if differing.policies else "",
            "",
            f"a list of {witness.type} by {witness.action} shows other rows than decisions allow, by {policies}",
            "write that condition in another way, and report it to Seawall: filter and decision must agree",
            witness,
        )
