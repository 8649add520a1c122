"""`seawall person`: what an operator does for one person. Needs the migrator's role."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seawall.cli.operator import operate

if TYPE_CHECKING:
    from seawall.cli.operator import Operator

EPILOG = """\b
Examples:
  seawall person reset-factors ada@harbour.example --tenant harbour \\
      --reason "Lost telephone and codes; identity checked by video call" --ticket OPS-1234"""

Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.")]
Slug = Annotated[str, typer.Option("--tenant", help="The slug or id of a tenant that they belong to.")]
Root = Annotated[Path, typer.Option("--app", help="The app's folder.", show_default="here")]


def person_commands() -> typer.Typer:
    """`seawall person …`."""
    commands = typer.Typer(
        name="person",
        help="What an operator does for one person.",
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    commands.command("reset-factors")(reset_factors)
    return commands


def reset_factors(
    email: Email,
    *,
    tenant: Slug,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the database, 10 to 500 characters.")],
    ticket: Annotated[str, typer.Option("--ticket", help="Where it was asked for; the person reads it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    app: Root = Path(),
) -> None:
    """Take every second factor of somebody away who has lost them all, and end all their sessions and grants.

    First make sure who it is that asks: after this, the sign-in at their provider is all that guards the account.
    """

    async def work(operator: Operator) -> None:
        from seawall.identity.resets import reset_factors as reset
        from seawall.tenancy.lifecycle import find

        found = await find(operator.owner, tenant)
        if not yes and typer.prompt(f"This removes every second factor of {email}. Type the ticket to go on") != ticket:
            raise typer.Abort
        done = await reset(operator.owner, email=email, tenant_id=found.id, reason=reason, ticket=ticket)
        typer.echo(
            f"removed: passkeys {done.passkeys}, authenticator app {int(done.totp)}, recovery codes "
            f"{done.recovery_codes}; ended: sessions and grants {done.sessions_ended}"
        )
        if done.privileged:
            typer.echo("their role is privileged: at the next sign-in they can do nothing but enrol a factor")

    operate(app, work)
