"""Where a secret that is shared with somebody outside comes from: a provider's, or an API client's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import SecretStr

SecretSource = Callable[[], Awaitable[str | None]]
"""Asked each time that the secret is needed: it may have been changed. None: there is none now."""
Leases = Callable[[str, str | None], SecretSource | None]
"""From a name and what settings hold: how the vault is asked. None where there is no vault."""


def no_vault(_name: str, _from_settings: str | None) -> SecretSource | None:
    """Settings are all there is."""
    return None


def source_of(leases: Leases, name: str, from_settings: SecretStr | None) -> SecretSource | None:
    """Where a secret comes from; None when there can be none."""
    value = None if from_settings is None else from_settings.get_secret_value()

    async def as_set() -> str | None:
        return value

    return leases(name, value) or (None if value is None else as_set)
