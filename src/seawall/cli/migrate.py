"""`seawall migrate`: bring the database up to date and wall every table."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from seawall.cli.password import with_password


def migrate(
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="The app's folder.", show_default="here")] = Path(),
    *,
    print_roles: Annotated[
        bool, typer.Option("--print-roles", help="Print the SQL that makes the roles, for a superuser to run once.")
    ] = False,
    database: Annotated[str, typer.Option(help="The database's name, for --print-roles.")] = "app",
) -> None:
    """Upgrade Seawall's schema and the app's, then raise row-level security around every table.

    Needs SEAWALL_DATABASE__MIGRATOR_URL, without a password when the operator gets it from the vault. `seawall dev`
    does this by itself.
    """
    from seawall.core.errors import Refused
    from seawall.modules import import_models
    from seawall.settings import load
    from seawall.store.migrate import AppTables
    from seawall.store.migrate import migrate as run
    from seawall.store.models import Tenanted
    from seawall.store.roles import database_statements, role_statements

    if print_roles:
        typer.echo(";\n".join([*role_statements(), *database_statements(database)]) + ";")
        return
    settings = load(path)
    if settings.database.migrator_url is None:
        raise Refused(
            "there is no migrator's URL",
            why="the app's own role can change no table, on purpose",
            fix="set SEAWALL_DATABASE__MIGRATOR_URL to the role seawall_migrator",
        )
    import_models(settings)

    async def upgrade(given: str) -> None:
        url = await with_password(settings, given)
        await run(url, AppTables(settings.root / "migrations", Tenanted.metadata))

    asyncio.run(upgrade(settings.database.migrator_url.get_secret_value()))
    typer.echo("up to date; every table walled")
