"""A request for somebody else's approval, as its row says it: what is asked for is sealed, who and when is not."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import structlog

from seawall.core.clock import now
from seawall.core.master import MasterSecret
from seawall.core.vault import VaultUnavailable
from seawall.store.sealed_requests import Owner, RequestBroken, RequestCell

TABLE = "seawall.approval_requests"
UNREADABLE = "This cannot be read any more."

State = Literal["draft", "waiting", "approved", "refused", "withdrawn", "used", "expired"]

_log = structlog.get_logger("seawall.access")


@dataclass(frozen=True, slots=True)
class Request:
    """A row of `seawall.approval_requests`, with the names of its people."""

    id: UUID
    tenant_id: UUID
    requester_id: UUID
    requester: str
    digest: bytes
    action: str
    resource: str
    summary: str
    roles: tuple[str, ...]
    lifetime_s: int
    created_at: datetime
    asked_at: datetime | None
    reason: str | None
    expires_at: datetime
    decision: str | None
    decided_by: UUID | None
    decider: str | None
    decided_at: datetime | None
    decision_reason: str | None
    consumed_at: datetime | None
    params: dict[str, Any] | None = None
    """What exactly is asked for; None when it is settled or swept, for then nobody needs it."""
    resume: dict[str, Any] | None = None
    """How the requester's browser does it once it is approved; gone like `params`."""

    @property
    def state(self) -> State:
        if self.consumed_at is not None:
            return "used"
        if self.decision in ("refused", "withdrawn"):
            return self.decision  # type: ignore[return-value]  # narrowed by the tuple
        if self.expires_at <= now():
            return "expired"
        if self.asked_at is None:
            return "draft"
        return "approved" if self.decision == "approved" else "waiting"

    @property
    def open(self) -> bool:
        """Whether it can still be decided, withdrawn or used."""
        return self.state in ("waiting", "approved")

    @property
    def owner(self) -> Owner:
        """What its sealed values are bound to."""
        return self.tenant_id, self.id, self.digest


_TEXTS = ("summary", "reason", "decision_reason")
_BODY = ("params", "resume")
COLUMNS = ", ".join(
    {"requester": "u.name AS requester", "decider": "d.name AS decider"}.get(field.name, f"r.{field.name}")
    for field in fields(Request)
    if field.name not in _BODY
)
COLUMNS += ", r.body"
FROM = f"FROM {TABLE} r JOIN seawall.users u ON u.id = r.requester_id LEFT JOIN seawall.users d ON d.id = r.decided_by"


class Cells:
    """What of a request is sealed."""

    def __init__(self, master: MasterSecret) -> None:
        self.body = RequestCell(master, TABLE, "body")
        self.summary = RequestCell(master, TABLE, "summary")
        self.reason = RequestCell(master, TABLE, "reason")
        self.decision_reason = RequestCell(master, TABLE, "decision_reason")
        self.all = (self.body, self.summary, self.reason, self.decision_reason)

    def opened(self, row: Any) -> Request:
        """The request of a row.

        Raises:
            RequestBroken: something of it does not open. VaultUnavailable: it is under a key not yet seen.
        """
        asked, body = _sealed(row)
        texts = {name: getattr(asked, name) for name in _TEXTS}
        opened = {
            name: getattr(self, name).open(sealed, asked.owner) for name, sealed in texts.items() if sealed is not None
        }
        return replace(asked, **opened, **({} if body is None else self.body.open(body, asked.owner)))

    def listed(self, row: Any) -> Request:
        """The same among others: one that does not open says so, and hides none of the rest."""
        try:
            return self.opened(row)
        except (RequestBroken, VaultUnavailable) as why:
            asked = _sealed(row)[0]
            _log.error("request-unreadable", alert=True, request=str(asked.id), reason=why.problem_code)
            return replace(asked, summary=UNREADABLE, reason="", decision_reason="")


def _sealed(row: Any) -> tuple[Request, bytes | None]:
    """The request with its texts still sealed, and its sealed body."""
    values = dict(row)
    body = values.pop("body")
    return Request(**{**values, "roles": tuple(values["roles"])}), body
