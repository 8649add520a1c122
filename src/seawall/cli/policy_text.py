"""What `seawall policy` prints for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from seawall.access.review import Difference, Report, Witness

SHOWN_MAX = 40


def show_report(report: Report) -> None:
    """The report of `seawall policy test`."""
    console = Console(highlight=False, soft_wrap=True)
    mark = "[green]ok[/]" if report.ok else "[red]no[/]"
    console.print(
        f"{mark} {report.policies} policies, {len(report.walls)} of them walls; {report.cases} table tests; "
        f"{report.requests} requests at the boundaries"
    )
    for failed in report.failed[:SHOWN_MAX]:
        console.print(
            f"[red]failed[/] {escape(failed.file)} test {failed.row}: {escape(failed.who)} {failed.action} "
            f"{escape(failed.on)}: expected {failed.expected}, got {failed.got}"
        )
        console.print(f"       [dim]{escape(failed.why)}{_by(failed.policies)}[/]")
    _more(console, len(report.failed))
    notes = [finding for finding in report.findings if finding.severity == "note"]
    for finding in report.findings:
        if finding.severity == "note":
            continue
        colour = "red" if finding.severity == "error" else "yellow"
        console.print(f"[{colour}]{finding.code}[/] {escape(finding.message)}  [dim]{escape(finding.file)}[/]")
        if finding.witness is not None:
            console.print(f"       {_witness(finding.witness)}")
        console.print(f"       [green]fix:[/] {escape(finding.fix)}")
    for code, message in dict.fromkeys((note.code, note.message) for note in notes):
        names = ", ".join(note.policy for note in notes if (note.code, note.message) == (code, message))
        console.print(f"[dim]{code}: {escape(names)}: {escape(message)}[/]")
    _show_agreement(console, report)
    if report.score is None:
        return
    score = report.score
    console.print(
        f"mutation score [bold]{score.ratio:.1%}[/]: the tests notice {score.killed} of {score.total} mistakes "
        f"[dim](floor {report.floor:.0%})[/]"
    )
    for survivor in score.survivors[:SHOWN_MAX]:
        console.print(f"[yellow]lives[/]  {escape(survivor.policy)}: {escape(survivor.mistake)}")
        if survivor.why:
            console.print(f"       [dim]explained: {escape(survivor.why)}[/]")
        elif survivor.witness is None:
            console.print("       [dim]no request that was tried tells it apart: perhaps it means the same[/]")
        else:
            console.print(f"       a test that would notice: {_witness(survivor.witness)}")
    _more(console, len(score.survivors))


def _show_agreement(console: Console, report: Report) -> None:
    agreement = report.agreement
    if report.language == "rego":
        console.print("[dim]Rego: table tests only; its policies are not looked into, and filter no lists[/]")
    elif agreement is None:
        console.print("[dim]lists and decisions: left out (--no-differential)[/]")
    elif not agreement.tried:
        console.print(f"[red]lists and decisions: not tried[/]: {escape(agreement.why)}")
    else:
        mark = "[red]differ[/]" if agreement.differs else "agree"
        console.print(
            f"lists and decisions {mark}: {agreement.decisions} decisions by {len(agreement.compared)} actions, "
            f"{agreement.allowed} allowed [dim](seed {agreement.seed})[/]"
        )
        for one in agreement.untried:
            console.print(f"       [dim]{escape(f'{one.action} {one.type}'.strip())} is no list: {escape(one.why)}[/]")


def show_difference(difference: Difference, *, failed: bool) -> None:
    """The report of `seawall policy diff`."""
    console = Console(highlight=False, soft_wrap=True)
    for wall in difference.walls:
        console.print(f"[red]wall {wall.how}[/] {escape(wall.policy)}")
        if wall.witness is not None:
            console.print(f"       {_witness(wall.witness)}")
    for group in difference.groups:
        console.print(f"[bold]{escape(group.policy)}[/] [dim]{group.change}[/]")
        for flip in group.flips[:SHOWN_MAX]:
            colour = {"widened": "red", "narrowed": "yellow"}.get(flip.direction, "dim")
            console.print(f"  [{colour}]{flip.direction}[/] {_witness(flip.witness)} [dim]({flip.count} alike)[/]")
        _more(console, len(group.flips))
    for name in difference.silent:
        console.print(f"[dim]{escape(name)} reads differently; no request that was tried is decided otherwise[/]")
    counts = difference.counts
    console.print(
        f"{'[red]no[/]' if failed else '[green]ok[/]'} against {escape(difference.base)}: {counts['widened']} widened, "
        f"{counts['narrowed']} narrowed, of {difference.requests} requests and {difference.replayed} recorded decisions"
    )


def _witness(witness: Witness) -> str:
    who = ", ".join(f"{name} {_short(value)}" for name, value in witness.differs.items()) or "anybody, plainly"
    turn = witness.before if witness.before == witness.after else f"{witness.before} → {witness.after}"
    return f"{witness.action} {witness.type}: {escape(who)}: {turn}"


def _short(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def _by(policies: tuple[str, ...]) -> str:
    return f" (by {', '.join(policies)})" if policies else ""


def _more(console: Console, count: int) -> None:
    if count > SHOWN_MAX:
        console.print(f"       [dim]and {count - SHOWN_MAX} more; --json has them all[/]")
