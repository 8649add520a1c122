"""privacy: personal data that even the whole database does not give away.

Columns declared `Sealed[…]` (`store.sealed`) are encrypted under keys of their tenant. Here are the keys: the process's
keyring (`Ring`), what keeps it informed, rotation, crypto-shredding, and the gate that looks at the models. And what a
person can ask for: a copy (`subjects`, `pages`), to be forgotten, to be known elsewhere by another name (`pseudonyms`).
"""

from pathlib import Path

from fastapi import FastAPI

from seawall.privacy.boot import check_columns, check_models
from seawall.privacy.keyring import keyring
from seawall.privacy.operating import Operating, TenantKeysRotator, operating
from seawall.privacy.pages import PrivacyRoutes
from seawall.privacy.pseudonyms import pseudonym, subject_of
from seawall.privacy.ring import Ring

__all__ = [
    "TEMPLATES",
    "Operating",
    "Ring",
    "TenantKeysRotator",
    "check_columns",
    "check_models",
    "include",
    "keyring",
    "operating",
    "pseudonym",
    "subject_of",
]

TEMPLATES = Path(__file__).parent / "templates"


def include(app: FastAPI) -> None:
    """Add the routes where people ask for a copy of their data, and to be forgotten."""
    app.include_router(PrivacyRoutes().router)
