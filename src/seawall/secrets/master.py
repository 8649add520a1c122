"""The app's master secret, kept in the vault in versions and in memory by every process of the app.

How a new version comes into use without any process being stopped, and without processes talking to each other:

- every process reads the versions anew each `refresh_s`;
- a version that appears is used for *opening* at once, and for *sealing* only two refreshes later, when every healthy
  process has seen it;
- a process that has not reached the vault for three refreshes does not seal at all (503 `vault-unavailable`): it can no
  longer know which version is the newest. It goes on opening what it has keys for.

So five refreshes after a version was made, nobody seals under an older one: `SETTLES_AFTER` is what a rotation waits.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from seawall.core.errors import Refused
from seawall.core.vault import VaultUnavailable
from seawall.secrets.client import VaultClient
from seawall.settings import Settings
from seawall.store.private import private_file

MASTER = "master"
VALUE = "value"
KEY_FILE = "secret.key"
SEALS_AFTER, STALE_AFTER = 2, 3
SETTLES_AFTER = SEALS_AFTER + STALE_AFTER
"""In refreshes."""

_LOG = structlog.get_logger("seawall.secrets")


class VaultMaster:
    """`core.master.MasterSecret` from the vault.

    Args:
        vault: as the app.
        refresh_s: how often the versions are read anew.
    """

    def __init__(self, vault: VaultClient, *, refresh_s: float) -> None:
        self._vault = vault
        self.refresh_s = refresh_s
        self._secrets: dict[int, str] = {}
        self._usable_at: dict[int, float] = {}
        self._read_at = float("-inf")

    def current(self) -> tuple[int, str]:
        now = time.monotonic()
        if now - self._read_at > STALE_AFTER * self.refresh_s:
            raise VaultUnavailable("The key to seal with has not been confirmed for a while.")
        usable = [number for number, at in self._usable_at.items() if at <= now]
        newest = max(usable or self._secrets)
        return newest, self._secrets[newest]

    def version(self, number: int) -> str | None:
        if number > max(self._secrets, default=0):
            raise VaultUnavailable("This process has not seen that key yet.")
        return self._secrets.get(number)

    async def load(self) -> None:
        """Read the versions for the first time.

        Raises:
            Refused: the vault does not answer, or has none.
        """
        try:
            await self.refresh()
        except VaultUnavailable as error:
            raise Refused(
                f"the vault does not answer: {error}",
                why="the app's keys and passwords are there, and nothing is stored without them",
                fix="start or unseal it, check [secrets] address, role and credential_file, then start again",
            ) from None
        if not self._secrets:
            raise Refused(
                f"the vault has no secret {MASTER!r} for this app",
                why="second factors and keys are sealed with it",
                fix="run `seawall vault init` once, as the operator",
            )

    async def refresh(self) -> None:
        """Read the versions anew.

        Raises:
            VaultUnavailable: what is known stays.
        """
        asked_at = time.monotonic()
        live = await self._vault.versions(MASTER)
        found = dict(self._secrets)
        for number in live:
            if number not in found:
                secret = await self._vault.read(MASTER, version=number)
                if secret is not None:
                    found[number] = secret.values[VALUE]
        if self._secrets and not live:
            raise VaultUnavailable("The vault has lost the master secret.")  # never take that for "all are retired"
        first = not self._secrets
        # of several at the start, the newest may be seconds old and unknown to others yet
        settled = min(live) if first and live else 0
        for number in live:
            if number not in self._usable_at:
                wait_s = 0.0 if number == settled else SEALS_AFTER * self.refresh_s
                self._usable_at[number] = asked_at + wait_s
        self._secrets = {number: found[number] for number in live if number in found}
        self._usable_at = {number: at for number, at in self._usable_at.items() if number in self._secrets}
        self._read_at = asked_at

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Reads the versions anew in the background for as long as the context lasts."""
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self.refresh_s)
            try:
                await self.refresh()
            except VaultUnavailable:
                continue  # the connection has said so in the log; sealing stops by itself
            except Exception as error:
                _LOG.error("master refresh failed", exc_info=error)


def new_master() -> Mapping[str, str]:
    """A fresh version."""
    return {VALUE: secrets.token_urlsafe(32)}


def key_file(settings: Settings) -> Path:
    """Where development without a vault keeps its master secret."""
    return settings.state_directory / KEY_FILE


def fixed_secret(settings: Settings) -> str:
    """Without a vault: `secret_key`, or in development a key file (mode 0600), made at first use.

    Raises:
        Refused: in production without either, or when others may read the key file.
    """
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    if settings.production:
        raise Refused(
            "there is neither a vault nor secret_key",
            why="second factors and keys are sealed with the app's master secret",
            fix="set [secrets] address, or SEAWALL_SECRET_KEY, see docs/guide/secrets.md",
        )
    return private_file(key_file(settings), lambda: secrets.token_urlsafe(32))
