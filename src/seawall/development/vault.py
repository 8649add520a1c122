"""The vault of development: an embedded server, and this app's place in it."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from seawall.core.errors import Refused
from seawall.development.database import SCRATCH_PREFIX, DevelopmentDatabase, process_lives
from seawall.secrets import APP, AppRole, EmbeddedVault, Provisioner
from seawall.settings import Settings
from seawall.store.embedded import EmbeddedServer
from seawall.store.roles import LOGIN_ROLES

SCRATCH_REFRESH_S = 1.0
"""So that a rotation, which waits for several refreshes, can be judged in seconds."""


@dataclass(frozen=True)
class DevelopmentVault:
    """An app's place on a running embedded vault, and who may do what there."""

    server: EmbeddedVault
    prefix: str
    database_mount: str
    roles: dict[str, AppRole]
    scratch: bool

    def environment(self, identity: str = APP) -> dict[str, str]:
        """What a process needs to sign in as that identity. Nothing in it is a secret."""
        role = self.roles[identity]
        found = {
            "SEAWALL_SECRETS__ADDRESS": self.server.address,
            "SEAWALL_SECRETS__CA_FILE": str(self.server.ca_file),
            "SEAWALL_SECRETS__PREFIX": self.prefix,
            "SEAWALL_SECRETS__DATABASE_MOUNT": self.database_mount,
            "SEAWALL_SECRETS__ROLE": role.role_id,
            "SEAWALL_SECRETS__CREDENTIAL_FILE": str(role.secret_id_file),
        }
        return found | ({"SEAWALL_SECRETS__REFRESH_S": str(SCRATCH_REFRESH_S)} if self.scratch else {})

    async def give_passwords(self, database: DevelopmentDatabase) -> None:
        """Hand the passwords of the server's login roles to the vault, once for each server."""
        with _one_at_a_time(self.server):
            await hand_over_passwords(_provisioner(self.server), database)

    def remove(self) -> None:
        """Take a scratch app's place away, its keys with it."""
        _provisioner(self.server).remove(self.prefix)
        for role in self.roles.values():
            role.secret_id_file.unlink(missing_ok=True)


def embedded_vault_home(settings: Settings) -> Path:
    """Where this app's embedded vault keeps its data."""
    return settings.secrets.embedded_directory or settings.state_directory / "vault"


@contextmanager
def development_vault(
    settings: Settings, database: DevelopmentDatabase, *, scratch: bool
) -> Iterator[DevelopmentVault]:
    """The app's place on a running embedded vault; a scratch app's is named like its database, and ends with it."""
    if settings.secrets.address:
        raise Refused(
            "`seawall dev` with [secrets] address",
            why="development makes its own keys and throws them away; yours must not be among them",
            fix="set SEAWALL_SECRETS__ADDRESS in production's environment only",
        )
    prefix = database.name.replace("_", "-") if scratch else settings.vault_prefix
    with EmbeddedVault(embedded_vault_home(settings), production=settings.production) as server:
        place = _made(server, database, prefix, scratch)
        try:
            yield place
        finally:
            if scratch:
                place.remove()


def _made(server: EmbeddedVault, database: DevelopmentDatabase, prefix: str, scratch: bool) -> DevelopmentVault:
    mount = password_mount(database.server)
    provisioner = _provisioner(server)
    with _one_at_a_time(server):
        if scratch:
            _sweep(provisioner)
        roles = provisioner.make(prefix, server.home / "identities", database_mount=mount)
    return DevelopmentVault(server, prefix, mount, roles, scratch)


async def hand_over_passwords(provisioner: Provisioner, database: DevelopmentDatabase) -> None:
    """Make the vault's passwords those of the server's login roles, whatever either of them was before."""
    mount, server = password_mount(database.server), database.server
    provisioner.give_passwords(mount, server.dsn("postgres"), LOGIN_ROLES)
    for role in LOGIN_ROLES:
        try:
            connection = await asyncpg.connect(
                server.address("postgres", role), password=provisioner.password(mount, role)
            )
        except asyncpg.InvalidPasswordError:  # one of the two was thrown away, or restored, since they met
            provisioner.renew_password(mount, role)
        else:
            await connection.close()


def password_mount(server: EmbeddedServer) -> str:
    """The engine that keeps the passwords of a server's roles: they are the server's, which several apps may share."""
    return f"postgres-{hashlib.sha256(str(server.home).encode()).hexdigest()[:12]}/database"


def _provisioner(server: EmbeddedVault) -> Provisioner:
    return Provisioner(server.address, server.ca_file, server.root_token)


def _sweep(provisioner: Provisioner) -> None:
    """Remove places of scratch apps whose process died before it could: their names carry its number."""
    marker = SCRATCH_PREFIX.replace("_", "-")
    for prefix in provisioner.prefixes():
        number = prefix.removeprefix(marker).partition("-")[0]
        if prefix.startswith(marker) and number.isdigit() and not process_lives(int(number)):
            provisioner.remove(prefix)


@contextmanager
def _one_at_a_time(server: EmbeddedVault) -> Iterator[None]:
    with (server.home / "provision.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
