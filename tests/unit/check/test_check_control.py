"""Controls are found by their path, and a module that is not a whole control is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from seawall_check.control import HEADINGS, discover
from seawall_check.errors import CheckError

WHOLE = '''"""Title.

Why
    Because.
"""
from seawall_check.control import Control
control = Control(id="web/one-thing", title="Title")
async def check(target, trial): ...
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """An importable package of controls, with a name of its own for each test."""
    name = f"controls_{abs(hash(request.node.nodeid))}"
    folder = tmp_path / name
    (folder / "web").mkdir(parents=True)
    for path in (folder, folder / "web"):
        (path / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_the_id_comes_from_the_path(package: Path) -> None:
    (package / "web" / "one_thing.py").write_text(WHOLE)
    (package / "web" / "_shared.py").write_text("")
    assert [found.id for found in discover(package.name)] == ["web/one-thing"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("one-thing", "another"), "its path says 'web/one-thing'"),
        (("async def", "def"), "no `async def check"),
        (("control =", "other ="), "declares no `control"),
        (("Why\n    Because.\n", ""), "does not say why"),
    ],
)
def test_what_is_no_whole_control_is_refused(package: Path, change: tuple[str, str], told: str) -> None:
    (package / "web" / "one_thing.py").write_text(WHOLE.replace(*change).replace('"""Title.\n\n"""', '"""Title."""'))
    with pytest.raises(CheckError, match=told):
        discover(package.name)


def test_every_shipped_control_is_whole_and_tells_how_it_attacks() -> None:
    found = discover()
    assert len({one.id for one in found}) == len(found) > 0
    for one in found:
        assert one.heading in HEADINGS
        for section in ("Why", "How it is attacked", "How to fix"):
            assert section in one.doc, f"{one.id} does not say: {section}"
