"""Views: what of an object leaves, field by field.

    class OrderView(BaseModel):
        id: UUID
        address: str
        card_last4: Annotated[str | None, seen_with("read_payment")] = None

    @app.get("/orders/{order_id}", response_model_exclude_unset=True)
    async def read(order: OrderToRead, scope: Scope) -> OrderView:
        return reveal(OrderView, order, scope)

A field that the caller may not see is *unset*, so that it is absent from the answer and not merely null. A guarded
field that anything else than `reveal` fills (the object itself as the answer, `OrderView.model_validate(order)`) is an
error, so a handler that forgets it shows nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from seawall.access.engine import Allow
from seawall.access.may import engine_of
from seawall.core.errors import Refused
from seawall.core.scope import Scope

V = TypeVar("V", bound=BaseModel)
_ABSENT = object()


@dataclass(frozen=True, slots=True, eq=False)
class SeenWith:
    """Marks a field: it is shown only to whom Cedar allows this action on the object."""

    action: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_before_validator_function(self._revealed, handler(source))

    def _revealed(self, value: Any, info: ValidationInfo) -> Any:
        # by identity: a view within the view, whose object nobody has decided on, has marks of its own
        if not isinstance(info.context, _Revealing) or self not in info.context.marks:
            raise RuntimeError(
                f"{info.field_name} is seen with {self.action!r}, which was not decided on: make the view, and each"
                " view in it, with reveal(View, object, scope)"
            )
        return value


@dataclass(frozen=True, slots=True)
class _Revealing:
    """What `reveal` tells the validation of one view: the marks of the fields that were decided on."""

    marks: frozenset[SeenWith]


def seen_with(action: str) -> SeenWith:
    """Mark a view's field: `Annotated[str | None, seen_with("read_payment")] = None`."""
    return SeenWith(action)


@lru_cache(maxsize=1_024)
def guarded_fields(view: type[BaseModel]) -> Mapping[str, frozenset[str]]:
    """Action → the fields of a view that need it.

    Raises:
        Refused: when a guarded field has no default, and so could not be absent.
    """
    fields: defaultdict[str, set[str]] = defaultdict(set)
    for name, field in view.model_fields.items():
        for mark in field.metadata:
            if isinstance(mark, SeenWith):
                if field.is_required():
                    raise Refused(
                        f"{view.__name__}.{name} is guarded by seen_with({mark.action!r}) but has no default",
                        why="it must be possible to leave it out",
                        fix=f"write `{name}: Annotated[… | None, seen_with({mark.action!r})] = None`",
                    )
                fields[mark.action].add(name)
    return {action: frozenset(names) for action, names in fields.items()}


def reveal(view: type[V], instance: Any, scope: Scope, **values: Any) -> V:
    """A view of an authorised object with only the fields that the caller may see; the rest is unset.

    Args:
        view: the pydantic model; its fields are read from the object by name.
        instance: an object that `may()` or `may_list()` gave.
        values: fields that are computed rather than columns. They are guarded like the others.

    Raises:
        Refused: when a guarding action is unknown to the Cedar schema.
    """
    return reveal_all(view, [(instance, values)], scope)[0]


def reveal_all(view: type[V], rows: Iterable[Any], scope: Scope) -> list[V]:
    """`reveal` for many: objects, or pairs of object and computed values. One batch of decisions for each action."""
    pairs: Sequence[tuple[Any, Mapping[str, Any]]] = [row if isinstance(row, tuple) else (row, {}) for row in rows]
    hidden: list[set[str]] = [set() for _ in pairs]
    passage = scope._passage
    engine = engine_of(passage)
    for action, names in guarded_fields(view).items() if pairs else ():
        ruling = engine.ruling(type(pairs[0][0]), action)
        verdicts = engine.decide_all(scope.principal, ruling, [instance for instance, _ in pairs])
        for verdict, fields in zip(verdicts, hidden, strict=True):
            if not isinstance(verdict, Allow):
                fields.update(names)
    return [_view(view, instance, values, fields) for (instance, values), fields in zip(pairs, hidden, strict=True)]


def _view(view: type[V], instance: Any, values: Mapping[str, Any], hidden: set[str]) -> V:
    shown: dict[str, Any] = {}
    for name in view.model_fields:
        if name in hidden:
            continue
        value = values[name] if name in values else getattr(instance, name, _ABSENT)
        if value is not _ABSENT:
            shown[name] = value
    marks = frozenset(mark for name in shown for mark in view.model_fields[name].metadata if isinstance(mark, SeenWith))
    return view.model_validate(shown, by_name=True, by_alias=False, context=_Revealing(marks))


def views_in(annotation: Any) -> Iterable[type[BaseModel]]:
    """Every view with guarded fields that an annotation contains, however deep."""
    seen: set[type[BaseModel]] = set()
    waiting = [annotation]
    while waiting:
        at = waiting.pop()
        if get_origin(at) is Annotated:
            waiting.append(get_args(at)[0])
        elif get_args(at):
            waiting.extend(get_args(at))
        elif isinstance(at, type) and issubclass(at, BaseModel) and at not in seen:
            seen.add(at)
            waiting.extend(field.annotation for field in at.model_fields.values())
    return [view for view in seen if guarded_fields(view)]
