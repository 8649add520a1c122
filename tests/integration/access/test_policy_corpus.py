"""`seawall policy corpus`: what really happened, without whom it happened to, replayed by `seawall policy diff`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.access.conftest import POLICIES
from tests.support.agreement import put
from tests.support.crm.rows import Generated
from tests.support.databases import ScratchDatabase

from seawall import scaffold
from seawall.access import read_policies
from seawall.access.review.bench import Bench
from seawall.access.review.recorded import read_corpus
from seawall.access.review.recording import EVENTS, export
from seawall.testing import running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scaffold.new("restaurant", "shop", tmp_path_factory.mktemp("corpus"))


def policy(shop: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seawall", "policy", *arguments]
    return subprocess.run(command, cwd=shop, capture_output=True, text=True, timeout=120, env=os.environ | env)


def test_decisions_are_recorded_redacted_and_replayed(shop: Path) -> None:
    with running(shop) as app:
        personas = app.personas
        order_id = personas["harbour.manager"]["objects"]["order_id"][0]
        for name in ("harbour.manager", "harbour.owner", "harbour.courier", "hill.owner"):
            app.client(name).get(f"/api/orders/{order_id}")
            app.client(name).get("/api/team")
        time.sleep(1.5)  # reads are written in batches of at most a second
        done = policy(shop, "corpus", SEAWALL_POLICY_CORPUS_URL=app.target["database"]["owner_url"])
    assert done.returncode == 0, done.stderr
    text = (shop / "policies" / "corpus.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {(line["action"], line["type"]) for line in lines} >= {("read", "Order"), ("manage_team", "Tenant")}
    assert {line["effect"] for line in lines} == {"allow", "deny"}
    for persona in personas.values():
        for secret in (persona["user_id"], persona["tenant"], persona["login"], order_id):
            assert secret not in text
    for word in ("Marsh", "Quayside", "Garden Walk", "+1 555"):
        assert word not in text

    before = shop.parent / "before"
    policies = shop / "policies" / "restaurant.cedar"
    before.mkdir()
    for name in ("restaurant.cedar", "schema.cedarschema"):
        (before / name).write_text((shop / "policies" / name).read_text())
    same = policy(shop, "diff", str(before), "--json")
    assert same.returncode == 0, same.stderr
    assert json.loads(same.stdout)["recorded_decisions"] == len(lines)
    narrow = policies.read_text().replace('Action::"manage_team", Action::"add_venue"', 'Action::"add_venue"')
    policies.write_text(narrow)
    flipped = json.loads(policy(shop, "diff", str(before), "--json").stdout)
    recorded = [flip for group in flipped["groups"] for flip in group["flips"] if flip["source"] == "recorded"]
    assert [(flip["direction"], flip["witness"]["action"]) for flip in recorded] == [("narrowed", "manage_team")]


def test_without_a_database(shop: Path) -> None:
    done = policy(shop, "corpus", SEAWALL_POLICY_CORPUS_URL="postgresql://nobody@127.0.0.1:1/none")
    assert done.returncode == 2
    assert "the database does not answer" in done.stderr


class Logged:
    """The owner's connection, with one decision in the audit log."""

    def __init__(self, owner: Any, event: dict[str, Any]) -> None:
        self.owner, self.event = owner, event

    async def fetch(self, sql: str, *args: Any) -> list[Any]:
        return [self.event] if sql == EVENTS else await self.owner.fetch(sql, *args)


async def test_the_rows_near_an_object_are_recorded_with_it(crm: ScratchDatabase, tmp_path: Path) -> None:
    rows = Generated(random.Random(5), await crm.tenant())
    await put(crm, rows.tenant_id, rows.rows)
    open_accounts = {account.id for account in rows.accounts if not account.suspended}
    deals = {deal.id: deal for deal in rows.deals if deal.account_id in open_accounts}
    note = next(one for one in rows.notes if one.deal_id in deals)
    event = {
        "at": datetime.now(UTC), "tenant_id": rows.tenant_id, "user_id": note.author_id,
        "action": "read", "resource": f'Note::"{note.id}"', "effect": "allow",
    }  # fmt: skip
    target = tmp_path / "corpus.jsonl"
    assert await export(Logged(crm.owner, event), POLICIES, target, limit=10) == 1
    (recorded,) = read_corpus(target)
    near = recorded.request.thing.attributes["deal"]
    assert (near.type, near.attributes["account"].attributes["suspended"]) == ("Deal", False)
    assert recorded.said()["resource.deal.account.suspended"] is False
    assert str(note.deal_id) not in target.read_text()
    outcome = Bench(read_policies(POLICIES)).outcome(recorded.request)
    assert (outcome.effect, outcome.reason) == ("allow", "")
