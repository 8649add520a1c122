"""Does the filter of a list agree with the decision on each row? On a real database, under row-level security.

One policy runs twice: Cedar decides on an object, and its translation to SQL (`access/sql/`) chooses the rows of a
list. Where the two differ, a list shows what nobody may see, or hides what they may.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from seawall.access.engine import Allow, Engine, Ruling, Verdict
from seawall.access.review.bench import At
from seawall.core.scope import Principal, Transaction
from seawall.store.statements import cached, compiled

How = Literal["listed, but denied", "allowed, but not listed"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One row of which filter and decision say different things."""

    action: str
    model: type[Any]
    how: How
    principal: Principal
    row: Any
    verdict: Verdict

    def __str__(self) -> str:
        values = {key: value for key, value in vars(self.row).items() if not key.startswith("_")}
        held = self.principal.memberships
        return f"{self.action} {self.model.__name__} {self.how}: {self.verdict} {values} {held}"


@dataclass
class Tally:
    """What was compared, and where the two differ."""

    decisions: int = 0
    allowed: int = 0
    mismatches: list[Mismatch] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.decisions += other.decisions
        self.allowed += other.allowed
        self.mismatches += other.mismatches


class Listing:
    """One action on one model, as a list and as decisions."""

    def __init__(self, engine: Engine, model: type[Any], action: str, moment: datetime | None = None) -> None:
        """`moment`: the time that stands still; None is the clock's.

        Raises:
            Refused: when the policies of this action cannot filter a list.
        """
        self.engine, self.model, self.action = engine, model, action
        self.loader = engine.loader(model)
        self.filter = engine.row_filter(model, action)
        self.ruling: Ruling = engine.ruling(model, action)
        if moment is not None:
            context = At(engine.schema.actions[action], self.ruling.slice.mentions.context, moment)
            self.ruling = replace(self.ruling, context=context)

    async def rows(self, transaction: Transaction, identity: Any = None) -> Sequence[Any]:
        """Every row of the tenant, or the one with this identity, with the rows near it."""
        query = self.loader.select()
        if identity is not None:
            query = query.where(self.loader.identity_column == identity)
        statement = compiled(query)
        return await self.loader.fetch(transaction, statement.sql, statement.arguments())

    async def compare(self, transaction: Transaction, principal: Principal, rows: Sequence[Any]) -> Tally:
        """List as this person, decide on these rows as this person, and compare."""
        context = self.ruling.context.build(principal, {}, step_up=False)
        where = self.filter.where(self.engine.known(principal, self.ruling, context))
        query = self.loader.select().where(self.loader.tenant_column == principal.tenant_id, where)
        statement = cached(query)
        key = self.loader.identity_key
        found = await self.loader.fetch(transaction, statement.sql, statement.arguments())
        listed = {getattr(row, key) for row in found}
        verdicts = self.engine.decide_in(context, principal, self.ruling, rows)
        tally = Tally(len(rows), sum(getattr(row, key) in listed for row in rows))
        for row, verdict in zip(rows, verdicts, strict=True):
            if isinstance(verdict, Allow) != (getattr(row, key) in listed):
                how: How = "listed, but denied" if getattr(row, key) in listed else "allowed, but not listed"
                tally.mismatches.append(Mismatch(self.action, self.model, how, principal, row, verdict))
        return tally


async def compare(
    engine: Engine, transaction: Transaction, principal: Principal, model: type[Any], action: str
) -> Tally:
    """List all rows of the tenant as this person, decide on each, and compare, at this moment."""
    listing = Listing(engine, model, action)
    return await listing.compare(transaction, principal, await listing.rows(transaction))
