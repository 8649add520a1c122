"""Policies live in the repository with their tests, and no change of them goes unseen.

Why
    Who may do what is decided by a few lines that are edited in a hurry, by people and by tools. A permit that is too
    wide breaks no test that nobody wrote, and a forbid that was deleted is missed by nobody until it is needed.

How it is attacked
    First `seawall policy test` must hold on the app's own tree, with a mutation score of 90 % or more: of every ten
    mistakes that could be made in these policies, its tests notice nine. The policies that run must be those of the
    tree, by their SHA-256. Then copies of the tree are spoiled, one way each: a permit for everybody, a wall taken
    away, a wall hollowed out, a policy that fails at run time, one that nobody owns, one id twice. The command that CI
    runs must stop each, name the policy, and show the request that gets through. Against itself the tree must show no
    difference.

How to fix
    Keep `policies/tests/*.yaml` beside the policies, list the walls there, give each policy an `@owner`, and run
    `seawall policy test` and `seawall policy diff origin/main` in CI, with CODEOWNERS on `policies/`.
"""

import asyncio
import re
import tempfile
from pathlib import Path

from seawall_check.control import Control
from seawall_check.controls.access._tree import SCHEMA, Run, Trees, digest, statements
from seawall_check.errors import Unproven
from seawall_check.target import Target
from seawall_check.trial import Trial

control = Control(
    id="access/policy-as-code",
    title="Policies live in the repository with their tests, and no change of them goes unseen",
    refs=("ASVS 8.1.4",),
    timeout_s=1200,
)

FLOOR = 0.9
METADATA = "/.well-known/authzen-configuration"
PLANTED = "seawall_check.cedar"
_ACTION = re.compile(r'^\s*action\s+"?([A-Za-z_][\w.-]*)"?', re.MULTILINE)
_WALL = re.compile(r"@wall\b")
_ID = re.compile(r'@id\("([^"]+)"\)')

Allowed = asyncio.Task[bool]
"""Whether the app's own tree passes, once that is known."""

WIDE = (
    '@id("seawall-check.wide") @title("Planted by the judge") @owner("nobody")\n'
    'permit (principal, action == Action::"ACTION", resource);\n'
)
# Validates, because it is well typed; overflows for everybody, because every assurance level is at least 1.
FAILING = (
    '@id("seawall-check.failing") @title("Planted by the judge") @owner("nobody")\n'
    "forbid (principal, action, resource)\n"
    "when { context has auth && context.auth.aal + 9223372036854775807 < 0 };\n"
)
UNOWNED = (
    '@id("seawall-check.unowned") @title("Planted by the judge")\n'
    "forbid (principal, action, resource) when { false };\n"
)


async def check(target: Target, trial: Trial) -> None:
    policies = target.source / "policies"
    if not (policies / SCHEMA).is_file():
        raise Unproven(f"the app has no policies/{SCHEMA}")
    await _live(target, trial, policies)
    with tempfile.TemporaryDirectory(prefix="seawall-check-") as name:
        trees = Trees(target, Path(name))
        own = trees.copy("own")
        allowed = asyncio.create_task(_allowed(trees, trial, own))  # the commands run beside one another
        await asyncio.gather(
            allowed,
            _wide(trees, trial, own, allowed),
            _taken_away(trees, trial, own, allowed),
            _hollowed_out(trees, trial, own, allowed),
            _spoiled(trees, trial, allowed),
            _twice(trees, trial, allowed),
        )


async def _allowed(trees: Trees, trial: Trial, own: Path) -> bool:
    """Both commands on the app's own tree. No refusal is recorded before: it would prove nothing."""
    holds, _ = await asyncio.gather(_holds(trees, trial, own), _same(trees, trial, own))
    return holds


async def _live(target: Target, trial: Trial, policies: Path) -> None:
    answer = await target.anonymous().get(METADATA)
    said = answer.json().get("seawall_policies_sha256", "") if answer.status_code == 200 else ""
    trial.expect(
        "the policies that run are those of the tree",
        expected=f"SHA-256 {digest(policies)[:16]}…",
        observed=f"SHA-256 {said[:16]}…" if said else f"{METADATA} answers {answer.status_code} and names none",
        ok=said == digest(policies),
        artifact=answer,
    )


async def _holds(trees: Trees, trial: Trial, own: Path) -> bool:
    run = await trees.policy(own, "test", "--no-differential")
    mutation = run.report.get("mutation") or {}
    score = float(mutation.get("score", 0))
    trial.expect(
        "the tests of the policies would notice a mistake in them",
        expected=f"a mutation score of {FLOOR:.0%} or more, over 20 mistakes or more",
        observed=f"{score:.1%} of {mutation.get('total', 0)}",
        ok=score >= FLOOR and int(mutation.get("total", 0)) >= 20,
        artifact=run.text,
    )
    good = run.code == 0 and bool(run.report.get("ok")) and int(run.report.get("cases", 0)) > 0
    counted = f"exit {run.code}: {run.report.get('cases', 0)} table tests, {len(run.report.get('walls', ()))} walls"
    trial.allow("seawall policy test, on the app's own tree", counted, ok=good, expected="exit 0", artifact=run.text)
    return good


