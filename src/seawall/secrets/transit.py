"""Keys that never leave the vault: its transit engine, AES-256-GCM with associated data."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any

import hvac
import hvac.exceptions

from seawall.core.vault import KeyDestroyed
from seawall.secrets.connection import Connection, VaultForbids

KEY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,126}[a-z0-9])?")
BATCH_MAX = 500
"""Data keys in one message; more go in several."""


class VaultTransit:
    """`core.vault.Transit` on one mount of the transit engine.

    Args:
        connection: whose identity acts.
        mount: the engine's path; one an app, so that two apps cannot use each other's keys.
    """

    def __init__(self, connection: Connection, mount: str) -> None:
        self._connection = connection
        self._mount = mount

    async def create(self, key: str) -> None:
        # making a key that is there changes nothing
        await self._post(f"keys/{_named(key)}", {"type": "aes256-gcm96", "exportable": False})

    async def wrap(self, key: str, plain: bytes, *, context: bytes) -> str:
        [wrapped] = await self.wrap_all(key, [plain], context=context)
        return wrapped

    async def wrap_all(self, key: str, plain: Sequence[bytes], *, context: bytes) -> list[str]:
        """`wrap` of several at once."""
        items = [{"plaintext": _b64(one), "associated_data": _b64(context)} for one in plain]
        return [str(result["ciphertext"]) for result in await self._batch("encrypt", key, items)]

    async def unwrap(self, key: str, wrapped: Sequence[str], *, context: bytes) -> list[bytes]:
        items = [{"ciphertext": one, "associated_data": _b64(context)} for one in wrapped]
        return [base64.b64decode(result["plaintext"]) for result in await self._batch("decrypt", key, items)]

    async def rotate(self, key: str) -> int:
        await self._post(f"keys/{_named(key)}/rotate", {})
        return int((await self._state(key))["latest_version"])

    async def rewrap(self, key: str, wrapped: Sequence[str], *, context: bytes) -> list[str]:
        # the engine's own `rewrap` cannot open what was bound to associated data (OpenBao 2.7)
        return await self.wrap_all(key, await self.unwrap(key, wrapped, context=context), context=context)

    async def retire(self, key: str, *, oldest_version: int) -> None:
        await self._post(f"keys/{_named(key)}/config", {"min_decryption_version": oldest_version})

    async def destroy(self, key: str) -> None:
        try:
            await self._post(f"keys/{_named(key)}/config", {"deletion_allowed": True})
        except KeyDestroyed:
            return
        await self._connection.call(lambda client: client.adapter.delete(f"/v1/{self._mount}/keys/{key}"))

    async def version(self, key: str) -> int:
        """The newest version of a key.

        Raises:
            KeyDestroyed: there is no such key.
        """
        return int((await self._state(key))["latest_version"])

    async def _state(self, key: str) -> dict[str, Any]:
        path = f"/v1/{self._mount}/keys/{_named(key)}"
        try:
            answer = await self._connection.call(lambda client: client.adapter.get(path))
        except hvac.exceptions.InvalidPath:
            raise KeyDestroyed() from None
        return dict(answer["data"])

    async def _batch(self, verb: str, key: str, items: list[dict[str, str]]) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for start in range(0, len(items), BATCH_MAX):
            part = items[start : start + BATCH_MAX]
            try:
                answer = await self._post(f"{verb}/{_named(key)}", {"batch_input": part})
            except VaultForbids:
                await self._state(key)  # the policy lets nobody encrypt under a key that is not there: then say that
                raise
            results += answer["data"]["batch_results"]
        for result in results:
            if result.get("error"):
                raise ValueError("a wrapped key is not of this key, version and context")
        return results

    async def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        def post(client: hvac.Client) -> Any:
            return client.adapter.post(f"/v1/{self._mount}/{path}", json=body)

        try:
            return dict(await self._connection.call(post) or {})
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.InvalidPath) as error:
            said = " ".join(str(one) for one in error.errors or ())
            if "not found" in said or "no existing key" in said:
                raise KeyDestroyed() from None
            raise ValueError(f"the vault refuses {path.partition('/')[0]}") from None


def _named(key: str) -> str:
    if not KEY_NAME.fullmatch(key):
        raise ValueError("a key's name is lower-case letters, digits, inner dashes and underscores")
    return key


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
