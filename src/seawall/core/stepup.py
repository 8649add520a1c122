"""Step-up: an approval bound to exactly one action, resource and set of parameters, usable once.

A $101 approval cannot buy $900, because both the challenge and its use name the SHA-256 of the same canonical intent
(ASVS 7.5.3, RFC 9470; the hash-binding follows PSD2's dynamic linking).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import orjson

from seawall.core.errors import StepUpRequired
from seawall.core.scope import Principal, Transaction


@dataclass(frozen=True)
class Resume:
    """How a person's browser repeats the request once it is approved: a same-origin form."""

    path: str
    fields: dict[str, str]
    method: str = "post"


@dataclass(frozen=True)
class Intent:
    """What exactly is to be approved.

    Args:
        action: the Cedar action, such as `refund`.
        resource: the entity, such as `Order::"0198…"`.
        params: every parameter that the caller chose; JSON values.
        summary: one sentence for the person, rendered by the server from the same values.
        resume: set for browser forms only; not part of the digest.
    """

    action: str
    resource: str
    params: dict[str, Any] = field(default_factory=dict)
    summary: str = ""
    resume: Resume | None = None

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the canonical JSON (sorted keys, UTF-8, no spaces) of action, resource and params."""
        canonical = orjson.dumps([self.action, self.resource, self.params], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).digest()

    @cached_property
    def seen_digest(self) -> bytes:
        """SHA-256 over the digest and the sentence: who approves for somebody else approves what they read, so when the
        server would say something else by now (another price, another rest), it is no longer that.
        """
        return hashlib.sha256(self.digest + self.summary.encode()).digest()


class StepUps(Protocol):
    """Where approvals are kept. Implemented by `identity`, used by `access`."""

    async def consume(self, transaction: Transaction, intent: Intent) -> str | None:
        """Use up the caller's live approval of exactly this intent, inside the business transaction.

        Returns the approval's id, or None. A rollback gives it back; of two concurrent uses one gets None.
        """
        ...

    async def challenge(self, principal: Principal, intent: Intent, *, acr: str, max_age_s: int) -> StepUpRequired:
        """Record a pending challenge for the caller's session and give the error to raise."""
        ...
