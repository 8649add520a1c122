"""What the app gets of its secrets, whether there is a vault or not."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from seawall.core.errors import Refused
from seawall.core.master import FixedMaster, MasterSecret
from seawall.core.rotation import Rotator
from seawall.secrets.client import Mounts, VaultClient
from seawall.secrets.connection import Connection
from seawall.secrets.leased import LeasedSecret
from seawall.secrets.login import AppRole, Kubernetes, Login, TokenFile
from seawall.secrets.master import VaultMaster, fixed_secret
from seawall.secrets.passwords import PasswordSource, VaultPasswords
from seawall.secrets.rotators import ContextRotator, MasterRotator, PasswordRotator, Reseal
from seawall.settings import RUNNING_URLS, SecretsSection, Settings
from seawall.store.address import user_of

PROVIDER = "provider-"
"""Before a sign-in provider's name: our client secret there."""
CLIENT = "client-"
"""Before an API client's id: the secret by which it shows that it is that client."""

_LOG = structlog.get_logger("seawall.secrets")


@dataclass(frozen=True)
class Secrets:
    """The app's secrets. Without a vault, `vault` and `passwords` are None and all is as the environment says."""

    master: MasterSecret
    vault: VaultClient | None = None
    passwords: VaultPasswords | None = None
    refresh_s: float = 0.0
    """How long the secret of an API client is kept before the vault is asked again."""

    def password(self, role: str) -> PasswordSource | None:
        """Where the password of a database role comes from, when its URL has none."""
        return self.passwords.source(role) if self.passwords is not None else None

    def provider_secret(self, provider: str, from_settings: str | None) -> LeasedSecret | None:
        """Our client secret at a sign-in provider: asked for at each exchange, so that it can be changed at any time.

        What settings hold is the fallback where there is nothing in the vault. None without a vault: settings are all.
        """
        if self.vault is None:
            return None
        return LeasedSecret(self.vault, PROVIDER + provider, from_settings)

    def client_secret(self, client_id: str, from_settings: str | None) -> LeasedSecret | None:
        """The secret of a confidential API client. Without a vault, settings are all, as above."""
        if self.vault is None:
            return None
        return LeasedSecret(self.vault, CLIENT + client_id, from_settings, keep_s=self.refresh_s, required=True)

    def rotators(self, settings: Settings, reseal: Sequence[Reseal], *, wait: bool) -> list[Rotator]:
        """What can be rotated of the app's own, as the operator.

        Args:
            settings: the app's.
            reseal: each moves a heading's sealed values under a version of the master secret.
            wait: leave what is in use its time.

        Raises:
            Refused: there is no vault.
        """
        vault, passwords, master = self.vault, self.passwords, self.master
        if vault is None or passwords is None or not isinstance(master, VaultMaster):
            raise Refused(
                "there is no vault, so there is nothing to rotate",
                why="secrets of the environment are changed where they are set, and the app is started again",
                fix="set [secrets] address, see docs/guide/secrets.md",
            )
        made: list[Rotator] = [MasterRotator(vault, master, reseal)]
        database = settings.database
        for url in (*(getattr(database, name) for name in RUNNING_URLS), database.migrator_url):
            if url is not None and not has_password(url.get_secret_value()):
                role = user_of(url.get_secret_value())
                made.append(PasswordRotator(passwords, role, url.get_secret_value()))
        if database.migrator_url is not None:
            migrator = database.migrator_url.get_secret_value()
            source = None if has_password(migrator) else passwords.source(user_of(migrator))
            made.append(ContextRotator(migrator, source, wait=wait))
        return made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """For the life of the process: reads the master secret first, keeps it and the vault's token fresh.

        Raises:
            Refused: the vault does not answer, or has none.
        """
        forbid_core_dumps()
        async with AsyncExitStack() as stack:
            if self.vault is not None and isinstance(self.master, VaultMaster):
                await stack.enter_async_context(self.vault.connection.kept())
                await self.master.load()
                await stack.enter_async_context(self.master.kept())
            yield


def include(settings: Settings) -> Secrets:
    """What the settings say. Nothing is asked of the vault yet.

    Raises:
        Refused: production without a vault and without `secret_key`; half a vault.
    """
    section = settings.secrets
    if not section.address:
        return Secrets(FixedMaster(fixed_secret(settings)))
    _report_environment(settings)
    connection = Connection(
        section.address,
        _login(section),
        ca_file=section.ca_file,
        timeout_s=section.timeout_ms / 1000,
        namespace=section.namespace,
    )
    mounts = Mounts(settings.vault_prefix)
    vault = VaultClient(connection, mounts)
    passwords = VaultPasswords(connection, section.database_mount or mounts.database)
    return Secrets(VaultMaster(vault, refresh_s=section.refresh_s), vault, passwords, section.refresh_s)


def _login(section: SecretsSection) -> Login:
    if section.auth == "token-file" and section.credential_file is not None:
        return TokenFile(section.credential_file)
    if section.auth == "kubernetes" and section.role:
        path = section.credential_file or Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
        return Kubernetes(section.role, path, section.auth_mount or "kubernetes")
    if section.auth == "approle" and section.role and section.credential_file is not None:
        return AppRole(section.role, section.credential_file, section.auth_mount or "approle")
    raise Refused(
        f"[secrets] says auth = {section.auth!r} and not as whom",
        why="the app proves to the vault who it is by a role and a file, never by a token in its settings",
        fix="set role and credential_file in [secrets], see docs/guide/secrets.md",
    )


def in_environment(settings: Settings) -> list[str]:
    """Names of settings that hold a secret in the environment although there is a vault."""
    found = [name for name in ("SEAWALL_SECRET_KEY",) if settings.secret_key is not None and os.environ.get(name)]
    urls = ("DATABASE_URL", *(f"SEAWALL_DATABASE__{name.upper()}" for name in RUNNING_URLS))
    found += [name for name in urls if has_password(os.environ.get(name, ""))]
    endings = ("CLIENT_SECRET", "__SECRET")
    return found + sorted(name for name in os.environ if name.startswith("SEAWALL_") and name.endswith(endings))


def has_password(url: str) -> bool:
    """Whether a database URL holds a password."""
    return ":" in url.partition("://")[2].rpartition("@")[0]


def _report_environment(settings: Settings) -> None:
    for name in in_environment(settings):
        _LOG.warning("secret in environment", variable=name, fix="move it into the vault, docs/guide/secrets.md")


def forbid_core_dumps() -> None:
    """A core file is a copy of every key in memory (ASVS 13.3.2)."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
