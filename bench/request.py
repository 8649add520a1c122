"""Throughput and latency of reading one order: what security costs, against what people run today.

    python -m bench.request            8 connections, 4 interleaved rounds of 4 s for each of four apps

Four apps, one process each, one at a time, on the same database and the same row:

    limit      FastAPI and raw asyncpg, hand-written WHERE, no protection
    bare       the same on SQLAlchemy's ORM, as most apps are
    wall       the restaurant app's own route behind all of Seawall
    assembled  the same protection from SQLAlchemy sessions, slowapi, casbin, set_config and an audit insert

Only the ratios mean anything: rounds are interleaved, because the machine's speed changes while we measure.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from seawall.development.database import DevelopmentDatabase, development_database
from seawall.development.seeding import Sow
from seawall.development.vault import DevelopmentVault, development_vault
from seawall.privacy import keyring
from seawall.scaffold import new
from seawall.secrets import include as secrets_of
from seawall.settings import load
from seawall.store.database import Database
from seawall.store.migrate import AppTables
from seawall.store.roles import APP, IDENTITY

REPOSITORY = Path(__file__).resolve().parent.parent
VARIANTS = ("limit", "bare", "wall", "assembled")
ROUNDS = 4
ROUND_S = 4
CONNECTIONS = 8
ORDERS = 50_000
PORT = 9177
TOKEN = secrets.token_urlsafe(32)

BARE_SQL = """
CREATE SCHEMA bare;
CREATE TABLE bare.orders (LIKE app.orders);
ALTER TABLE bare.orders ALTER recipient TYPE text USING 'Ava Stone', ALTER address TYPE text USING '1 Garden Walk',
                        ALTER phone TYPE text USING '+1 555 0100';
INSERT INTO bare.orders ({columns}) SELECT {plain} FROM app.orders;
ALTER TABLE bare.orders ADD PRIMARY KEY (tenant_id, id);
"""
"""What goes without protection has its addresses in plain text."""

ASSEMBLED_SQL = """
CREATE SCHEMA assembled;
CREATE TABLE assembled.users (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, roles jsonb NOT NULL, venues jsonb NOT
NULL); CREATE TABLE assembled.sessions (token_hash bytea PRIMARY KEY, user_id uuid NOT NULL REFERENCES assembled.users,
                                 expires_at timestamptz NOT NULL);
CREATE TABLE assembled.orders (LIKE bare.orders);
INSERT INTO assembled.orders SELECT * FROM bare.orders;
ALTER TABLE assembled.orders ADD PRIMARY KEY (tenant_id, id), ENABLE ROW LEVEL SECURITY;
CREATE TABLE assembled.order_lines (LIKE app.order_lines);
INSERT INTO assembled.order_lines SELECT * FROM app.order_lines;
ALTER TABLE assembled.order_lines ADD PRIMARY KEY (tenant_id, id), ENABLE ROW LEVEL SECURITY;
CREATE INDEX ON assembled.order_lines (order_id);
CREATE POLICY tenant ON assembled.orders
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid));
CREATE POLICY tenant ON assembled.order_lines
    USING (tenant_id = (SELECT nullif(current_setting('app.tenant_id', true), '')::uuid));
CREATE TABLE assembled.audit (id uuid PRIMARY KEY, tenant_id uuid NOT NULL, user_id uuid NOT NULL, event jsonb NOT
NULL); GRANT USAGE ON SCHEMA assembled TO seawall_app;
GRANT SELECT ON assembled.users, assembled.sessions, assembled.orders, assembled.order_lines TO seawall_app;
GRANT INSERT ON assembled.audit TO seawall_app;
"""


@dataclass
class Measured:
    """What wrk saw in each round: requests a second, and latencies in milliseconds."""

    rates: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Stage:
    folder: Path
    database: DevelopmentDatabase
    vault: DevelopmentVault
    tenant: str
    order: str


async def prepare(folder: Path, database: DevelopmentDatabase, vault: DevelopmentVault) -> Stage:
    """The restaurant's tables and seed, 50,000 more orders, one manager's session, and the assembled app's tables."""
    await database.create()
    await vault.give_passwords(database)
    sys.path.insert(0, str(folder))
    import models
    import seed as restaurant

    await database.migrate(AppTables(folder / "migrations", models.Tenanted.metadata))
    owner = await asyncpg.connect(database.owner_url)
    pools = await Database.open(database.url(APP), database.url(IDENTITY), size=2)
    sow = Sow(owner, pools)
    os.environ.update(database.environment() | vault.environment())
    given = secrets_of(load(folder))
    assert given.vault is not None
    async with given.running(), keyring(database.url(APP), given.vault.transit, listening=False) as ring:
        pools.use(ring)
        await restaurant.seed(sow)
    await pools.close()
    manager = next(p for p in sow.personas.values() if p.role == "manager" and p.objects.get("order_id"))
    order = manager.objects["order_id"][0]
    columns = [c.name for c in models.Order.__table__.columns if c.name != "id"]
    listed = ", ".join(columns)
    copied = listed.replace("number", "1000 + row_number() OVER ()")
    await owner.execute(
        f"INSERT INTO app.orders ({listed}) SELECT {copied} FROM app.orders,"
        f" generate_series(1, {ORDERS} / (SELECT count(*)::int FROM app.orders)) AS g"
    )
    await owner.execute(
        "INSERT INTO seawall.sessions (token_hash, user_id, tenant_id, epoch, idle_timeout_s, expires_at)"
        " SELECT sha256($1), id, $3, epoch, 86400, now() + interval '1 day' FROM seawall.users WHERE id = $2",
        TOKEN.encode(), manager.user_id, manager.tenant_id,
    )  # fmt: skip
    said = {"recipient": "'Ava Stone'", "address": "'1 Garden Walk'", "phone": "'+1 555 0100'"}
    every = [c.name for c in models.Order.__table__.columns]
    plain = ", ".join(said.get(name, name) for name in every)
    await owner.execute(BARE_SQL.format(columns=", ".join(every), plain=plain))
    await owner.execute(ASSEMBLED_SQL)
    await owner.execute(
        "INSERT INTO assembled.users SELECT $1, $2, '[\"manager\"]',"
        " (SELECT jsonb_agg(scope_id) FROM seawall.memberships WHERE user_id = $1)",
        manager.user_id, manager.tenant_id,
    )  # fmt: skip
    await owner.execute(
        "INSERT INTO assembled.sessions VALUES (sha256($1), $2, now() + interval '1 day')",
        TOKEN.encode(), manager.user_id,
    )  # fmt: skip
    await owner.execute("VACUUM ANALYZE")
    await owner.close()
    return Stage(folder, database, vault, str(manager.tenant_id), order)


