"""One control's attempts, the evidence they left, and the verdict that follows from it.

    trial.allow("manager refunds $50", response)                     the matching allow: it must succeed
    trial.refuse("courier refunds $50", response)                    counts only after an allow succeeded
    trial.expect("no policy is missing", expected="0 tables", observed=f"{len(bad)} tables", ok=not bad)
    trial.unproven("the app lists no route for couriers")

Verdict, in this order:
    fail      an `expect` or a `refuse` did not hold
    unproven  nothing was tried, or something could not be; an `allow` did not succeed, or a refusal has none before it
    pass      otherwise

A failed *allow* is `unproven` and not `fail`, because a refusal by an app that refuses everybody proves nothing. Where
being allowed is itself the claim, use `expect`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2

from seawall_check.redact import Redactor

Verdict = Literal["pass", "fail", "unproven", "waived"]
Kind = Literal["allow", "refuse", "expect"]
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "unproven", "waived")

REFUSALS: frozenset[int] = frozenset({401, 403, 404})
"""404 because another tenant's object does not exist for you."""
EVIDENCE_MAX = 5_000
TEXT_MAX_CHARS = 600


@dataclass(frozen=True)
class Evidence:
    """One attempt: what was tried, what should happen, what did, and the SHA-256 of the (redacted) artifact."""

    kind: Kind
    attempt: str
    expected: str
    observed: str
    ok: bool
    of: str = ""
    artifact_sha256: str = ""


