"""`seawall demo`: scaffold the restaurant app, start it, attack it, and leave it running."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

APP_NAME = "harbour"


def demo(
    *,
    output: Annotated[Path, typer.Option(help="Where the app and the reports go.")] = Path("build/demo"),
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one.")] = 0,
    stay: Annotated[
        bool | None, typer.Option("--stay/--no-stay", help="Keep the app running after the check.", show_default="auto")
    ] = None,
) -> None:
    """Make the restaurant app, run it, attack it with the checklist, print the evidence, and leave it running."""
    from seawall.testing import running

    console = Console(highlight=False)
    stays = stay if stay is not None else sys.stdout.isatty() and not os.environ.get("CI")
    started = time.monotonic()
    app_folder = _scaffold(output.resolve(), console)
    with contextlib.ExitStack() as stack:
        address = ""
        if stays:
            # for people to look at; the judge starts its own
            console.print("[bold]·[/] seawall dev")
            address = stack.enter_context(running(app_folder, port=port)).base_url
        code = _check(app_folder, output.resolve(), console)
        _summary(output.resolve(), code, time.monotonic() - started, address, console)
        if stays:
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
    raise typer.Exit(code)


def _scaffold(output: Path, console: Console) -> Path:
    from seawall.scaffold import new

    output.mkdir(parents=True, exist_ok=True)
    folder = output / APP_NAME
    if folder.exists():
        shutil.rmtree(folder)
    for old in ("report.json", "report.html"):
        (output / old).unlink(missing_ok=True)
    new("restaurant", APP_NAME, output)
    files = sum(1 for path in folder.rglob("*") if path.is_file())
    console.print(f"[bold]·[/] seawall new restaurant {APP_NAME}   [dim]{files} files in {escape(str(folder))}[/]")
    return folder


def _check(folder: Path, output: Path, console: Console) -> int:
    console.print("[bold]·[/] seawall check   [dim]two tenants, every role, a scratch database[/]")
    command = [sys.executable, "-m", "seawall", "check", str(folder)]
    for kind in ("json", "html"):
        command += ["--report", f"{kind}={output / f'report.{kind}'}"]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own command


def _summary(output: Path, code: int, seconds: float, address: str, console: Console) -> None:
    report = output / "report.json"
    if not report.exists():
        return
    counts = json.loads(report.read_text())["summary"]
    named = ("pass", "fail", "unproven", "waived")
    verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in named if counts.get(verdict))
    lines = [f"{verdicts}   [dim]in {seconds:.0f} s[/]", f"evidence: {escape(str(output / 'report.html'))}"]
    if address:
        lines += [
            f"the app:  [bold]{address}[/]   [dim]sign in as owner@harbour.example, password: development[/]",
            "[dim]Ctrl-C stops it[/]",
        ]
    console.print(Panel("\n".join(lines), border_style="green" if code == 0 else "red", expand=False))
