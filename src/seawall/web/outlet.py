"""Outlet: the way of an answer through the wall.

A small state machine around `send`. It waits for the start of the answer, decides with the status whether the request's
changes are kept, and only then lets the first byte go:

    waiting ──(< 400, decided)──> commit ──> open
       │  └──(≥ 400, or a refusal)─> roll back, record refusals ──> open
       └──(undecided, or 5xx not in our words)─> withheld: nothing of it leaves, a problem is sent instead
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from enum import Enum, auto
from typing import Any

import structlog

from seawall.core.errors import Problem
from seawall.core.events import Event
from seawall.core.scope import Passage, Transaction
from seawall.web.headers import sealed

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_LOG = structlog.get_logger("seawall.web")


class Undecided(Problem):
    """Gate C. The caller learns no more than from any other 500; the log says which route."""

    code = "undecided"


class Broken(Problem):
    """An answer of 500 or above that is not in our words, from a handler or a library."""


class _State(Enum):
    WAITING = auto()
    OPEN = auto()
    WITHHELD = auto()
    ABANDONED = auto()


class Outlet:
    """One answer."""

    __slots__ = ("_passage", "_send", "_state", "_withheld", "ended", "status")

    def __init__(self, passage: Passage, send: Send) -> None:
        self._passage = passage
        self._send = send
        self._state = _State.WAITING
        self._withheld: Problem | None = None
        self.ended: Transaction | None = None
        """The transaction that was committed or rolled back here."""
        self.status = 0

    @property
    def started(self) -> bool:
        return self._state is _State.OPEN

    async def send(self, message: Message) -> None:
        """What the app calls. Bodies go on only behind a start that went on."""
        if self._state is _State.OPEN:
            await self._send(message)
        elif self._state is _State.WAITING and message["type"] == "http.response.start":
            await self._start(message)

    async def finish(self) -> None:
        """Call after the app returned.

        Raises:
            Problem: when its answer was withheld or there was none; render it and send it through `renew()`.
        """
        if self._state is _State.WITHHELD and self._withheld is not None:
            raise self._withheld
        if self._state is _State.WAITING:
            raise Broken()

    def renew(self) -> None:
        """Forget a withheld answer, so that a refusal may go out in its place."""
        self._state, self._withheld = _State.WAITING, None

    def abandon(self) -> None:
        """There is nobody to answer any more."""
        self._state = _State.ABANDONED

    async def close(self) -> None:
        """Roll back whatever is still open. Never raises."""
        transaction = self._passage.transaction
        if transaction is None or transaction is self.ended:
            return
        if self._state is _State.OPEN and self.ended is None and self._passage.changes:
            _LOG.error("a transaction begun after the answer was rolled back", trace_id=self._passage.trace_id)
        await self.roll_back()

    async def _start(self, message: Message) -> None:
        passage = self._passage
        status: int = message["status"]
        decision = passage.decision
        refused = status >= 400 or (decision is not None and decision.how == "refusal")
        ours = decision is not None and decision.how == "refusal"
        if status >= 500 and not ours:
            self._withhold(Broken())
            return
        if decision is None and not refused:
            _LOG.error("undecided answer withheld", alert=True, trace_id=passage.trace_id, method=passage.method)
            self._withhold(Undecided())
            return
        if refused:
            if not await self.roll_back():
                self._withhold(Broken())
                return
            await self._record(strict=False)
        else:
            await self._keep()
        self.status = status
        self._state = _State.OPEN
        cacheable = decision is not None and decision.how == "public" and not refused
        headers = sealed(
            message.get("headers", ()),
            nonce=passage.nonce,
            trace_id=passage.trace_id,
            cookies=passage.extra_cookies,
            cacheable=cacheable,
        )
        await self._send({**message, "headers": headers})

    def _withhold(self, problem: Problem) -> None:
        self._state, self._withheld = _State.WITHHELD, problem

    async def _keep(self) -> None:
        """Commit with the events, or write the events alone. Any failure means that the answer does not leave."""
        passage = self._passage
        if passage.transaction is None:
            await self._record(strict=True)
            return
        events, passage.events = passage.events, []
        try:
            await passage.runtime.commit(passage.transaction, events)
        except BaseException:
            passage.events = events
            await self.roll_back()
            raise
        self.ended = passage.transaction

    async def _record(self, *, strict: bool) -> None:
        passage = self._passage
        if not passage.events:
            return
        events, passage.events = passage.events, []
        if not strict:
            # What they tell of was rolled back: an allowed refund that then failed must not read as money given.
            events = [_undone(event) for event in events]
        try:
            await passage.runtime.record_refusals(passage.principal, events)
        except Exception as error:
            _LOG.error("audit events lost", alert=True, count=len(events), trace_id=passage.trace_id, exc_info=error)
            if strict:
                raise

    async def roll_back(self) -> bool:
        """Undo what the request changed. False when no answer of it may leave: under break-glass the events of what it
        read stay, and here they could not be kept.
        """
        passage, transaction = self._passage, self._passage.transaction
        if transaction is None or transaction is self.ended:
            return True
        self.ended = transaction
        try:
            await passage.runtime.rollback(transaction)
        except Exception as error:
            _LOG.error("rollback failed", alert=True, trace_id=passage.trace_id, exc_info=error)
            return passage.principal is None or passage.principal.break_glass is None
        return True


def _undone(event: Event) -> Event:
    """The event of something that was rolled back: its success did not happen."""
    return event.model_copy(update={"outcome": "failure"}) if event.outcome == "success" else event
