"""The way to the vault: hvac in a bounded pool of threads, every call bounded in time, one identity, renewed.

Three traps are closed here:

- A stopped vault still accepts TCP connections, so only a bound on the *answer* notices it; and while it is stopped,
  every request would wait that long. After a call that got no answer, further ones fail at once for a second, then one
  of them tries again.
- `requests` reads proxies, authorities and `.netrc` from the environment, and follows redirects with our token in its
  headers. None of that here.
- An answer of 403 may mean only that the token ran out: we sign in again, once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import hvac
import hvac.exceptions
import requests
import structlog
from requests.adapters import HTTPAdapter

from seawall.core.vault import VaultUnavailable
from seawall.secrets.login import Grant, Login

T = TypeVar("T")

WORKERS = 8
TIMEOUT_DEFAULT_S = 3.0
SILENCE_S = 1.0
"""How long calls fail at once after one that got no answer."""
RENEW_AT = 0.5
"""The part of a token's life after which it is renewed."""
RENEW_RETRY_S = 5.0

_LOG = structlog.get_logger("seawall.secrets")


class VaultForbids(VaultUnavailable):
    """It answers, and does not let this identity do that."""


class Connection:
    """One identity's connection to a vault. Thread-safe; blocking work runs in its own pool.

    Args:
        address: `https://…`; plain http is refused by settings, except on loopback in development.
        login: how this process proves who it is.
        ca_file: the authority that the vault's certificate must come from; the system's when None.
        timeout_s: how long a call may take, waiting for a thread included.
        namespace: of OpenBao or Vault Enterprise.
    """

    def __init__(
        self,
        address: str,
        login: Login,
        *,
        ca_file: Path | None = None,
        timeout_s: float = TIMEOUT_DEFAULT_S,
        namespace: str = "",
    ) -> None:
        self._login = login
        self._timeout_s = timeout_s
        session = requests.Session()
        session.trust_env = False
        session.verify = str(ca_file) if ca_file is not None else True
        session.mount("https://", HTTPAdapter(pool_maxsize=WORKERS))
        # hvac looks for a token in the environment and in the home directory unless it is given one
        self._client = hvac.Client(
            url=address, token="", session=session, timeout=timeout_s, namespace=namespace or None,
            allow_redirects=False,
        )  # fmt: skip
        self._pool: ThreadPoolExecutor | None = None
        self._signing_in = threading.Lock()
        self._grant: Grant | None = None
        self._granted_at = 0.0
        self._silent_until = 0.0

    async def call(self, work: Callable[[hvac.Client], T]) -> T:
        """Run `work` with a signed-in client, in a thread.

        Raises:
            VaultUnavailable: no answer in time, sealed, in error, or it does not let us.
            hvac.exceptions.InvalidRequest, hvac.exceptions.InvalidPath: its 400 and 404, for the caller to read.
        """
        now = time.monotonic()
        if now < self._silent_until:
            raise VaultUnavailable("The vault did not answer a moment ago.")
        if self._silent_until:
            self._silent_until = now + self._timeout_s  # this call tries; others need not wait beside it
        if self._pool is None:
            self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="seawall-vault")
        loop = asyncio.get_running_loop()
        try:
            # twice the bound of one exchange: it may have to sign in first
            done = await asyncio.wait_for(loop.run_in_executor(self._pool, self._work, work), 2 * self._timeout_s)
        except (TimeoutError, requests.RequestException) as error:
            self._silent_until = time.monotonic() + SILENCE_S
            _LOG.warning("vault silent", reason=type(error).__name__)
            raise VaultUnavailable("The vault does not answer.") from None
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.InvalidPath):
            self._silent_until = 0.0
            raise
        except VaultForbids:
            self._silent_until = 0.0
            raise
        except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
            self._silent_until = 0.0
            raise VaultForbids("The vault does not let this app do that.") from None
        except hvac.exceptions.VaultError as error:
            self._silent_until = 0.0
            _LOG.warning("vault refuses", reason=type(error).__name__)
            raise VaultUnavailable("The vault is sealed or in error.") from None
        self._silent_until = 0.0
        return done

    def _work(self, work: Callable[[hvac.Client], T]) -> T:
        used = self._signed_in()
        try:
            return work(self._client)
        except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
            self._forget(used)
            self._signed_in()
            return work(self._client)

    def _signed_in(self) -> Grant:
        with self._signing_in:
            if self._grant is None or time.monotonic() > self._granted_at + self._grant.lifetime_s:
                self._client.token = ""  # hvac would send the old one along
                self._take(self._sign_in(self._client))
            assert self._grant is not None  # noqa: S101 - for the type checker
            return self._grant

    def _sign_in(self, client: hvac.Client) -> Grant:
        try:
            return self._login(client)
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.InvalidPath):
            # a 400 of the sign-in, not of what the caller asked for: they would take it for an answer
            raise VaultForbids("The vault does not know this identity.") from None

    def _take(self, grant: Grant) -> None:
        self._grant, self._granted_at = grant, time.monotonic()
        self._client.token = grant.token

    def _forget(self, used: Grant) -> None:
        with self._signing_in:
            if self._grant is used:  # another thread may have signed in meanwhile
                self._grant, self._client.token = None, ""

    # The lease --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Renews the token in the background for as long as the context lasts, then gives it back."""
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper
            await self.close()

    async def close(self) -> None:
        """Revoke the token and end the threads; another call begins anew. A vault that is away is not waited for longer
        than one call."""
        if self._grant is not None and self._login.revocable:
            with suppress(VaultUnavailable, hvac.exceptions.VaultError):
                await self.call(lambda client: client.auth.token.revoke_self())
        self._grant, self._client.token = None, ""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _keep(self) -> None:
        while True:
            grant = self._grant
            if grant is None:
                await asyncio.sleep(RENEW_RETRY_S)
                continue
            due_s = self._granted_at + grant.lifetime_s * RENEW_AT - time.monotonic()
            if due_s > 0:
                await asyncio.sleep(due_s)
            try:
                await self.call(self._renew)
            except (VaultUnavailable, hvac.exceptions.VaultError):
                await asyncio.sleep(RENEW_RETRY_S)

    def _renew(self, client: hvac.Client) -> None:
        """A longer life for the same token; near the end of the longest one, a new token."""
        with self._signing_in:
            grant = self._grant
            if grant is None:
                return
            if grant.renewable:
                renewed: dict[str, Any] = client.auth.token.renew_self()["auth"]
                lifetime_s = float(renewed["lease_duration"])
                if lifetime_s > grant.lifetime_s * RENEW_AT:
                    self._take(Grant(grant.token, lifetime_s, renewable=bool(renewed["renewable"])))
                    return
            self._take(self._sign_in(client))
