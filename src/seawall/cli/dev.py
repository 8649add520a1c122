"""`seawall dev`: run the app in this folder, with everything it needs."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

DEFAULT_PORT = 8443


def dev(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="The app's folder.", show_default="here")] = Path(),
    *,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 picks a free one.")] = DEFAULT_PORT,
    scratch: Annotated[bool, typer.Option("--scratch", help="A fresh database, dropped at the end.")] = False,
) -> None:
    """Run the app over https on embedded parts: PostgreSQL, certificates, a development sign-in provider."""
    # Start-up makes half a million objects that stay: looking through them for garbage costs a third of the time until
    # the first page. `Seawall` turns the collector on again when the app has started.
    gc.disable()
    from seawall.development.serve import Running, serve
    from seawall.settings import load

    console = Console(highlight=False)
    settings = load(path)

    def ready(running: Running) -> None:
        console.print(f"\n[bold green]ready[/] in {running.seconds:.1f} s   [bold]{running.base_url}[/]")
        console.print(f"  the browser asks once: {escape(str(running.certificates.ca))} is its authority")
        if running.sow is not None:
            console.print("  sign in as (password: development)")
            for persona in running.sow.personas.values():
                console.print(f"    [cyan]{persona.login:34}[/] {persona.role}")
        console.print("  Ctrl-C stops it")

    serve(
        settings,
        port=port,
        scratch=scratch,
        say=lambda line: console.print(f"[dim]· {escape(line)}[/]"),
        ready=ready,
    )
