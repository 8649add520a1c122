"""`seawall person`: what an operator does for one person of one tenant, who asked by letter or on the telephone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seawall.cli.operator import operate

if TYPE_CHECKING:
    from seawall.cli.operator import Operator
    from seawall.privacy.requests import SubjectRequest

EPILOG = """\b
Examples:
  seawall person copy cora@example.com --tenant harbour --output cora.json --ticket DSR-1042
  seawall person erase cora@example.com --tenant harbour --ticket DSR-1043
  seawall person erase 01a20c41-1440-7b31-8028-bbfedfe3384d --tenant harbour --yes
  seawall person reset-factors ada@harbour.example --tenant harbour \\
      --reason "Lost telephone and codes; identity checked by video call" --ticket OPS-1234

Make sure that it is them who ask. In production it needs SEAWALL_DATABASE__MIGRATOR_URL,
SEAWALL_DATABASE__DISPATCHER_URL and SEAWALL_DATABASE__WORKER_URL, and the operator's role and credential file in
SEAWALL_SECRETS__ROLE and SEAWALL_SECRETS__CREDENTIAL_FILE."""

Who = Annotated[str, typer.Argument(metavar="EMAIL", help="Their address, or their id.")]
Within = Annotated[str, typer.Option("--tenant", metavar="SLUG", help="The tenant's slug or id.")]
Root = Annotated[Path, typer.Option("--app", help="The app's folder.", show_default="here")]
Ticket = Annotated[
    str,
    typer.Option(
        "--ticket",
        metavar="ID",
        help="Where the letter is kept, for the audit log: letters, digits, ._/#-",
        show_default=False,
    ),
]


def person_commands() -> typer.Typer:
    """The group of commands."""
    group = typer.Typer(
        name="person",
        help="For one person of one tenant, who asked: a copy of everything, being forgotten, a way back in.",
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    group.command(epilog=EPILOG)(copy)
    group.command(epilog=EPILOG)(erase)
    group.command("reset-factors", epilog=EPILOG)(reset_factors)
    return group


def copy(
    who: Who,
    *,
    tenant: Within,
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file to write; yours alone to read.")],
    ticket: Ticket = "",
    app: Root = Path(),
) -> None:
    """Write everything that is known about a person in a tenant into one file, as they get it at /privacy/me."""

    async def work(request: SubjectRequest) -> None:
        from seawall.tenancy.export import whole_file

        with whole_file(output) as out:
            out.write(await request.copy())
        typer.echo(f"everything about {request.person} in {output}")
        typer.echo("It is personal data in plain text: hand it over on a way that you trust, then delete it.")

    operate(app, _asked(who, tenant, ticket, work))


def erase(
    who: Who,
    *,
    tenant: Within,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. There is no way back.")] = False,
    ticket: Ticket = "",
    app: Root = Path(),
) -> None:
    """Forget a person in a tenant: their data in every table, their account, their sessions. The audit log stays."""

    async def work(request: SubjectRequest) -> None:
        if not yes and typer.prompt(f"This forgets {who} in {tenant} for good. Type {who} to go on") != who:
            raise typer.Abort
        rows = await request.erase()
        typer.echo(f"{request.person} is forgotten: {rows} rows emptied, their account and sessions gone")
        typer.echo("Backups made before now hold them still, sealed; they go when those backups expire.")

    operate(app, _asked(who, tenant, ticket, work))


def reset_factors(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="The person's address.")],
    *,
    tenant: Within,
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


def _asked(
    who: str, tenant: str, ticket: str, work: Callable[[SubjectRequest], Awaitable[None]]
) -> Callable[[Operator], Awaitable[None]]:
    from seawall.core.ids import TICKET

    if ticket and not TICKET.fullmatch(ticket):
        raise typer.BadParameter("at most 64 letters, digits and ._/#-, and no spaces", param_hint="--ticket")

    async def found(operator: Operator) -> None:
        from seawall.core.errors import Problem, Refused
        from seawall.privacy.requests import SubjectRequest
        from seawall.tenancy.lifecycle import find

        one = await find(operator.owner, tenant)
        request = await SubjectRequest.of(operator.at, one.id, who, ticket=ticket)
        try:
            await work(request)
        except Problem as problem:
            raise Refused(
                f"it cannot be done now: {problem.code}",
                why="sealed columns cannot be opened, and half a copy or half an erasure is none; nothing was changed",
                fix="check the vault and `seawall keys list`, then run it again",
            ) from None

    return found
