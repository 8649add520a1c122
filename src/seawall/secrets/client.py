"""`core.vault.Vault` on OpenBao or HashiCorp Vault: this app's secrets, read by this app's identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import hvac.exceptions

from seawall.core.vault import Secret
from seawall.secrets.connection import Connection, VaultForbids
from seawall.secrets.transit import VaultTransit, _named


@dataclass(frozen=True, slots=True)
class Mounts:
    """The engines of one app, `<prefix>/kv` and so on: all of an app lies under its prefix, nothing else does."""

    prefix: str

    @property
    def kv(self) -> str:
        return f"{self.prefix}/kv"

    @property
    def transit(self) -> str:
        return f"{self.prefix}/transit"

    @property
    def database(self) -> str:
        return f"{self.prefix}/database"


class VaultClient:
    """What the app, or `seawall rotate`, does with the vault.

    Args:
        connection: whose identity acts.
        mounts: the app's engines.
    """

    def __init__(self, connection: Connection, mounts: Mounts) -> None:
        self.connection = connection
        self.mounts = mounts
        self._transit = VaultTransit(connection, mounts.transit)

    @property
    def transit(self) -> VaultTransit:
        return self._transit

    async def identity(self) -> str:
        """As whom we are signed in: the vault's own id of an operator or an app (its *entity*), which says nothing to
        anybody without the vault. Empty for a token that belongs to none.
        """
        try:
            answer: Any = await self.connection.call(lambda client: client.auth.token.lookup_self())
        except VaultForbids:  # a role without the vault's default policy
            return ""
        return str(answer["data"].get("entity_id") or "")

    async def read(self, name: str, *, version: int | None = None) -> Secret | None:
        """A secret's newest version, or the one asked for; None when it is not there or was retired."""
        path = f"/v1/{self.mounts.kv}/data/{_named(name)}"
        query = {} if version is None else {"version": version}
        try:
            answer: Any = await self.connection.call(lambda client: client.adapter.get(path, params=query))
        except hvac.exceptions.InvalidPath:
            return None
        data = answer["data"]
        return Secret(dict(data["data"]), int(data["metadata"]["version"]))

    async def write(self, name: str, values: Mapping[str, str], *, expected: int | None = None) -> int:
        """Add a version; gives its number.

        Args:
            name: the secret.
            values: all of it.
            expected: the newest version that the writer saw (0: none); of two writers at once, one loses.

        Raises:
            ValueError: there is a newer version than `expected`.
        """
        body: dict[str, Any] = {"data": dict(values)}
        if expected is not None:
            body["options"] = {"cas": expected}
        path = f"/v1/{self.mounts.kv}/data/{_named(name)}"
        try:
            answer: Any = await self.connection.call(lambda client: client.adapter.post(path, json=body))
        except hvac.exceptions.InvalidRequest:
            raise ValueError(f"somebody else has written {name} meanwhile") from None
        return int(answer["data"]["version"])

    async def retire(self, name: str, *, oldest_version: int) -> None:
        """Destroy the versions of a secret that are older than this, for good."""
        known = await self.versions(name)
        old = [version for version in known if version < oldest_version]
        if old:
            path = f"/v1/{self.mounts.kv}/destroy/{_named(name)}"
            await self.connection.call(lambda client: client.adapter.put(path, json={"versions": old}))

    async def versions(self, name: str) -> list[int]:
        """The numbers of the versions that can still be read, oldest first."""
        path = f"/v1/{self.mounts.kv}/metadata/{_named(name)}"
        try:
            answer: Any = await self.connection.call(lambda client: client.adapter.get(path))
        except hvac.exceptions.InvalidPath:
            return []
        versions: dict[str, dict[str, Any]] = answer["data"]["versions"]
        live = (number for number, one in versions.items() if not one["destroyed"] and not one["deletion_time"])
        return sorted(int(number) for number in live)

    async def close(self) -> None:
        await self.connection.close()
