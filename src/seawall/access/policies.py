"""The policies of an app: read, checked and keyed by their `@id` once, at boot.

Cedar's validator accepts more than is safe: `1 == 2`, an allow-all, two policies with one `@id`, and an attribute read
through an entity that will not be there at run time (which makes the policy *error*, and Cedar skips erroring policies,
forbids included). So what can be refused at boot is refused here, naming the file and the policy.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import cedarpy
import orjson
from cedarpy import PolicySet

from seawall.access.expressions import Est, Mentions, chains, memberships, mentions, unnamed
from seawall.access.files import read_text
from seawall.access.obligations import (
    KNOWN_ANNOTATIONS,
    NOTIFY,
    REQUIRES_APPROVAL,
    STEP_UP,
    ApprovalObligation,
    StepUpObligation,
    joint,
    parse_approval,
    parse_notice,
    parse_step_up,
)
from seawall.access.reach import concerns
from seawall.access.schema import CedarSchema, CedarType, EntityRef, Record, read_schema
from seawall.core.errors import Refused

SCHEMA_FILE = "schema.cedarschema"
STEP_UP_EXAMPLE = '@step_up("aal=2,max_age_s=300"), with an age of at most 3600 seconds'
APPROVAL_EXAMPLE = '@requires_approval("role=finance|legal,lifetime_s=86400"), with 60 to 604800 seconds'
REACH_MAX = 4
"""Attributes that a path may follow: `resource.deal.team.lead` has three."""
_ID = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy: its stable `@id`, where it stands, and its Cedar JSON form."""

    id: str
    file: str
    est: Est

    @property
    def annotations(self) -> Mapping[str, str | None]:
        annotations: Mapping[str, str | None] = self.est.get("annotations", {})
        return annotations


@dataclass(frozen=True, slots=True)
class Slice:
    """The policies that can match one action on one type of resource by one type of principal, and what they read.

    A policy whose scope names another action or type is never satisfied and never errs, so leaving it out changes no
    decision, no reason and no error.
    """

    chosen: tuple[Policy, ...] = field(repr=False)
    policies: PolicySet = field(repr=False)
    ids: frozenset[str]
    mentions: Mentions
    step_up: bool
    """Whether any of them could oblige to a step-up."""
    approval: bool = False
    """Whether any of them could oblige to somebody else's approval."""


@dataclass(frozen=True)
class PolicyBook:
    """All policies with their schema."""

    schema: CedarSchema
    policies: Mapping[str, Policy]
    digest: str = ""
    """`digest_of` the files as they were read, so that it can be seen from outside which policies run."""

    def chosen(self, action: str, resource_type: str, principal_type: str) -> list[Policy]:
        """The policies that can match one kind of request."""
        return [
            policy
            for policy in self.policies.values()
            if concerns(policy.est, self.schema, action, resource_type, principal_type)
        ]

    def slice(self, action: str, resource_type: str, principal_type: str) -> Slice:
        """The exactly equivalent part of the book for one kind of request."""
        chosen = self.chosen(action, resource_type, principal_type)
        demanded = [parse_approval(p.annotations[REQUIRES_APPROVAL] or "") for p in chosen if _demands_approval(p)]
        if demanded and joint(demanded) is None:
            raise Refused(
                f'action "{action}": its policies demand approvals of roles that have none in common',
                why="one approval satisfies all policies of an action, and nobody could give this one",
                fix="name a role in @requires_approval that all of them name",
            )
        return Slice(
            chosen=tuple(chosen),
            policies=policy_set({p.id: {**p.est, "action": {"op": "All"}} for p in chosen}),
            ids=frozenset(p.id for p in chosen),
            mentions=mentions([p.est for p in chosen]),
            step_up=any(STEP_UP in p.annotations for p in chosen),
            approval=bool(demanded),
        )

    @cached_property
    def step_ups(self) -> Mapping[str, StepUpObligation]:
        """The step-up obligation of each policy that has one."""
        return {
            policy.id: parse_step_up(text)
            for policy in self.policies.values()
            if (text := policy.annotations.get(STEP_UP)) is not None
        }

    @cached_property
    def approvals(self) -> Mapping[str, ApprovalObligation]:
        """The approval that each policy demands, if it demands one."""
        return {
            policy.id: parse_approval(text)
            for policy in self.policies.values()
            if (text := policy.annotations.get(REQUIRES_APPROVAL)) is not None
        }

    @cached_property
    def notices(self) -> Mapping[str, str]:
        """What each policy wants the tenant to notice, if it wants that."""
        return {p.id: text for p in self.policies.values() if (text := p.annotations.get(NOTIFY)) is not None}

    @cached_property
    def unknown_obligations(self) -> frozenset[str]:
        """Policies that oblige to something this version cannot do. `read_policies` refuses them; the engine too."""
        return frozenset(p.id for p in self.policies.values() if not set(p.annotations) <= KNOWN_ANNOTATIONS)


