"""Where an operator's command finds the app's database and vault."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seawall.settings import Settings


@contextlib.contextmanager
def surroundings(settings: Settings, *, passwords: bool = True) -> Iterator[None]:
    """In development, the embedded parts, as the operator; else what settings say.

    Args:
        settings: the app's.
        passwords: whether the database will be needed.
    """
    if settings.secrets.address or settings.production or settings.database.url is not None:
        yield
        return
    from seawall.development.database import development_database
    from seawall.development.vault import development_vault
    from seawall.secrets import OPERATOR

    with (
        development_database(settings, scratch=False) as database,
        development_vault(settings, database, scratch=False) as vault,
    ):
        if passwords:
            asyncio.run(vault.give_passwords(database))  # the server may have another address than when they were given
        os.environ.update(database.environment() | vault.environment(OPERATOR))
        os.environ["SEAWALL_ROOT"] = str(settings.root)
        yield
