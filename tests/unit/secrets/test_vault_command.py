"""`seawall vault put`: what is no secret is refused before anything is asked of a vault."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from seawall.cli import application
from seawall.core.errors import Refused


@pytest.mark.parametrize(
    ("name", "given", "says"), [("provider-work", "\n", "nothing"), ("client-reports", "short\n", "32 characters")]
)
def test_what_is_no_secret(tmp_path: Path, name: str, given: str, says: str) -> None:
    told = CliRunner().invoke(application(), ["vault", "put", name, "--app", str(tmp_path)], input=given)
    assert isinstance(told.exception, Refused)
    assert says in str(told.exception)
