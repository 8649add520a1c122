"""`seawall keys`: the keys that tenants' sealed columns are under. List, rotate, destroy."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from seawall.cli.operator import operate

if TYPE_CHECKING:
    from seawall.privacy.operating import Operating
    from seawall.privacy.rotation import Step

WAIT_S = 1.0
EPILOG = """\b
Examples:
  seawall keys list                                   every tenant's keys, and how much of them is used
  seawall keys rotate 01a20c41-1440-7b31-8028-bbfedfe3384d
  seawall keys rotate --all --json                    one line of JSON for each step
  seawall keys destroy 01a20c41-… --confirm harbour   for good: nothing of that tenant decrypts any more

In production it needs SEAWALL_DATABASE__MIGRATOR_URL, SEAWALL_DATABASE__DISPATCHER_URL and
SEAWALL_DATABASE__WORKER_URL, and the operator's role and credential file in SEAWALL_SECRETS__ROLE and
SEAWALL_SECRETS__CREDENTIAL_FILE."""

keys = typer.Typer(name="keys", no_args_is_help=True, epilog=EPILOG, rich_markup_mode=None)
App = Annotated[Path, typer.Option("--app", metavar="PATH", help="The app's folder.", show_default="here")]
AsJson = Annotated[bool, typer.Option("--json", help="Lines of JSON, for machines.")]


@keys.callback()
def about() -> None:
    """The keys that tenants' sealed columns are under: list, rotate, destroy."""


@keys.command("list")
def list_keys(*, app: App = Path(), as_json: AsJson = False) -> None:
    """Every tenant's keys: versions, states, age, and how much of the current one is used."""
    operate(app, lambda operator: _list(operator.at, as_json))


@keys.command()
def rotate(
    tenants: Annotated[list[UUID] | None, typer.Argument(metavar="[TENANT]...", help="Their ids.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every tenant that has keys.")] = False,
    refuse_old_backups: Annotated[
        bool,
        typer.Option(
            "--refuse-old-backups",
            help="Also retire the old versions of the vault's keys: backups made before now can be read no more.",
        ),
    ] = False,
    app: App = Path(),
    as_json: AsJson = False,
) -> None:
    """Give tenants new keys while they work: seal everything anew, then refuse the old keys.

    Run it again after it was killed: it goes on where it stopped.
    """
    if bool(tenants) == every:
        raise typer.BadParameter("name tenants, or say --all")
    chosen = None if every else tenants
    sys.exit(operate(app, lambda operator: _rotate(operator.at, chosen, refuse_old_backups, as_json)))


@keys.command()
def destroy(
    tenant: Annotated[UUID, typer.Argument(metavar="TENANT", help="Its id.")],
    *,
    confirm: Annotated[str, typer.Option(metavar="SLUG", help="The tenant's slug, so that no other one is meant.")],
    app: App = Path(),
) -> None:
    """Destroy a tenant's keys for good: nothing of it decrypts any more, in the database or any backup of it."""
    operate(app, lambda operator: _destroy(operator.at, tenant, confirm))


_LIST = """
SELECT t.id, t.slug, k.version, k.state, k.kek_version, k.seals, k.created_at
FROM seawall.tenants t JOIN seawall.tenant_keys k ON k.tenant_id = t.id
WHERE k.state <> 'retired' ORDER BY t.slug, k.version
"""


async def _list(operator: Operating, as_json: bool) -> None:
    from seawall.core.sealing import SEALS_MAX

    rows = await operator.owner.fetch(_LIST)
    for row in rows:
        if as_json:
            typer.echo(json.dumps(dict(row), default=str))
        else:
            made, used = f"{row['created_at']:%Y-%m-%d}", row["seals"] / SEALS_MAX
            typer.echo(
                f"{row['id']}  {row['slug']:24} version {row['version']:<4} {row['state']:10}"
                f" wrapped by version {row['kek_version']:<4} since {made}  {used:.4%} used"
            )
    if not rows and not as_json:
        typer.echo("no tenant has keys yet: the first sealed value makes them")


async def _rotate(operator: Operating, tenants: list[UUID] | None, refuse_old_backups: bool, as_json: bool) -> int:
    from seawall.privacy.operating import told, work_off
    from seawall.privacy.rotation import ask

    def say(step: Step) -> None:
        typer.echo(json.dumps(asdict(step), default=str) if as_json else told(step))

    async def wait() -> None:
        if not as_json:
            typer.echo("waiting for a batch that another worker has claimed, at most 30 s")
        await asyncio.sleep(WAIT_S)

    begun = await ask(operator.owner, tenants, refuse_old_backups=refuse_old_backups, who=operator.who)
    if not as_json:
        typer.echo(f"{len(begun)} begun" if begun else "none to begin; going on with what is under way")
    kept, given_up = await work_off(operator, say, wait)
    if given_up:
        typer.echo(f"{given_up} jobs were given up after too many attempts: look into seawall.jobs", err=True)
    return 1 if kept or given_up else 0


async def _destroy(operator: Operating, tenant: UUID, confirm: str) -> None:
    from seawall.core.errors import Refused
    from seawall.privacy import rotation

    slug = await operator.owner.fetchval("SELECT slug FROM seawall.tenants WHERE id = $1", tenant)
    if slug is not None and slug != confirm:
        raise Refused(
            f"{tenant} is not {confirm!r}",
            why="destroying keys cannot be undone, so the tenant is named twice",
            fix="`seawall keys list` shows ids and slugs; give the slug of the one you mean",
        )
    versions = await rotation.destroy(operator.owner, operator.transit, tenant, who=operator.who)
    typer.echo(f"{confirm}: {versions} live versions destroyed, and the vault's key of this tenant")
    typer.echo("Nothing of it decrypts any more: rows, backups and WAL of the database, files of replicas.")
    typer.echo("What may still hold its key: snapshots and backups of the *vault's* storage. Delete those that are")
    typer.echo("older than now, or wait until they expire: until then, restoring one of them together with a backup")
    typer.echo("of the database would bring this tenant's data back.")
