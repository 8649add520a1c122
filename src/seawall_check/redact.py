"""Taking secrets out of evidence. A report is shown to customers; it must hold no session and no password."""

from __future__ import annotations

import re

MARK = "‹redacted›"
ARTIFACT_MAX_CHARS = 8_000
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
        self._known: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def learn(self, *secrets: str) -> None:
        """Never show these strings."""
        new = {secret for secret in secrets if len(secret) >= SECRET_LENGTH_MIN} - self._known
        if new:
            self._known |= new
            self._pattern = None

    def text(self, text: str) -> str:
        if self._pattern is None:  # longest first, so that no secret is left half shown
            self._pattern = re.compile("|".join(map(re.escape, sorted(self._known, key=len, reverse=True))) or r"(?!)")
        text = self._pattern.sub(MARK, text)
        text = _HEADERS.sub(rf"\g<1>{MARK}", text)
        text = _SET_COOKIE.sub(rf"\g<1>{MARK}", text)
        text = _JWT.sub(MARK, text)
        text = _PARAMETERS.sub(rf"\g<1>{MARK}", text)
        return _JSON.sub(rf"\g<1>{MARK}", text)

    def artifact(self, text: str) -> str:
        """Redacted, and cut to a length that a report can carry; the cut is said."""
        clean = self.text(text)
        if len(clean) <= ARTIFACT_MAX_CHARS:
            return clean
        return f"{clean[:ARTIFACT_MAX_CHARS]}\n… cut after {ARTIFACT_MAX_CHARS} of {len(clean)} characters"
