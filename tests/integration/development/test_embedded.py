"""The embedded server: persistent, shared by processes, stopped by the last one to leave, robust against kill -9."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import asyncpg
import pytest

from seawall.development.certificates import ensure
from seawall.development.database import DevelopmentDatabase
from seawall.store.embedded import EmbeddedServer

HOLDER = """
import sys
from pathlib import Path
from seawall.store.embedded import EmbeddedServer
with EmbeddedServer(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


async def _reach(server: EmbeddedServer) -> int:
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        return await connection.fetchval("SELECT pg_backend_pid()")
    finally:
        await connection.close()


async def test_data_stays_and_the_last_one_stops_it(tmp_path: Path) -> None:
    home = tmp_path / "postgres"
    with EmbeddedServer(home) as server:
        database = DevelopmentDatabase(server, "kept")
        assert await database.create()
        with EmbeddedServer(home) as second:
            await _reach(second)
        await _reach(server)  # the first to leave did not stop it under the other
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await _reach(server)
    with EmbeddedServer(home) as server:
        assert not await DevelopmentDatabase(server, "kept").create(), "the database is still there"


async def test_a_killed_user_does_not_keep_the_server_up(tmp_path: Path) -> None:
    home = tmp_path / "postgres"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n"
    with EmbeddedServer(home) as server:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        await _reach(server)
    with pytest.raises((OSError, asyncpg.PostgresError)):
        await _reach(server)


@pytest.mark.parametrize("kind", ["seawall.store.embedded:EmbeddedServer", "seawall.secrets.embedded:EmbeddedVault"])
def test_when_all_who_use_it_are_killed_the_server_ends_by_itself(tmp_path: Path, kind: str) -> None:
    """Nobody of them could stop it; nobody starts another one who would."""
    module, _, name = kind.partition(":")
    code = HOLDER.replace("seawall.store.embedded", module).replace("EmbeddedServer", name)
    # PostgreSQL's is elsewhere when we are root and its user cannot reach this one
    home = getattr(importlib.import_module(module), name)(tmp_path / "server").home
    holders = [
        subprocess.Popen([sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    for holder in holders:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
    servers = processes(home)
    assert len([words for words in servers if "watcher.py" in words]) == 1, servers
    assert len(servers) >= 2, "the server, and its watcher"
    holders[0].kill()
    holders[0].wait()
    time.sleep(2.5)
    assert processes(home).keys() >= {words for words in servers if "watcher.py" not in words}, "one of them lives"
    holders[1].kill()
    holders[1].wait()
    deadline = time.monotonic() + 20
    while processes(home) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(home) == {}
    again = subprocess.run([sys.executable, "-c", code, str(home)], stdin=subprocess.DEVNULL, capture_output=True)
    assert (again.returncode, again.stdout) == (0, b"up\n"), "and it starts again, on the same data"
    assert processes(home) == {}, "who leaves by itself leaves nobody behind"


def processes(home: Path) -> dict[str, int]:
    """Command lines that name this folder, except its holders', and their processes."""
    found = {}
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = place.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if str(home) in words and "HOLDER" not in words and "sys.stdin.read()" not in words:
            found[words] = int(place.parent.name)
    return found


async def test_a_scratch_database_of_a_dead_process_is_swept(embedded_directory: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with EmbeddedServer(embedded_directory) as server:
        left = DevelopmentDatabase(server, f"scratch_{dead.pid}_aa")
        mine = DevelopmentDatabase(server, f"scratch_{os.getpid()}_aa")
        await left.create()
        await mine.create()
        try:
            connection = await asyncpg.connect(server.dsn("postgres"))
            names = {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
            await connection.close()
            assert mine.name in names
            assert left.name not in names
        finally:
            await mine.drop()


async def test_certificates_are_made_once_and_anew_when_broken(tmp_path: Path) -> None:
    first = ensure(tmp_path)
    made = first.certificate.read_bytes()
    assert ensure(tmp_path).certificate.read_bytes() == made
    assert first.key.stat().st_mode & 0o077 == 0
    first.key.write_text("half written")
    assert ensure(tmp_path).certificate.read_bytes() != made


async def test_two_processes_that_start_at_once_share_one_server(tmp_path: Path) -> None:
    home = tmp_path / "postgres"
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        for holder in holders:
            assert holder.stdout is not None
            assert await asyncio.to_thread(holder.stdout.readline) == "up\n"
        await _reach(EmbeddedServer(home))
    finally:
        for holder in holders:
            assert holder.stdin is not None
            holder.stdin.close()  # not a signal: a process in the background may ignore SIGINT
        for holder in holders:
            holder.wait(20)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and (home / "data" / "postmaster.pid").exists():
        await asyncio.sleep(0.1)
    assert not (home / "data" / "postmaster.pid").exists()
