"""secrets: keys and passwords of the app, in OpenBao or HashiCorp Vault.

embedded      the vault of development, and `provision`, an app's place in it
connection    threads, bounds, one identity (`login`), renewed
client        secrets with versions; `transit` is keys that never leave the vault
"""

from seawall.secrets.client import Mounts, VaultClient
from seawall.secrets.connection import Connection
from seawall.secrets.embedded import EmbeddedVault
from seawall.secrets.login import AppRole, Kubernetes, TokenFile
from seawall.secrets.provision import APP, OPERATOR, Provisioner

__all__ = [
    "APP",
    "OPERATOR",
    "AppRole",
    "Connection",
    "EmbeddedVault",
    "Kubernetes",
    "Mounts",
    "Provisioner",
    "TokenFile",
    "VaultClient",
]
