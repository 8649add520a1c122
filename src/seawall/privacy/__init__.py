"""privacy: personal data that even the whole database does not give away.

Columns declared `Sealed[…]` (`store.sealed`) are encrypted under keys of their tenant. Here are the keys: the process's
keyring (`Ring`), what keeps it informed, rotation, crypto-shredding, and the gate that looks at the models.
"""

from seawall.privacy.boot import check_columns, check_models
from seawall.privacy.keyring import keyring
from seawall.privacy.operating import TenantKeysRotator, operating
from seawall.privacy.ring import Ring

__all__ = ["Ring", "TenantKeysRotator", "check_columns", "check_models", "keyring", "operating"]
