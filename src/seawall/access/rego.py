"""Policies in Rego instead of Cedar: the same schema, facts, obligations and answers, another language.

    package seawall

    annotations["order.read"] := {"title": "Managers read their venue's orders", "owner": "orders"}
    permit contains "order.read" if {
        input.action == "read"
        input.resource.venue in input.principal.manager_at
    }
    forbid contains "wall.tenant" if input.resource.tenant != input.principal.tenant

`input` has `principal` (`id`, `tenant`, `roles`, `<role>_at`), `action`, `resource` (`type`, `id`, attributes) and
`context`. Entities are their ids, times milliseconds since 1970. What cannot be looked up is *undefined*, and an
undefined forbid stops nobody; so every attribute that the schema knows is there, `null` where a row has none.

The interpreter is regorus, from the extra `rego`; `regopy` can crash the process while it words an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from seawall.access.engine import Engine, Ruling
from seawall.access.expressions import Mentions
from seawall.access.files import read_text
from seawall.access.policies import SCHEMA_FILE, Policy, PolicyBook, Slice, check_annotations, digest_of, policy_set
from seawall.access.schema import read_schema
from seawall.access.sql import RowFilter
from seawall.core.errors import Refused
from seawall.core.scope import Principal

PACKAGE = "data.seawall"


@dataclass(frozen=True)
class RegoBook(PolicyBook):
    """Rego policies, as far as decisions look into them: ids with their annotations."""

    interpreter: Any = field(default=None, repr=False)

    def slice(self, action: str, resource_type: str, principal_type: str) -> Slice:
        """All of them, reading everything: what a Rego policy reads is not looked into."""
        attributes = {name for entity in self.schema.entities.values() for name in entity.attributes}
        return Slice(
            chosen=(),
            policies=policy_set({}),
            ids=frozenset(self.policies),
            mentions=Mentions(frozenset(attributes), None, action=False),
            step_up=bool(self.step_ups),
            approval=bool(self.approvals),
        )


def read_rego(folder: Path) -> RegoBook:
    """Read `schema.cedarschema` and every `*.rego` of a folder.

    Raises:
        Refused: the extra is not installed; or naming the file or the policy that is not fit to start with.
    """
    interpreter = _interpreter()
    schema = read_schema(folder / SCHEMA_FILE)
    files = sorted(folder.glob("*.rego"))
    if not files:
        raise Refused(
            f"{folder}: there are no Rego policies",
            why="without a policy everything is denied, and the app can do nothing",
            fix='add a .rego file of `package seawall`, or set engine = "cedar" under [access]',
        )
    texts = {SCHEMA_FILE: read_text(folder / SCHEMA_FILE)} | {file.name: read_text(file) for file in files}
    for file in files:
        try:
            interpreter.add_policy(file.name, texts[file.name])
        except RuntimeError as error:
            raise Refused(
                f"{file.name}: does not parse: {_first(error)}",
                why="a policy that cannot be read protects nothing",
                fix="correct the line that the message names",
            ) from None
    return RegoBook(schema, _policies(interpreter, files), digest_of(texts), interpreter)


def _interpreter() -> Any:
    try:
        import regorus
    except ImportError:
        raise Refused(
            "policies in Rego need the extra `rego`, which is not installed",
            why="the interpreter is a part of its own, so that apps with Cedar policies carry none",
            fix="pip install 'seawall[rego]', or set engine = \"cedar\" under [access]",
        ) from None
    return regorus.Engine()


def _policies(interpreter: Any, files: Sequence[Path]) -> Mapping[str, Policy]:
    found = interpreter.eval_query(f"{PACKAGE}.annotations")["result"]
    annotations = found[0]["expressions"][0]["value"] if found else None
    if not isinstance(annotations, dict) or not annotations:
        raise Refused(
            "the Rego policies have no annotations",
            why="decisions are explained and audited by the policy's id and title",
            fix='write annotations["order.read"] := {"title": "…"} for each id in permit and forbid',
        )
    where = files[0].name if len(files) == 1 else "*.rego"
    book: dict[str, Policy] = {}
    for name, about in annotations.items():
        if not isinstance(about, dict) or not all(isinstance(text, str) for text in about.values()):
            raise Refused(
                f"{where}: the annotations of {name!r} are not an object of texts",
                why="decisions are explained and audited by them",
                fix=f'write annotations["{name}"] := {{"title": "…"}}',
            )
        check_annotations({"id": name, **about}, where)
        book[name] = Policy(name, where, {"effect": "permit", "annotations": {"id": name, **about}, "conditions": []})
    return book


class RegoEngine(Engine):
    """Decides by Rego. Only the asking differs; what becomes of an answer is the same."""

    def __init__(self, book: RegoBook) -> None:
        super().__init__(book)
        self._interpreter = book.interpreter
        self._rules = {rule: _declared(book.interpreter, rule) for rule in ("forbid", "permit")}

    def row_filter(self, model: type[Any], action: str) -> RowFilter:
        raise Refused(
            f"lists of {model.__name__} cannot be filtered by Rego policies",
            why="only Cedar policies are compiled to SQL, and a list without its filter would show everything",
            fix='use Cedar (engine = "cedar" under [access]), or decide on objects one by one with may()',
        )

    def _ask(
        self,
        context: Mapping[str, Any],
        principal: Principal,
        ruling: Ruling,
        entities: list[dict[str, Any]],
        uids: list[dict[str, str]],
    ) -> list[Any]:
        person = self.people.entity(principal)
        asked = {
            "principal": {
                **_plain(person["attrs"]),
                "id": person["uid"]["id"],
                "roles": [role["id"] for role in person["parents"]],
            },
            "action": ruling.action,
            "context": _plain(dict(context)),
        }
        found = {(entity["uid"]["type"], entity["uid"]["id"]): entity for entity in entities}
        objects = [found[uid["type"], uid["id"]] for uid in uids]
        return [self._one({**asked, "resource": self._resource(ruling, entity)}) for entity in objects]

    def _resource(self, ruling: Ruling, entity: Mapping[str, Any]) -> dict[str, Any]:
        absent = dict.fromkeys(field.name for field in ruling.resource.fields)
        kind = entity["uid"]["type"].rpartition("::")[2]
        return {**absent, **_plain(entity["attrs"]), "type": kind, "id": entity["uid"]["id"]}

    def _names(self, rule: str) -> list[str]:
        if not self._rules[rule]:
            return []
        found = self._interpreter.eval_rule(f"{PACKAGE}.{rule}")
        if not isinstance(found, set | frozenset | list):
            raise TypeError(rule)
        return sorted(map(str, found))

    def _one(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """An answer in Cedar's form: a forbid outweighs every permit, and an id that nobody announced is an error."""
        try:
            self._interpreter.set_input_json(orjson.dumps(asked).decode())
            forbid, permit = (self._names(rule) for rule in ("forbid", "permit"))
        except (RuntimeError, TypeError) as error:
            return {"decision": "Deny", "diagnostics": {"reason": [], "errors": [type(error).__name__]}}
        unknown = [name for name in (*forbid, *permit) if name not in self.book.policies]
        reasons = forbid or permit
        return {
            "decision": "Allow" if permit and not forbid else "Deny",
            "diagnostics": {"reason": reasons, "errors": [f"policy `{name}`" for name in unknown]},
        }


def _declared(interpreter: Any, rule: str) -> bool:
    """Whether some policy has this rule. Any other complaint than that it has not is for the decision to deal with."""
    interpreter.set_input_json("{}")
    try:
        interpreter.eval_rule(f"{PACKAGE}.{rule}")
    except RuntimeError as error:
        return "not a valid rule path" not in str(error)
    return True


def _plain(value: Any) -> Any:
    """Cedar's explicit JSON as Rego likes it."""
    if isinstance(value, dict):
        if set(value) == {"__entity"}:
            return value["__entity"]["id"]
        if set(value) == {"__extn"}:
            return _extension(**value["__extn"])
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _extension(fn: str, arg: str) -> int | float:
    if fn == "datetime":
        return round(datetime.fromisoformat(arg).timestamp() * 1000)
    return float(arg)


def _first(error: RuntimeError) -> str:
    """What the interpreter says, without its stack."""
    lines = str(error).partition("Stack backtrace")[0].split("\n")
    return " ".join(" ".join(lines).split())
