"""SQL ≡ Cedar: the app's own policies, as lists and as decisions, on made-up rows of its own tables.

Everything that could be a list is compared: each action whose context Seawall fills by itself, on each model that the
schema knows. A mismatch is made small before it is shown: memberships and values are taken away while the two still
differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol
from uuid import UUID

import sqlalchemy as sa

from seawall.access.engine import Engine
from seawall.access.review.agreement import Listing, Mismatch
from seawall.access.review.bench import NOON
from seawall.access.review.rows import Cell, World
from seawall.access.review.score import Witness
from seawall.core.errors import Refused
from seawall.core.scope import Principal, Tenant, Transaction
from seawall.store.loader import TENANT_KEY, identity_of, near_row
from seawall.store.models import Tenanted
from seawall.store.statements import compiled

DECISIONS = 10_000
SEED = 1
SHOWN_MAX = 10
Step = Callable[[str, int, int], None]


class Owner(Protocol):
    """A superuser's connection to a scratch database, for which neither triggers nor walls count."""

    async def execute(self, sql: str, *args: Any) -> Any: ...


@dataclass(frozen=True)
class Scratch:
    """A database that may be spoiled: with the app's tables, one tenant, and no constraints on their values."""

    tenant_id: UUID
    owner: Owner
    transaction: Callable[[], AbstractAsyncContextManager[Transaction]]
    """As the app reads: its own role, under row-level security, in that tenant."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One action on one type, and how often it was decided."""

    action: str
    type: str
    decisions: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Untried:
    """What could not be compared, and why. `no_list` where the app could not list it either."""

    action: str
    type: str
    why: str
    no_list: bool = False


@dataclass(frozen=True, slots=True)
class Differs:
    """One kind of disagreement: which policies decided, and the smallest person and row that show it."""

    policies: tuple[str, ...]
    witness: Witness


@dataclass(frozen=True)
class Agreement:
    """What came of comparing. `why` says why nothing was; then everything else is empty."""

    why: str = ""
    seed: int = SEED
    compared: tuple[Compared, ...] = ()
    untried: tuple[Untried, ...] = ()
    differs: tuple[Differs, ...] = field(default=())

    @property
    def tried(self) -> bool:
        return not self.why

    @property
    def decisions(self) -> int:
        return sum(one.decisions for one in self.compared)

    @property
    def allowed(self) -> int:
        return sum(one.allowed for one in self.compared)

    def document(self) -> dict[str, Any]:
        """The comparison as JSON has it."""
        return {
            "tried": self.tried,
            "why": self.why,
            "seed": self.seed,
            "decisions": self.decisions,
            "allowed": self.allowed,
            "compared": [asdict(one) for one in self.compared],
            "untried": [asdict(one) for one in self.untried],
            "differs": [asdict(one) for one in self.differs],
        }


def models_of(engine: Engine) -> tuple[type[Any], ...]:
    """The imported models that the schema knows, by name."""
    found = {mapper.class_.__name__: mapper.class_ for mapper in Tenanted.registry.mappers}
    return tuple(found[name] for name in sorted(found) if engine.schema.qualified(name) in engine.schema.entities)


async def differential(
    engine: Engine,
    models: Sequence[type[Any]],
    scratch: Scratch,
    *,
    decisions: int = DECISIONS,
    seed: int = SEED,
    step: Step = lambda *_: None,
) -> Agreement:
    """Compare until so much was decided.

    Args:
        models: those of the app, with their tables in the scratch database.
        decisions: how many rows are decided, at least; all of them together.
        seed: the same seed makes the same rows and people.
    """
    world = World(engine, models, scratch.tenant_id, seed)
    untried = list(await _fill(scratch, world, step))
    listings = list(_listings(engine, world, untried))
    return await _Comparison(scratch, world, listings, step).run(decisions, seed, untried)


async def _fill(scratch: Scratch, world: World, step: Step) -> Sequence[Untried]:
    """Put the rows in. A model of which not one fits is said, never left out in silence."""
    untried: list[Untried] = []
    for number, model in enumerate(world.models, 1):
        fitted, last = 0, ""
        for statement in world.rows(model):
            try:
                await scratch.owner.execute(statement.sql, *statement.arguments())
                fitted += 1
            except Exception as error:
                last = f"{type(error).__name__}: {error}".splitlines()[0]
        if not fitted:
            untried.append(Untried("", model.__name__, f"no made-up row fits its table: {last}"))
        step("made-up rows", number, len(world.models))
    return untried


def _listings(engine: Engine, world: World, untried: list[Untried]) -> Iterator[Listing]:
    empty = {one.type for one in untried}
    for model in world.models:
        for action in sorted(engine.schema.actions):
            if not engine.applies(model, action) or model.__name__ in empty or model is Tenant:
                continue
            try:
                complete = engine.ruling(model, action).context.complete
                why = "" if complete else "it needs a context that rows of a list have not"
                if complete:
                    yield Listing(engine, model, action, NOON)
            except Refused as refused:
                why = refused.what
            if why:
                untried.append(Untried(action, model.__name__, why, no_list=True))


