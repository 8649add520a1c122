"""Errors, in one tree.

    SeawallError
    ├── Refused              the app must not start (or a command must not go on): for the developer
    └── Problem              an answer to the caller: RFC 9457 problem details, nothing else leaves
        │                    (`ApprovalRequired` is a Forbidden that says how to ask)
        ├── BadRequest 400 · NotSignedIn 401 · Forbidden 403 · NotFound 404 · Conflict 409
        ├── TooLarge 413 · WrongContentType 415 · Unprocessable 422 · TooMany 429 · Unavailable 503
        ├── SecondFactorRequired 403    a privileged role wants a second factor, once a session
        ├── StepUpRequired 401      a fresh factor is wanted, RFC 9470
        └── ProofReplayed 401       a DPoP proof was used before, RFC 9449

A `Refused` says *what* happened, *why* it matters and the one-line *fix*. A `Problem` carries a stable `code` and a
short `detail` that is safe to show; the trace id is added at the edge. Neither ever carries rows, policies or personal
data.
"""

from __future__ import annotations

from typing import Any, ClassVar


class SeawallError(Exception):
    """The root of every error that Seawall raises on purpose."""


class Refused(SeawallError):
    """Seawall refuses to start or to go on. For the developer at the terminal, never for a caller.

    Args:
        what: what was found, naming the route, table, policy or setting.
        why: why that matters.
        fix: the one line that mends it.
    """

    def __init__(self, what: str, *, why: str, fix: str) -> None:
        super().__init__(f"{what}\n  why: {why}\n  fix: {fix}")
        self.what = what
        self.why = why
        self.fix = fix


class Problem(SeawallError):
    """An answer that is a refusal. `code` is stable and documented; `detail` is safe to show to anyone."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Something went wrong"
    location: str = ""
    """Where a person's browser goes instead of an error page."""

    def __init__(self, detail: str = "", *, code: str | None = None, extra: dict[str, object] | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.problem_code = code or self.code
        self.extra = extra or {}
        self.headers: dict[str, str] = {}
        self.events: tuple[Any, ...] = ()
        """Audit events (`core.events.Event`) that the wall records with the refusal."""


class BadRequest(Problem):
    status = 400
    code = "bad-request"
    title = "The request is malformed"


class NotSignedIn(Problem):
    status = 401
    code = "not-signed-in"
    title = "Sign in first"


class Forbidden(Problem):
    status = 403
    code = "forbidden"
    title = "You may not do this"


class NotFound(Problem):
    """Also the answer for another tenant's object: its existence is not ours to tell."""

    status = 404
    code = "not-found"
    title = "There is nothing here"


class Conflict(Problem):
    status = 409
    code = "conflict"
    title = "The state has changed"


class TooLarge(Problem):
    status = 413
    code = "too-large"
    title = "The request is too large"


class WrongContentType(Problem):
    status = 415
    code = "wrong-content-type"
    title = "This content type is not accepted here"


class Unprocessable(Problem):
    status = 422
    code = "unprocessable"
    title = "The request does not validate"


class TooMany(Problem):
    status = 429
    code = "too-many"
    title = "Slow down"

    def __init__(self, detail: str = "", *, retry_after_s: int = 30) -> None:
        super().__init__(detail)
        self.headers["Retry-After"] = str(retry_after_s)


class Unavailable(Problem):
    status = 503
    code = "unavailable"
    title = "Temporarily unavailable"


class SecondFactorRequired(Problem):
    """The person holds a privileged role, and this session has proved one factor only (ASVS 6.3.3)."""

    status = 403
    code = "second-factor-required"
    title = "Your role needs a second factor"
    location = "/auth/second-factor"

    def __init__(self) -> None:
        super().__init__("Set up or prove a second factor first.", extra={"second_factor": self.location})


class ProofReplayed(Problem):
    """A DPoP proof works once (RFC 9449 §11.1)."""

    status = 401
    code = "invalid-dpop-proof"
    title = "The proof of possession is not valid"

    def __init__(self) -> None:
        super().__init__("This proof was used before; make a new one for each request.")
        self.headers["WWW-Authenticate"] = 'DPoP error="invalid_dpop_proof", algs="ES256"'


class ApprovalRequired(Forbidden):
    """The action is possible for this person, but only with the approval of somebody else for exactly this.

    The denial carries what is needed to ask for it (AuthZEN's access-request profile); people are sent to a page that
    asks for them.

    Args:
        request_id: names the draft, which the server holds, bound to the person and to the exact action.
        roles: who could approve.
        expires_at: until when it can be asked for, ISO 8601.
    """

    code = "approval-required"
    title = "This needs somebody else's approval"

    def __init__(self, request_id: str, *, roles: list[str], expires_at: str) -> None:
        asked = {
            "endpoint": "/access/requests",
            "template": {"binding_token": request_id, "reason": ""},
            "binding_token": request_id,
            "expires_at": expires_at,
            "roles": roles,
        }
        super().__init__("Somebody else has to approve exactly this first.", extra={"access_request": asked})
        self.location = f"/access/requests/{request_id}"


class StepUpRequired(Problem):
    """The action is possible for this person, but only with a fresh factor bound to exactly this action.

    Answered as an RFC 9470 challenge (`insufficient_user_authentication`) to API clients and as a redirect to the
    approval page to people.

    Args:
        challenge_id: names the pending challenge, which the server holds.
        acr: the authentication context wanted, for `acr_values`.
        max_age_s: how fresh the factor must be, in seconds.
    """

    status = 401
    code = "step-up-required"
    title = "Confirm this with your second factor"

    def __init__(self, challenge_id: str, *, acr: str, max_age_s: int) -> None:
        url = f"/auth/step-up/{challenge_id}"
        super().__init__("This action needs a fresh second factor.", extra={"step_up": url, "challenge": challenge_id})
        self.location = url
        self.headers["WWW-Authenticate"] = (
            'Bearer error="insufficient_user_authentication", '
            'error_description="A fresh second factor is required for this action", '
            f'acr_values="{acr}", max_age="{max_age_s}"'
        )
