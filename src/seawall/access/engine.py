"""The decision: Cedar, with everything that could go wrong meaning no.

Cedar skips a policy that errs, a forbid too, and then allows. So an error anywhere is a denial here, and an alert; its
text is never logged, because it quotes the entities (ASVS 16.2.5).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import structlog
from cedarpy import _internal as cedar

from seawall.access.context import ContextMap
from seawall.access.entities import NearMap, People, ResourceMap, resource_map, tenant_map
from seawall.access.obligations import ApprovalObligation, StepUpObligation, joint, strictest
from seawall.access.policies import PolicyBook, Slice
from seawall.access.relations import Relations
from seawall.access.sql import RowFilter
from seawall.access.sql.known import Env, decoded
from seawall.core.errors import Refused
from seawall.core.scope import Principal, Tenant
from seawall.store.loader import Loader

log = structlog.get_logger("seawall.access")

Reason = Literal["no-permit", "forbidden", "evaluation-error", "unknown-obligation", "approver"]
_NAMED = re.compile(r"policy `([a-z0-9._-]+)`")


@dataclass(frozen=True, slots=True)
class Allow:
    """Go on. `policies` are the permits that made it so."""

    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """Do not go on. `policies` are the forbids that made it so, if any did."""

    policies: tuple[str, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class StepUp:
    """Go on only after a fresh factor, as the determining policies oblige."""

    policies: tuple[str, ...]
    obligation: StepUpObligation


@dataclass(frozen=True, slots=True)
class NeedsApproval:
    """Go on only after somebody else approved exactly this; a fresh factor may be wanted besides, when it is used."""

    policies: tuple[str, ...]
    obligation: ApprovalObligation


Verdict = Allow | Deny | StepUp | NeedsApproval


@dataclass(frozen=True, slots=True)
class Ruling:
    """One action on one kind of object, compiled: the policies that matter and what they need to be told."""

    action: str
    slice: Slice
    resource: ResourceMap
    context: ContextMap
    action_uid: dict[str, str]


class Engine:
    """Decides. One for the life of the process."""

    def __init__(self, book: PolicyBook, *, production: bool = False) -> None:
        """
        Args:
            production: whether lists are checked row by row only in samples (`listing.py`).

        Raises:
            Refused: when the schema has no usable `User` and `Tenant`.
        """
        self.book = book
        self.production = production
        self.schema = book.schema
        whole = [slice_.mentions.action for slice_ in self._all_slices()]
        self.people = People(book.schema, actions=any(whole))
        self._tenant = tenant_map(book.schema)
        self._action_type = book.schema.qualified("Action")
        self._rulings: dict[tuple[type[Any], str], Ruling] = {}
        self._relations = Relations(book.schema)
        self._filters: dict[tuple[type[Any], str], RowFilter] = {}
        self._loaders: dict[type[Any], Loader[Any]] = {}
        self._maps: dict[type[Any], ResourceMap] = {Tenant: self._tenant}
        self.requirements: dict[tuple[type[Any], str], Any] = {}
        """What the app's first route for an action declares (`may.Requirement`); filled by the boot gate."""

    def _all_slices(self) -> list[Slice]:
        user = self.schema.qualified("User")
        return [
            self.book.slice(action.name, resource, user)
            for action in self.schema.actions.values()
            for resource in action.resources
        ]

    def loader(self, model: type[Any]) -> Loader[Any]:
        """How objects of a model are read; compiled at the first use, which is the boot gate's."""
        loader = self._loaders.get(model)
        if loader is None:
            # of all actions, because a view asks of an object what other actions on it are allowed
            name = self.schema.qualified(model.__name__)
            policies = [
                policy.est
                for action in self.schema.actions.values()
                if name in action.resources
                for policy in self.book.chosen(action.name, name, self.people.type_name)
            ]
            loader = self._loaders[model] = Loader(model, self._relations.reach(model, policies))
        return loader

    def model(self, type_name: str) -> type[Any] | None:
        """The model behind a Cedar type that some ruling was made for."""
        return next((model for model, resource in self._maps.items() if resource.type_name == type_name), None)

    def applies(self, model: type[Any], action: str) -> bool:
        """Whether the schema knows this action for this kind of object."""
        known = self.schema.actions.get(action)
        return known is not None and self.schema.qualified(model.__name__) in known.resources

    def ruling(self, model: type[Any], action: str) -> Ruling:
        """Everything needed to decide one action on objects of one model.

        Raises:
            Refused: when the schema does not know the action or the model, or cannot be filled from the model.
        """
        ruling = self._rulings.get((model, action))
        if ruling is None:
            ruling = self._rulings[model, action] = self._compile(model, action)
        return ruling

    def _compile(self, model: type[Any], action: str) -> Ruling:
        if not self.applies(model, action) or self.people.type_name not in self.schema.actions[action].principals:
            raise Refused(
                f'the Cedar schema has no action "{action}" on {model.__name__} for a User',
                why="an action that no policy can know is never allowed, and probably misspelt",
                fix=f'declare `action "{action}" appliesTo {{ principal: [User], resource: [{model.__name__}], … }};`',
            )
        resource = self._map(model)
        slice_ = self.book.slice(action, resource.type_name, self.people.type_name)
        reached = () if model is Tenant else self._relations.reach(model, (p.est for p in slice_.chosen))
        near = {one.keys: NearMap(one.model, self._map(one.model).only(slice_.mentions.attributes)) for one in reached}
        return Ruling(
            action=action,
            slice=slice_,
            resource=resource.only(slice_.mentions.attributes, near),
            context=ContextMap(self.schema.actions[action], slice_.mentions.context),
            action_uid={"type": self._action_type, "id": action},
        )

    def _map(self, model: type[Any]) -> ResourceMap:
        if model not in self._maps:
            self._maps[model] = resource_map(model, self.schema, self._relations)
        return self._maps[model]

    def row_filter(self, model: type[Any], action: str) -> RowFilter:
        """The policies of one action on one model as a filter of rows; compiled at the first use, the boot gate's.

        Raises:
            Refused: as `ruling`, and naming the policy and the construct that has no equal in SQL.
        """
        known = self._filters.get((model, action))
        if known is None:
            ruling, loader = self.ruling(model, action), self.loader(model)
            known = self._filters[model, action] = RowFilter(
                ruling, loader, self.schema, self._relations, self.people.type_name
            )
        return known

    def known(self, principal: Principal, ruling: Ruling, context: Mapping[str, Any]) -> Env:
        """What a filter of rows is folded with: the caller, and a context built by `ruling.context.build`."""
        return self.people.known(principal, decoded(ruling.context.action.context, context))

    def decide(
        self,
        principal: Principal,
        ruling: Ruling,
        instance: Any,
        extra: Mapping[str, Any] | None = None,
        *,
        step_up: bool = False,
        approved: bool = False,
    ) -> Verdict:
        """Decide one action of one person on one object.

        Args:
            extra: context beside what Seawall fills in itself, already in Cedar's JSON form.
            step_up: whether a fresh factor was proven for exactly this action, and consumed.
            approved: whether somebody else approved exactly this action, and that was consumed.
        """
        verdict = self.decide_all(principal, ruling, (instance,), extra, step_up=step_up, approved=approved)[0]
        if isinstance(verdict, Deny) and verdict.reason != "evaluation-error":
            return self._obligation(principal, ruling, instance, extra, verdict, (step_up, approved))
        return verdict

    def decide_all(
        self,
        principal: Principal,
        ruling: Ruling,
        instances: Sequence[Any],
        extra: Mapping[str, Any] | None = None,
        *,
        step_up: bool = False,
        approved: bool = False,
    ) -> list[Verdict]:
        """Decide one action of one person on many objects, one verdict each; obligations are not asked for."""
        try:
            context = ruling.context.build(principal, extra or {}, step_up=step_up, approved=approved)
        except (ValueError, TypeError) as error:
            # The type says enough: the message may quote values.
            self.alert(ruling, type(error).__name__)
            return [Deny((), "evaluation-error") for _ in instances]
        return self.decide_in(context, principal, ruling, instances)

    def decide_in(
        self, context: Mapping[str, Any], principal: Principal, ruling: Ruling, instances: Sequence[Any]
    ) -> list[Verdict]:
        """`decide_all` in a context that was built before, by `ruling.context.build`: at the same moment, that is."""
        verdicts: dict[int, Verdict] = {}
        entities: dict[tuple[str, str], dict[str, Any]] = {}
        uids: dict[int, dict[str, str]] = {}
        for number, instance in enumerate(instances):
            try:
                found = ruling.resource.entities(instance)
            except (ValueError, TypeError) as error:
                self.alert(ruling, type(error).__name__)
                verdicts[number] = Deny((), "evaluation-error")
                continue
            uids[number] = found[0]["uid"]
            for entity in found:  # several objects may have one row near them
                entities.setdefault((entity["uid"]["type"], entity["uid"]["id"]), entity)
        try:
            answers = self._ask(context, principal, ruling, list(entities.values()), list(uids.values()))
        except (ValueError, TypeError) as error:
            self.alert(ruling, type(error).__name__)
            return [Deny((), "evaluation-error") for _ in instances]
        for number, answer in zip(uids, answers, strict=True):
            verdicts[number] = self._verdict(ruling, answer)
        return [verdicts[number] for number in range(len(instances))]

    def _ask(
        self,
        context: Mapping[str, Any],
        principal: Principal,
        ruling: Ruling,
        entities: list[dict[str, Any]],
        uids: list[dict[str, str]],
    ) -> list[Any]:
        request: dict[str, Any] = {
            "principal": {"type": self.people.type_name, "id": str(principal.user_id)},
            "action": ruling.action_uid,
        }
        if context:
            request["context"] = orjson.dumps(context).decode()
        known = self.people.of(principal).with_added_json_str(orjson.dumps(entities).decode())
        requests = [{**request, "resource": uid} for uid in uids]
        answers = cedar.is_authorized_batch(requests, ruling.slice.policies, known, None, False)
        return [orjson.loads(answer) for answer in answers]

    def _verdict(self, ruling: Ruling, answer: Any) -> Verdict:
        diagnostics = answer.get("diagnostics") or {}
        if diagnostics.get("errors"):
            found = {name for text in diagnostics["errors"] for name in _NAMED.findall(text)}
            self.alert(ruling, "policy", tuple(sorted(found & ruling.slice.ids)))
            return Deny((), "evaluation-error")
        reasons = tuple(diagnostics.get("reason") or ())
        if answer.get("decision") != "Allow":
            return Deny(reasons, "forbidden" if reasons else "no-permit")
        if not self.book.unknown_obligations.isdisjoint(reasons):
            return Deny(reasons, "unknown-obligation")
        return Allow(reasons)

    def _obligation(  # noqa: PLR0917
        self,
        principal: Principal,
        ruling: Ruling,
        instance: Any,
        extra: Mapping[str, Any] | None,
        denial: Deny,
        met: tuple[bool, bool],
    ) -> Verdict:
        """Would a step-up, an approval, or both turn this denial into an allow? Then that is what the determining
        policies oblige to. What the person can do alone is asked for first; what takes longest, first of two.
        """
        step_up, approved = met
        could_step, could_ask = ruling.slice.step_up and not step_up, ruling.slice.approval and not approved
        for imagined_met in ((True, approved), (step_up, True), (True, True)):
            if (imagined_met[0] != step_up and not could_step) or (imagined_met[1] != approved and not could_ask):
                continue
            if imagined_met == met:
                continue
            imagined = self.decide_all(
                principal, ruling, (instance,), extra, step_up=imagined_met[0], approved=imagined_met[1]
            )[0]
            if isinstance(imagined, Allow):
                # A permit that waits for it, or a forbid that gives way to it.
                return self._demand(
                    (*imagined.policies, *denial.policies), denial, approval=imagined_met[1] != approved
                )
        return denial

    def _demand(self, determining: tuple[str, ...], denial: Deny, *, approval: bool) -> Verdict:
        if approval:
            asked = [self.book.approvals[name] for name in determining if name in self.book.approvals]
            obligation = joint(asked) if asked else None
            return NeedsApproval(determining, obligation) if obligation else denial
        demanded = [self.book.step_ups[name] for name in determining if name in self.book.step_ups]
        return StepUp(determining, strictest(demanded)) if demanded else denial

    def notices(self, policies: Sequence[str]) -> list[tuple[str, str]]:
        """`(policy, notice)` for each determining policy that wants the tenant to notice."""
        known = self.book.notices
        return [(name, known[name]) for name in policies if name in known] if known else []

    def alert(self, ruling: Ruling, kind: str, policies: tuple[str, ...] = ()) -> None:
        log.error(
            "access.evaluation-error",
            alert=True,
            action=ruling.action,
            resource_type=ruling.resource.type_name,
            error=kind,
            policies=policies,
        )