class _Comparison:
    """One run."""

    def __init__(self, scratch: Scratch, world: World, listings: Sequence[Listing], step: Step) -> None:
        self._scratch, self._world, self._listings, self._step = scratch, world, listings, step
        self._counts = {(one.action, one.model.__name__): (0, 0) for one in listings}
        self._found: dict[tuple[str, str, str, tuple[str, ...]], Mismatch] = {}

    async def run(self, decisions: int, seed: int, untried: Sequence[Untried]) -> Agreement:
        done = 0
        while self._listings and done < decisions:
            before = done
            principal = self._world.person()
            async with self._scratch.transaction() as transaction:
                for listing in self._listings:
                    done += await self._compare(listing, transaction, principal)
                    self._step(f"lists and decisions: {listing.action} {listing.model.__name__}", done, decisions)
            if done == before:
                break
        differs = [await self._small(mismatch) for mismatch in list(self._found.values())[:SHOWN_MAX]]
        compared = tuple(Compared(*kind, *counts) for kind, counts in self._counts.items())
        return Agreement("", seed, compared, tuple(untried), tuple(differs))

    async def _compare(self, listing: Listing, transaction: Transaction, principal: Principal) -> int:
        rows = await listing.rows(transaction)
        tally = await listing.compare(transaction, principal, rows)
        kind = (listing.action, listing.model.__name__)
        decided, allowed = self._counts[kind]
        self._counts[kind] = (decided + tally.decisions, allowed + tally.allowed)
        for one in tally.mismatches:
            self._found.setdefault((*kind, one.how, one.verdict.policies), one)
        return tally.decisions

    # Making it small -------------------------------------------------------------------------------------------------

    async def _small(self, mismatch: Mismatch) -> Differs:
        listing = next(o for o in self._listings if (o.action, o.model) == (mismatch.action, mismatch.model))
        person = await self._fewer_roles(listing, mismatch)
        read = listing.ruling.slice.mentions.attributes
        row = mismatch.row
        places = [(row, listing.model, "resource")]
        for keys, near in listing.ruling.resource.near.items():
            before = next(one for one, _, said in places if said == ".".join(("resource", *map(_name, keys[:-1]))))
            at = getattr(before, keys[-1])
            far = None if at is None else near_row(row, keys, near.model, at)
            if far is not None:
                places.append((far, near.model, ".".join(("resource", *map(_name, keys)))))
        said: dict[str, Any] = _said_of(person, self._world)
        for one, model, where in places:
            for cell in self._world.cells.get(model, ()):
                if cell.attribute in read:
                    value = await self._plainer(listing, mismatch, person, (one, model), cell)
                    if value not in (None, [], *cell.values[:1]):
                        said[f"{where}.{cell.attribute}"] = self._named(cell, value, person)
        verdicts = ("deny", "listed") if mismatch.how == "listed, but denied" else ("allow", "not listed")
        witness = Witness(mismatch.action, mismatch.model.__name__, said, *verdicts)
        return Differs(mismatch.verdict.policies, witness)

    async def _fewer_roles(self, listing: Listing, mismatch: Mismatch) -> Principal:
        person = mismatch.principal
        for held in mismatch.principal.memberships:
            fewer = replace(person, memberships=tuple(one for one in person.memberships if one != held))
            if await self._still(listing, mismatch, fewer):
                person = fewer
        plain = replace(person, assurance=replace(person.assurance, aal=1, authenticated_at=NOON))
        return plain if await self._still(listing, mismatch, plain) else person

    async def _plainer(
        self, listing: Listing, mismatch: Mismatch, person: Principal, place: tuple[Any, type[Any]], cell: Cell
    ) -> Any:
        """The plainest value of one column with which the two still differ; it stays so in the table."""
        row, model = place
        value = getattr(row, cell.key)
        simpler: list[Any] = [None] if cell.optional else []
        if not cell.entity:  # which row or person it is says more than which it might be
            simpler += [[]] if cell.many else [*cell.values[:1]]
        for candidate in simpler:
            if candidate == value:
                break
            await self._put(model, row, cell.key, candidate)
            if await self._still(listing, mismatch, person):
                return candidate
            await self._put(model, row, cell.key, value)
        return value

    async def _put(self, model: type[Any], row: Any, key: str, value: Any) -> None:
        mapper = sa.inspect(model)
        columns, own = mapper.column_attrs, identity_of(model)[0]
        statement = compiled(
            sa.update(mapper.local_table)
            .where(columns[TENANT_KEY].columns[0] == row.tenant_id, columns[own].columns[0] == getattr(row, own))
            .values({columns[key].columns[0]: value})
        )
        await self._scratch.owner.execute(statement.sql, *statement.arguments())

    async def _still(self, listing: Listing, mismatch: Mismatch, person: Principal) -> bool:
        identity = getattr(mismatch.row, identity_of(listing.model)[0])
        async with self._scratch.transaction() as transaction:
            tally = await listing.compare(transaction, person, await listing.rows(transaction, identity))
        return any(one.how == mismatch.how for one in tally.mismatches)

    def _named(self, cell: Cell, value: Any, person: Principal) -> Any:
        if isinstance(value, list):
            return [self._named(cell, one, person) for one in value]
        if str(value) == str(person.user_id):
            return "me"
        short = cell.entity.rpartition("::")[2]
        return f"{short}-{cell.values.index(value) + 1}" if short and value in cell.values else value


def _said_of(person: Principal, world: World) -> dict[str, Any]:
    """Who asks, in a witness's words."""
    said: dict[str, Any] = {}
    roles = tuple(sorted({held.role for held in person.memberships}))
    if roles:
        said["roles"] = roles
    for held in person.memberships:
        if held.scope_id is not None:
            ids = next((ids for model, ids in world.ids.items() if model.__name__ == held.scope_type), ())
            said[f"principal.{held.role}_at"] = f"{held.scope_type}-{ids.index(held.scope_id) + 1}"
    if person.assurance.aal > 1:
        said["aal"] = person.assurance.aal
    age_s = int((NOON - person.assurance.authenticated_at).total_seconds())
    return said | ({"age_s": age_s} if age_s else {})


def _name(key: str) -> str:
    return key.removesuffix("_id")
