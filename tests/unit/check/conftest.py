"""A small app of the judge's own tests, as a folder that `seawall check` can judge."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from seawall_check.config import CheckConfig, load
from seawall_check.control import Control, Found
from seawall_check.target import Target
from seawall_check.trial import Trial

DOC = """Something holds.

Why
    Because.

How it is attacked
    By trying.

How to fix
    Mend it.
"""
SETTINGS = '[app]\nname = "notes"\nmodule = "notes_app:app"\n\n[check]\nstart = ["python", "notes_app.py"]\n'


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """The folder of the notes app."""
    folder = tmp_path / "notes"
    folder.mkdir()
    shutil.copy(Path(__file__).parent / "notes_app.py", folder)
    (folder / "seawall.toml").write_text(SETTINGS)
    return folder


@pytest.fixture
def config(notes: Path) -> CheckConfig:
    return load(notes)


Check = Callable[[Target, Trial], Awaitable[None]]


def found(check: Check, name: str = "access/object-level", **options: object) -> Found:
    """A control made in a test."""
    title = "Nobody reads another tenant's note"
    return Found(Control(id=name, title=title, **options), check, DOC, Path("object_level.py"))  # type: ignore[arg-type]


@pytest.fixture
def make() -> Callable[..., Found]:
    return found


@pytest.fixture
def object_level() -> Found:
    """A true control: your own note opens, another tenant's does not."""

    async def check(target: Target, trial: Trial) -> None:
        mine, theirs = target.two_tenants()
        client = await target.client(target.who(tenant=mine.id)[0])
        trial.allow("read my note", await client.get(f"/notes/{mine.objects['note_id'][0]}"))
        trial.refuse("read their note", await client.get(f"/notes/{theirs.objects['note_id'][0]}"))

    return found(check)
