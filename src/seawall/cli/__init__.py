"""The `seawall` command: one file a verb."""

from __future__ import annotations

import sys
from typing import Any

import typer

from seawall.cli.check import EPILOG as CHECK_EPILOG
from seawall.cli.check import check
from seawall.cli.demo import demo
from seawall.cli.dev import dev
from seawall.cli.keys import keys
from seawall.cli.migrate import migrate
from seawall.cli.new import new
from seawall.cli.person import person_commands
from seawall.cli.policy import policy_commands
from seawall.cli.refusals import refusals_shown
from seawall.cli.rotate import EPILOG as ROTATE_EPILOG
from seawall.cli.rotate import rotate
from seawall.cli.serve import serve
from seawall.cli.staff import app as staff
from seawall.cli.tenant import tenant
from seawall.cli.vault import application as vault
from seawall.cli.version import version

EXIT_USAGE = 3
# Typer carries its own copy of click and exports only this leaf of its usage errors.
USAGE_ERROR: Any = typer.BadParameter.__base__
EPILOG = """\b
Examples:
  seawall new restaurant shop && cd shop
  seawall dev                 run it over https; database and sign-in need no set-up
  seawall check               attack it, control by control, and show the evidence
  seawall check explain tenancy/rls-forced
  seawall policy test         run the policies' own tests, and measure what they would notice
  seawall policy diff main    every decision that a change flips"""


def application() -> typer.Typer:
    """All verbs, in the order in which a newcomer needs them."""
    app = typer.Typer(
        name="seawall",
        help="The secure-by-default foundation that AI-built SaaS apps inherit, and the judge that proves it.",
        epilog=EPILOG,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.command()(new)
    app.command()(dev)
    app.command(epilog=CHECK_EPILOG)(check)
    app.add_typer(policy_commands())
    app.command()(demo)
    app.command()(migrate)
    app.add_typer(keys)
    app.add_typer(person_commands())
    app.command()(serve)
    app.add_typer(staff)
    app.command(epilog=ROTATE_EPILOG)(rotate)
    app.add_typer(tenant, name="tenant")
    app.add_typer(person_commands())
    app.add_typer(vault, name="vault")
    app.command()(version)
    return app


def main() -> None:
    """Entry point of the `seawall` script. Wrong usage is exit code 3, since `seawall check` says 2 for unproven."""
    command = typer.main.get_command(application())
    with refusals_shown():
        try:
            code = command.main(prog_name="seawall", standalone_mode=False)
        except USAGE_ERROR as error:
            error.show()
            code = EXIT_USAGE
        except (typer.Abort, KeyboardInterrupt):
            code = 130
    sys.exit(code if isinstance(code, int) else 0)
