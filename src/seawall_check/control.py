"""What a control is, and how controls are found.

One control is one module `controls/<heading>/<slug>.py`:

    '''The title in one line.

    Why
        …
    How it is attacked
        …
    How to fix
        …
    '''
    control = Control(id="web/headers", title="…", refs=("ASVS 3.4.1",))

    async def check(target: Target, trial: Trial) -> None: ...

The id comes from the path (`rls_forced.py` → `rls-forced`) and must be the one that the module states, so that the
name of the check, its page, its sabotage and its SARIF rule cannot drift apart. Modules whose name begins with `_` are
helpers that the controls of a heading share.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from seawall_check.errors import CheckError

if TYPE_CHECKING:
    from seawall_check.target import Target
    from seawall_check.trial import Trial

PACKAGE = "seawall_check.controls"
TIMEOUT_DEFAULT_S = 180.0

Check = Callable[["Target", "Trial"], Awaitable[None]]


@dataclass(frozen=True)
class Control:
    """What a control module declares about itself.

    Args:
        id: `heading/slug`, the same as the file's path.
        title: what holds, in one line.
        refs: ids of standards, such as `ASVS 3.4.1` or `RFC 9700`.
        timeout_s: after this many seconds the control is `unproven`.
        exclusive: it runs alone, after all others: for controls that measure time, or end sessions of shared personas.
    """

    id: str
    title: str
    refs: tuple[str, ...] = ()
    timeout_s: float = TIMEOUT_DEFAULT_S
    exclusive: bool = False


@dataclass(frozen=True)
class Found:
    """A control together with its check, its prose and its file."""

    control: Control
    check: Check
    doc: str
    path: Path

    @property
    def id(self) -> str:
        return self.control.id

    @property
    def heading(self) -> str:
        return self.control.id.partition("/")[0]


def id_of(path: Path) -> str:
    """`…/controls/tenancy/rls_forced.py` → `tenancy/rls-forced`."""
    return f"{path.parent.name}/{path.stem.replace('_', '-')}"


def discover(package: str = PACKAGE) -> tuple[Found, ...]:
    """All controls of a package, sorted by heading in the order of the checklist, then by slug.

    Raises:
        CheckError: for a module that is not a whole control: no `control`, no async `check`, no prose, or another id.
    """
    root = Path(str(importlib.import_module(package).__file__)).parent
    found = [
        _load(package, path)
        for path in sorted(root.glob("*/*.py"))
        if not path.name.startswith("_") and not path.parent.name.startswith("_")
    ]
    return tuple(sorted(found, key=lambda one: (_heading_rank(one.heading), one.id)))


HEADINGS = (
    "identity",
    "access",
    "tenancy",
    "privacy",
    "payments",
    "webhooks",
    "ai",
    "supply",
    "audit",
    "response",
    "traffic",
    "transport",
    "secrets",
    "web",
)


def _heading_rank(heading: str) -> int:
    return HEADINGS.index(heading) if heading in HEADINGS else len(HEADINGS)


def _load(package: str, path: Path) -> Found:
    module = importlib.import_module(f"{package}.{path.parent.name}.{path.stem}")
    control, check, doc = getattr(module, "control", None), getattr(module, "check", None), inspect.getdoc(module) or ""
    where = f"{path.parent.name}/{path.name}"
    if not isinstance(control, Control):
        raise CheckError(f"{where} declares no `control = Control(…)`", fix="see docs/target.md")
    if control.id != id_of(path):
        raise CheckError(f"{where} calls itself {control.id!r}", fix=f"its path says {id_of(path)!r}")
    if not inspect.iscoroutinefunction(check):
        raise CheckError(f"{where} has no `async def check(target, trial)`", fix="see docs/target.md")
    if len(doc.splitlines()) < 3:
        raise CheckError(f"{where} does not say why, how it is attacked and how to fix it", fix="write its docstring")
    return Found(control, check, doc, path)


def select(found: Sequence[Found], only: Iterable[str]) -> tuple[Found, ...]:
    """The controls named by ids or headings; all when `only` is empty.

    Raises:
        CheckError: for a name that is neither, with the nearest that are.
    """
    wanted = [name.strip().rstrip("/") for name in only]
    if not wanted:
        return tuple(found)
    known = {one.id for one in found} | {one.heading for one in found}
    slugs = {one.id.partition("/")[2]: one.id for one in found}
    for name in wanted:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.5)
            near += [slugs[slug] for slug in difflib.get_close_matches(name, slugs, n=2, cutoff=0.6)]
            hint = f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else "see `seawall check list`"
            raise CheckError(f"no control and no heading is called {name!r}", fix=hint)
    return tuple(one for one in found if one.id in wanted or one.heading in wanted)
