"""Cross-site request forgery: an unsafe request must prove that it comes from one of our own pages (ASVS 3.5.1–3.5.3).

The proof is what the browser itself says, in headers that no page can set: `Sec-Fetch-Site` (Fetch Metadata) and
`Origin` (RFC 6454 §7). It stands beside SameSite=Strict cookies, not in their place: SameSite knows sites, this knows
origins. No token is needed, so none can be forgotten in a form.
"""

from __future__ import annotations

from collections.abc import Mapping

from seawall.core.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""RFC 9110 §9.2.1, without TRACE, which is not served at all."""


def prove(method: str, headers: Mapping[bytes, bytes], own_origin: bytes) -> None:
    """Return when the request may change state as far as its origin goes.

    - `Sec-Fetch-Site` present: it must be `same-origin`.
    - `Origin` present: it must be ours, byte for byte; `null` is not.
    - Neither present: not a browser of these days. It may go on only without a cookie, because then there is no
      authority of a browser to abuse (API clients, webhooks).

    Raises:
        Forbidden: with code `csrf`.
    """
    if method in SAFE_METHODS:
        return
    site = headers.get(b"sec-fetch-site")
    origin = headers.get(b"origin")
    if site is not None and site != b"same-origin":
        raise refusal()
    if origin is not None and origin != own_origin:
        raise refusal()
    if site is None and origin is None and b"cookie" in headers:
        raise refusal()


def refusal() -> Forbidden:
    """The answer to what comes from elsewhere."""
    return Forbidden("This request did not come from one of this app's own pages.", code="csrf")