async def _same(trees: Trees, trial: Trial, own: Path) -> None:
    run = await trees.policy(own, "diff", str(own))
    ok = run.code == 0 and not any(run.report.get(name) for name in ("widened", "narrowed", "walls"))
    trial.allow(
        "seawall policy diff, of the tree with itself", f"exit {run.code}", ok=ok, expected="no difference", of="diff"
    )


async def _wide(trees: Trees, trial: Trial, own: Path, allowed: Allowed) -> None:
    spoiled = trees.copy("wide")
    action = _ACTION.search((own / "policies" / SCHEMA).read_text("utf-8"))
    if action is None:
        raise Unproven(f"policies/{SCHEMA} declares no action")
    (spoiled / "policies" / PLANTED).write_text(WIDE.replace("ACTION", action[1]), "utf-8")
    run = await trees.policy(spoiled, "diff", str(own))
    if not await allowed:
        return
    groups = [one for one in run.report.get("groups", ()) if one.get("policy") == "seawall-check.wide"]
    flips = [flip for group in groups for flip in group.get("flips", ()) if flip.get("direction") == "widened"]
    shown = [flip for flip in flips if (flip.get("witness") or {}).get("after") == "allow"]
    _refused(trial, "merge a permit for everybody", run, "diff", ok=bool(shown), also=f"{len(shown)} flips shown")


async def _taken_away(trees: Trees, trial: Trial, own: Path, allowed: Allowed) -> None:
    """The first wall is gone: both commands must name it, or a test of it must fail."""
    spoiled = trees.copy("taken away")
    path, wall, name = _walls(trial, spoiled)[0]
    path.write_text(path.read_text("utf-8").replace(wall, ""), "utf-8")
    diff, tested = await asyncio.gather(
        _missed(trees, own, spoiled), trees.policy(spoiled, "test", "--no-mutation", "--no-differential")
    )
    if not await allowed:
        return
    _named(trial, spoiled, name, diff)
    ok = bool(tested.report.get("failed")) or name in tested.findings("wall-removed")
    also = "a test fails or the wall is named"
    _refused(trial, "merge a wall taken away, seen by test", tested, "", ok=ok, also=also)


async def _hollowed_out(trees: Trees, trial: Trial, own: Path, allowed: Allowed) -> None:
    """The last wall still stands, with a condition that is never true."""
    spoiled = trees.copy("hollowed out")
    path, wall, name = _walls(trial, spoiled)[-1]
    hollow = wall.rpartition(";")[0] + "\nwhen { false };"
    path.write_text(path.read_text("utf-8").replace(wall, hollow), "utf-8")
    diff = await _missed(trees, own, spoiled)
    if await allowed:
        _named(trial, spoiled, name, diff)


async def _missed(trees: Trees, own: Path, spoiled: Path) -> Run:
    return await trees.policy(spoiled, "diff", str(own), "--fail-on", "narrowed")


def _named(trial: Trial, spoiled: Path, name: str, diff: Run) -> None:
    named = [one.get("policy") for one in diff.report.get("walls", ()) if one.get("witness")]
    attempt = f"merge a wall {spoiled.name}, seen by diff"
    _refused(trial, attempt, diff, "diff", ok=name in named, also=f"walls named: {named}")


def _walls(trial: Trial, tree: Path) -> list[tuple[Path, str, str]]:
    """File, text and id of every policy that is marked as a wall, in their order."""
    found = [
        (path, one, name[1])
        for path in sorted((tree / "policies").glob("*.cedar"))
        for one in statements(path.read_text("utf-8"))
        if _WALL.search(one) and (name := _ID.search(one))
    ]
    if not found:
        trial.expect("the app declares a wall", expected="a policy marked @wall", observed="none", ok=False)
        raise Unproven("no policy is marked @wall")
    return found


async def _spoiled(trees: Trees, trial: Trial, allowed: Allowed) -> None:
    spoiled = trees.copy("spoiled")
    (spoiled / "policies" / PLANTED).write_text(FAILING + UNOWNED, "utf-8")
    run = await trees.policy(spoiled, "test", "--no-mutation", "--no-differential")
    if not await allowed:
        return
    for what, code, policy in (
        ("a policy that fails at run time", "fails", "seawall-check.failing"),
        ("a policy that nobody owns", "unowned", "seawall-check.unowned"),
    ):
        named = run.findings(code)
        _refused(trial, f"merge {what}", run, "", ok=policy in named, also=f"{code}: {named}")


async def _twice(trees: Trees, trial: Trial, allowed: Allowed) -> None:
    spoiled = trees.copy("twice")
    path = sorted((spoiled / "policies").glob("*.cedar"))[0]
    first = statements(path.read_text("utf-8"))[0]
    name = _ID.search(first)
    (spoiled / "policies" / PLANTED).write_text(first + "\n", "utf-8")
    run = await trees.policy(spoiled, "test", "--no-mutation", "--no-differential")
    if not await allowed:
        return
    ok = name is not None and name[1] in run.text
    _refused(trial, "merge one id twice", run, "", ok=ok, also="the id is named" if ok else "the id is not named")


def _refused(trial: Trial, attempt: str, run: Run, of: str, *, ok: bool, also: str) -> None:
    trial.refuse(
        attempt,
        f"exit {run.code}; {also}",
        ok=run.code != 0 and ok,
        expected="a failing exit code, and the policy named",
        artifact=run.text,
        of=of,
    )
