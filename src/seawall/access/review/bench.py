"""The engine, asked about made-up people and objects: the code that decides in the running app, without its tables.

A `Request` speaks of names (`quayside`, `mina`); `Bench` gives them ids, builds the entities with the same converters
as rows, and lets `Engine` decide. So what is tested is what runs, obligations and errors included.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from seawall.access.context import AUTH, NOW, ContextMap
from seawall.access.engine import Allow, Deny, Engine, Ruling, StepUp, Verdict
from seawall.access.entities import PRINCIPAL, TENANT
from seawall.access.expressions import Est, mentions
from seawall.access.may import READ
from seawall.access.policies import PolicyBook
from seawall.access.reach import concerns
from seawall.access.review.made import MadeMap, Thing, given, identity, instance
from seawall.access.review.near import Path, reached
from seawall.access.schema import ActionType
from seawall.access.values import Unconvertible, converter
from seawall.core.errors import Refused
from seawall.core.scope import Assurance, Membership, Principal

NOON = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
"""The time at which made-up requests happen, unless they say otherwise."""


@dataclass(frozen=True, slots=True)
class Scoped:
    """A role held for one object: `Scoped("manager", "Venue", "quayside")`."""

    role: str
    type: str
    name: str


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks. `roles` hold for the whole tenant, `scoped` for one object each."""

    name: str = "me"
    tenant: str = "home"
    roles: tuple[str, ...] = ()
    scoped: tuple[Scoped, ...] = ()
    aal: int = 1
    age_s: int = 0


