"""`seawall tenant`: list, suspend, resume, export and erase tenants. For operators; needs the migrator's role."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import asyncpg

    from seawall.settings import Settings
    from seawall.store.jobs import Jobs
    from seawall.tenancy.lifecycle import Tenant

EPILOG = """\b
Examples:
  seawall tenant list
  seawall tenant suspend harbour              nobody of theirs gets in, from this moment on
  seawall tenant export harbour -o harbour.zip
  seawall tenant erase harbour --yes          keys, rows, people; there is no way back"""

Name = Annotated[str, typer.Argument(metavar="TENANT", help="Its slug or id.")]
Root = Annotated[Path, typer.Option("--app", help="The app's folder.", show_default="here")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]

tenant = typer.Typer(
    help="List, suspend, resume, export and erase tenants.", epilog=EPILOG, no_args_is_help=True, rich_markup_mode=None
)


@dataclass(frozen=True)
class Office:
    """What an operator's command works with."""

    settings: Settings
    owner: asyncpg.Connection
    jobs: Jobs


@tenant.command("list")
def list_(app: Root = Path(), as_json: AsJson = False) -> None:
    """All tenants and their state."""

    async def work(office: Office) -> None:
        from seawall.tenancy.lifecycle import tenants

        found = await tenants(office.owner)
        if as_json:
            rows = [{"id": str(one.id), "slug": one.slug, "name": one.name, "state": one.state} for one in found]
            typer.echo(json.dumps(rows, indent=2))
            return
        for one in found:
            typer.echo(f"{one.slug:24} {one.state:10} {one.id}  {one.name}")

    _run(app, work)


@tenant.command()
def suspend(name: Name, app: Root = Path()) -> None:
    """Shut a tenant out at once, on every process."""

    async def work(office: Office, one: Tenant) -> None:
        from seawall.tenancy import lifecycle

        await lifecycle.suspend(office.owner, one)
        typer.echo(f"{one.slug} is suspended")

    _run(app, _on(name, work))


@tenant.command()
def resume(name: Name, app: Root = Path()) -> None:
    """Let a suspended tenant back in."""

    async def work(office: Office, one: Tenant) -> None:
        from seawall.tenancy import lifecycle

        await lifecycle.resume(office.owner, one)
        typer.echo(f"{one.slug} is live")

    _run(app, _on(name, work))


@tenant.command()
def export(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="The ZIP file to write.")],
    app: Root = Path(),
) -> None:
    """Write everything that is a tenant's into one ZIP of JSON lines."""

    async def work(office: Office, one: Tenant) -> None:
        from seawall.tenancy.export import Export

        written = await Export(office.owner, office.jobs, one, say=_say).run(output)
        typer.echo(f"{written} rows in {output}")

    _run(app, _on(name, work))


@tenant.command()
def erase(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. There is no way back.")] = False,
    grace_s: Annotated[
        float | None,
        typer.Option(min=0, help="How long requests from before may still write.", show_default="statement timeout"),
    ] = None,
    app: Root = Path(),
) -> None:
    """Destroy a tenant's keys, then its rows, its people and itself. Interrupted, it goes on when run again."""

    async def work(office: Office, one: Tenant) -> None:
        from seawall.tenancy.erase import Erasure

        if not yes and typer.prompt(f"This erases {one.name} for good. Type {one.slug} to go on") != one.slug:
            raise typer.Abort
        grace = office.settings.database.statement_timeout_ms / 1000 + 1 if grace_s is None else grace_s
        await Erasure(office.owner, office.jobs, one, grace, say=_say).run()

    _run(app, _on(name, work))


def _say(line: str) -> None:
    typer.echo(f"· {line}", err=True)


def _on(name: str, work: Callable[[Office, Tenant], Awaitable[None]]) -> Callable[[Office], Awaitable[None]]:
    async def found(office: Office) -> None:
        from seawall.tenancy.lifecycle import find

        await work(office, await find(office.owner, name))

    return found


def _run(root: Path, work: Callable[[Office], Awaitable[Any]]) -> None:
    async def main() -> None:
        async with _office(root) as office:
            await work(office)

    asyncio.run(main())


@asynccontextmanager
async def _office(root: Path) -> AsyncIterator[Office]:
    from seawall.settings import load
    from seawall.store.jobs import Jobs
    from seawall.store.pool import Pool
    from seawall.tenancy.lifecycle import as_operator

    settings = load(root)
    async with _urls(settings) as (migrator, worker), as_operator(migrator) as owner:
        pool = Pool(worker, size=2, statement_timeout_ms=settings.database.statement_timeout_ms)
        try:
            yield Office(settings, owner, Jobs(pool))
        finally:
            await pool.close()


@asynccontextmanager
async def _urls(settings: Settings) -> AsyncIterator[tuple[str, str]]:
    """The migrator's and the worker's URL; in development without any, those of the embedded database."""
    from seawall.core.errors import Refused
    from seawall.development.database import development_database
    from seawall.store.roles import MIGRATOR, WORKER

    migrator, worker = settings.database.migrator_url, settings.database.worker_url
    if migrator is not None and worker is not None:
        yield migrator.get_secret_value(), worker.get_secret_value()
        return
    if settings.production or settings.database.url is not None:
        raise Refused(
            "the migrator's or the worker's URL is not set",
            why="tenants are suspended by one and exported and erased by the other; the app's own role can do neither",
            fix="set SEAWALL_DATABASE__MIGRATOR_URL and SEAWALL_DATABASE__WORKER_URL",
        )
    with development_database(settings, scratch=False) as database:
        yield database.url(MIGRATOR), database.url(WORKER)
