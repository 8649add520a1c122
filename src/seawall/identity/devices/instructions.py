"""What the browser is told: that it may bind this session, and how (DBSC §9)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from starlette.responses import Response

from seawall.core.clock import now_s
from seawall.core.vault import VaultUnavailable
from seawall.identity.credential import DEVICE_ATTRIBUTES, DEVICE_COOKIE
from seawall.identity.devices.challenges import Challenges, for_binding
from seawall.settings import DevicesSection

BIND_PATH = "/auth/device"
REFRESH_PATH = "/auth/device/refresh"
OFFER_LIFETIME_S = 300


class Offer:
    """Offers the binding of a session that has just begun.

    Args:
        section: `identity.devices`; with `binding = false` nothing is offered.
    """

    def __init__(self, section: DevicesSection, challenges: Challenges) -> None:
        self._section = section
        self._challenges = challenges

    def make(self, response: Response, session_id: UUID) -> None:
        """Add the header to the answer that sets the session's cookie. Who does not know it ignores it.

        While the vault is away nothing is offered: the session begins as it would in another browser.
        """
        if self._section.binding:
            try:
                challenge = self._challenges.issue(for_binding(session_id), 0, until_s=now_s() + OFFER_LIFETIME_S)
            except VaultUnavailable:
                return
            offered = f'(ES256 RS256);path="{BIND_PATH}";challenge="{challenge}"'
            response.headers["Secure-Session-Registration"] = offered


def instructions(name: str, origin: str, unbound_paths: tuple[str, ...]) -> dict[str, Any]:
    """The session instructions for one binding; `include_site` is false because `__Host-` cookies know one host.

    Args:
        unbound_paths: addresses under these hold nobody's data. In scope, every asset of a page may cost a signature,
        and
            browsers allow a site six in several minutes.
    """
    host = urlsplit(origin).hostname or ""
    excluded = [{"type": "exclude", "domain": host, "path": path} for path in unbound_paths]
    return {
        "session_identifier": name,
        "refresh_url": REFRESH_PATH,
        "scope": {"origin": origin, "include_site": False, "scope_specification": excluded},
        "credentials": [{"type": "cookie", "name": DEVICE_COOKIE, "attributes": DEVICE_ATTRIBUTES}],
    }
