"""`seawall staff`: who of the platform may ask to read in a tenant. Nobody, until somebody is added here."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seawall.cli.password import with_password

if TYPE_CHECKING:
    from seawall.settings import Settings

EPILOG = """\b
Examples:
  seawall staff add ada@platform.example "Ada Quinn"
  seawall staff list --json
  seawall staff remove ada@platform.example      ends their sessions and grants at once"""

app = typer.Typer(
    name="staff",
    help="Who of the platform may ask for break-glass: to read in one tenant, for a while, when a colleague agrees.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
Folder = Annotated[Path, typer.Option("--path", help="The app's folder.", show_default="here")]
Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The address that their provider has verified.")]


@app.command()
def add(email: Email, name: Annotated[str, typer.Argument(metavar="NAME")], *, path: Folder = Path()) -> None:
    """Add somebody. In production they sign in through your provider; in development with the demo password."""
    from seawall.identity import add_development_account
    from seawall.settings import load
    from seawall.store.staff import StaffList

    settings = load(path)

    async def run(url: str) -> None:
        async with StaffList(url) as staff:
            person = await staff.add(email, name)
            known = await staff.connection.fetchval(
                "SELECT count(*) FROM seawall.dev_accounts WHERE user_id = $1", person
            )
            if not settings.production and not known:
                await add_development_account(staff.connection, person, email=email.lower(), password="development")  # noqa: S106 - of development only

    with _migrator_url(settings) as url:
        asyncio.run(run(url))
    typer.echo(f"{email} is staff; two are needed, because nobody approves their own grant")


@app.command()
def remove(email: Email, *, path: Folder = Path()) -> None:
    """Remove somebody. Their sessions and grants end at once; what they read stays in the log."""
    from seawall.core.errors import Refused
    from seawall.settings import load
    from seawall.store.staff import StaffList

    async def run(url: str) -> None:
        async with StaffList(url) as staff:
            if not await staff.remove(email):
                raise Refused(
                    f"{email} is not staff",
                    why="a typing error here would leave somebody in who should be out",
                    fix="see `seawall staff list`",
                )

    with _migrator_url(load(path)) as url:
        asyncio.run(run(url))
    typer.echo(f"{email} is staff no more")


@app.command("list")
def list_(
    *, path: Folder = Path(), as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False
) -> None:
    """List who is, and who was."""
    import orjson

    from seawall.settings import load
    from seawall.store.staff import StaffList, StaffMember

    async def run(url: str) -> list[StaffMember]:
        async with StaffList(url) as staff:
            return await staff.members()

    with _migrator_url(load(path)) as url:
        found = asyncio.run(run(url))
    if as_json:
        typer.echo(orjson.dumps(found).decode())
    elif not found:
        typer.echo("nobody is staff")
    else:
        for one in found:
            typer.echo(f"{one.email:40} {one.name:24} {'removed' if one.removed_at else 'since'} "
                       f"{(one.removed_at or one.added_at):%Y-%m-%d}")  # fmt: skip


@contextmanager
def _migrator_url(settings: Settings) -> Iterator[str]:
    """The migrator's URL: the one that is set, or in development that of the embedded database."""
    from seawall.core.errors import Refused
    from seawall.development.database import development_database
    from seawall.store.roles import MIGRATOR

    if settings.database.migrator_url is not None:
        yield asyncio.run(with_password(settings, settings.database.migrator_url.get_secret_value()))
        return
    if settings.production or not (settings.state_directory / "postgres").is_dir():
        raise Refused(
            "there is no migrator's URL, and no development database here",
            why="the running app can put nobody on the list of staff, on purpose",
            fix="set SEAWALL_DATABASE__MIGRATOR_URL, or run `seawall dev` in the app's folder once",
        )
    with development_database(settings, scratch=False) as database:
        yield database.url(MIGRATOR)
