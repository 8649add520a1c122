"""`seawall policy test` compares lists with decisions: on made-up rows, in small, and never silently not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.access.conftest import POLICIES
from tests.support.agreement import migration_of
from tests.support.crm.models import MODELS

from seawall import scaffold
from seawall.access import read_policies
from seawall.access.review.bench import Quiet
from seawall.access.review.differential import Agreement, Scratch, differential
from seawall.access.sql import RowFilter
from seawall.development.agreement import scratch_of
from seawall.development.database import DevelopmentDatabase
from seawall.store.embedded import EmbeddedServer
from seawall.store.migrate import AppTables


@pytest.fixture
async def scratch(embedded_directory: Path, tmp_path: Path) -> AsyncIterator[Scratch]:
    with EmbeddedServer(embedded_directory) as server:
        database = DevelopmentDatabase(server, f"scratch_{os.getpid()}_differential")
        async with scratch_of(database, AppTables(migration_of(MODELS, tmp_path))) as made:
            yield made


async def test_the_crm_agrees_and_the_seed_repeats_it(scratch: Scratch) -> None:
    found = await differential(Quiet(read_policies(POLICIES)), MODELS, scratch, decisions=4_000, seed=3)
    assert found.tried
    assert (found.differs, found.untried) == ((), ())
    assert 4_000 <= found.decisions < 5_000
    assert sum(one.allowed > 0 for one in found.compared) >= len(found.compared) - 1, found.compared
    assert {(one.action, one.type) for one in found.compared} >= {("read", "Note"), ("call", "Contact")}


@pytest.mark.parametrize(
    ("forgotten", "shows"),
    [
        ("wall.confidential", {"resource.confidential": True}),
        ("wall.suspended", {"resource.deal.account.suspended": True}),
    ],
)
async def test_a_forbid_that_the_filter_forgets_is_shown_in_small(
    scratch: Scratch, monkeypatch: pytest.MonkeyPatch, forgotten: str, shows: dict[str, Any]
) -> None:
    whole = RowFilter.__init__

    def forgetful(self: RowFilter, ruling: Any, *given: Any) -> None:
        whole(self, ruling, *given)
        forbids = [policy.id for policy in ruling.slice.chosen if policy.est["effect"] == "forbid"]
        self.forbids = [node for name, node in zip(forbids, self.forbids, strict=True) if name != forgotten]

    monkeypatch.setattr(RowFilter, "__init__", forgetful)
    found = await differential(Quiet(read_policies(POLICIES)), MODELS, scratch, decisions=6_000)
    assert found.differs
    assert all(forgotten in one.policies for one in found.differs)
    notes = [one.witness for one in found.differs if one.witness.type == "Note" and one.policies == (forgotten,)]
    assert notes
    for witness in notes:
        assert (witness.before, witness.after) == ("deny", "listed")
        assert shows.items() <= witness.differs.items()
        assert len(witness.differs) <= 6, witness.differs


# The command ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scaffold.new("restaurant", "shop", tmp_path_factory.mktemp("differential"))


def policy(shop: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seawall", "policy", "test", "--no-mutation", *arguments]
    return subprocess.run(command, cwd=shop, capture_output=True, text=True, timeout=240)


def test_a_new_app_is_compared_with_nothing_to_configure(shop: Path) -> None:
    done = policy(shop, "--decisions", "2000", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)["differential"]
    assert (report["tried"], report["seed"], report["differs"]) == (True, 1, [])
    assert report["decisions"] >= 2_000
    assert {"action": "refund", "type": "Order"}.items() <= report["untried"][0].items()
    assert all(one["allowed"] for one in report["compared"])


def test_models_that_cannot_be_imported_are_said(shop: Path) -> None:
    whole = (shop / "models.py").read_text()
    (shop / "models.py").write_text("import nothing_like_it\n")
    try:
        done = policy(shop)
    finally:
        (shop / "models.py").write_text(whole)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "lists and decisions: not tried: the app's models (models) cannot be imported" in done.stdout
    assert "nothing_like_it" in done.stdout


def test_tables_that_cannot_be_made_are_said(shop: Path) -> None:
    bad = shop / "migrations" / "9999_bad.py"
    bad.write_text("raise RuntimeError('half a migration')\n")
    try:
        done = policy(shop)
        left_out = policy(shop, "--no-differential")
    finally:
        bad.unlink()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "lists and decisions: not tried: the scratch database: RuntimeError: half a migration" in done.stdout
    assert left_out.returncode == 0, left_out.stdout
    assert "lists and decisions: left out" in left_out.stdout


def test_what_was_not_tried_is_no_agreement() -> None:
    assert not Agreement(why="there is no database").tried
