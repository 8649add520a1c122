"""Render a new app from a template folder.

A template is a folder of files ending in `.tmpl`, in which `«name»` marks are replaced. The marks are so unlike Python,
TOML, Cedar and Jinja that nothing in a template has to be escaped. The app's security is not in the template: it is in
the library, so that upgrading the library mends old apps too.
"""

from __future__ import annotations

import keyword
import re
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from seawall.core.errors import Refused

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".tmpl"
FILES_MAX = 20
"""A founder, and the tool that edits the app next, can read twenty files."""
NAME_LENGTH_MAX = 40

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MARK = re.compile(r"«([a-z_]+)»")
_TAKEN = frozenset({"seawall", "seawall_check", "app", "api", "models", "orders", "pages", "seed", "tests", "test"})


def kinds() -> list[str]:
    """The kinds of app that can be rendered, sorted."""
    return sorted(folder.name for folder in TEMPLATES.iterdir() if folder.is_dir())


def new(kind: str, name: str, directory: Path) -> Path:
    """Render an app of `kind` into `directory / name` and return that folder.

    All or nothing: the app is rendered into a hidden folder beside and then renamed, so a half-rendered app never
    exists under its name. Nothing that exists is overwritten.

    Raises:
        Refused: unknown kind, unusable name, or something of that name already exists.
    """
    if kind not in kinds():
        raise Refused(
            f"there is no template {kind!r}",
            why="an app starts from a template whose controls are proven",
            fix=f"choose one of: {', '.join(kinds())}",
        )
    check_name(name)
    target = directory.resolve() / name
    if target.exists() or target.is_symlink():
        raise Refused(
            f"{target} already exists",
            why="a scaffold never overwrites work",
            fix="choose another name, or move the folder away first",
        )
    if not directory.is_dir():
        raise Refused(f"{directory} is not a folder", why="the new app is made inside it", fix=f"mkdir -p {directory}")
    staging = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
    try:
        _render(TEMPLATES / kind, staging, _marks(name))
        staging.chmod(0o755)  # mkdtemp makes it private; a project folder is an ordinary one
        # Between the check above and here somebody may have made the folder: rename refuses a non-empty one.
        staging.rename(target)
    except OSError as error:
        raise Refused(
            f"could not write {target}: {error.strerror or type(error).__name__}",
            why="the app is written whole or not at all",
            fix="check the folder's permissions and free space, then run the command again",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def check_name(name: str) -> None:
    """Raise `Refused` unless `name` can be a Python module, a database name and a project name alike."""
    problem = ""
    if not _NAME.fullmatch(name):
        problem = "is not lower-case letters, digits and underscores, beginning with a letter"
    elif len(name) > NAME_LENGTH_MAX:
        problem = f"is longer than {NAME_LENGTH_MAX} characters"
    elif keyword.iskeyword(name) or keyword.issoftkeyword(name):
        problem = "is a word of the Python language"
    elif name in sys.stdlib_module_names:
        problem = "is a module of Python's standard library"
    elif name in _TAKEN:
        problem = "is the name of a module that the app itself uses"
    if problem:
        raise Refused(
            f"{name!r} {problem}",
            why="the name becomes a project, a database and a Python name, and must not hide another",
            fix="seawall new restaurant shop",
        )


def _marks(name: str) -> dict[str, str]:
    return {
        "name": name,
        "title": name.replace("_", " ").strip().capitalize(),
        "project": name.replace("_", "-").strip("-"),
        "seawall_version": _own_version(),
    }


def _own_version() -> str:
    try:
        return version("seawall")
    except PackageNotFoundError:
        return "0.1.0"


def _render(template: Path, target: Path, marks: dict[str, str]) -> None:
    """Render every file of `template` into the existing folder `target`."""
    sources = sorted(path for path in template.rglob(f"*{SUFFIX}") if path.is_file())
    if not 0 < len(sources) <= FILES_MAX:
        raise Refused(
            f"the template {template.name!r} has {len(sources)} files",
            why=f"an app that people can read has at most {FILES_MAX}",
            fix="move what every app needs into the library",
        )
    for source in sources:
        relative = source.relative_to(template)
        destination = target / relative.with_name(relative.name.removesuffix(SUFFIX))
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(fill(source.read_text(encoding="utf-8"), marks), encoding="utf-8")


def fill(text: str, marks: dict[str, str]) -> str:
    """Replace every `«mark»`.

    Raises:
        Refused: for a mark without a value; a template with a typing error must not render.
    """

    def value(found: re.Match[str]) -> str:
        mark = found.group(1)
        if mark not in marks:
            raise Refused(
                f"a template names «{mark}»",
                why="a mark without a value would end up in the app's source",
                fix=f"use one of: {', '.join(sorted(marks))}",
            )
        return marks[mark]

    return _MARK.sub(value, text)
