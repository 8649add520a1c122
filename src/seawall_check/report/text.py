"""The report as a table for a terminal, and the progress on the way to it."""

from __future__ import annotations

import io
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from seawall_check.control import Control
from seawall_check.run import Report, Result, Watcher
from seawall_check.trial import VERDICTS

STYLES = {"pass": "green", "fail": "bold red", "unproven": "yellow", "waived": "magenta"}
MARKS = {"pass": "✔ pass", "fail": "✘ fail", "unproven": "? unproven", "waived": "~ waived"}
WIDTH_PLAIN = 110
FAILED_SHOWN_MAX = 4


def render(report: Report) -> str:
    """Plain text, without colour."""
    console = Console(file=io.StringIO(), width=WIDTH_PLAIN, no_color=True, force_terminal=False)
    console.print(table(report))
    file = console.file
    assert isinstance(file, io.StringIO)  # noqa: S101 - tells mypy what was made four lines above
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def table(report: Report) -> RenderableType:
    """The verdicts, then what did not hold with its evidence, then one line that sums up."""
    rows = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim")
    rows.add_column("control", no_wrap=True)
    rows.add_column("verdict", no_wrap=True)
    rows.add_column("tried", justify="right")
    rows.add_column("s", justify="right")
    rows.add_column("what holds", ratio=1)
    for result in report.results:
        mark = Text(MARKS[result.verdict], STYLES[result.verdict])
        rows.add_row(
            result.control.id, mark, str(len(result.evidence)), f"{result.seconds:.1f}", Text(result.control.title)
        )
    troubles = [_trouble(result) for result in report.results if result.verdict != "pass"]
    return Group(rows, *troubles, Text(), _summary(report))


def _trouble(result: Result) -> RenderableType:
    lines = Text()
    lines.append(f"\n{MARKS[result.verdict]}  ", STYLES[result.verdict]).append(result.control.id, "bold")
    lines.append(f"  {result.control.title}\n")
    if result.waiver is not None and result.verdict == "waived":
        lines.append(f"   waived until {result.waiver.until}: {result.waiver.why}\n", "magenta")
    wrong = [one for one in result.evidence if not one.ok]
    for one in wrong[:FAILED_SHOWN_MAX]:
        lines.append(f"   tried     {one.attempt}\n   expected  {one.expected}\n   observed  {one.observed}\n")
    if len(wrong) > FAILED_SHOWN_MAX:
        lines.append(f"   … and {len(wrong) - FAILED_SHOWN_MAX} more\n", "dim")
    if not wrong or result.verdict == "unproven":
        lines.append(f"   because   {result.why}\n")
    lines.append(f"   how to fix: seawall check explain {result.control.id}", "dim")
    return lines


def _summary(report: Report) -> Text:
    tried = sum(len(result.evidence) for result in report.results)
    line = Text()
    for verdict in VERDICTS:
        if report.count(verdict):
            line.append(f"{report.count(verdict)} {verdict}", STYLES[verdict]).append(" · ")
    return line.append(f"{tried} attempts on {report.app} in {report.seconds:.1f} s")


class Progressing(Watcher):
    """Live progress on a terminal; one line for each finished control anywhere else."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[str, Control] = {}
        self._progress = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(32), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._progress.add_task("starting the app", total=None)
        self._live = Live(get_renderable=self._render, console=console, transient=True, refresh_per_second=8)
        self._quiet = not console.is_terminal

    def __enter__(self) -> Self:
        if not self._quiet:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._quiet:
            self._live.stop()

    def _render(self) -> RenderableType:
        names = ", ".join(sorted(self._running))
        return Group(self._progress, Text(f"  {names}", style="dim", overflow="ellipsis", no_wrap=True))

    def starting(self, controls: int) -> None:
        self._progress.update(self._task, total=controls)

    def started(self, app: str, seconds: float) -> None:
        self._console.print(Text(f"{app} started in {seconds:.1f} s", "dim"))
        self._progress.update(self._task, description="attacking")

    def begin(self, control: Control) -> None:
        self._running[control.id] = control

    def end(self, result: Result) -> None:
        self._running.pop(result.control.id, None)
        self._progress.advance(self._task)
        line = Text(f"{MARKS[result.verdict]:<11}", STYLES[result.verdict])
        self._console.print(line.append(f" {result.control.id}", "default").append(f"  {result.seconds:.1f} s", "dim"))
