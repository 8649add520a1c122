"""`seawall rotate`: renew the app's secrets while it runs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from seawall.cli.surroundings import surroundings

if TYPE_CHECKING:
    from seawall.secrets.rotation import Rotation
    from seawall.settings import Settings

EPILOG = """\b
Examples:
  seawall rotate --list                 what can be rotated, and how old it is
  seawall rotate master                 one secret
  seawall rotate database               all passwords of database roles
  seawall rotate --all --dry-run        what would be done
  seawall rotate --all --json           for machines; progress goes to standard error

The app keeps running. A run that was killed is finished by the next one. In production run it with the operator's role
and credential file in SEAWALL_SECRETS__ROLE and SEAWALL_SECRETS__CREDENTIAL_FILE (docs/guide/secrets.md)."""


def rotate(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="What to rotate.")] = None,
    *,
    path: Annotated[Path, typer.Option("--app", help="The app's folder.", show_default="here")] = Path(),
    everything: Annotated[bool, typer.Option("--all", help="Everything that can be rotated.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Only show what can be rotated.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    at_once: Annotated[
        bool, typer.Option("--at-once", help="Refuse the old one now: requests that are under way may fail.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Renew secrets of the running app: a new version, everything moved to it, the old one refused."""
    from seawall.core.errors import Refused
    from seawall.settings import load

    if not (names or everything or listing):
        raise Refused(
            "nothing to rotate was named", why="rotating everything should be meant", fix="name it, or say --all"
        )
    if names and everything:
        raise Refused("--all and names", why="one of them is not meant", fix="leave one out")
    settings = load(path)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with surroundings(settings):
        job = _Job(settings, console, names=names or [], look=listing or dry_run, wait=not at_once)
        done = asyncio.run(job.run())
    if as_json:
        typer.echo(orjson.dumps(done).decode())
    elif listing or dry_run:
        _show(done, console)


class _Job:
    """One run of the command. Without names it is about everything."""

    def __init__(self, settings: Settings, console: Console, *, names: list[str], look: bool, wait: bool) -> None:
        self._settings, self._console = settings, console
        self._names, self._look, self._wait = names, look, wait

    async def run(self) -> dict[str, Any]:
        from seawall.app import import_app
        from seawall.core.errors import Refused
        from seawall.core.vault import VaultUnavailable

        sea = import_app(self._settings).state.seawall
        async with sea.rotation(wait=self._wait) as rotation:
            try:
                return await self._run(rotation)
            except VaultUnavailable as error:
                raise Refused(
                    f"the vault does not let this be done: {error}",
                    why="nothing was lost: what was begun is written down",
                    fix="check the vault and the operator's role, then run it again: it goes on where it was",
                ) from None

    async def _run(self, rotation: Rotation) -> dict[str, Any]:
        chosen = rotation.named(self._names) if self._names else list(rotation.rotators)
        if self._look:
            begun = await rotation.under_way()
            return {
                "secrets": [
                    {"name": one.name, "what": one.what, "newest": await one.newest(), "under_way": one.name in begun}
                    for one in chosen
                ]
            }
        rotated = []
        for one in chosen:
            self._say(f"[bold]{escape(one.name)}[/]  [dim]{escape(one.what)}[/]")
            done = await rotation.run(one, lambda line: self._say(f"  [dim]· {escape(line)}[/]"))
            how = "finished what was begun" if done.resumed else "rotated"
            versions = f"{done.before} → {done.after}"
            self._say(f"  [green]{how}[/], {versions}, in {done.seconds:.1f} s; the old one is refused")
            rotated.append(
                {"name": done.name, "before": done.before, "after": done.after, "resumed": done.resumed,
                 "seconds": round(done.seconds, 3)}
            )  # fmt: skip
        return {"rotated": rotated}

    def _say(self, line: str) -> None:
        self._console.print(line)


def _show(found: dict[str, Any], console: Console) -> None:
    for one in found["secrets"]:
        begun = "  [yellow]begun, not finished[/]" if one["under_way"] else ""
        name, what = f"{one['name']:28}", escape(one["what"])
        console.print(f"[bold]{escape(name)}[/] {what}  [dim]version {one['newest']}[/]{begun}")
