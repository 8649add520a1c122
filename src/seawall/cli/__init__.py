"""The `seawall` command: one file a verb."""

from __future__ import annotations

import sys

import typer

from seawall.cli.check import EPILOG as CHECK_EPILOG
from seawall.cli.check import check
from seawall.cli.demo import demo
from seawall.cli.dev import dev
from seawall.cli.migrate import migrate
from seawall.cli.new import new
from seawall.cli.refusals import refusals_shown
from seawall.cli.serve import serve
from seawall.cli.version import version

EPILOG = """\b
Examples:
  seawall new restaurant shop && cd shop
  seawall dev                 run it over https; database and sign-in need no set-up
  seawall check               attack it, control by control, and show the evidence
  seawall check explain tenancy/rls-forced"""


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
    app.command()(demo)
    app.command()(migrate)
    app.command()(serve)
    app.command()(version)
    return app


def main() -> None:
    """Entry point of the `seawall` script."""
    with refusals_shown():
        application()()
    sys.exit(0)
