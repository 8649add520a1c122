"""`seawall policy`: policies as code. Test them, and see every decision that a change flips."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from seawall.access.review import Language, Step

EXIT_FOUND = 1
CORPUS = "corpus.jsonl"
Where = Annotated[
    Path, typer.Argument(metavar="[PATH]", help="The app's folder, or its policies'.", show_default="here")
]
Json = Annotated[bool, typer.Option("--json", help="The report as JSON on standard output, for machines.")]

TEST_EPILOG = """\b
Exit codes: 0 all holds · 1 something does not · 2 refused (what could not be read or does not validate)
\b
Examples:
  seawall policy test                   validate, run policies/tests/*.yaml, measure the mutation score
  seawall policy test --no-mutation --no-differential    a few seconds, while writing
  seawall policy test --decisions 200000 --seed 7         lists and decisions at length
  seawall policy test --json > policies.json"""

DIFF_EPILOG = """\b
Exit codes: 0 nothing that --fail-on names · 1 something of it · 2 refused
\b
Examples:
  seawall policy diff origin/main                     in CI: fails when somebody may do more than before
  seawall policy diff HEAD --fail-on any              before a commit
  seawall policy diff ../old-checkout/policies --json"""


def policy_commands() -> typer.Typer:
    """`seawall policy …`."""
    commands = typer.Typer(
        name="policy",
        help="Policies as code: test them, and see every decision that a change flips.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    commands.command("test", epilog=TEST_EPILOG)(run_tests)
    commands.command(epilog=DIFF_EPILOG)(diff)
    commands.command()(corpus)
    return commands


def run_tests(
    path: Where = Path(),
    *,
    as_json: Json = False,
    floor: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="The least mutation score, 0 to 1.", show_default="0.9")
    ] = None,
    mutation: Annotated[bool, typer.Option(help="Measure how many mistakes the tests would notice.")] = True,
    engine: Annotated[str, typer.Option(help="cedar, or rego: *.rego decides the table tests.")] = "cedar",
    differential: Annotated[bool, typer.Option(help="Compare the app's lists with its decisions.")] = True,
    decisions: Annotated[
        int, typer.Option(min=1, max=10_000_000, help="How many decisions lists are compared with.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(help="Which rows and people are made up; a report names its own.")] = 1,
) -> None:
    """Test the policies: validation, table tests, walls, run-time errors, mutation score, lists ≡ decisions.

    Lists are compared on a scratch database of the embedded server, with the app's own tables.
    """
    import asyncio

    from seawall.access.review import FLOOR, verify
    from seawall.cli.policy_text import show_report

    folder = _policies(path)
    with _progress(quiet=as_json) as step:
        least = FLOOR if floor is None else floor
        report = verify(folder, floor=least, mutate=mutation, language=_language(engine), step=step)
        if differential and report.language == "cedar":  # Rego filters no lists
            from seawall.development.agreement import agreement

            report = report.with_agreement(asyncio.run(agreement(folder, decisions=decisions, seed=seed, step=step)))
    if as_json:
        _print(report.document())
    else:
        show_report(report)
    raise typer.Exit(0 if report.ok else EXIT_FOUND)


def diff(
    base: Annotated[str, typer.Argument(help="A git revision, or a folder with the other policies.")],
    path: Where = Path(),
    *,
    as_json: Json = False,
    fail_on: Annotated[
        str, typer.Option(help="widened, narrowed, any or never. A removed wall fails with all but never.")
    ] = "widened",
) -> None:
    """Show every decision that differs between BASE and the policies here, with the smallest request that shows it."""
    from seawall.access.review import compare, read_base
    from seawall.cli.policy_text import show_difference

    folder = _policies(path)
    with read_base(base, folder) as before, _progress(quiet=as_json) as step:
        difference = compare(before, folder, base=base, step=step)
    failed = difference.fails_on(fail_on)
    if as_json:
        _print({**difference.document(), "fail_on": fail_on, "ok": not failed})
    else:
        show_difference(difference, failed=failed)
    raise typer.Exit(EXIT_FOUND if failed else 0)


def corpus(
    path: Where = Path(),
    *,
    output: Annotated[
        Path | None, typer.Option(help="Where to write it.", show_default="policies/corpus.jsonl")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=100_000, help="How many decisions to look at, newest first.")
    ] = 5_000,
) -> None:
    """Write recorded decisions to policies/corpus.jsonl, redacted, for `seawall policy diff` to replay.

    Reads the development database, or that of SEAWALL_POLICY_CORPUS_URL, as a role that may read everything. Ids
    become numbers, text that no policy names becomes `another`, times become how long before or after.
    """
    import asyncio

    folder = _policies(path)
    with _progress(quiet=False) as step:
        lines = asyncio.run(_recorded(folder, output or folder / CORPUS, limit, step))
    typer.echo(f"{lines} different decisions in {output or folder / CORPUS}")


async def _recorded(folder: Path, target: Path, limit: int, step: Step) -> int:
    import os

    import asyncpg

    from seawall.access.review.recording import export
    from seawall.core.errors import Refused
    from seawall.development.database import development_database
    from seawall.modules import import_models
    from seawall.settings import load

    settings = load(folder.parent)
    import_models(settings)
    with ExitStack() as stack:
        url = os.environ.get("SEAWALL_POLICY_CORPUS_URL")
        if url is None:
            url = stack.enter_context(development_database(settings, scratch=False)).owner_url
        try:
            connection = await asyncpg.connect(url)
        except (OSError, asyncpg.PostgresError) as error:
            raise Refused(
                f"the database does not answer: {type(error).__name__}",
                why="recorded decisions are in its audit log",
                fix="run `seawall dev` once, or set SEAWALL_POLICY_CORPUS_URL",
            ) from None
        try:
            return await export(connection, folder, target, limit=limit, step=step)
        finally:
            await connection.close()


def _language(name: str) -> Language:
    from seawall.core.errors import Refused

    if name in ("cedar", "rego"):
        return "rego" if name == "rego" else "cedar"
    raise Refused(f"--engine {name!r} is not known", why="policies are in one language", fix="use cedar or rego")


def _policies(path: Path) -> Path:
    from seawall.access.policies import SCHEMA_FILE
    from seawall.core.errors import Refused

    for folder in (path, path / "policies"):
        if (folder / SCHEMA_FILE).is_file():
            return folder.resolve()
    raise Refused(
        f"{path.resolve()} has no policies/{SCHEMA_FILE}",
        why="what may be done is typed there, and nothing can be tested without it",
        fix="run it in the app's folder, or name that folder",
    )


def _print(document: dict[str, Any]) -> None:
    typer.echo(json.dumps(document, indent=2, default=str, ensure_ascii=False))


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Step]:
    """A bar on standard error while it lasts, if somebody is there to see it."""
    if quiet or not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("policies", total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total)
