"""Passwords of the database's roles: the vault makes, rotates and gives them; no setting holds one.

The vault's database engine owns the password of each role (a *static role* of it): it alone knows it, changes it every
day by itself and whenever `seawall rotate` asks. PostgreSQL is told a SCRAM verifier only. A password is fetched for
each new connection; connections that are open go on, whatever becomes of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import hvac
import hvac.exceptions

from seawall.core.errors import Refused
from seawall.core.vault import VaultUnavailable
from seawall.secrets.connection import Connection

PasswordSource = Callable[[], Awaitable[str]]


class VaultPasswords:
    """The static roles of one database engine.

    Args:
        connection: whose identity reads.
        mount: the engine's path.
    """

    def __init__(self, connection: Connection, mount: str) -> None:
        self._connection = connection
        self._mount = mount
        self._last: dict[str, str] = {}

    def source(self, role: str) -> PasswordSource:
        """What asyncpg calls when it is asked for `role`'s password. While the vault is away it is the last one known,
        so that a database that restarts meanwhile is found again.

        Raises:
            VaultUnavailable: the vault is away and none is known.
        """

        async def password() -> str:
            try:
                self._last[role] = str((await self._read(role))["password"])
            except VaultUnavailable:
                if role not in self._last:
                    raise
            return self._last[role]

        return password

    async def changed_at_ms(self, role: str) -> int:
        """When the role's password was last changed, in milliseconds since the epoch."""
        said = str((await self._read(role))["last_vault_rotation"])
        return int(datetime.fromisoformat(said).timestamp() * 1000)

    async def rotate(self, role: str) -> None:
        """A new password, in vault and database; the old one is refused from then."""
        path = f"/v1/{self._mount}/rotate-role/{role}"
        await self._connection.call(lambda client: client.adapter.post(path, json={}))

    async def _read(self, role: str) -> dict[str, Any]:
        path = f"/v1/{self._mount}/static-creds/{role}"
        try:
            answer: Any = await self._connection.call(lambda client: client.adapter.get(path))
        except (hvac.exceptions.InvalidPath, hvac.exceptions.InvalidRequest):
            raise Refused(
                f"the vault has no password for {role} in {self._mount}",
                why="its URL holds none either, so nobody can sign in as it",
                fix=f"make a static role {role}, see docs/guide/secrets.md, or set the password in the URL",
            ) from None
        return dict(answer["data"])
