"""Response headers: what every answer carries, whatever the app says.

Pages get a Content-Security-Policy with a fresh nonce and nothing unsafe in it; every other answer gets one that
forbids everything, because JSON needs no scripts. ASVS 3.4.1–3.4.6, CSP Level 3, Fetch (CORP), HTML (COOP, COEP),
RFC 6797 (HSTS).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

Header = tuple[bytes, bytes]

PAGE_POLICY: Final = (
    "default-src 'none'; "
    "script-src 'nonce-{nonce}'; "
    "style-src 'self' 'nonce-{nonce}'; "
    "img-src 'self' data:; "
    "font-src 'self'; "
    "connect-src 'self'; "
    "manifest-src 'self'; "
    # Chromium applies it to redirects after a POST too, so signing in at another origin is a link, never a form.
    "form-action 'self'; "
    "frame-ancestors 'none'; "
    "base-uri 'none'; "
    "object-src 'none'; "
    "upgrade-insecure-requests"
)
"""The policy of an HTML page. No `strict-dynamic`: a script with the nonce may not bring others along."""

DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
"""The policy of everything else: JSON, files, redirects."""

DENIED_FEATURES: Final = (
    "accelerometer", "autoplay", "camera", "display-capture", "encrypted-media", "fullscreen", "geolocation",
    "gyroscope", "magnetometer", "microphone", "midi", "payment", "picture-in-picture", "screen-wake-lock", "usb",
    "xr-spatial-tracking",
)  # fmt: skip
PERMISSIONS: Final = ", ".join(
    [
        *(f"{feature}=()" for feature in DENIED_FEATURES),
        "publickey-credentials-create=(self)",
        "publickey-credentials-get=(self)",
    ]
)

FIXED: Final[dict[str, str]] = {
    "strict-transport-security": "max-age=63072000; includeSubDomains; preload",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with it Chromium sends `Origin: null` on same-origin form posts, and the CSRF proof is lost.
    "referrer-policy": "same-origin",
    "permissions-policy": PERMISSIONS,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "origin-agent-cluster": "?1",
}
"""Sent on every answer."""

NO_STORE: Final = b"no-store"

_FIXED_PAIRS: Final[tuple[Header, ...]] = tuple((name.encode(), value.encode()) for name, value in FIXED.items())
_DATA_CSP: Final[Header] = (b"content-security-policy", DATA_POLICY.encode())
_CSP_PARTS: Final = PAGE_POLICY.encode().split(b"{nonce}")

_OWNED: Final = frozenset(
    {name.encode() for name in FIXED}
    | {
        b"content-security-policy", b"content-security-policy-report-only", b"server", b"x-powered-by", b"x-trace-id",
        # CORS is deny by default; nothing an app sets by hand widens it.
        b"access-control-allow-origin", b"access-control-allow-credentials", b"access-control-allow-headers",
        b"access-control-allow-methods", b"access-control-expose-headers",
    }
)  # fmt: skip
"""Headers that are the wall's to set; the app's are dropped."""


def sealed(
    app_headers: Iterable[Header], *, nonce: str, trace_id: str, cookies: Iterable[str] = (), cacheable: bool = False
) -> list[Header]:
    """The headers of an answer as they leave: the app's own, then the wall's.

    Args:
        app_headers: as the app sent them; names in any case.
        nonce: this answer's CSP nonce, used on HTML only.
        trace_id: told to the caller, so that a report can be matched with the log.
        cookies: further `Set-Cookie` values.
        cacheable: whether the app may choose `Cache-Control`. Only public answers without cookies may (ASVS 14.3.2);
            all others are `no-store`.
    """
    kept: list[Header] = []
    is_page = False
    cache_control: bytes | None = None
    sets_cookie = False
    for pair in app_headers:
        name = pair[0].lower()
        if name in _OWNED:
            continue
        if name == b"cache-control":
            cache_control = pair[1]
            continue
        if name == b"content-type":
            is_page = pair[1][:9].lower() == b"text/html"
        elif name == b"set-cookie":
            sets_cookie = True
        kept.append(pair)
    for cookie in cookies:
        kept.append((b"set-cookie", cookie.encode("latin-1")))
        sets_cookie = True
    kept.extend(_FIXED_PAIRS)
    kept.append((b"content-security-policy", nonce.encode().join(_CSP_PARTS)) if is_page else _DATA_CSP)
    may_cache = cacheable and not sets_cookie and cache_control is not None
    kept.append((b"cache-control", cache_control if may_cache and cache_control is not None else NO_STORE))
    kept.append((b"x-trace-id", trace_id.encode()))
    return kept