@dataclass(frozen=True, slots=True)
class Request:
    """One made-up request: what the engine is asked, by names."""

    person: Person
    action: str
    thing: Thing
    context: Mapping[str, Any] = field(default_factory=dict)
    moment: datetime = NOON


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: `allow`, `deny`, or an obligation such as `step-up` or `needs-approval`."""

    effect: str
    policies: tuple[str, ...] = ()
    reason: str = ""


class At(ContextMap):
    """A context in which the time stands still, so that a limit of 24 hours can be tried to the millisecond."""

    def __init__(self, action: ActionType, read: frozenset[str] | None, moment: datetime) -> None:
        super().__init__(action, read)
        self.moment = moment

    def build(
        self, principal: Principal, extra: Mapping[str, Any], *, step_up: bool, approved: bool = False
    ) -> dict[str, Any]:
        context = super().build(principal, extra, step_up=step_up, approved=approved)
        if NOW in context:
            context[NOW] = converter(self.action.context.attributes[NOW].type)(self.moment)
        if AUTH in context:
            age_s = int((self.moment - principal.assurance.authenticated_at).total_seconds())
            context[AUTH] = {part: age_s if part == "age_s" else value for part, value in context[AUTH].items()}
        return context


class Quiet(Engine):
    """An engine whose errors alert nobody: nothing of what it decides is real."""

    def alert(self, ruling: Ruling, kind: str, policies: tuple[str, ...] = ()) -> None:
        pass


class Bench:
    """Decides made-up requests over one set of policies."""

    def __init__(self, book: PolicyBook, engine: Engine | None = None) -> None:
        """`engine`: another one than Cedar's, over the same schema.

        Raises:
            Refused: as the engine does, for a schema without usable people and tenants.
        """
        self.book = book
        self.engine = engine or Quiet(book)
        self.schema = book.schema
        self._rulings: dict[tuple[str, str, datetime], Ruling] = {}
        self._whole: dict[tuple[str, str, datetime], Ruling] = {}
        self._near: dict[tuple[str, str], Mapping[Path, str]] = {}
        self.actions = book.schema.handle if _looks_at_actions(book) else None
        """The schema, when actions must be known as entities: for groups, or where a condition looks at them."""

    def over(self, book: PolicyBook) -> Bench:
        """The same with other policies over the same schema; what depends on the schema alone is kept."""
        other = copy.copy(self)
        other.book = book
        other.engine = copy.copy(self.engine)
        other.engine.book = book
        other._rulings, other._whole, other._near = {}, {}, {}
        return other

    def knows(self, action: str, type_name: str) -> bool:
        """Whether the schema knows this action of a person on this type (by its short name)."""
        known = self.schema.actions.get(action)
        return (
            known is not None
            and self.schema.qualified(type_name) in known.resources
            and self.engine.people.type_name in known.principals
        )

    def concerned(self, est: Est, action: str, type_name: str) -> bool:
        """Whether a policy can match this kind of request of a person at all."""
        people = self.engine.people.type_name
        return concerns(est, self.schema, action, self.schema.qualified(type_name), people)

    def kinds(self) -> list[tuple[str, str]]:
        """Every action of a person with every type that it acts on, sorted."""
        return sorted(
            (action.name, self.short(resource))
            for action in self.schema.actions.values()
            for resource in action.resources
            if self.engine.people.type_name in action.principals
        )

    def short(self, type_name: str) -> str:
        """`Shop::Order` as `Order`."""
        return type_name.rpartition("::")[2]

    def ruling(self, action: str, type_name: str, moment: datetime = NOON) -> Ruling:
        key = (action, type_name, moment)
        ruling = self._rulings.get(key)
        if ruling is None:
            ruling = self._rulings[key] = self._compile(action, type_name, moment)
        return ruling

    def whole(self, action: str, type_name: str, moment: datetime = NOON) -> Ruling:
        """The same ruling with every attribute of object and context, whether its policies read them or not."""
        key = (action, type_name, moment)
        ruling = self._whole.get(key)
        if ruling is None:
            narrow = self.ruling(*key)
            context = At(self.schema.actions[action], None, moment)
            resource = MadeMap(self.schema, self.schema.qualified(type_name))
            ruling = self._whole[key] = replace(narrow, resource=resource, context=context)
        return ruling

    def _compile(self, action: str, type_name: str, moment: datetime) -> Ruling:
        qualified = self.schema.qualified(type_name)
        slice_ = self.book.slice(action, qualified, self.engine.people.type_name)
        return Ruling(
            action=action,
            slice=slice_,
            resource=MadeMap(self.schema, qualified, slice_.mentions.attributes),
            context=At(self.schema.actions[action], slice_.mentions.context, moment),
            action_uid={"type": self.schema.qualified("Action"), "id": action},
        )

    def near(self, action: str, type_name: str) -> Mapping[Path, str]:
        """The rows beside the object that the policies of an action read: path of attributes → type."""
        key = (action, type_name)
        if key not in self._near:
            chosen = self.ruling(action, type_name).slice.chosen
            self._near[key] = reached(self.schema, self.schema.qualified(type_name), (policy.est for policy in chosen))
        return self._near[key]

    # From names to values ----------------------------------------------------------------------------------------

    def principal(self, request: Request) -> Principal:
        who = request.person
        proven = request.moment - timedelta(seconds=who.age_s)
        return Principal(
            user_id=identity(PRINCIPAL, who.name),
            tenant_id=identity(TENANT, who.tenant),
            session_id=identity("session", who.name),
            memberships=(
                *(Membership(role) for role in who.roles),
                *(Membership(held.role, held.type, identity(held.type, held.name)) for held in who.scoped),
            ),
            assurance=Assurance(who.aal, proven),
            context="",
        )

    def instance(self, thing: Thing) -> Any:
        """An object whose attributes are what a row's would be, with the rows near it."""
        return instance(self.schema, thing)

    def context(self, request: Request, ruling: Ruling) -> dict[str, Any]:
        """The context beside what Seawall fills, in Cedar's JSON form.

        Raises:
            Unconvertible: when a value is not of the type that the schema gives it.
        """
        declared = ruling.context.extra
        return {
            name: converter(declared[name].type)(given(declared[name].type, value))
            for name, value in request.context.items()
            if name in declared and value is not None
        }

    # Decisions ---------------------------------------------------------------------------------------------------

    def outcome(self, request: Request) -> Outcome:
        """What the engine decides. An action or type that the schema does not know is a denial."""
        if not self.knows(request.action, request.thing.type):
            return Outcome("deny", reason="unknown")
        try:
            ruling = self.ruling(request.action, request.thing.type, request.moment)
        except Refused:
            return Outcome("deny", reason="refused")  # a mutant with which the app would not start
        try:
            extra = self.context(request, ruling)
        except Unconvertible:
            return Outcome("deny", reason="evaluation-error")
        return outcome_of(self.engine.decide(self.principal(request), ruling, self.instance(request.thing), extra))

    def visible(self, request: Request) -> bool:
        """Whether the caller may know that the object exists: what tells a 403 from a 404."""
        if request.thing.type == TENANT:
            return True
        if request.action == READ or not self.knows(READ, request.thing.type):
            return False
        return self.outcome(reading(request)).effect == "allow"


def reading(request: Request) -> Request:
    """The same person reading the same object."""
    return Request(request.person, READ, request.thing, moment=request.moment)


def outcome_of(verdict: Verdict) -> Outcome:
    """A verdict as an outcome. An obligation that this module does not know goes by its class's name."""
    if isinstance(verdict, Allow):
        return Outcome("allow", verdict.policies)
    if isinstance(verdict, Deny):
        return Outcome("deny", verdict.policies, verdict.reason)
    if isinstance(verdict, StepUp):
        return Outcome("step-up", verdict.policies)
    return Outcome(re.sub(r"(?<!^)(?=[A-Z])", "-", type(verdict).__name__).lower(), verdict.policies)


def _looks_at_actions(book: PolicyBook) -> bool:
    grouped = any(len(action.groups) > 1 for action in book.schema.actions.values())
    return grouped or mentions([policy.est for policy in book.policies.values()]).action