@contextmanager
def serving(variant: str, stage: Stage) -> Iterator[None]:
    """One uvicorn process with uvloop and httptools, as in production."""
    environment = os.environ | stage.database.environment() | stage.vault.environment() | {
        "SEAWALL_ROOT": str(stage.folder),
        "SEAWALL_DATABASE__POOL_SIZE": "8",
        "PYTHONPATH": os.pathsep.join([str(stage.folder), str(REPOSITORY)]),
        "BENCH_OWNER_URL": stage.database.owner_url,
        "BENCH_ASSEMBLED_URL": stage.database.url(APP),
        "BENCH_TENANT": stage.tenant,
    }  # fmt: skip
    command = [
        sys.executable, "-m", "uvicorn", f"bench.apps.{variant}:app", "--port", str(PORT), "--no-access-log",
        "--log-level", "error", "--loop", "uvloop", "--http", "httptools",
    ]  # fmt: skip
    with Path(stage.folder, f"{variant}.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=stage.folder, env=environment, stdout=log, stderr=log)
    try:
        _wait_for(stage, variant, process)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _url(stage: Stage) -> str:
    return f"http://127.0.0.1:{PORT}/api/orders/{stage.order}"


COOKIES = f"__Host-sw_sid={TOKEN}; sid={TOKEN}"


def _wait_for(stage: Stage, variant: str, process: subprocess.Popen[bytes]) -> None:
    import httpx2

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        try:
            answer = httpx2.get(_url(stage), headers={"Cookie": COOKIES})
        except httpx2.TransportError:
            time.sleep(0.1)
            continue
        order = answer.json()
        if answer.status_code != 200 or order["id"] != stage.order or "card_last4" not in order or not order["lines"]:
            raise SystemExit(f"{variant} answers {answer.status_code}: {answer.text[:300]}")
        return
    raise SystemExit(f"{variant} did not start:\n{Path(stage.folder, f'{variant}.log').read_text()[-3000:]}")


def load_once(stage: Stage, seconds: int) -> tuple[float, float, float]:
    """Requests a second, p50 and p99 in milliseconds, by wrk.

    Raises:
        SystemExit: when any answer was not 2xx.
    """
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", "-H", f"Cookie: {COOKIES}", _url(stage)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    if "Non-2xx" in done or "Socket errors" in done:
        raise SystemExit(f"answers that do not count:\n{done}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done)[1])  # type: ignore[index]
    return rate, _latency_ms(done, "50%"), _latency_ms(done, "99%")


def _latency_ms(text: str, percentile: str) -> float:
    value, unit = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    return float(value) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def main() -> None:
    if shutil.which("wrk") is None:
        raise SystemExit("bench/request.py needs wrk: apt-get install wrk (or brew install wrk)")
    measured = {variant: Measured() for variant in VARIANTS}
    with tempfile.TemporaryDirectory(prefix="seawall-bench-") as temporary:
        Path(temporary).chmod(0o755)
        folder = new("restaurant", "shop", Path(temporary))
        with (
            development_database(load(folder), scratch=True) as database,
            development_vault(load(folder), database, scratch=True) as vault,
        ):
            stage = asyncio.run(prepare(folder, database, vault))
            try:
                for number in range(1, ROUNDS + 1):
                    for variant in VARIANTS:
                        with serving(variant, stage):
                            load_once(stage, 1)  # warm: caches, prepared statements
                            rate, p50, p99 = load_once(stage, ROUND_S)
                        one = measured[variant]
                        one.rates.append(rate)
                        one.p50_ms.append(p50)
                        one.p99_ms.append(p99)
                        print(
                            f"round {number}  {variant:10} {rate:8.0f}/s  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms",
                            flush=True,
                        )
            finally:
                asyncio.run(database.drop())
    report(measured)


def report(measured: dict[str, Measured]) -> None:
    """Medians, and the wall's rate against each other app's within the same round."""
    print(f"\n{'app':10} {'median/s':>9} {'p50 ms':>8} {'p99 ms':>8}   wall ÷ app (median of rounds)")
    ratios = {}
    for variant, one in measured.items():
        within = [wall / rate for wall, rate in zip(measured["wall"].rates, one.rates, strict=True)]
        ratios[variant] = round(statistics.median(within), 2)
        print(
            f"{variant:10} {statistics.median(one.rates):9.0f} {statistics.median(one.p50_ms):8.2f}"
            f" {statistics.median(one.p99_ms):8.2f}   {ratios[variant]:.2f}"
        )
    out = REPOSITORY / "build" / "bench" / "request.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({name: vars(one) for name, one in measured.items()} | {"wall_ratio": ratios}, indent=2))
    print("\naims: wall ≥ 0.7× bare and ≥ 1.5× assembled; in the end wall ≥ bare")


if __name__ == "__main__":
    main()
