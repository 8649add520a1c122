"""Why a sign-in was refused, as a stable code.

The caller only ever sees one generic page: telling a stranger *which* check failed helps nobody but an attacker. The
code goes into the audit event, where the operator finds it.
"""

from __future__ import annotations

from seawall.core.errors import BadRequest, SeawallError, Unavailable


class SignInRefused(SeawallError):
    """A check of the sign-in did not hold.

    Args:
        reason: a stable code such as `state-mismatch`; recorded, never shown.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class ProviderAway(SignInRefused):
    """The provider does not answer, or says that it cannot: nobody's fault here, and it passes."""


class SignInProblem(BadRequest):
    """The one answer for every refused sign-in."""

    code = "sign-in-refused"
    title = "We could not sign you in"

    def __init__(self) -> None:
        super().__init__("Start again from the sign-in page.")


class ProviderUnavailable(Unavailable):
    """The answer while a provider is away."""

    code = "provider-unavailable"
    title = "The sign-in provider does not answer"

    def __init__(self) -> None:
        super().__init__("Who is signed in stays signed in. Try again in a minute.")
        self.headers["Retry-After"] = "30"
