"""`seawall new KIND NAME`: start a new app."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape


def new(
    kind: Annotated[str, typer.Argument(help="What to start from: restaurant.")],
    name: Annotated[str, typer.Argument(help="The app's name: lower-case letters, digits and underscores.")],
    directory: Annotated[
        Path, typer.Option("--in", help="The folder in which the app's folder is made.", show_default="here")
    ] = Path(),
) -> None:
    """Start a new app: at most 20 files, with every control inherited from the library."""
    from seawall.scaffold import new as render

    target = render(kind, name, directory)
    files = sum(1 for path in target.rglob("*") if path.is_file())
    out = Console(highlight=False, soft_wrap=True)
    here = _shortest(target)
    out.print(f"[bold green]made[/] {escape(here)}   [dim]{files} files[/]")
    out.print(
        f"\n  cd {escape(here)}\n"
        "  seawall dev        run it on https, with a database and sign-in that need no set-up\n"
        "  seawall check      attack it, as two tenants and every role\n"
        "  python -m pytest   its own tests\n\n"
        "Read README.md next. AGENTS.md tells the tools that edit the app how to stay inside the walls."
    )


def _shortest(target: Path) -> str:
    try:
        return str(target.relative_to(Path.cwd()))
    except ValueError:
        return str(target)
