"""The vault sealed, stopped, killed: what goes on, what is a clear 503, and that it recovers by itself."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.support.vaults import ScratchVault, scratch_vault

from seawall.core.errors import Refused
from seawall.core.master_seal import Seal, Unsealable
from seawall.core.vault import VaultUnavailable
from seawall.secrets import APP, OPERATOR, EmbeddedVault, VaultClient
from seawall.secrets.login import WRAPPING_PREFIX, AppRole
from seawall.secrets.master import MASTER, VaultMaster, new_master
from seawall.store.private import write_private

OWNER = b"owner"
REFRESH_S = 0.2
HOLDER = """
import sys
from pathlib import Path
from seawall.secrets import EmbeddedVault
with EmbeddedVault(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def lonely(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedVault]:
    """A server of this module's own, to be stopped and killed."""
    with EmbeddedVault(tmp_path_factory.mktemp("vault") / "home") as server:
        yield server


@pytest.fixture
async def place(lonely: EmbeddedVault) -> AsyncIterator[ScratchVault]:
    async with scratch_vault(lonely) as made:
        yield made


async def _until_back(vault: VaultClient, within_s: float = 20) -> float:
    started = time.monotonic()
    while time.monotonic() - started < within_s:
        try:
            await vault.read(MASTER)
        except VaultUnavailable:
            await asyncio.sleep(0.1)
        else:
            return time.monotonic() - started
    raise AssertionError("it did not recover")


async def test_sealed(place: ScratchVault) -> None:
    await place.app.transit.create("t")
    wrapped = await place.app.transit.wrap("t", b"k" * 32, context=b"c")
    place.server.seal()
    with pytest.raises(VaultUnavailable):
        await place.app.transit.unwrap("t", [wrapped], context=b"c")
    place.server.unseal()
    await _until_back(place.app)
    assert await place.app.transit.unwrap("t", [wrapped], context=b"c") == [b"k" * 32]


async def _stands_still(pid: int) -> None:
    """Until the kernel has stopped each of its threads: on a busy machine one may still answer after the signal."""
    for _ in range(500):
        states = [task.read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").glob("*/stat")]
        if set(states) == {"T"}:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"it goes on: {states}")


async def test_stopped_it_is_noticed_in_time_and_not_waited_for_again(place: ScratchVault) -> None:
    impatient = place.client(APP, timeout_s=0.5)
    await impatient.read(MASTER)
    os.kill(place.server.pid, signal.SIGSTOP)
    await _stands_still(place.server.pid)
    try:
        started = time.monotonic()
        with pytest.raises(VaultUnavailable):
            await impatient.read(MASTER)
        assert time.monotonic() - started < 2
        started = time.monotonic()
        for _ in range(100):  # a second's requests do not each wait
            with pytest.raises(VaultUnavailable):
                await impatient.read(MASTER)
        assert time.monotonic() - started < 0.5
    finally:
        os.kill(place.server.pid, signal.SIGCONT)
    assert await _until_back(impatient) < 5
    await impatient.close()


async def test_killed_and_started_again_everything_is_there(place: ScratchVault) -> None:
    await place.operator.write("sample", {"value": "kept"})
    os.kill(place.server.pid, signal.SIGKILL)
    await asyncio.sleep(0.2)
    with pytest.raises(VaultUnavailable):
        await place.app.read("sample")
    with EmbeddedVault(place.server.home):  # another process of the app starts it again
        await _until_back(place.app)
        kept = await place.app.read("sample")
        assert kept is not None
        assert kept.values["value"] == "kept"


async def test_what_is_sealed_opens_on_and_nothing_new_is_sealed(place: ScratchVault) -> None:
    master = VaultMaster(place.app, refresh_s=REFRESH_S)
    await master.load()
    seal = Seal(master, "test")
    sealed = seal.seal(b"plain", OWNER)
    place.server.seal()
    try:
        async with master.kept():
            await asyncio.sleep(5 * REFRESH_S)
            assert seal.open(sealed, OWNER) == b"plain"
            with pytest.raises(VaultUnavailable):
                seal.seal(b"plain", OWNER)
            place.server.unseal()
            await _until_back(place.app)
            await asyncio.sleep(10 * REFRESH_S)
            assert seal.open(seal.seal(b"again", OWNER), OWNER) == b"again"
    finally:
        place.server.unseal()


async def test_a_new_version_is_used_when_everybody_has_seen_it(place: ScratchVault) -> None:
    first, second = (VaultMaster(place.app, refresh_s=REFRESH_S) for _ in range(2))
    await first.load()
    await second.load()
    old = Seal(first, "test").seal(b"old", OWNER)
    await place.operator.write(MASTER, new_master(), expected=1)
    await first.refresh()
    assert first.current()[0] == 1, "others may not have seen it"
    await asyncio.sleep(2.5 * REFRESH_S)
    await first.refresh()
    assert first.current()[0] == 2
    new = Seal(first, "test").seal(b"new", OWNER)
    with pytest.raises(VaultUnavailable):  # not "altered": the second has only not seen it yet
        Seal(second, "test").open(new, OWNER)
    await second.refresh()
    assert Seal(second, "test").open(new, OWNER) == b"new"
    assert Seal(second, "test").open(old, OWNER) == b"old"
    await place.operator.retire(MASTER, oldest_version=2)
    await second.refresh()
    with pytest.raises(Unsealable):
        Seal(second, "test").open(old, OWNER)


async def test_a_wrapping_that_somebody_else_opened_is_told(place: ScratchVault, tmp_path: Path) -> None:
    role = place.roles[APP]
    with place.provisioner.signed_in() as client:
        wrapped = client.auth.approle.generate_secret_id(f"{place.prefix}-{APP}", wrap_ttl="60s")
        token = wrapped["wrap_info"]["token"]
        client.sys.unwrap(token=token)
    stolen = AppRole(role.role_id, tmp_path / "secret-id")
    write_private(stolen.secret_id_file, (WRAPPING_PREFIX + token).encode())
    place.roles["stolen"] = stolen
    with pytest.raises(Refused, match="opened by somebody else"):
        await place.client("stolen").read(MASTER)


async def test_a_revoked_token_is_replaced(place: ScratchVault) -> None:
    await place.app.read(MASTER)
    await place.app.connection.call(lambda client: client.auth.token.revoke_self())
    assert await place.app.read(MASTER) is not None


async def test_an_identity_file_that_others_may_read_is_refused(place: ScratchVault) -> None:
    place.roles[OPERATOR].secret_id_file.chmod(0o640)
    with pytest.raises(Refused, match="read by others"):
        await place.client(OPERATOR).read(MASTER)
    place.roles[OPERATOR].secret_id_file.chmod(0o600)


def test_production_brings_no_vault(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="production"):
        EmbeddedVault(tmp_path, production=True)


def test_a_killed_user_does_not_keep_it_up_and_processes_share_it(lonely: EmbeddedVault) -> None:
    home, before = lonely.home, lonely.pid
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "up\n"
    assert lonely.pid == before
    holder.kill()
    holder.wait()
    assert lonely.running()