def policy_set(policies: Mapping[str, Est]) -> PolicySet:
    """Cedar's own form of some policies, keyed so that `reasons` are `@id`s."""
    document = {"staticPolicies": dict(policies), "templates": {}, "templateLinks": []}
    return PolicySet.from_json_str(orjson.dumps(document).decode())


def read_policies(folder: Path) -> PolicyBook:
    """Read `schema.cedarschema` and every `*.cedar` of a folder.

    Raises:
        Refused: naming the file and the policy, for whatever is missing, does not parse, does not validate, or would
            mean something else at run time than it says.
    """
    schema = read_schema(folder / SCHEMA_FILE)
    files = sorted(folder.glob("*.cedar"))
    if not files:
        raise Refused(
            f"{folder}: there are no policies",
            why="without a policy everything is denied, and the app can do nothing",
            fix="add a .cedar file with at least one permit",
        )
    book: dict[str, Policy] = {}
    texts = {SCHEMA_FILE: read_text(folder / SCHEMA_FILE)}
    for file in files:
        texts[file.name] = read_text(file)
        for policy in _read_file(file, texts[file.name], schema):
            if policy.id in book:
                raise Refused(
                    f'{file.name}: policy @id("{policy.id}") is already in {book[policy.id].file}',
                    why="the audit log names policies by id; two with one name cannot be told apart",
                    fix="give one of them another @id",
                )
            book[policy.id] = policy
    return PolicyBook(schema, book, digest_of(texts))


