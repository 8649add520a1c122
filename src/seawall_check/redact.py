"""Taking secrets out of evidence. A report is shown to customers; it must hold no session and no password."""

from __future__ import annotations

import re

MARK = "‹redacted›"
ARTIFACT_MAX_CHARS = 8_000
ARTIFACT_READ_CHARS = 32_000
SECRET_LENGTH_MAX = 4_000
"""Of a cookie or a token; what a longer one left at a cut would not be seen."""
SECRET_LENGTH_MIN = 8
"""Shorter strings are not redacted by value: they would blank out ordinary words."""

_HEADERS = re.compile(r"(?im)^((?:authorization|proxy-authorization|cookie|dpop|x-api-key)\s*:\s*)(.+)$")
_SET_COOKIE = re.compile(r"(?im)^(set-cookie\s*:\s*[^=;\s]+=)([^;\r\n]*)")
_JWT = re.compile(r"\beyJ[\w-]{5,}\.[\w-]{5,}\.?[\w-]*")
_PARAMETERS = re.compile(
    r"(?i)((?:[?&;]|\b)(?:code|state|nonce|code_verifier|code_challenge|password|client_secret|access_token|id_token"
    r"|refresh_token|secret)=)([^&\s\"'<>;]+)"
)
_JSON = re.compile(
    r'(?i)("(?:password|secret|client_secret|access_token|id_token|refresh_token|code_verifier|otpauth_uri)"\s*:\s*")'
    r'((?:[^"\\]|\\.)*)'
)


class Redactor:
    """Redacts by shape (cookies, tokens, passwords) and by value (secrets that the judge itself handles)."""

    def __init__(self) -> None:
        self._known: list[str] = []

    def learn(self, *secrets: str) -> None:
        """Never show these strings."""
        new = {secret for secret in secrets if len(secret) >= SECRET_LENGTH_MIN} - set(self._known)
        if new:  # longest first, so that no secret is left half shown
            self._known = sorted([*self._known, *new], key=len, reverse=True)

    def text(self, text: str) -> str:
        # One search for each, and not one pattern of all: a check learns a thousand, one at a time, and compiling that
        # pattern anew after each took more than everything else it did.
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, MARK)
        text = _HEADERS.sub(rf"\g<1>{MARK}", text)
        text = _SET_COOKIE.sub(rf"\g<1>{MARK}", text)
        text = _JWT.sub(MARK, text)
        text = _PARAMETERS.sub(rf"\g<1>{MARK}", text)
        return _JSON.sub(rf"\g<1>{MARK}", text)

    def artifact(self, text: str) -> str:
        """Redacted, and cut to a length that a report can carry; the cut is said."""
        clean, shown = self.text(text[:ARTIFACT_READ_CHARS]), ARTIFACT_MAX_CHARS
        if len(text) > ARTIFACT_READ_CHARS:  # at the end of what was read may be half a secret, which nothing knows
            shown = min(shown, max(len(clean) - SECRET_LENGTH_MAX, 0))
        elif len(clean) <= shown:
            return clean
        return f"{clean[:shown]}\n… cut after {shown} of {len(text)} characters"
