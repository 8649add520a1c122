"""Vaults for tests: one embedded server for the run, a place of its own for whoever asks."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from seawall.secrets import APP, OPERATOR, AppRole, Connection, EmbeddedVault, Mounts, Provisioner, VaultClient
from seawall.secrets.provision import scratch_prefix


@dataclass
class ScratchVault:
    """An app's place in the vault, which is gone when the test ends."""

    server: EmbeddedVault
    provisioner: Provisioner
    prefix: str
    roles: dict[str, AppRole]
    app: VaultClient
    """As the running app: reads, wraps, unwraps, makes keys."""
    operator: VaultClient
    """As `seawall rotate`: also writes, rotates, retires, destroys."""

    def client(self, identity: str, *, timeout_s: float = 3.0) -> VaultClient:
        """Another connection; close it yourself."""
        return _client(self.server, self.roles[identity], self.prefix, timeout_s)


def _client(server: EmbeddedVault, role: AppRole, prefix: str, timeout_s: float = 3.0) -> VaultClient:
    connection = Connection(server.address, role, ca_file=server.ca_file, timeout_s=timeout_s)
    return VaultClient(connection, Mounts(prefix))


@contextlib.asynccontextmanager
async def scratch_vault(server: EmbeddedVault, *, database_mount: str = "") -> AsyncIterator[ScratchVault]:
    """A new place on a running server. `database_mount` is where passwords come from, when it is not its own."""
    provisioner = Provisioner(server.address, server.ca_file, server.root_token)
    prefix = scratch_prefix()
    with tempfile.TemporaryDirectory(prefix="seawall-test-") as folder:
        roles = provisioner.make(prefix, Path(folder), database_mount=database_mount)
        made = ScratchVault(
            server, provisioner, prefix, roles, _client(server, roles[APP], prefix),
            _client(server, roles[OPERATOR], prefix),
        )  # fmt: skip
        try:
            yield made
        finally:
            await made.app.close()
            await made.operator.close()
            provisioner.remove(prefix)
