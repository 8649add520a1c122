"""`seawall staff` on a running restaurant, as its operator runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from seawall import scaffold
from seawall.testing import RunningApp, running

ADA = "ada@platform.example"
NOBODY_THERE = {"SEAWALL_DATABASE__MIGRATOR_URL": "postgresql://seawall_migrator:x@127.0.0.1:9/shop"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with running(scaffold.new("restaurant", "shop", tmp_path_factory.mktemp("staff"))) as app:
        yield app


def staff(shop: RunningApp, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seawall", "staff", *arguments], cwd=Path(shop.target["source"]),
        env=os.environ | shop.target["commands"]["env"] | environment, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip


def test_somebody_comes_and_goes(shop: RunningApp) -> None:
    for _ in range(2):  # harmless when they are on it
        added = staff(shop, "add", ADA, "Ada Quinn")
        assert added.returncode == 0, added.stdout + added.stderr
    listed = json.loads(staff(shop, "list", "--json").stdout)
    assert [one["removed_at"] for one in listed if one["email"] == ADA] == [None]
    removed = staff(shop, "remove", ADA)
    assert removed.returncode == 0, removed.stdout + removed.stderr
    assert "removed" in next(line for line in staff(shop, "list").stdout.splitlines() if ADA in line)


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (("remove", "nobody@platform.example"), {}, "is not staff"),
        (("add", "nonsense", "N"), {}, "is not an address"),
        (("list",), NOBODY_THERE, "let the operator in"),
    ],
)
def test_refusals_say_what_to_do(
    shop: RunningApp, arguments: tuple[str, ...], environment: dict[str, str], said: str
) -> None:
    refused = staff(shop, *arguments, **environment)
    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


def test_who_works_for_a_tenant_is_not_staff(shop: RunningApp) -> None:
    refused = staff(shop, "add", shop.personas["harbour.owner"]["login"], "Both Sides")
    assert refused.returncode == 2
    assert "already works for a tenant" in refused.stderr