@dataclass
class Trial:
    """Collects the evidence of one control. Made by `run`; handed to `check`."""

    redactor: Redactor = field(default_factory=Redactor)
    evidence: list[Evidence] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Why the control is unproven."""
    artifacts: dict[str, str] = field(default_factory=dict)
    """SHA-256 → redacted text."""
    _allowed: set[str] = field(default_factory=set)
    _lonely: list[str] = field(default_factory=list)

    def allow(
        self,
        attempt: str,
        observed: Any,
        *,
        ok: bool | None = None,
        expected: str = "allowed (2xx or 3xx)",
        artifact: Any = None,
        of: str = "",
    ) -> bool:
        """Record something that must succeed so that the refusals after it mean something.

        Args:
            observed: an `httpx2.Response`, or text or a value that says what happened.
            ok: whether it succeeded; taken from a response's status when omitted (200–399).
            of: which claim it belongs to; a refusal with the same `of` is matched by it.

        Returns whether it succeeded.
        """
        good = _status(observed, range(200, 400)) if ok is None else ok
        self._add("allow", attempt, expected, observed, good, artifact, of)
        if good:
            self._allowed.add(of)
        return good

    def refuse(
        self,
        attempt: str,
        observed: Any,
        *,
        ok: bool | None = None,
        statuses: Collection[int] = REFUSALS,
        expected: str = "",
        artifact: Any = None,
        of: str = "",
    ) -> bool:
        """Record something that must be refused. It counts only if an `allow` of the same `of` succeeded before.

        Args:
            observed: an `httpx2.Response`, or text or a value.
            ok: whether it was refused; taken from a response's status when omitted.
            statuses: the statuses that are a refusal.

        Returns whether it was refused.
        """
        refused = _status(observed, statuses) if ok is None else ok
        wanted = expected or f"refused ({_words(statuses)})"
        self._add("refuse", attempt, wanted, observed, refused, artifact, of)
        if of not in self._allowed:
            self._lonely.append(attempt)
        return refused

    def expect(
        self, attempt: str, *, expected: str, observed: Any, ok: bool, artifact: Any = None, of: str = ""
    ) -> bool:
        """Record a plain claim. `ok` is whether it holds; it is returned."""
        self._add("expect", attempt, expected, observed, ok, artifact, of)
        return ok

    def unproven(self, why: str) -> None:
        """Say that something could not be tried. The control can then no longer pass."""
        self.reasons.append(self.redactor.text(why))

    @property
    def failures(self) -> list[Evidence]:
        """What did not hold, allows left out."""
        return [one for one in self.evidence if not one.ok and one.kind != "allow"]

    def verdict(self) -> tuple[Verdict, str]:
        """The verdict, and why it is not `pass` (empty when it is)."""
        if self.failures:
            first = self.failures[0]
            more = f" (and {len(self.failures) - 1} more)" if len(self.failures) > 1 else ""
            return "fail", f"{first.attempt}: expected {first.expected}, observed {first.observed}{more}"
        reasons = [*self.reasons]
        reasons += [f"the allow did not succeed: {one.attempt}: {one.observed}" for one in self.evidence if not one.ok]
        reasons += [f"no allow succeeded before this refusal: {attempt}" for attempt in self._lonely]
        if not self.evidence and not reasons:
            reasons.append("nothing was tried")
        if reasons:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            return "unproven", reasons[0] + more
        return "pass", ""

    def _add(  # noqa: PLR0917
        self, kind: Kind, attempt: str, expected: str, observed: Any, ok: bool, artifact: Any, of: str
    ) -> None:
        if len(self.evidence) >= EVIDENCE_MAX and ok:
            return  # bounded; what did not hold is always kept
        source = artifact if artifact is not None else observed
        digest = self._keep(render(source)) if isinstance(source, httpx2.Response) or artifact is not None else ""
        self.evidence.append(
            Evidence(kind, self._short(attempt), self._short(expected), self._short(brief(observed)), ok, of, digest)
        )

    def _keep(self, text: str) -> str:
        clean = self.redactor.artifact(text)
        digest = hashlib.sha256(clean.encode()).hexdigest()
        self.artifacts[digest] = clean
        return digest

    def _short(self, text: str) -> str:
        clean = self.redactor.text(text)
        return clean if len(clean) <= TEXT_MAX_CHARS else f"{clean[:TEXT_MAX_CHARS]}…"


def brief(observed: Any) -> str:
    """What happened in a few words: a response becomes its status and problem code."""
    if not isinstance(observed, httpx2.Response):
        return str(observed)
    words = f"{observed.status_code} {observed.reason_phrase}".strip()
    code = problem_code(observed)
    location = observed.headers.get("location", "")
    return words + (f" ({code})" if code else "") + (f" → {location}" if location else "")


def problem_code(response: httpx2.Response) -> str:
    """The `code` member of RFC 9457 problem details, or an empty string."""
    if "json" not in response.headers.get("content-type", ""):
        return ""
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("code", "")) if isinstance(body, dict) else ""


def render(artifact: Any) -> str:
    """An artifact as text: a response with the request that caused it, else `str`."""
    if not isinstance(artifact, httpx2.Response):
        return str(artifact)
    try:
        request = artifact.request
    except RuntimeError:  # a response made by hand has none
        return _message(f"{artifact.status_code} {artifact.reason_phrase}", artifact.headers, artifact.text)
    try:
        body = request.content.decode("utf-8", "replace")
    except httpx2.RequestNotRead:
        body = "(streamed body)"
    sent = _message(f"{request.method} {request.url}", request.headers, body)
    return sent + "\n\n" + _message(f"{artifact.status_code} {artifact.reason_phrase}", artifact.headers, artifact.text)


def _message(first: str, headers: httpx2.Headers, body: str) -> str:
    lines = [first, *(f"{name}: {value}" for name, value in headers.multi_items())]
    return "\n".join(lines) + (f"\n\n{body}" if body else "")


def _status(observed: Any, statuses: Collection[int]) -> bool:
    if not isinstance(observed, httpx2.Response):
        raise TypeError("say ok=True or ok=False when what was observed is not a response")
    return observed.status_code in statuses


def _words(statuses: Collection[int]) -> str:
    known = [str(status) for status in sorted(statuses)]
    return known[0] if len(known) == 1 else f"{', '.join(known[:-1])} or {known[-1]}"
