"""secrets: keys and passwords of the app, in OpenBao or HashiCorp Vault.

    heading       what the app gets, with a vault or without
    connection    threads, bounds, one identity (`login`), renewed
    client        secrets with versions; `transit` is keys that never leave the vault
    master        the app's master secret in versions; `passwords` of the database's roles
    leased        one secret that somebody outside knows too
    rotation      `seawall rotate`, its journal, and what it can renew (`rotators`)
    embedded      the vault of development, and `provision`, an app's place in it

Start at `heading.include`.
"""

from seawall.secrets.client import Mounts, VaultClient
from seawall.secrets.connection import Connection
from seawall.secrets.embedded import EmbeddedVault
from seawall.secrets.heading import CLIENT, Secrets, include
from seawall.secrets.leased import GIVEN
from seawall.secrets.login import AppRole, Kubernetes, TokenFile
from seawall.secrets.provision import APP, OPERATOR, Provisioner, policy_document
from seawall.secrets.rotation import Rotation

__all__ = [
    "APP",
    "CLIENT",
    "GIVEN",
    "OPERATOR",
    "AppRole",
    "Connection",
    "EmbeddedVault",
    "Kubernetes",
    "Mounts",
    "Provisioner",
    "Rotation",
    "Secrets",
    "TokenFile",
    "VaultClient",
    "include",
    "policy_document",
]
