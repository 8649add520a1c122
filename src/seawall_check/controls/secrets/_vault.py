"""Talking to the app's vault as its app or its operator, and the app's real secrets: what must be nowhere else."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from seawall_check.document import VaultIdentity
from seawall_check.errors import Unproven
from seawall_check.target import Target, authority

TIMEOUT_S = 10.0
WRAPPED = "wrapped:"
WAIT_S = 15.0
"""How long the app may take to open the wrapping of its secret id."""


@dataclass
class VaultAs:
    """The vault as one identity."""

    client: httpx2.AsyncClient
    lease_s: int
    renewable: bool

    async def call(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        return await self.client.request(method, f"/v1/{path}", json=body)

    async def data(self, path: str) -> dict[str, Any]:
        """The data of something that can be read. Raises Unproven when it cannot."""
        response = await self.call("GET", path)
        if response.status_code != 200:
            raise Unproven(f"the vault answers {response.status_code} for {path}")
        return dict(response.json()["data"])


@asynccontextmanager
async def vault_as(target: Target, identity: VaultIdentity | None) -> AsyncIterator[VaultAs]:
    """Signed in as that identity; None for nobody. Raises Unproven when that does not work."""
    places = target.secrets
    async with httpx2.AsyncClient(
        base_url=places.address, verify=authority(places.ca_file), timeout=TIMEOUT_S, trust_env=False
    ) as client:
        if identity is None:
            yield VaultAs(client, 0, False)
            return
        secret_id = secret_id_of(identity)
        target.redactor.learn(secret_id)
        answer = await client.post("/v1/auth/approle/login", json={"role_id": identity.role_id, "secret_id": secret_id})
        if answer.status_code != 200:
            raise Unproven(f"the vault does not let {identity.role_id[:8]}… in: {answer.status_code}")
        auth = answer.json()["auth"]
        target.redactor.learn(auth["client_token"])
        client.headers["X-Vault-Token"] = auth["client_token"]
        try:
            yield VaultAs(client, int(auth["lease_duration"]), bool(auth["renewable"]))
        finally:
            await client.post("/v1/auth/token/revoke-self")


def secret_id_of(identity: VaultIdentity) -> str:
    """What its file holds. The app opens a wrapped one when it signs in first, which may be a moment away."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            text = identity.secret_id_file.read_text().strip()
        except OSError as error:
            raise Unproven(f"the secret id cannot be read: {type(error).__name__}") from None
        if not text.startswith(WRAPPED) or time.monotonic() > deadline:
            return text
        time.sleep(0.1)


def is_private(path: Path) -> bool:
    """Whether only its owner may read it."""
    return not stat.S_IMODE(path.stat().st_mode) & 0o077


@dataclass
class RealSecrets:
    """The app's secrets as the vault has them: name → value. Never shown."""

    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def of(cls, target: Target) -> RealSecrets:
        """Read as the operator; the report will not show them."""
        places, found = target.secrets, {}
        async with vault_as(target, places.operator) as operator:
            master = await operator.data(f"{places.kv}/data/{places.master}")
            found["the master secret"] = "".join(map(str, master["data"].values()))
            for role in places.roles:
                found[f"the password of {role}"] = str(
                    (await operator.data(f"{places.database}/static-creds/{role}"))["password"]
                )
        found["the app's secret id"] = secret_id_of(places.app)
        found["the operator's secret id"] = secret_id_of(places.operator)
        target.redactor.learn(*found.values())
        return cls(found)

    def within(self, text: str) -> list[str]:
        """Names of those that a text holds."""
        return [name for name, value in self.values.items() if value and value in text]


FILE_MAX_BYTES = 4 * 1024 * 1024
FILES_MAX = 20_000
SKIPPED = {".git", ".venv", "__pycache__", "node_modules"}


def files_of(root: Path) -> list[Path]:
    """The regular files of a source tree, hidden ones included. State of development is a link or a folder named
    `.seawall`; its vault's own folder is where secrets belong, and left out by who asks."""
    found: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED]
        found += [Path(folder, name) for name in names if len(found) < FILES_MAX]
    return [path for path in found if path.is_file() and path.stat().st_size <= FILE_MAX_BYTES]


def process_text(pid: int, what: str) -> str:
    """`environ` or `cmdline` of a process. Raises Unproven where there is no /proc or it is not ours."""
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes().decode("utf-8", "replace").replace("\0", "\n")
    except OSError as error:
        raise Unproven(f"/proc/{pid}/{what} cannot be read: {type(error).__name__}") from None
