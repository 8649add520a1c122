"""`seawall check`: attack my running app, control by control.

Heavy imports stand in the functions that need them: `seawall --help` and `seawall dev` mount this command too.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from seawall_check import report as reports
from seawall_check.errors import CheckError, DidNotStart

if TYPE_CHECKING:
    from rich.console import Console

    from seawall_check.config import CheckConfig
    from seawall_check.control import Found
    from seawall_check.run import Report

EXIT_CANNOT_RUN = 3
# Typer carries its own copy of click and exports only this leaf of its usage errors.
USAGE_ERROR: Any = typer.BadParameter.__base__
EPILOG = """\b
Examples:
  seawall check                                   judge the app in this folder
  seawall check shop --only tenancy               one heading
  seawall check --only web/csrf --only web/errors two controls
  seawall check --format sarif --output check.sarif
  seawall check --report json=out/report.json --report html=out/report.html
  seawall check list                              every control
  seawall check explain tenancy/rls-forced        why, how it is attacked, how to fix

\b
Exit code: 0 every control passed (or is waived), 1 one failed, 2 one is unproven, 3 the check could not run."""


def check(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH | list | explain ID]", help="The app's folder; default: here.")
    ] = None,
    *,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="HEADING|ID", help="Only these controls. Repeatable.")
    ] = None,
    kind: Annotated[str, typer.Option("--format", metavar="|".join(reports.FORMATS), help="What to print.")] = "text",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it here instead of printing it.")
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option("--report", metavar="FORMAT=FILE", help="Write this report as well. Repeatable."),
    ] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the controls and stop.")] = False,
) -> None:
    """Attack a running app with the checklist, on a scratch database, as two tenants and every role."""
    from rich.console import Console

    console = Console(stderr=True)
    try:
        code = _dispatch(
            words or [],
            only=only or [],
            kind=kind,
            output=output,
            extra=report or [],
            listing=listing,
            console=console,
        )
    except CheckError as error:
        _refuse(console, error)
    raise typer.Exit(code)


def _dispatch(
    words: list[str],
    *,
    only: list[str],
    kind: str,
    output: Path | None,
    extra: list[str],
    listing: bool,
    console: Console,
) -> int:
    from rich.text import Text

    from seawall_check import config as configuration
    from seawall_check.control import discover, select

    found = discover()
    if listing or words[:1] == ["list"]:
        return _list(select(found, [*only, *words[1:]]))
    if words[:1] == ["explain"]:
        return _explain(found, words[1:])
    if len(words) > 1:
        raise CheckError(f"one folder at a time, not {', '.join(words)}", fix="seawall check PATH")
    outputs = [_destination(one) for one in extra] + ([(kind, output)] if output else [])
    for name in {kind, *(name for name, _ in outputs)} - set(reports.FORMATS):
        raise CheckError(f"no report format is called {name!r}", fix=f"one of {', '.join(reports.FORMATS)}")
    chosen = select(found, only)
    root = Path(words[0] if words else ".")
    settings = configuration.load(root)
    _known_waivers(settings, found)
    done = _run(settings, chosen, console)
    for name, path in outputs:
        reports.write(done, name, path)
        console.print(Text(f"wrote {path}", "dim"))
    if output is None:
        _print(done, kind)
    return done.exit_code


def _run(settings: CheckConfig, chosen: tuple[Found, ...], console: Console) -> Report:
    import asyncio

    from seawall_check.report.text import Progressing
    from seawall_check.run import check as run_check

    with Progressing(console) as watcher:
        return asyncio.run(run_check(settings, chosen, watcher=watcher))


def _print(done: Report, kind: str) -> None:
    from rich.console import Console

    from seawall_check.report.text import table

    if kind == "text" and sys.stdout.isatty():
        Console().print(table(done))
    else:
        sys.stdout.write(reports.render(done, kind))


def _destination(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not equals or not path:
        raise CheckError(f"--report {text!r} names no file", fix="--report json=build/report.json")
    return name, Path(path)


def _known_waivers(settings: CheckConfig, found: tuple[Found, ...]) -> None:
    """A waiver of a control that does not exist is a typing error that would hide a failure."""
    for waiver in settings.waivers:
        if waiver.id not in {one.id for one in found}:
            raise CheckError(f"seawall.toml waives {waiver.id!r}, which is no control", fix="see `seawall check list`")


def _list(found: tuple[Found, ...]) -> int:
    width = max((len(one.id) for one in found), default=0)
    for one in found:
        sys.stdout.write(f"{one.id:<{width}}  {one.control.title}\n")
    return 0


def _explain(found: tuple[Found, ...], names: list[str]) -> int:
    from seawall_check.control import select

    if not names:
        raise CheckError("explain which control?", fix="seawall check explain tenancy/rls-forced")
    for one in select(found, names):
        refs = f"\nRefs\n    {', '.join(one.control.refs)}\n" if one.control.refs else ""
        sys.stdout.write(f"{one.id}\n{'=' * len(one.id)}\n{one.doc.rstrip()}\n{refs}\n")
    return 0


def _refuse(console: Console, error: CheckError) -> NoReturn:
    from rich.text import Text

    console.print(Text("seawall check could not run", "bold red"))
    console.print(Text(error.what))
    if error.why:
        label = "what it printed" if isinstance(error, DidNotStart) else "why"
        console.print(Text(f"  {label}: ", "dim").append(error.why, "default"))
    if error.fix:
        console.print(Text("  fix: ", "green").append(error.fix, "default"))
    raise typer.Exit(EXIT_CANNOT_RUN)


def application() -> typer.Typer:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(epilog=EPILOG)(check)
    return app


def main() -> None:
    """The `seawall-check` script. Wrong usage is exit code 3, since 2 means unproven."""
    command = typer.main.get_command(application())
    try:
        code = command.main(prog_name="seawall check", standalone_mode=False)
    except USAGE_ERROR as error:
        error.show()
        code = EXIT_CANNOT_RUN
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    sys.exit(code if isinstance(code, int) else 0)
