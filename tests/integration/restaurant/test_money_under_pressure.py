"""Refunds under parallel duplicates and `kill -9`: limits hold; money, its row and its audit event stay together."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest

from seawall.scaffold import new
from seawall.testing import RunningApp, running

PARALLEL = 12
BALANCE = """
SELECT o.id, o.paid_minor, o.refunded_minor, coalesce(sum(r.amount_minor), 0)::bigint AS rows_minor,
       (SELECT coalesce(sum((e.body ->> 'amount_minor')::bigint), 0)::bigint FROM seawall.audit_events e
        WHERE e.kind = 'payments.refund' AND e.outcome = 'success'
          AND e.body ->> 'payment' = o.id::text) AS events_minor
FROM app.orders o LEFT JOIN app.refunds r ON r.tenant_id = o.tenant_id AND r.order_id = o.id
GROUP BY o.tenant_id, o.id
"""


@pytest.fixture(scope="module")
def restaurant(embedded_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new("restaurant", "shop", tmp_path_factory.mktemp("money"))


@pytest.fixture
def shop(restaurant: Path) -> Iterator[RunningApp]:
    with running(restaurant) as app:
        yield app


def _client(app: RunningApp, persona: str) -> httpx2.AsyncClient:
    """An asynchronous client on the session of a persona, for many requests at once."""
    signed_in = app.client(persona)
    return httpx2.AsyncClient(
        base_url=app.base_url,
        verify=ssl.create_default_context(cafile=app.target["ca_file"]),
        headers={"Origin": app.base_url, "Accept": "application/json"},
        cookies={cookie.name: cookie.value or "" for cookie in signed_in.cookies.jar},
        limits=httpx2.Limits(max_connections=PARALLEL),
        timeout=30,
    )


def _refundable(app: RunningApp, persona: str) -> list[dict[str, Any]]:
    orders = app.client(persona).get("/api/orders").json()
    return [one for one in orders if one["paid_minor"] - one["refunded_minor"] >= 15_000]


async def _balances(app: RunningApp) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(app.target["database"]["owner_url"])
    try:
        return await connection.fetch(BALANCE)
    finally:
        await connection.close()


def _assert_balanced(rows: list[asyncpg.Record]) -> None:
    for row in rows:
        assert row["refunded_minor"] == row["rows_minor"] == row["events_minor"] <= row["paid_minor"], dict(row)


async def test_parallel_refunds_cannot_dodge_the_limit(shop: RunningApp) -> None:
    order = _refundable(shop, "harbour.manager")[0]
    body = {"amount_minor": 4_000, "currency": "USD", "reason": "cold"}
    async with _client(shop, "harbour.manager") as client:
        url = f"/api/orders/{order['id']}/refunds"
        answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(PARALLEL)))
    statuses = Counter(answer.status_code for answer in answers)
    # two times $40 is within $100; the third, whichever it is, must confirm
    assert statuses == {201: 2, 401: PARALLEL - 2}, statuses
    assert all("step_up" in answer.json() for answer in answers if answer.status_code == 401)
    _assert_balanced(await _balances(shop))


async def test_parallel_refunds_never_give_back_more_than_was_paid(shop: RunningApp) -> None:
    """By two people at once, each with a step-up of their own waiting to be used."""
    # not one of the feasts: above $1,000 a manager would first need an owner's approval
    order = next(one for one in _refundable(shop, "harbour.manager") if one["paid_minor"] <= 100_000)
    left = order["paid_minor"] - order["refunded_minor"]
    body = {"amount_minor": left, "currency": "USD", "reason": "cold"}
    async with _client(shop, "harbour.manager") as one, _client(shop, "harbour.owner") as two:
        url = f"/api/orders/{order['id']}/refunds"
        answers = await asyncio.gather(*(client.post(url, json=body) for client in (one, two) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {401}, "above $100 nothing goes without a fresh factor"
    async with _client(shop, "harbour.manager") as client:
        small = {**body, "amount_minor": left + 1}
        assert (await client.post(url, json=small)).status_code == 403
    _assert_balanced(await _balances(shop))


async def test_kill_9_leaves_money_and_log_together(restaurant: Path, tmp_path: Path) -> None:
    target = tmp_path / "target.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "seawall", "dev", "--scratch", "--port", "0"],
        cwd=restaurant,
        env=os.environ | {"SEAWALL_TARGET_FILE": str(target)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not target.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        app = _opened(target)
        acknowledged = await _refund_until_killed(app, process)
    finally:
        process.kill()
        process.wait()
    assert acknowledged, "nothing was refunded before the kill"
    rows = await _balances(app)
    _assert_balanced(rows)
    committed = {str(row["id"]): row["refunded_minor"] for row in rows}
    for order, amount in acknowledged.items():
        assert committed[order] >= amount, "an answer of 201 was not committed"
    app.close()


def _opened(target: Path) -> RunningApp:
    import json

    document = json.loads(target.read_text())
    return RunningApp(document["base_url"], document)


async def _refund_until_killed(app: RunningApp, process: subprocess.Popen[bytes]) -> Counter[str]:
    """Many small refunds at once; the app is killed while they run. Gives what was acknowledged, by order."""
    orders = [order["id"] for order in _refundable(app, "harbour.owner")]
    before = {order["id"]: order["refunded_minor"] for order in _refundable(app, "harbour.owner")}
    acknowledged: Counter[str] = Counter(before)
    done = 0
    killed = asyncio.Event()

    async def keep_refunding(client: httpx2.AsyncClient, order: str) -> None:
        nonlocal done
        for _ in range(95):
            try:
                answer = await client.post(
                    f"/api/orders/{order}/refunds", json={"amount_minor": 1, "currency": "USD", "reason": "cold"}
                )
            except httpx2.TransportError:
                return
            if answer.status_code == 201:
                acknowledged[order] += 1
                done += 1
            if done >= 25 and not killed.is_set():
                killed.set()
                process.send_signal(signal.SIGKILL)

    async with _client(app, "harbour.owner") as client:
        await asyncio.gather(*(keep_refunding(client, order) for order in orders for _ in range(3)))
    assert killed.is_set()
    return acknowledged
