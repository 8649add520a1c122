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
from seawall.access.schema import Attribute, CedarSchema, CedarType, EntityRef, EntityType, Record, SetOf
from seawall.access.sql import numbers, sets
from seawall.access.sql.cells import (
    FAILED,
    Cell,
    Listed,
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
from seawall.access.sql.columns import Unsupported, bound, column_cell, guard, storable
from seawall.access.sql.known import LITERALS, Env, Ref, kind_of, like
from seawall.access.sql.nodes import (
    BOOL,
    DECIMAL,
    DURATION,
    LONG,
    MOMENT,
    NOTHING,
    STRING,
    Facts,
    Node,
    fixed,
    truth,
)
from seawall.store.loader import Keys, Loader

_KINDS: dict[str, CedarType] = {"datetime": MOMENT, "duration": DURATION, "decimal": DECIMAL}
_UNITS_MS = {
    "toMilliseconds": 1, "toSeconds": 1_000, "toMinutes": 60_000, "toHours": 3_600_000, "toDays": 86_400_000,
}  # fmt: skip
_DECIMALS = {"lessThan": "<", "lessThanOrEqual": "<=", "greaterThan": ">", "greaterThanOrEqual": ">="}
_ORDERED = (LONG, MOMENT, DURATION)
Fold = Callable[[Env], Cell]


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
        self.looked_at: set[Keys] = set()
        """The rows beside the object that the compiled policies read."""

    def compile(self, est: Any, facts: Facts = NOTHING) -> Node:
        """
        Raises:
            Unsupported: naming the construct.
        """
        if not isinstance(est, Mapping) or len(est) != 1:
            raise Unsupported(str(est)[:80])
        ((name, body),) = est.items()
        if name in ("<", "<=", ">", ">="):
            return self._ordered(name, self._pair(body, facts))
        if name in ("+", "-", "*"):
            return self._counted(name, self._pair(body, facts))
        if name in ("contains", "containsAll", "containsAny"):
            return self._of_sets(name, self._pair(body, facts))
        if name in LITERALS:
            return self._literal(name, body)
        if name in _UNITS_MS or name in ("toDate", "toTime"):
            return self._converted(name, self._one(body, facts))
        if name in _DECIMALS:
            pair = (self._one(body[:1], facts, DECIMAL), self._one(body[1:], facts, DECIMAL))
            return self._decimals(_DECIMALS[name], pair)
        written = {
            "Value": self._value, "Var": self._variable, ".": self._attribute, "has": self._has, "is": self._is,
            "&&": self._and, "||": self._or, "!": self._not, "if-then-else": self._if, "==": self._equal,
            "!=": self._unequal, "in": self._in, "like": self._like, "neg": self._negative, "Set": self._set,
            "Record": self._record, "isEmpty": self._empty, "offset": self._offset, "durationSince": self._since,
        }  # fmt: skip
        if name not in written:
            raise Unsupported(f"{name}()")
        return written[name](body, facts)

    def _pair(self, body: Any, facts: Facts) -> tuple[Node, Node]:
        return self.compile(body["left"], facts), self.compile(body["right"], facts)

    def _one(self, arguments: Any, facts: Facts, kind: CedarType | None = None) -> Node:
        node = self.compile(arguments[0], facts)
        if kind is not None and node.kind != kind:
            raise Unsupported(f"{node.kind} where a {kind} is meant")
        return node

    def _bool(self, est: Any, facts: Facts) -> Node:
        return self._one([est], facts, BOOL)

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
        left, name = self.compile(body["left"], facts), body["attr"]
        path = None if left.path is None else (*left.path, name)
        if isinstance(left.kind, Record):
            return self._member(left, name, path)
        if left.path == ("principal",):
            attribute = self._schema.entities[self._principal].attributes.get(name)
            if attribute is not None:
                return Node(attribute.type, lambda env: Cell(env.attributes[name]), path=path, rows=False)
        keys, entity = self._row(left)
        attribute = entity.attributes.get(name)
        if attribute is None:
            raise Unsupported(f"the attribute {name}, which {entity.name} does not have")
        key = self._key(keys, name, attribute.type)
        column = self._loader.column(keys, key)
        assert left.cell is not None
        missing: Truth = False if attribute.required or path in facts else column.is_(None)
        # a row near it is there wherever the column that points at it is not NULL: `guards` sees to that
        near = (*keys, key) if (*keys, key) in self._models else None
        return fixed(
            attribute.type, column_cell(column, attribute.type, either(left.cell.err, missing), near), path=path
        )

    def _member(self, left: Node, name: str, path: Any) -> Node:
        assert isinstance(left.kind, Record)
        attribute = left.kind.attributes.get(name)
        if attribute is None:
            raise Unsupported(f"the member {name}, which {left.kind} does not have")

        def fold(env: Env) -> Cell:
            return next((Cell(value) for member, value in left.fold(env).value if member == name), FAILED)

        return Node(attribute.type, fold, path=path, rows=False)

    def _row(self, node: Node) -> tuple[Keys, EntityType]:
        """Where the row of an entity is, whose attributes are asked for."""
        value = None if node.cell is None else node.cell.value
        if not isinstance(value, RowEntity) or value.at is None:
            raise Unsupported(f"an attribute of {node.kind}, which is not loaded")
        if value.at:
            self.looked_at.add(value.at)
        return value.at, self._schema.entities[value.type]

    def _key(self, keys: Keys, name: str, kind: CedarType) -> str:
        key = self._relations.key(self._models[keys], name) if isinstance(kind, EntityRef) else name
        assert key is not None  # the resource map has refused it otherwise
        return key

    def _has(self, body: Any, facts: Facts) -> Node:
        left, name = self.compile(body["left"], facts), body["attr"]
        if isinstance(left.kind, Record):
            return Node(BOOL, lambda env: Cell(any(m == name for m, _ in left.fold(env).value)), rows=False)
        if left.path == ("principal",):
            return truth(name in self._schema.entities[self._principal].attributes)
        keys, entity = self._row(left)
        attribute = entity.attributes.get(name)
        assert left.cell is not None
        if attribute is None or attribute.required:
            return fixed(BOOL, atom(attribute is not None, left.cell.err))
        column = self._loader.column(keys, self._key(keys, name, attribute.type))
        there = frozenset({(*(left.path or ()), name)})
        return fixed(BOOL, atom(column.is_not(None), left.cell.err), then=there)

    # Truths -------------------------------------------------------------------------------------------------------

    def _and(self, body: Any, facts: Facts) -> Node:
        left = self._bool(body["left"], facts)
        if left.constant is False:
            return left
        right = self._bool(body["right"], facts | left.then)
        if left.constant is True:
            return right
        return self._joined(conjunction, left, right, left.then | right.then, NOTHING)

    def _or(self, body: Any, facts: Facts) -> Node:
        left = self._bool(body["left"], facts)
        if left.constant is True:
            return left
        right = self._bool(body["right"], facts | left.otherwise)
        if left.constant is False:
            return right
        return self._joined(disjunction, left, right, NOTHING, left.otherwise | right.otherwise)

    def _joined(
        self, join: Callable[[Cell, Cell], Cell], left: Node, right: Node, then: Facts, otherwise: Facts
    ) -> Node:
        if left.cell is not None and right.cell is not None:
            return fixed(BOOL, join(left.cell, right.cell), then=then, otherwise=otherwise)
        rows = left.rows or right.rows
        return Node(BOOL, lambda env: join(left.fold(env), right.fold(env)), then, otherwise, rows=rows)

    def _not(self, body: Any, facts: Facts) -> Node:
        inner = self._bool(body["arg"], facts)
        if inner.cell is not None:
            return fixed(BOOL, negation(inner.cell), then=inner.otherwise, otherwise=inner.then)
        return Node(BOOL, lambda env: negation(inner.fold(env)), inner.otherwise, inner.then, rows=inner.rows)

    def _if(self, body: Any, facts: Facts) -> Node:
        condition = self._bool(body["if"], facts)
        if condition.constant is not None:
            return self.compile(body["then" if condition.constant else "else"], facts)
        then = self.compile(body["then"], facts | condition.then)
        otherwise = self.compile(body["else"], facts | condition.otherwise)
        if then.kind != otherwise.kind:
            raise Unsupported(f"if that gives {then.kind} or {otherwise.kind}")
        if then.kind == BOOL:
            return Node(BOOL, lambda env: choice(condition.fold(env), then.fold(env), otherwise.fold(env)))
        return self._either_value(condition, then, otherwise)

    def _either_value(self, condition: Node, then: Node, otherwise: Node) -> Node:
        if condition.rows and then.kind not in (LONG, STRING, MOMENT, DURATION, DECIMAL):
            raise Unsupported(f"if that gives {then.kind} depending on the row")

        def fold(env: Env) -> Cell:
            met = condition.fold(env)
            if met.err is True:
                return FAILED
            if isinstance(met.value, bool) and met.err is False:
                return then.fold(env) if met.value else otherwise.fold(env)
            return sets.choice_of(then.kind, met, then.fold(env), otherwise.fold(env))

        rows, listed = then.rows or otherwise.rows, then.listed or otherwise.listed
        return Node(then.kind, fold, rows=rows, listed=listed)

    def _is(self, body: Any, facts: Facts) -> Node:
        left = self.compile(body["left"], facts)
        if not isinstance(left.kind, EntityRef):
            raise Unsupported(f"is on {left.kind}")
        same = left.kind.type == body["entity_type"]
        if left.cell is not None:
            node = fixed(BOOL, atom(same, left.cell.err))
        else:
            node = Node(BOOL, lambda env: atom(same, left.fold(env).err), rows=left.rows)
        if "in" not in body or node.constant is False:
            return node
        inside = self._in({"left": body["left"], "right": body["in"]}, facts)
        return inside if node.constant else self._joined(conjunction, node, inside, NOTHING, NOTHING)

    # Comparisons --------------------------------------------------------------------------------------------------

    def _equal(self, body: Any, facts: Facts) -> Node:
        left, right = self._pair(body, facts)
        kinds = {type(left.kind), type(right.kind)}
        rows = left.rows or right.rows
        if len(kinds) > 1 or (not isinstance(left.kind, EntityRef | SetOf | Record) and left.kind != right.kind):
            raise Unsupported(f"== of {left.kind} and {right.kind}")
        if rows and (isinstance(left.kind, Record) or left.listed or right.listed):
            raise Unsupported(f"== of {left.kind} that depends on the row")

        def fold(env: Env) -> Cell:
            a, b = left.fold(env), right.fold(env)
            err = either(a.err, b.err)
            return FAILED if err is True else atom(sets.equal(left.kind, a, b), err)

        return Node(BOOL, fold, rows=rows)

    def _unequal(self, body: Any, facts: Facts) -> Node:
        same = self._equal(body, facts)
        return Node(BOOL, lambda env: negation(same.fold(env)), rows=same.rows)

    def _ordered(self, sign: str, pair: tuple[Node, Node]) -> Node:
        return self._compared(sign, pair, _ORDERED)

    def _compared(self, sign: str, pair: tuple[Node, Node], kinds: tuple[CedarType, ...]) -> Node:
        left, right = pair
        if left.kind != right.kind or left.kind not in kinds:
            raise Unsupported(f"{sign} of {left.kind} and {right.kind}")

        def fold(env: Env) -> Cell:
            a, b = left.fold(env), right.fold(env)
            err = either(a.err, b.err)
            return FAILED if err is True else atom(numbers.compared(sign, a, b), err)

        return Node(BOOL, fold, rows=left.rows or right.rows)

    def _decimals(self, sign: str, pair: tuple[Node, Node]) -> Node:
        left, right = pair

        def fold(env: Env) -> Cell:
            a, b = left.fold(env), right.fold(env)
            err = either(a.err, b.err)
            if err is True:
                return FAILED
            sides = (a.value, b.value) if a.known and b.known else (_decimal(a), _decimal(b))
            return atom(numbers.COMPARE[sign](*sides), err)

        return Node(BOOL, fold, rows=left.rows or right.rows)

    def _like(self, body: Any, facts: Facts) -> Node:
        left, pattern = self._one([body["left"]], facts, STRING), body["pattern"]

        def fold(env: Env) -> Cell:
            cell = left.fold(env)
            if cell.err is True or cell.known:
                return FAILED if cell.err is True else Cell(like(cell.value, pattern))
            if not all(storable(part["Literal"]) for part in pattern if part != "Wildcard"):
                return atom(False, cell.err)
            return atom(cell.value.like(sets.sql_pattern(pattern), escape="\\"), cell.err)

        return Node(BOOL, fold, rows=left.rows)

    # Numbers ------------------------------------------------------------------------------------------------------

    def _counted(self, sign: str, pair: tuple[Node, Node], kind: CedarType = LONG) -> Node:
        left, right = pair
        if kind == LONG and (left.kind != LONG or right.kind != LONG):
            raise Unsupported(f"{sign} of {left.kind} and {right.kind}")

        def fold(env: Env) -> Cell:
            return numbers.arithmetic(sign, left.fold(env), right.fold(env))

        return Node(kind, fold, rows=left.rows or right.rows)

    def _negative(self, body: Any, facts: Facts) -> Node:
        return self._counted("-", (fixed(LONG, Cell(0)), self.compile(body["arg"], facts)))

    def _offset(self, body: Any, facts: Facts) -> Node:
        return self._counted("+", (self._one(body, facts, MOMENT), self._one(body[1:], facts, DURATION)), MOMENT)

    def _since(self, body: Any, facts: Facts) -> Node:
        return self._counted("-", (self._one(body, facts, MOMENT), self._one(body[1:], facts, MOMENT)), DURATION)

    def _converted(self, name: str, node: Node) -> Node:
        if name in _UNITS_MS:
            if node.kind != DURATION:
                raise Unsupported(f"{name}() of {node.kind}")
            return Node(LONG, lambda env: numbers.in_units(node.fold(env), _UNITS_MS[name]), rows=node.rows)
        if node.kind != MOMENT:
            raise Unsupported(f"{name}() of {node.kind}")
        if name == "toDate":
            return Node(MOMENT, lambda env: numbers.date_of(node.fold(env)), rows=node.rows)
        return Node(DURATION, lambda env: numbers.time_of_day(node.fold(env)), rows=node.rows)

    # Sets and hierarchy -------------------------------------------------------------------------------------------

    def _set(self, body: Any, facts: Facts) -> Node:
        members = [self.compile(one, facts) for one in body]
        kinds = {node.kind for node in members}
        if len(kinds) > 1:
            raise Unsupported("a set of several types")
        kind = SetOf(kinds.pop() if kinds else None)  # type: ignore[arg-type]
        rows = any(node.rows for node in members)

        def fold(env: Env) -> Cell:
            cells = [node.fold(env) for node in members]
            err = either(*(cell.err for cell in cells))
            if err is True:
                return FAILED
            if all(cell.known for cell in cells):
                return Cell(frozenset(cell.value for cell in cells), err)
            return Cell(Listed(tuple(cells)), err)

        return Node(kind, fold, rows=rows, listed=rows)

    def _record(self, body: Any, facts: Facts) -> Node:
        members = {name: self.compile(one, facts) for name, one in sorted(body.items())}
        if any(node.rows for node in members.values()):
            raise Unsupported("a record with attributes of the row")
        kind = Record({name: Attribute(node.kind) for name, node in members.items() if node.kind is not None})

        def fold(env: Env) -> Cell:
            cells = {name: node.fold(env) for name, node in members.items()}
            failed = any(cell.err for cell in cells.values())
            return FAILED if failed else Cell(tuple((name, cell.value) for name, cell in cells.items()))

        return Node(kind, fold, rows=False)

    def _of_sets(self, name: str, pair: tuple[Node, Node]) -> Node:
        left, right = pair
        if not isinstance(left.kind, SetOf) or (name != "contains" and not isinstance(right.kind, SetOf)):
            raise Unsupported(f"{name}() of {left.kind} and {right.kind}")
        if name != "contains" and (left.listed or right.listed):
            raise Unsupported(f"{name}() of a set with attributes of the row")
        element = left.kind.element or (right.kind.element if isinstance(right.kind, SetOf) else right.kind)
        do = {"contains": sets.contains, "containsAll": sets.contains_all, "containsAny": sets.contains_any}[name]
        if isinstance(element, Record | SetOf) and (left.rows or right.rows):
            raise Unsupported(f"{name}() of {left.kind} that depends on the row")

        def fold(env: Env) -> Cell:
            a, b = left.fold(env), right.fold(env)
            err = either(a.err, b.err)
            return FAILED if err is True else atom(do(element, a, b), err)

        return Node(BOOL, fold, rows=left.rows or right.rows)

    def _empty(self, body: Any, facts: Facts) -> Node:
        left = self.compile(body["arg"], facts)

        def fold(env: Env) -> Cell:
            cell = left.fold(env)
            return FAILED if cell.err is True else atom(sets.is_empty(cell), cell.err)

        return Node(BOOL, fold, rows=left.rows)

    def _in(self, body: Any, facts: Facts) -> Node:
        left, right = self._pair(body, facts)
        if not isinstance(left.kind, EntityRef):
            raise Unsupported(f"{left.kind} in")
        groups = self._schema.actions[self._action.id].groups
        actions = frozenset(Ref(self._action.type, group) for group in groups)
        above = self._above(left)

        def fold(env: Env) -> Cell:
            a, b = left.fold(env), right.fold(env)
            err = either(a.err, b.err)
            if err is True:
                return FAILED
            if a.known:
                mine = {a.value} | (env.roles if a.value == env.principal else frozenset())
                mine |= actions if a.value == self._action else frozenset()
                return atom(sets.known_in(mine, b), err)
            assert isinstance(a.value, RowEntity)
            kin = [a.value, *above]
            return atom(either(*(both(_there(one), sets.row_in(one, b)) for one in kin)), err)

        return Node(BOOL, fold, rows=left.rows or right.rows)

    def _above(self, node: Node) -> list[RowEntity]:
        """The ancestors of an entity that a row names."""
        value = None if node.cell is None else node.cell.value
        if not isinstance(value, RowEntity):
            if node.rows and isinstance(node.kind, EntityRef) and self._schema.entities[node.kind.type].parents:
                raise Unsupported(f"in, of {node.kind} that depends on the row")
            known = isinstance(node.kind, EntityRef) and node.kind.type in (self._principal, self._action.type)
            if not known and isinstance(node.kind, EntityRef) and self._schema.entities[node.kind.type].parents:
                raise Unsupported(f"in, of a {node.kind} that is not the row's")  # it may be the row's, and may not
            return []
        if not self._schema.entities[value.type].parents:
            return []
        if value.at is None:
            raise Unsupported(f"in, of {value.type}, which is not loaded")
        return list(self._climb(value.at))

    def _climb(self, keys: Keys) -> list[RowEntity]:
        if keys:
            self.looked_at.add(keys)
        found: list[RowEntity] = []
        for key, parent, _far in self._relations.parents(self._models[keys]):
            column = self._loader.column(keys, key)
            found.append(RowEntity(parent, column, perhaps=bool(keys) or bool(getattr(column, "nullable", True))))
            if (*keys, key) in self._models and self._schema.entities[parent].parents:
                found += self._climb((*keys, key))
        return found

    # Whole policies -----------------------------------------------------------------------------------------------

    def policy(self, est: Est) -> Node:
        """Scope and conditions as one Bool. The action's scope has been seen to when the policies were chosen."""
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
        pointed = self._loader.column(keys[:-1], keys[-1]).is_(None)
        return [either(pointed, both(there, *found))]


def _there(entity: RowEntity) -> Truth:
    return entity.id.is_not(None) if entity.perhaps else True


def _decimal(cell: Cell) -> Any:
    return bound(cell.value, DECIMAL) if cell.known else cell.value


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
