"""Cedar's JSON form (EST) to nodes. Every construct that is not written here is refused when the app starts.

Partial evaluation by Cedar is not used: with a placeholder for the resource's id it is unsound (a forbid on one id
vanishes), and its residuals keep unevaluated tails. The policies are compiled once, and folded for each request with
what is known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seawall.access.context import ContextMap
from seawall.access.expressions import Est
from seawall.access.relations import Relations
from seawall.access.schema import CedarSchema, CedarType, EntityRef, EntityType, Record
from seawall.access.sql import operations, sets
from seawall.access.sql.cells import (
    FAILED,
    Cell,
    RowEntity,
    Truth,
    atom,
    both,
    choice,
    conjunction,
    disjunction,
    either,
    negation,
)
from seawall.access.sql.columns import Unsupported, column_cell, guard
from seawall.access.sql.known import LITERALS, Env, Ref, kind_of
from seawall.access.sql.nodes import (
    BOOL,
    DECIMAL,
    DURATION,
    LONG,
    MOMENT,
    NOTHING,
    Facts,
    Node,
    fixed,
    made,
    settled_by,
    truth,
)
from seawall.store.loader import Keys, Loader

_KINDS: dict[str, CedarType] = {"datetime": MOMENT, "duration": DURATION, "decimal": DECIMAL}
_PAIRS: dict[str, Callable[[Node, Node], Node]] = {"==": operations.equal, "!=": operations.unequal}
_SIGNS: dict[str, Callable[[str, Node, Node], Node]] = {
    **dict.fromkeys(("<", "<=", ">", ">="), operations.ordered),
    **dict.fromkeys(("+", "-", "*"), operations.counted),
    **dict.fromkeys(("contains", "containsAll", "containsAny"), operations.of_sets),
}
_CALLS = {"offset": operations.offset, "durationSince": operations.since}
_CONVERTED = frozenset({*operations.UNITS_MS, "toDate", "toTime"})


class Compiler:
    """Compiles the policies of one action on one model."""

    def __init__(
        self,
        schema: CedarSchema,
        relations: Relations,
        loader: Loader[Any],
        *,
        action: str,
        principal: str,
        context: ContextMap,
    ) -> None:
        self._schema = schema
        self._relations = relations
        self._loader = loader
        self._action = Ref(schema.qualified("Action"), action)
        self._principal = principal
        self._context = context
        self._models: dict[Keys, type[Any]] = {(): loader.model} | {one.keys: one.model for one in loader.near}

    def policy(self, est: Est) -> Node:
        """Scope and conditions as one Bool. The action's scope has been seen to when the policies were chosen.

        Raises:
            Unsupported: naming the construct.
        """
        parts = [_scope(variable, est[variable]) for variable in ("principal", "resource")]
        for condition in est["conditions"]:
            parts.append(condition["body"] if condition["kind"] == "when" else {"!": {"arg": condition["body"]}})
        whole: Any = {"Value": True}
        for part in parts:
            if part is not None:
                whole = {"&&": {"left": whole, "right": part}}
        return self._bool(whole, NOTHING)

    def guards(self, keys: Keys, attributes: frozenset[str]) -> list[Truth]:
        """Where the entity of a row can be made, and so the object be decided on. `attributes` are those sent."""
        found: list[Truth] = []
        entity = self._schema.entities[self._relations.type_of(self._models[keys])]
        for name in sorted(attributes & set(entity.attributes)):
            attribute = entity.attributes[name]
            column = self._loader.column(keys, self._key(keys, name, attribute.type))
            found.append(guard(column, attribute.type, required=attribute.required))
        if not keys:
            return found
        there = self._loader.identity(keys).is_not(None)
        nowhere = self._loader.column(keys[:-1], keys[-1]).is_(None)
        return [either(nowhere, both(there, *found))]

    def _compile(self, est: Any, facts: Facts) -> Node:
        if not isinstance(est, Mapping) or len(est) != 1:
            raise Unsupported(str(est)[:80])
        ((name, body),) = est.items()
        written = {
            "Value": self._value, "Var": self._variable, ".": self._attribute, "has": self._has, "is": self._is,
            "&&": self._and, "||": self._or, "!": self._not, "if-then-else": self._if, "in": self._in,
            "like": self._like, "neg": self._negative, "Set": self._set, "Record": self._record,
            "isEmpty": self._empty,
        }  # fmt: skip
        if name in written:
            return written[name](body, facts)
        return self._literal(name, body) if name in LITERALS else self._operation(name, body, facts)

    def _operation(self, name: str, body: Any, facts: Facts) -> Node:
        parts = [body.get("left"), body.get("right")] if isinstance(body, Mapping) else body
        nodes = [self._compile(part, facts) for part in parts] if isinstance(parts, list) else []
        if len(nodes) == 2:
            left, right = nodes
            if name in _SIGNS:
                return _SIGNS[name](name, left, right)
            if name in operations.DECIMALS:
                return operations.decimals(operations.DECIMALS[name], left, right)
            call = _PAIRS.get(name) or _CALLS.get(name)
            if call is not None:
                return call(left, right)
        if len(nodes) == 1 and name in _CONVERTED:
            return operations.converted(name, nodes[0])
        raise Unsupported(f"{name}()")

    def _bool(self, est: Any, facts: Facts) -> Node:
        return operations.must_be(self._compile(est, facts), BOOL)

    # Leaves and paths ---------------------------------------------------------------------------------------------

    def _value(self, body: Any, facts: Facts) -> Node:
        try:
            kind, value = kind_of(body)
        except ValueError as error:
            raise Unsupported(f"the literal {error}") from None
        return fixed(kind, Cell(value))

    def _literal(self, name: str, body: Any) -> Node:
        text = body[0].get("Value") if len(body) == 1 and isinstance(body[0], Mapping) else None
        try:
            if isinstance(text, str):
                return fixed(_KINDS[name], Cell(LITERALS[name](text)))
        except (ValueError, OverflowError):
            pass
        raise Unsupported(f"{name}() of anything but plain text")

    def _variable(self, body: str, facts: Facts) -> Node:
        if body == "principal":
            return Node(EntityRef(self._principal), lambda env: Cell(env.principal), path=("principal",), rows=False)
        if body == "action":
            return fixed(EntityRef(self._action.type), Cell(self._action), path=("action",))
        if body == "context":
            record = self._context.action.context
            return Node(record, lambda env: Cell(env.context), path=("context",), rows=False)
        entity = RowEntity(self._relations.type_of(self._loader.model), self._loader.identity_column, ())
        return fixed(EntityRef(entity.type), Cell(entity), path=("resource",))

    def _attribute(self, body: Any, facts: Facts) -> Node:
        left, name = self._compile(body["left"], facts), body["attr"]
        path = None if left.path is None else (*left.path, name)
        if isinstance(left.kind, Record):
            return _member(left, left.kind, name, path)
        if left.path == ("principal",):
            known = self._schema.entities[self._principal].attributes.get(name)
            if known is None:
                raise Unsupported(f"principal.{name}")
            return Node(known.type, lambda env: Cell(env.attributes[name]), path=path, rows=False)
        keys, entity, err = self._row(left)
        attribute = entity.attributes.get(name)
        if attribute is None:
            raise Unsupported(f"the attribute {name}, which {entity.name} does not have")
        key = self._key(keys, name, attribute.type)
        column = self._loader.column(keys, key)
        missing: Truth = False if attribute.required or path in facts else column.is_(None)
        # a row near it is there wherever the column that points at it is not NULL: `guards` sees to that
        near = (*keys, key) if (*keys, key) in self._models else None
        return fixed(attribute.type, column_cell(column, attribute.type, either(err, missing), near), path=path)

    def _row(self, node: Node) -> tuple[Keys, EntityType, Truth]:
        """Where the row of an entity is, whose attributes are asked for, its type, and where naming it errs."""
        if node.cell is None or not isinstance(node.cell.value, RowEntity) or node.cell.value.at is None:
            raise Unsupported(f"an attribute of {node.kind}, which is not loaded")
        return node.cell.value.at, self._schema.entities[node.cell.value.type], node.cell.err

    def _key(self, keys: Keys, name: str, kind: CedarType) -> str:
        key = self._relations.key(self._models[keys], name) if isinstance(kind, EntityRef) else name
        if key is None:
            raise Unsupported(f"{name}, which no column fills")
        return key

    def _has(self, body: Any, facts: Facts) -> Node:
        left, name = self._compile(body["left"], facts), body["attr"]
        if isinstance(left.kind, Record):
            return _has_member(left, name)
        if left.path == ("principal",):
            return truth(name in self._schema.entities[self._principal].attributes)
        keys, entity, err = self._row(left)
        attribute = entity.attributes.get(name)
        if attribute is None or attribute.required:
            return fixed(BOOL, atom(attribute is not None, err))
        column = self._loader.column(keys, self._key(keys, name, attribute.type))
        return fixed(BOOL, atom(column.is_not(None), err), then=frozenset({(*(left.path or ()), name)}))

    # Truths -------------------------------------------------------------------------------------------------------

    def _and(self, body: Any, facts: Facts) -> Node:
        left = self._bool(body["left"], facts)
        if left.constant is False:
            return left
        right = self._bool(body["right"], facts | left.then)
        return right if left.constant else _all(left, right)

    def _or(self, body: Any, facts: Facts) -> Node:
        left = self._bool(body["left"], facts)
        if left.constant is True:
            return left
        right = self._bool(body["right"], facts | left.otherwise)
        if left.constant is False:
            return right
        return settled_by(True, left, right, disjunction, then=NOTHING, otherwise=left.otherwise | right.otherwise)

    def _not(self, body: Any, facts: Facts) -> Node:
        inner = self._bool(body["arg"], facts)
        return made(BOOL, [inner], negation, then=inner.otherwise, otherwise=inner.then)

    def _if(self, body: Any, facts: Facts) -> Node:
        condition = self._bool(body["if"], facts)
        if condition.constant is not None:
            return self._compile(body["then" if condition.constant else "else"], facts)
        then = self._compile(body["then"], facts | condition.then)
        otherwise = self._compile(body["else"], facts | condition.otherwise)
        if then.kind != otherwise.kind:
            raise Unsupported(f"if that gives {then.kind} or {otherwise.kind}")
        if then.kind == BOOL:
            return made(BOOL, [condition, then, otherwise], choice)
        return operations.chosen(condition, then, otherwise)

    # One part -----------------------------------------------------------------------------------------------------

    def _like(self, body: Any, facts: Facts) -> Node:
        return operations.matches(self._compile(body["left"], facts), body["pattern"])

    def _negative(self, body: Any, facts: Facts) -> Node:
        return operations.counted("-", fixed(LONG, Cell(0)), self._compile(body["arg"], facts))

    def _set(self, body: Any, facts: Facts) -> Node:
        return operations.set_of([self._compile(one, facts) for one in body])

    def _record(self, body: Any, facts: Facts) -> Node:
        return operations.record_of({name: self._compile(one, facts) for name, one in body.items()})

    def _empty(self, body: Any, facts: Facts) -> Node:
        return operations.is_empty(self._compile(body["arg"], facts))

    # Hierarchy ----------------------------------------------------------------------------------------------------

    def _is(self, body: Any, facts: Facts) -> Node:
        left = self._compile(body["left"], facts)
        if not isinstance(left.kind, EntityRef):
            raise Unsupported(f"is on {left.kind}")
        same = left.kind.type == body["entity_type"]
        node = made(BOOL, [left], lambda cell: atom(same, cell.err))
        if "in" not in body or node.constant is False:
            return node
        inside = self._in({"left": body["left"], "right": body["in"]}, facts)
        return inside if node.constant else _all(node, inside)

    def _in(self, body: Any, facts: Facts) -> Node:
        left, right = self._compile(body["left"], facts), self._compile(body["right"], facts)
        if not isinstance(left.kind, EntityRef):
            raise Unsupported(f"{left.kind} in")
        groups = self._schema.actions[self._action.id].groups
        actions = frozenset(Ref(self._action.type, group) for group in groups)
        above = self._above(left, left.kind)

        def fold(env: Env) -> Cell:
            a, b = left.fold(env), right.fold(env)
            err = either(a.err, b.err)
            if err is True:
                return FAILED
            if isinstance(a.value, RowEntity):
                kin = [a.value, *above]
                return atom(either(*(both(_there(one), sets.row_in(one, b)) for one in kin)), err)
            mine = {a.value} | (env.roles if a.value == env.principal else frozenset())
            return atom(sets.known_in(mine | (actions if a.value == self._action else set()), b), err)

        return Node(BOOL, fold, rows=left.rows or right.rows)

    def _above(self, node: Node, kind: EntityRef) -> list[RowEntity]:
        """The ancestors of an entity that a row names."""
        if not self._schema_parents(kind.type):
            return []
        if node.cell is not None and isinstance(node.cell.value, RowEntity) and node.cell.value.at is not None:
            return list(self._climb(node.cell.value.at))
        if not node.rows and kind.type in (self._principal, self._action.type):
            return []
        raise Unsupported(f"in, of a {kind} of which it is not known what it is in")

    def _schema_parents(self, type_name: str) -> bool:
        entity = self._schema.entities.get(type_name)  # actions are none
        return entity is not None and bool(entity.parents)

    def _climb(self, keys: Keys) -> list[RowEntity]:
        found: list[RowEntity] = []
        for key, parent, _model in self._relations.parents(self._models[keys]):
            column = self._loader.column(keys, key)
            found.append(RowEntity(parent, column, perhaps=bool(keys) or bool(getattr(column, "nullable", True))))
            if (*keys, key) in self._models and self._schema_parents(parent):
                found += self._climb((*keys, key))
        return found


def _all(left: Node, right: Node) -> Node:
    return settled_by(False, left, right, conjunction, then=left.then | right.then, otherwise=NOTHING)


def _member(left: Node, record: Record, name: str, path: Any) -> Node:
    attribute = record.attributes.get(name)
    if attribute is None:
        raise Unsupported(f"the member {name}, which {record} does not have")

    def fold(env: Env) -> Cell:
        cell = left.fold(env)
        return FAILED if cell.err else next((Cell(value) for member, value in cell.value if member == name), FAILED)

    return Node(attribute.type, fold, path=path, rows=False)


def _has_member(left: Node, name: str) -> Node:
    def fold(env: Env) -> Cell:
        cell = left.fold(env)
        return FAILED if cell.err else Cell(any(member == name for member, _ in cell.value))

    return Node(BOOL, fold, rows=False)


def _there(entity: RowEntity) -> Truth:
    return entity.id.is_not(None) if entity.perhaps else True


def _scope(variable: str, scope: Mapping[str, Any]) -> Any:
    """A policy's scope as the condition that it means."""
    named = {"Var": variable}
    if scope["op"] == "All":
        return None
    if scope["op"] == "is":
        inside = {"in": {"Value": {"__entity": scope["in"]["entity"]}}} if "in" in scope else {}
        return {"is": {"left": named, "entity_type": scope["entity_type"], **inside}}
    if "entity" not in scope or scope["op"] not in ("==", "in"):
        raise Unsupported(f"the scope {variable} {scope['op']}")
    return {scope["op"]: {"left": named, "right": {"Value": {"__entity": scope["entity"]}}}}
