"""Rotations that are killed, repeated and run twice at once; database passwords of the vault, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import asyncpg
import pytest
from tests.support.databases import ScratchDatabase
from tests.support.vaults import ScratchVault, scratch_vault

from seawall.core.errors import Refused
from seawall.core.events import SecretRotation
from seawall.core.rotation import Progress
from seawall.development.vault import hand_over_passwords, password_mount
from seawall.secrets import EmbeddedVault
from seawall.secrets.master import MASTER, VaultMaster
from seawall.secrets.passwords import VaultPasswords
from seawall.secrets.rotation import Rotation
from seawall.secrets.rotators import ContextRotator, MasterRotator, PasswordRotator
from seawall.store.database import Database
from seawall.store.roles import APP, IDENTITY, MIGRATOR

REFRESH_S = 0.2


def _quiet(_: str) -> None:
    return None


class Killed(Exception):
    """Instead of `kill -9`: nothing after it runs."""


class Fragile(MasterRotator):
    """Dies at a step, as often as it is told."""

    def __init__(self, *arguments: object, dies_at: set[str]) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.dies_at = dies_at

    async def adopt(self, version: int, progress: Progress) -> None:
        if "adopt" in self.dies_at:
            raise Killed
        await super().adopt(version, progress)

    async def retire(self, version: int) -> None:
        if "retire" in self.dies_at:
            raise Killed
        await super().retire(version)


class Log(list[SecretRotation]):
    """Instead of the audit log. May refuse, like a database that is away."""

    refuses = False

    async def __call__(self, event: SecretRotation) -> None:
        if self.refuses:
            raise ConnectionError
        self.append(event)

    @property
    def steps(self) -> list[tuple[str, int, int]]:
        return [(one.step, one.before, one.after) for one in self]


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
async def master(scratch_place: ScratchVault) -> VaultMaster:
    made = VaultMaster(scratch_place.operator, refresh_s=REFRESH_S)
    await made.load()
    return made


@pytest.mark.parametrize("step", ["adopt", "retire"])
async def test_a_killed_rotation_is_finished_and_not_begun_again(
    scratch_place: ScratchVault, master: VaultMaster, log: Log, step: str
) -> None:
    moved: list[int] = []

    async def reseal(version: int, progress: Progress) -> None:
        moved.append(version)

    rotator = Fragile(scratch_place.operator, master, [reseal], dies_at={step})
    rotation = Rotation(scratch_place.operator, [rotator], log)
    with pytest.raises(Killed):
        await rotation.run(rotator, _quiet)
    assert await rotation.under_way() == {MASTER: 1}
    assert await scratch_place.operator.versions(MASTER) == [1, 2], "the old one still opens"
    rotator.dies_at.clear()
    done = await rotation.run(rotator, _quiet)
    assert (done.before, done.after, done.resumed) == (1, 2, True)
    assert moved[-1] == 2
    assert await scratch_place.operator.versions(MASTER) == [2]
    assert await rotation.under_way() == {}
    assert log.steps == [("begun", 1, 0), ("resumed", 1, 0), ("finished", 1, 2)]


async def test_the_log_says_who_and_what_and_no_secret(
    scratch_place: ScratchVault, master: VaultMaster, log: Log
) -> None:
    rotator = MasterRotator(scratch_place.operator, master, [])
    await Rotation(scratch_place.operator, [rotator], log).run(rotator, _quiet)
    assert log.steps == [("begun", 1, 0), ("finished", 1, 2)]
    me = await scratch_place.operator.identity()
    assert UUID(me)
    assert me != await scratch_place.app.identity()
    assert {(one.what, one.operator) for one in log} == {(MASTER, me)}
    secret = await scratch_place.operator.read(MASTER)
    assert secret is not None
    assert not any(value in one.model_dump_json() for one in log for value in secret.values.values())


async def test_nothing_is_rotated_that_cannot_be_recorded(
    scratch_place: ScratchVault, master: VaultMaster, log: Log
) -> None:
    rotator = MasterRotator(scratch_place.operator, master, [])
    rotation = Rotation(scratch_place.operator, [rotator], log)
    log.refuses = True
    with pytest.raises(ConnectionError):
        await rotation.run(rotator, _quiet)
    assert await scratch_place.operator.versions(MASTER) == [1]
    log.refuses = False
    assert (await rotation.run(rotator, _quiet)).resumed
    assert await scratch_place.operator.versions(MASTER) == [2]


async def test_two_at_once_make_one_version(scratch_place: ScratchVault, master: VaultMaster, log: Log) -> None:
    rotators = [MasterRotator(scratch_place.operator, master, []) for _ in range(2)]
    rotation = Rotation(scratch_place.operator, rotators[:1], log)
    done = await asyncio.gather(*(rotation.run(one, _quiet) for one in rotators))
    assert {one.after for one in done} == {2}
    assert await scratch_place.operator.versions(MASTER) == [2]


async def test_an_unknown_name_is_refused(scratch_place: ScratchVault, master: VaultMaster) -> None:
    rotation = Rotation(scratch_place.operator, [MasterRotator(scratch_place.operator, master, [])], Log())
    with pytest.raises(Refused, match="mastr"):
        rotation.named(["mastr"])


@pytest.fixture
async def passwords(vault_server: EmbeddedVault, scratch: ScratchDatabase) -> AsyncIterator[VaultPasswords]:
    mount = password_mount(scratch.development.server)  # other tests' apps run on that server, and ask there
    async with scratch_vault(vault_server, database_mount=mount) as place:
        await hand_over_passwords(place.provisioner, scratch.development)
        yield VaultPasswords(place.operator.connection, mount)


async def test_a_password_is_renewed_under_open_pools(scratch: ScratchDatabase, passwords: VaultPasswords) -> None:
    server, name = scratch.development.server, scratch.development.name
    urls = {role: server.address(name, role) for role in (APP, IDENTITY, MIGRATOR)}
    database = await Database.open(urls[APP], urls[IDENTITY], size=2, passwords=passwords.source)
    try:
        async with database.as_app() as before:
            pid = await before.fetchval("SELECT pg_backend_pid()")
        old = await passwords.source(APP)()
        rotator = PasswordRotator(passwords, APP, urls[APP])
        seen = await rotator.newest()
        version = await rotator.begin(seen)
        assert version > seen
        assert await rotator.begin(seen) == version, "a repeat does not renew it once more"
        await rotator.adopt(version, _quiet)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(urls[APP], password=old)
        async with database.as_app() as same:
            assert await same.fetchval("SELECT pg_backend_pid()") == pid, "the open connection goes on"
        await scratch.owner.execute("SELECT pg_terminate_backend($1)", pid)
        await asyncio.sleep(0.2)
        async with database.as_app() as fresh:
            assert await fresh.fetchval("SELECT pg_backend_pid()") != pid
    finally:
        await database.close()


async def test_a_password_that_changes_while_we_connect_is_asked_for_again(
    scratch: ScratchDatabase, passwords: VaultPasswords
) -> None:
    server, name = scratch.development.server, scratch.development.name
    asked = 0

    def late(role: str):
        source = passwords.source(role)

        async def password() -> str:
            nonlocal asked
            asked += 1
            return "an old one" if asked == 1 else await source()

        return password

    database = await Database.open(server.address(name, APP), server.address(name, IDENTITY), size=2, passwords=late)
    await database.close()
    assert asked >= 3


async def test_the_old_context_key_is_refused(scratch: ScratchDatabase, passwords: VaultPasswords) -> None:
    tenant = await scratch.tenant()
    context = await scratch.owner.fetchval("SELECT seawall.mint($1, NULL, $2, 'job')", tenant, uuid4())
    verify = "SELECT seawall.verify($1)"
    assert await scratch.owner.fetchval(verify, context)
    url = scratch.development.server.address(scratch.development.name, MIGRATOR)
    rotator = ContextRotator(url, passwords.source(MIGRATOR), wait=False)
    seen = await rotator.newest()
    version = await rotator.begin(seen)
    assert await rotator.begin(seen) == version
    assert await scratch.owner.fetchval(verify, context), "what is in use goes on until it is retired"
    await rotator.adopt(version, _quiet)
    await rotator.retire(version)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await scratch.owner.fetchval(verify, context)
