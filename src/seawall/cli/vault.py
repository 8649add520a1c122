"""`seawall vault`: what whoever runs the vault needs, and secrets that somebody else gave the app."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from seawall.secrets import VaultClient

T = TypeVar("T")

SECRET_MAX_CHARS = 65_536

EPILOG = """\b
Examples:
  seawall vault policy app | bao policy write shop-app -
  seawall vault init                  once: the app's first master secret
  seawall vault put provider-work < client-secret.txt
  openssl rand -base64 32 | tee reports.secret | seawall vault put client-reports
  pass show shop/work | seawall vault put provider-work"""

application = typer.Typer(
    help="Policies of the app's identities, and secrets that somebody else gave it.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
)


class Identity(StrEnum):
    """As whom one signs in to the vault."""

    APP = "app"
    OPERATOR = "operator"


@application.command()
def policy(
    identity: Annotated[Identity, typer.Argument(help="The running app, or `seawall rotate`.")],
    *,
    path: Annotated[Path, typer.Option("--app", help="The app's folder.", show_default="here")] = Path(),
) -> None:
    """Print the least that an identity needs, as the vault takes it."""
    from seawall.secrets import policy_document
    from seawall.settings import load

    settings = load(path)
    typer.echo(policy_document(settings.vault_prefix, identity.value, settings.secrets.database_mount))


@application.command()
def init(
    *, path: Annotated[Path, typer.Option("--app", help="The app's folder.", show_default="here")] = Path()
) -> None:
    """Make the app's master secret, as the operator, unless there is one: second factors and keys are sealed with it.

    Later ones come by `seawall rotate master`.
    """
    from seawall.secrets.master import MASTER, new_master

    async def write(vault: VaultClient) -> bool:
        if await vault.versions(MASTER):
            return False
        try:
            await vault.write(MASTER, new_master(), expected=0)
        except ValueError:  # two at once
            return False
        return True

    made = _at_the_vault(path, write)
    typer.echo("the app has a master secret" if made else "there is a master secret already; nothing was changed")


@application.command()
def put(
    name: Annotated[
        str, typer.Argument(help="provider-<name>: ours at a provider. client-<id>: an API client's here.")
    ],
    *,
    path: Annotated[Path, typer.Option("--app", help="The app's folder.", show_default="here")] = Path(),
) -> None:
    """Put a secret from standard input into the vault, as the operator. It is used from the next time it is needed.

    Never as an argument: those are in the shell's history and in the list of processes.
    """
    from seawall.core.errors import Refused
    from seawall.identity.clients.registry import SECRET_LENGTH_MIN
    from seawall.secrets import CLIENT, GIVEN

    value = sys.stdin.read(SECRET_MAX_CHARS + 1).strip("\r\n")
    if not value or len(value) > SECRET_MAX_CHARS:
        raise Refused(
            "nothing, or too much, came from standard input",
            why="an empty secret would be taken for one",
            fix=f"seawall vault put {name} < file",
        )
    if name.startswith(CLIENT) and len(value) < SECRET_LENGTH_MIN:
        raise Refused(
            f"the secret is shorter than {SECRET_LENGTH_MIN} characters",
            why="whoever guesses it is the client",
            fix=f"openssl rand -base64 32 | seawall vault put {name}",
        )
    version = _at_the_vault(path, lambda vault: vault.write(name, {GIVEN: value}))
    typer.echo(f"{name}: version {version}")


def _at_the_vault(path: Path, work: Callable[[VaultClient], Awaitable[T]]) -> T:
    """Do some work as the operator, who alone may write there."""
    from seawall.cli.surroundings import surroundings
    from seawall.core.errors import Refused
    from seawall.core.vault import VaultUnavailable
    from seawall.secrets import include
    from seawall.settings import load

    async def done() -> T:
        settings = load(path)
        # without an address there is no vault, and nothing that must not be there either
        vault = include(settings).vault if settings.secrets.address else None
        if vault is None:
            raise Refused("there is no vault", why="it would keep the secret", fix="set [secrets] address")
        try:
            return await work(vault)
        except (VaultUnavailable, ValueError) as error:
            raise Refused(
                f"the vault does not take it: {error}",
                why="only the operator writes secrets; the app reads them",
                fix="check the name, the vault and the operator's role and credential file",
            ) from None
        finally:
            await vault.close()

    with surroundings(load(path), passwords=False):
        return asyncio.run(done())
