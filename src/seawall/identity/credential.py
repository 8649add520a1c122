"""What a browser proves itself with: its session cookie, its device's cookie, and how it looks beside its sign-in."""

from __future__ import annotations

from dataclasses import dataclass, field

import structlog
from starlette.requests import Request

from seawall.core.scope import Passage, Principal, Runtime, SessionToken
from seawall.identity.risk.watch import Watch

SKIPPED_HEADER = "secure-session-skipped"
SKIPPED_REASONS = frozenset({"unreachable", "server_error", "quota_exceeded"})
"""Why a browser sent a request without having refreshed its bound cookie (DBSC §9.6)."""
DEVICE_COOKIE = "__Host-sw_dev"
DEVICE_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"
DEVICE_CLEARED = f"{DEVICE_COOKIE}=; Max-Age=0; {DEVICE_ATTRIBUTES}"

_log = structlog.get_logger("seawall.identity")


@dataclass(frozen=True, slots=True)
class BrowserSession(SessionToken):
    """A `core.scope.Credential`."""

    device_hash: bytes | None = field(repr=False)
    passage: Passage = field(repr=False)
    request: Request = field(repr=False)
    watch: Watch = field(repr=False)

    async def admit(self, runtime: Runtime) -> Principal | None:
        """ONE round trip: the live person behind it, or None.

        A bound cookie that does not hold is taken away from the browser. A bound browser notices that it is gone,
        proves its key and gets another, so no race of answers leaves it stuck; a thief's browser has nothing to
        prove.
        """
        skipped = self.request.headers.get(SKIPPED_HEADER)
        if skipped is not None:
            reason = skipped.partition(";")[0].strip()
            _log.warning("device_proof_skipped", reason=reason if reason in SKIPPED_REASONS else "other")
        principal = await runtime.admit(self.token_hash, self.device_hash)
        if principal is not None:
            return await self.watch.over(principal, self.request)
        if self.device_hash is not None:
            self.passage.extra_cookies.append(DEVICE_CLEARED)
            self.passage.renewable = True
        return None
