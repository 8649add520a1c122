"""`seawall tenant`: list, suspend, resume, export and erase tenants. For operators."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from seawall.cli.operator import operate

if TYPE_CHECKING:
    from seawall.cli.operator import Operator
    from seawall.tenancy.lifecycle import Tenant

EPILOG = """\b
Examples:
  seawall tenant list
  seawall tenant suspend harbour              nobody of theirs gets in, from this moment on
  seawall tenant export harbour -o harbour.zip
  seawall tenant erase harbour --yes          keys, rows, people; there is no way back

In production it needs SEAWALL_DATABASE__MIGRATOR_URL, SEAWALL_DATABASE__DISPATCHER_URL and
SEAWALL_DATABASE__WORKER_URL, and the operator's role and credential file in SEAWALL_SECRETS__ROLE and
SEAWALL_SECRETS__CREDENTIAL_FILE."""

Name = Annotated[str, typer.Argument(metavar="TENANT", help="Its slug or id.")]
Root = Annotated[Path, typer.Option("--app", help="The app's folder.", show_default="here")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]

tenant = typer.Typer(
    help="List, suspend, resume, export and erase tenants.", epilog=EPILOG, no_args_is_help=True, rich_markup_mode=None
)


@tenant.command("list")
def list_(app: Root = Path(), as_json: AsJson = False) -> None:
    """All tenants and their state."""

    async def work(operator: Operator) -> None:
        from seawall.tenancy.lifecycle import tenants

        found = await tenants(operator.owner)
        if as_json:
            rows = [{"id": str(one.id), "slug": one.slug, "name": one.name, "state": one.state} for one in found]
            typer.echo(json.dumps(rows, indent=2))
            return
        for one in found:
            typer.echo(f"{one.slug:24} {one.state:10} {one.id}  {one.name}")

    operate(app, work)


@tenant.command()
def suspend(name: Name, app: Root = Path()) -> None:
    """Shut a tenant out at once, on every process."""

    async def work(operator: Operator, one: Tenant) -> None:
        from seawall.tenancy import lifecycle

        await lifecycle.suspend(operator.owner, one)
        typer.echo(f"{one.slug} is suspended")

    operate(app, _on(name, work))


@tenant.command()
def resume(name: Name, app: Root = Path()) -> None:
    """Let a suspended tenant back in."""

    async def work(operator: Operator, one: Tenant) -> None:
        from seawall.tenancy import lifecycle

        await lifecycle.resume(operator.owner, one)
        typer.echo(f"{one.slug} is live")

    operate(app, _on(name, work))


@tenant.command()
def export(
    name: Name,
    output: Annotated[Path, typer.Option("--output", "-o", help="The ZIP file to write.")],
    app: Root = Path(),
) -> None:
    """Write everything that is a tenant's into one ZIP of JSON lines."""

    async def work(operator: Operator, one: Tenant) -> None:
        from seawall.privacy.export import opened_rows
        from seawall.tenancy.export import Export

        rows = opened_rows(operator.models)
        written = await Export(operator.owner, operator.jobs, one, rows, say=_say).run(output)
        typer.echo(f"{written} rows in {output}")

    operate(app, _on(name, work))


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

    async def work(operator: Operator, one: Tenant) -> None:
        from seawall.tenancy.erase import Erasure

        if not yes and typer.prompt(f"This erases {one.name} for good. Type {one.slug} to go on") != one.slug:
            raise typer.Abort
        grace = operator.settings.database.statement_timeout_ms / 1000 + 1 if grace_s is None else grace_s
        from seawall.privacy import rotation

        async def shred(tenant_id: UUID) -> None:
            await rotation.destroy(operator.owner, operator.at.transit, tenant_id, who=operator.at.who)

        # an app that seals nothing may have no vault, and then has no keys to destroy
        destroy = (shred,) if operator.models or operator.at.keys is not None else ()
        await Erasure(operator.owner, operator.jobs, one, grace, destroy=destroy, say=_say).run()

    operate(app, _on(name, work))


def _say(line: str) -> None:
    typer.echo(f"· {line}", err=True)


def _on(name: str, work: Callable[[Operator, Tenant], Awaitable[None]]) -> Callable[[Operator], Awaitable[None]]:
    async def found(operator: Operator) -> None:
        from seawall.tenancy.lifecycle import find

        await work(operator, await find(operator.owner, name))

    return found