def digest_of(texts: Mapping[str, str]) -> str:
    """The SHA-256, in hex, of a folder's schema and policies: by name, each name, a zero byte, its bytes' SHA-256."""
    digest = hashlib.sha256()
    for name, text in sorted(texts.items()):
        digest.update(name.encode() + b"\0" + hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()


def _read_file(file: Path, text: str, schema: CedarSchema) -> Iterator[Policy]:
    try:
        document: dict[str, Any] = orjson.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        raise Refused(
            f"{file.name}: does not parse: {error}",
            why="a policy that cannot be read protects nothing",
            fix="correct the line that the message names",
        ) from None
    if document.get("templates"):
        raise Refused(
            f"{file.name}: contains a template (?principal or ?resource)",
            why="a template grants nothing until it is linked, and Seawall links none",
            fix="write the policy out with principal and resource",
        )
    policies = [_read_policy(file, position, est) for position, est in _in_order(document["staticPolicies"])]
    _validate(file, text, schema)
    for policy in policies:
        _check_obligations(policy)
        _check_reach(policy, schema)
        yield policy


def _in_order(policies: Mapping[str, Est]) -> Iterator[tuple[int, Est]]:
    for name, est in sorted(policies.items(), key=lambda item: int(item[0].removeprefix("policy"))):
        yield int(name.removeprefix("policy")) + 1, est


def _read_policy(file: Path, position: int, est: Est) -> Policy:
    annotations = est.get("annotations", {})
    check_annotations(annotations, file.name, position)
    return Policy(annotations["id"], file.name, est)


def check_annotations(annotations: Mapping[str, str | None], file: str, position: int = 0) -> None:
    """Refuse a policy whose name, title or obligations could be misunderstood.

    Raises:
        Refused: naming the file and the policy, by its id or its position.
    """
    name = annotations.get("id") or ""
    where = f'policy @id("{name}")' if name else f"policy number {position}"
    for required in ("id", "title"):
        if not annotations.get(required):
            raise Refused(
                f"{file}: {where} has no @{required}",
                why="decisions are explained and audited by the policy's id and title",
                fix=f'write @{required}("…") above it',
            )
    if _ID.fullmatch(name) is None:
        raise Refused(
            f"{file}: {where} is not a plain name",
            why="ids go into the audit log and into reports",
            fix='use lower-case words with dots or dashes, such as @id("order.refund.small")',
        )
    for annotation in annotations:
        if annotation not in KNOWN_ANNOTATIONS:
            raise Refused(
                f"{file}: {where} has the unknown annotation @{annotation}",
                why="an obligation that nobody carries out would be an allow without its condition",
                fix=f"use one of {', '.join('@' + a for a in sorted(KNOWN_ANNOTATIONS))}",
            )


def _validate(file: Path, text: str, schema: CedarSchema) -> None:
    result = cedarpy.validate_policies(text, schema.handle)
    if result.validation_passed:
        return
    names = result.id_annotations_by_policy_id
    error = result.errors[0]
    name = names.get(error.policy_id, error.policy_id)
    raise Refused(
        f'{file.name}: policy @id("{name}") does not validate: {error.error}',
        why="a policy that does not fit the schema never matches, or fails at run time and denies everyone",
        fix=f"correct it, or declare what it needs in {SCHEMA_FILE}",
    )


def _demands_approval(policy: Policy) -> bool:
    return REQUIRES_APPROVAL in policy.annotations


def _check_obligations(policy: Policy) -> None:
    _check_obligation(policy, STEP_UP, "step_up", parse_step_up, STEP_UP_EXAMPLE)
    _check_obligation(policy, REQUIRES_APPROVAL, "approved", parse_approval, APPROVAL_EXAMPLE)
    if NOTIFY in policy.annotations:
        _parsed(policy, NOTIFY, parse_notice, '@notify("large-refund"), in lower-case words with dashes')


def _check_obligation(policy: Policy, name: str, flag: str, parse: Callable[[str], Any], example: str) -> None:
    """`@step_up` and `context.step_up` belong together: one is the demand, the other where it takes effect.
    Likewise `@requires_approval` and `context.approved`.
    """
    uses = ("context", (flag,)) in set(chains(policy.est))
    if name not in policy.annotations:
        if uses:
            raise Refused(
                f'{policy.file}: policy @id("{policy.id}") reads context.{flag} without @{name}',
                why="nobody could be asked for what it waits for",
                fix=f"write {example.partition(', with')[0]} above it",
            )
        return
    if not uses:
        raise Refused(
            f'{policy.file}: policy @id("{policy.id}") has @{name} but never reads context.{flag}',
            why="it would decide without what it demands",
            fix=f"add `context.{flag}` to its condition",
        )
    _parsed(policy, name, parse, example)


def _parsed(policy: Policy, name: str, parse: Callable[[str], Any], example: str) -> None:
    text = policy.annotations[name] or ""
    try:
        parse(text)
    except ValueError:
        raise Refused(
            f'{policy.file}: policy @id("{policy.id}") has @{name}("{text}")',
            why="an obligation that is not understood cannot be carried out",
            fix=f"write {example}",
        ) from None


def _check_reach(policy: Policy, schema: CedarSchema) -> None:
    """Refuse what could not be known at run time: people but the caller, and rows that no foreign key leads to.

    Which columns are foreign keys is the models' affair: `relations.py` refuses the rest when routes are checked.
    """
    for what in unnamed(policy.est):
        raise Refused(
            f'{policy.file}: policy @id("{policy.id}") asks {what} of something that is not a path',
            why="what a policy reads must be loaded before it is asked",
            fix="write it out, such as resource.venue.name",
        )
    alone = {schema.qualified(name) for name in ("User", "Tenant", "Role")}
    for variable, path in chains(policy.est):
        for start in _roots(variable, schema):
            at: CedarType | None = start
            for depth, name in enumerate(path):
                known = isinstance(at, EntityRef) and variable == "resource" and at.type not in alone
                if isinstance(at, EntityRef) and depth > 0 and not (known and depth < REACH_MAX):
                    raise Refused(
                        f'{policy.file}: policy @id("{policy.id}") reads {variable}.{".".join(path)}',
                        why=f"the {at.type} that is named there is not loaded, so the policy would always fail",
                        fix=f"compare {variable}.{'.'.join(path[:depth])} itself, or pass the value as a fact",
                    )
                at = _step(at, name, schema)
    for path in memberships(policy.est):
        for start in _roots("resource", schema):
            end = start
            for name in path:
                end = _step(end, name, schema)
            if path and isinstance(end, EntityRef) and end.type in alone and schema.entities[end.type].parents:
                raise Refused(
                    f'{policy.file}: policy @id("{policy.id}") asks whether resource.{".".join(path)} is in something',
                    why="of other people the roles are not known, so the answer would be no",
                    fix=f"compare it: resource.{'.'.join(path)} == principal",
                )


def _roots(variable: str, schema: CedarSchema) -> Iterator[CedarType | None]:
    actions = schema.actions.values()
    if variable == "context":
        yield from (action.context for action in actions)
    elif variable in ("principal", "resource"):
        types = {t for action in actions for t in (action.principals if variable == "principal" else action.resources)}
        yield from (EntityRef(name) for name in sorted(types))


def _step(at: CedarType | None, name: str, schema: CedarSchema) -> CedarType | None:
    attributes = (
        schema.entities[at.type].attributes
        if isinstance(at, EntityRef)
        else at.attributes
        if isinstance(at, Record)
        else {}
    )
    return attributes[name].type if name in attributes else None
