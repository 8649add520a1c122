"""Refusals of the API clients' endpoints: RFC 6749 errors to clients, problems to callers of the API and to people."""

from __future__ import annotations

from typing import ClassVar

from seawall.core.errors import BadRequest, Forbidden, Problem, SeawallError

ALGORITHM = "ES256"
"""The one algorithm of tokens and proofs (RFC 8725 §3.1: no negotiation, no confusion)."""


class OAuthError(SeawallError):
    """An error answer of RFC 6749 §5.2; also sent back to the client's redirect address where §4.1.2.1 says so.

    Args:
        error: the registered code, such as `invalid_grant`.
        description: one safe sentence for the client's developer.
        status: 400, or 401 when the client failed to authenticate.
        headers: such as `DPoP-Nonce`.
    """

    def __init__(
        self, error: str, description: str, *, status: int = 400, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(error)
        self.error = error
        self.description = description
        self.status = status
        self.headers = headers or {}


class BadAuthorization(BadRequest):
    """The client or its redirect address is not known, so nobody is redirected (RFC 6749 §4.1.2.1)."""

    code = "authorization-refused"
    title = "This request to let an app in is not valid"


class AmbiguousCredentials(BadRequest):
    """A cookie and a token in one request: two people, perhaps, and no rule which of them acts."""

    code = "ambiguous-credentials"
    title = "The request carries two credentials"


class PersonOnly(Forbidden):
    """Signing in, factors, approvals and consent are the person's: a token that could do them would be the account."""

    code = "person-only"
    title = "Only a person in a browser can do this"


class RecentSignInRequired(Problem):
    """Signed in, but too long ago to let an app in: a stolen cookie must not become a grant that outlives it."""

    status: ClassVar[int] = 401
    code: ClassVar[str] = "recent-sign-in-required"
    title: ClassVar[str] = "Sign in again first"


class TokenRefused(Problem):
    """The one answer to an access token that does not count, whatever is wrong with it (ASVS 9.1)."""

    status: ClassVar[int] = 401
    code: ClassVar[str] = "invalid-token"
    title: ClassVar[str] = "The access token is not valid"

    def __init__(self, detail: str = "Get a new one with the refresh token, or ask the person again.") -> None:
        super().__init__(detail)
        self.headers["WWW-Authenticate"] = f'DPoP error="invalid_token", algs="{ALGORITHM}"'


class ProofRefused(Problem):
    """The DPoP proof is missing or not right (RFC 9449 §7.1)."""

    status: ClassVar[int] = 401
    code: ClassVar[str] = "invalid-dpop-proof"
    title: ClassVar[str] = "The proof of possession is not valid"

    def __init__(self, detail: str, *, nonce: str = "") -> None:
        super().__init__(detail, code="use-dpop-nonce" if nonce else None)
        error = "use_dpop_nonce" if nonce else "invalid_dpop_proof"
        self.headers["WWW-Authenticate"] = f'DPoP error="{error}", error_description="{detail}", algs="{ALGORITHM}"'
        if nonce:
            self.headers["DPoP-Nonce"] = nonce
        self.nonce = nonce

    def for_token_endpoint(self) -> OAuthError:
        """The same in the words of RFC 9449 §5 and §8."""
        error = "use_dpop_nonce" if self.nonce else "invalid_dpop_proof"
        return OAuthError(error, self.detail, headers={"DPoP-Nonce": self.nonce} if self.nonce else None)
