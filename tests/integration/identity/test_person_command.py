"""`seawall person` on a running restaurant, as its operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seawall import scaffold
from seawall.testing import RunningApp, running

pytestmark = pytest.mark.prove  # starts an app; what the command does is tested without one in test_factor_resets.py


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running(scaffold.new("restaurant", "shop", tmp_path_factory.mktemp("person"))) as app:
        yield app


def person(shop: RunningApp, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seawall", "person", *arguments], cwd=Path(shop.target["source"]),
        env=os.environ | shop.target["commands"]["env"], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_factors_are_reset_and_the_owner_enrols_anew(shop: RunningApp) -> None:
    before = shop.client("harbour.owner")
    assert before.get("/api/orders").status_code == 200
    email = shop.personas["harbour.owner"]["login"]
    why = ("--reason", "Lost telephone and codes; checked by video call", "--ticket", "OPS-1234", "--yes")
    wrong = person(shop, "reset-factors", email, "--tenant", "hill", *why)
    assert wrong.returncode == 2, wrong.stdout + wrong.stderr
    assert before.get("/api/orders").status_code == 200
    done = person(shop, "reset-factors", email, "--tenant", "harbour", *why)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passkeys 1" in done.stdout
    assert "nothing but enrol" in done.stdout
    assert before.get("/api/orders").status_code == 401
    half = shop.half_sign_in("harbour.owner")
    assert half.get("/api/orders").json()["code"] == "second-factor-required"
    shop.enrol("harbour.owner", half)
    assert half.get("/api/orders").status_code == 200
