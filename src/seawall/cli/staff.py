"""`seawall staff`: who of the platform may ask to read in a tenant. Nobody, until somebody is added here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seawall.cli.password import with_password
from seawall.cli.surroundings import surroundings

if TYPE_CHECKING:
    from seawall.settings import Settings
    from seawall.store.staff import StaffList

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
    from seawall.identity.development import DEMO_PASSWORD, add_development_account

    async def put(staff: StaffList, settings: Settings) -> None:
        person = await staff.add(email, name)
        if not settings.production and not await staff.has_account(person):
            await add_development_account(staff.owner, person, email=email.lower(), password=DEMO_PASSWORD)

    _on_the_list(path, put)
    typer.echo(f"{email} is staff; two are needed, because nobody approves their own grant")


@app.command()
def remove(email: Email, *, path: Folder = Path()) -> None:
    """Remove somebody. Their sessions and grants end at once; what they read stays in the log."""
    from seawall.core.errors import Refused

    async def take_off(staff: StaffList, _: Settings) -> None:
        if not await staff.remove(email):
            raise Refused(
                f"{email} is not staff",
                why="a typing error here would leave somebody in who should be out",
                fix="see `seawall staff list`",
            )

    _on_the_list(path, take_off)
    typer.echo(f"{email} is staff no more")


@app.command("list")
def list_(
    *, path: Folder = Path(), as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False
) -> None:
    """List who is, and who was."""
    import orjson

    found = _on_the_list(path, lambda staff, _: staff.members())
    if as_json:
        typer.echo(orjson.dumps(found).decode())
    elif not found:
        typer.echo("nobody is staff")
    else:
        for one in found:
            typer.echo(f"{one.email:40} {one.name:24} {'removed' if one.removed_at else 'since'} "
                       f"{(one.removed_at or one.added_at):%Y-%m-%d}")  # fmt: skip


def _on_the_list(path: Path, work: Callable[[StaffList, Settings], Awaitable[Any]]) -> Any:
    """Do some work on the list of the app in `path`, as the operator.

    Raises:
        Refused: there is no database, or it does not let the operator in.
    """
    from seawall.core.errors import Refused
    from seawall.settings import load
    from seawall.store.staff import staff_list

    async def main(settings: Settings) -> Any:
        if settings.database.migrator_url is None:
            raise Refused(
                "there is no migrator's URL",
                why="the running app can put nobody on the list of staff, on purpose",
                fix="set SEAWALL_DATABASE__MIGRATOR_URL to the role seawall_migrator",
            )
        url = await with_password(settings, settings.database.migrator_url.get_secret_value())
        async with staff_list(url) as staff:
            return await work(staff, settings)

    with surroundings(load(path)):
        return asyncio.run(main(load(path)))
