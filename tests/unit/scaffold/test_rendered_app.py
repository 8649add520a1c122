"""The rendered app is clean, and passes the tests that it brings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from seawall.scaffold import new

OWN_TESTS_TIMEOUT_S = 240


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new("restaurant", "corner_shop", tmp_path_factory.mktemp("apps"))


def run(shop: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=shop, capture_output=True, text=True, timeout=OWN_TESTS_TIMEOUT_S
    )


def test_its_source_is_clean(shop: Path) -> None:
    for command in (
        ["ruff", "check", "--no-cache", "."],
        ["ruff", "format", "--no-cache", "--check", "."],
    ):
        result = run(shop, *command)
        assert result.returncode == 0, result.stdout + result.stderr


def test_its_own_tests_pass(shop: Path) -> None:
    result = run(shop, "pytest", "-q", "-p", "no:cacheprovider")
    assert result.returncode == 0, result.stdout[-4_000:] + result.stderr[-2_000:]
    assert " passed" in result.stdout
    assert "failed" not in result.stdout
