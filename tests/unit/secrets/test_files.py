"""Files that hold keys."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from seawall.core.errors import Refused
from seawall.secrets.master import fixed_secret
from seawall.settings import Settings
from seawall.store.private import private_file


def test_the_development_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path)
    first = fixed_secret(settings)
    path = settings.state_directory / "secret.key"
    assert first == fixed_secret(settings) == path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]
    path.chmod(0o640)
    with pytest.raises(Refused, match="read by others"):
        fixed_secret(settings)


def test_a_private_file_is_not_made_anew(tmp_path: Path) -> None:
    assert private_file(tmp_path / "a" / "k", lambda: "one") == "one"
    assert private_file(tmp_path / "a" / "k", lambda: "two") == "one"
