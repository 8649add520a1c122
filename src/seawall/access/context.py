"""The Cedar context of a decision: what is known beside the person and the object.

Three sources, which never mix: Seawall itself (`now`, `auth`, `step_up`, `approved`), *claims* (validated fields of the
body: what the caller wants) and *facts* (what the server knows, computed after the row is locked). A name has one
source only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import BaseModel

from seawall.access.policies import SCHEMA_FILE
from seawall.access.schema import ActionType, Attribute, Record, Scalar
from seawall.access.values import Convert, Unconvertible, converter, datetime_json, optional, unfit
from seawall.core.clock import now
from seawall.core.errors import Refused
from seawall.core.scope import Principal

NOW, AUTH, STEP_UP, APPROVED = "now", "auth", "step_up", "approved"
FLAGS = frozenset({STEP_UP, APPROVED})
BUILT_IN = FLAGS | {NOW, AUTH}
_AUTH = {"aal": Scalar("Long"), "age_s": Scalar("Long")}


class ContextMap:
    """How the context of one action is built. `read` are the names that its policies can read; None means all."""

    def __init__(self, action: ActionType, read: frozenset[str] | None) -> None:
        self.action = action
        declared = action.context.attributes
        self._check_built_in(declared)
        wanted = frozenset(declared) if read is None else read & frozenset(declared)
        self._now = NOW in wanted
        self._auth = tuple(declared[AUTH].type.attributes) if AUTH in wanted else ()  # type: ignore[union-attr]
        self._flags = FLAGS & wanted
        self.extra: Mapping[str, Attribute] = {n: a for n, a in declared.items() if n not in BUILT_IN}
        self._wanted = wanted
        self._converters: dict[str, Convert] = {name: converter(a.type) for name, a in self.extra.items()}

    def _check_built_in(self, declared: Mapping[str, Attribute]) -> None:
        expected = {NOW: "datetime", AUTH: "{ aal: Long, age_s: Long }", STEP_UP: "Bool", APPROVED: "Bool"}
        for name in BUILT_IN & set(declared):
            kind = declared[name].type
            good = (
                kind == Scalar("datetime")
                if name == NOW
                else kind == Scalar("Bool")
                if name in FLAGS
                else isinstance(kind, Record)
                and all(_AUTH.get(part) == attribute.type for part, attribute in kind.attributes.items())
            )
            if not good:
                raise Refused(
                    f'{SCHEMA_FILE}: action "{self.action.name}": context.{name} is {kind}',
                    why="Seawall fills it itself, with its own type",
                    fix=f"write {name}: {expected[name]}",
                )

    @property
    def reads(self) -> frozenset[str]:
        """The names that the policies can read."""
        return self._wanted

    @property
    def complete(self) -> bool:
        """Whether the built-in values are all that this context requires."""
        return not any(attribute.required for attribute in self.extra.values())

    def build(
        self, principal: Principal, extra: Mapping[str, Any], *, step_up: bool, approved: bool = False
    ) -> dict[str, Any]:
        """The context in Cedar's JSON form, only with what the policies can read.

        Raises:
            Unconvertible: when a required value is missing.
        """
        context = {name: value for name, value in extra.items() if name in self._wanted}
        if self._now or self._auth:
            moment = now()
            if self._now:
                context[NOW] = datetime_json(moment)
            if self._auth:
                assurance = principal.assurance
                proven = assurance.second_factor_at or assurance.authenticated_at
                # a clock that runs behind the database's must not give a negative age
                age_s = max(0, int((moment - proven).total_seconds()))
                known = {"aal": assurance.aal, "age_s": age_s}
                context[AUTH] = {part: known[part] for part in self._auth}
        for flag in self._flags:
            context[flag] = step_up if flag == STEP_UP else approved
        for name, attribute in self.extra.items():
            if attribute.required and name in self._wanted and name not in context:
                raise Unconvertible(f"context.{name} is missing")
        return context

    def claims(self, body: BaseModel | None) -> dict[str, Any]:
        """The fields of a validated body that the context declares.

        Raises:
            Unconvertible: when one is not of the declared type.
        """
        if body is None:
            return {}
        fields = type(body).model_fields
        return {
            name: convert(value)
            for name, convert in self._converters.items()
            if name in fields and (value := getattr(body, name)) is not None
        }

    def facts(self, values: Mapping[str, Any], body: BaseModel | None) -> dict[str, Any]:
        """What the server found out, in Cedar's JSON form.

        Raises:
            Unconvertible: for a name that the context does not declare, that the body fills, or that is Seawall's own.
        """
        claimed = type(body).model_fields if body is not None else {}
        facts: dict[str, Any] = {}
        for name, value in values.items():
            if name not in self._converters or name in claimed:
                raise Unconvertible(f"{name} is not a fact of {self.action.name}")
            if value is not None:
                facts[name] = self._converters[name](value)
        return facts

    def check_claims(self, body: type[BaseModel] | None, facts: Any, where: str) -> None:
        """Refuse at boot what could not be filled, would have another type, or would let a body speak for the server.

        Raises:
            Refused: naming the route (`where`) and the field.
        """
        fields = body.model_fields if body is not None else {}
        known = _fact_names(facts)
        for name in sorted(BUILT_IN & set(fields)):
            raise Refused(
                f"{where}: the body has a field {name!r}",
                why="the server says when it is and how the caller proved themselves, not the caller",
                fix=f"rename the field {name!r} of {body.__name__ if body else 'the body'}",
            )
        for name in sorted(set(known or ()) & set(fields)):
            raise Refused(
                f"{where}: {name!r} is both a field of the body and a fact",
                why="a caller could state what only the server knows",
                fix=f"take {name!r} out of the body",
            )
        for name, attribute in self.extra.items():
            if name in fields:
                self._check_field(name, attribute, fields[name].annotation, where)
            elif attribute.required and (facts is None or (known is not None and name not in known)):
                raise Refused(
                    f"{where}: nothing fills context.{name} of action {self.action.name!r}",
                    why="policies that read it would fail, and everybody would be denied",
                    fix=f"add the field {name!r} to the body, or return it from facts=",
                )

    def _check_field(self, name: str, attribute: Attribute, annotation: Any, where: str) -> None:
        reason = unfit(attribute.type, annotation)
        if reason is None and attribute.required and optional(annotation):
            reason = "it may be None, but the schema requires it"
        if reason is not None:
            raise Refused(
                f"{where}: the field {name!r} does not fit context.{name}: {attribute.type}: {reason}",
                why="values of another type compare as different, silently",
                fix="give both the same type: int for Long, str for String, bool for Bool",
            )


def _fact_names(facts: Any) -> frozenset[str] | None:
    """The names a facts function returns, when its return annotation is a TypedDict; None when it does not say."""
    if facts is None:
        return frozenset()
    try:
        returns = get_type_hints(facts).get("return")
    except (NameError, TypeError):
        return None
    keys = getattr(returns, "__required_keys__", None)
    return None if keys is None else frozenset(keys) | frozenset(getattr(returns, "__optional_keys__", ()))
