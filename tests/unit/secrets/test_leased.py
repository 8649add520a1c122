"""Secrets that somebody outside knows too: leased from the vault, changed while the app runs, never done without."""

from __future__ import annotations

import asyncio
from base64 import b64encode

import pytest

from seawall.core.errors import Refused
from seawall.core.vault import Secret, VaultUnavailable
from seawall.identity.clients.refusals import OAuthError
from seawall.identity.clients.registry import Registry
from seawall.secrets.leased import LeasedSecret
from seawall.settings import ClientSection

FIRST, NEXT, FALLBACK = "a" * 43, "b" * 43, "c" * 43


class Shelf:
    """A vault with one secret, or away."""

    def __init__(self, value: str | None = None) -> None:
        self.value = value
        self.away = False
        self.asked: list[str] = []

    async def read(self, name: str) -> Secret | None:
        self.asked.append(name)
        await asyncio.sleep(0)
        if self.away:
            raise VaultUnavailable
        return None if self.value is None else Secret({"value": self.value})

    def lease(self, name: str, from_settings: str | None) -> LeasedSecret:
        return LeasedSecret(self, f"client-{name}", from_settings, required=True)


async def test_what_is_in_the_vault_comes_first() -> None:
    shelf = Shelf()
    lease = LeasedSecret(shelf, "provider-work", FALLBACK)
    assert await lease() == FALLBACK
    shelf.value = FIRST
    assert await lease() == FIRST
    shelf.value = NEXT
    assert await lease() == NEXT
    shelf.away = True
    assert await lease() == NEXT  # the last one known
    shelf.away, shelf.value = False, None
    assert await lease() == FALLBACK


async def test_many_at_once_are_one_question() -> None:
    shelf = Shelf(FIRST)
    lease = LeasedSecret(shelf, "client-web", None, keep_s=60)
    assert set(await asyncio.gather(*(lease() for _ in range(8)))) == {FIRST}
    shelf.value = NEXT
    assert await lease() == FIRST
    assert shelf.asked == ["client-web"]


async def test_nothing_known_and_the_vault_away() -> None:
    shelf = Shelf(FIRST)
    shelf.away = True
    assert await LeasedSecret(shelf, "provider-work", None)() is None
    required = LeasedSecret(shelf, "client-web", None, required=True)
    with pytest.raises(VaultUnavailable):
        await required()
    shelf.away = False
    assert await required() == FIRST


def basic(secret: str) -> str:
    return "Basic " + b64encode(f"web:{secret}".encode()).decode()


async def test_a_client_shows_what_is_in_the_vault() -> None:
    shelf = Shelf(FIRST)
    registry = Registry({"web": ClientSection(confidential=True)}, shelf.lease)
    assert (await registry.authenticated({}, basic(FIRST))).confidential
    shelf.value = NEXT
    assert (await registry.authenticated({}, basic(NEXT))).id == "web"
    for shown in (basic(FIRST), None):
        with pytest.raises(OAuthError):
            await registry.authenticated({"client_id": "web"}, shown)


@pytest.mark.parametrize("held", [None, "", "short"])
async def test_a_client_without_a_secret_to_show_is_let_in_nowhere(held: str | None) -> None:
    """Least of all as a public one, whatever it sends."""
    registry = Registry({"web": ClientSection(confidential=True)}, Shelf(held).lease)
    for shown in (None, basic(""), basic("short"), basic(FIRST)):
        with pytest.raises(OAuthError) as refused:
            await registry.authenticated({"client_id": "web"}, shown)
        assert refused.value.status == 401


async def test_a_public_client_has_none_whatever_the_vault_holds() -> None:
    shelf = Shelf(FIRST)
    registry = Registry({"cli": ClientSection()}, shelf.lease)
    assert not (await registry.authenticated({"client_id": "cli"}, None)).confidential
    assert shelf.asked == []


def test_confidential_with_no_secret_and_no_vault_does_not_start() -> None:
    with pytest.raises(Refused, match="confidential"):
        Registry({"web": ClientSection(confidential=True)})
