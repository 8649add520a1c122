"""What an operator's command says when it is not told where to work."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from seawall.core.errors import Refused
from seawall.privacy.operating import operating
from seawall.settings import DatabaseSection

URLS = {
    f"{role}_url": SecretStr(f"postgresql://seawall_{role}@db/shop") for role in ("migrator", "dispatcher", "worker")
}


@pytest.mark.parametrize("missing", sorted(URLS))
async def test_a_url_that_is_missing_is_named(missing: str) -> None:
    database = DatabaseSection(**{name: url for name, url in URLS.items() if name != missing})
    with pytest.raises(Refused) as refused:
        async with operating(database, None, password=lambda _: None, models=()):
            raise AssertionError
    assert f"is not set: SEAWALL_DATABASE__{missing.upper()}\n" in str(refused.value)
