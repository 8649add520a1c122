"""Python values as Cedar values, in Cedar's explicit JSON form.

Each converter checks the type of what it is given and raises `Unconvertible` otherwise, so a request never carries a
value of another type than the schema says. That is what Cedar's own request validation would check; doing it in the
compiled converters saves checking every decision against the schema.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from pydantic import BaseModel

from seawall.access.schema import CedarType, EntityRef, Record, Scalar, SetOf

Convert = Callable[[Any], Any]
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1
DECIMAL_LIMIT = Decimal("922337203685477.5807")
"""Cedar's decimal is a 64-bit integer of ten-thousandths."""


class Unconvertible(ValueError):
    """A value that is not of the type the schema gives it. Says types only, never the value."""


def entity_json(type_name: str, entity_id: object) -> dict[str, Any]:
    """A reference to an entity."""
    return {"__entity": {"type": type_name, "id": str(entity_id)}}


def datetime_json(moment: datetime) -> dict[str, Any]:
    """A Cedar datetime: UTC, milliseconds."""
    if moment.tzinfo is None:
        raise Unconvertible("a datetime without a time zone")
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")  # cuts, and writes the year 900 as 0900
    return {"__extn": {"fn": "datetime", "arg": f"{text[:-6]}Z"}}


def _long(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not LONG_MIN <= value <= LONG_MAX:
        raise Unconvertible(f"{type(value).__name__} is not a Long")
    return int(value)


def _string(value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    if not isinstance(value, str):
        raise Unconvertible(f"{type(value).__name__} is not a String")
    return value


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Unconvertible(f"{type(value).__name__} is not a Bool")
    return value


def _datetime(value: Any) -> dict[str, Any]:
    if not isinstance(value, datetime):
        raise Unconvertible(f"{type(value).__name__} is not a datetime")
    return datetime_json(value)


def _decimal(value: Any) -> dict[str, Any]:
    if not isinstance(value, Decimal) or not value.is_finite() or abs(value) > DECIMAL_LIMIT:
        raise Unconvertible(f"{type(value).__name__} is not a decimal")
    rounded = value.quantize(Decimal("0.0001"))
    if rounded != value:
        raise Unconvertible("a decimal with more than four places")
    return {"__extn": {"fn": "decimal", "arg": f"{rounded:f}"}}


_SCALARS: Mapping[str, Convert] = {
    "Long": _long,
    "String": _string,
    "Bool": _bool,
    "datetime": _datetime,
    "decimal": _decimal,
}
_PYTHON: Mapping[str, type] = {
    "Long": int,
    "String": str,
    "Bool": bool,
    "datetime": datetime,
    "decimal": Decimal,
}


def converter(kind: CedarType) -> Convert:
    """The checked conversion to a Cedar type.

    Raises:
        Unconvertible: for a type that Seawall fills from nowhere (`ipaddr`, `duration`).
    """
    if isinstance(kind, Scalar):
        if kind.name not in _SCALARS:
            raise Unconvertible(f"{kind} cannot be filled from an app's values")
        return _SCALARS[kind.name]
    if isinstance(kind, EntityRef):
        return _entity(kind.type)
    if isinstance(kind, SetOf):
        return _set(converter(kind.element))
    return _record(kind)


def _entity(type_name: str) -> Convert:
    def convert(value: Any) -> dict[str, Any]:
        if isinstance(value, bool) or not isinstance(value, (UUID, str, int)):
            raise Unconvertible(f"{type(value).__name__} does not name a {type_name}")
        return entity_json(type_name, value)

    return convert


def _set(element: Convert) -> Convert:
    def convert(value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple, set, frozenset)):
            raise Unconvertible(f"{type(value).__name__} is not a Set")
        return [element(item) for item in value]

    return convert


def _record(kind: Record) -> Convert:
    fields = {name: (converter(attribute.type), attribute.required) for name, attribute in kind.attributes.items()}

    def convert(value: Any) -> dict[str, Any]:
        if isinstance(value, BaseModel):
            value = {name: getattr(value, name) for name in type(value).model_fields}
        if not isinstance(value, Mapping) or not set(value) <= set(fields):
            raise Unconvertible(f"{type(value).__name__} is not {kind}")
        record: dict[str, Any] = {}
        for name, (convert_field, required) in fields.items():
            item = value.get(name)
            if item is not None:
                record[name] = convert_field(item)
            elif required:
                raise Unconvertible(f"{name} is missing")
        return record

    return convert


def unfit(kind: CedarType, annotation: Any) -> str | None:
    """Why values of a Python annotation do not fit a Cedar type, or None when they do. For checks at boot.

    The annotation's `None` is not judged here: see `optional`.
    """
    members = [m for m in _members(annotation) if m is not type(None)]
    if not members:
        return "it can only be None"
    reasons = (_unfit_one(kind, member) for member in members)
    return next((reason for reason in reasons if reason is not None), None)


def optional(annotation: Any) -> bool:
    """Whether an annotation admits None."""
    return type(None) in _members(annotation)


def _members(annotation: Any) -> list[Any]:
    """The members of a union, without `Annotated` and `NewType` wrappers, literals as their types."""
    while True:
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif hasattr(annotation, "__value__"):
            annotation = annotation.__value__
        else:
            break
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [member for part in get_args(annotation) for member in _members(part)]
    if origin is Literal:
        return [type(value) for value in get_args(annotation)]
    return [annotation]


def _unfit_one(kind: CedarType, python: Any) -> str | None:
    name = getattr(python, "__name__", str(python))
    if isinstance(kind, SetOf):
        arguments = get_args(python)
        if get_origin(python) in (list, set, frozenset, tuple) and arguments:
            return unfit(kind.element, arguments[0])
    elif isinstance(python, type):
        if isinstance(kind, Record):
            return _unfit_record(kind, python)
        if _fits(kind, python):
            return None
    return f"{name} is not a {kind}"


def _fits(kind: Scalar | EntityRef, python: type) -> bool:
    if isinstance(kind, EntityRef):
        return issubclass(python, (UUID, str, int)) and python is not bool
    if kind.name == "String" and issubclass(python, enum.Enum):
        return all(isinstance(member.value, str) for member in python)
    if kind.name == "Long" and python is bool:
        return False
    return kind.name in _PYTHON and issubclass(python, _PYTHON[kind.name])


def _unfit_record(kind: Record, python: type) -> str | None:
    if not issubclass(python, BaseModel):
        return f"{python.__name__} is not {kind}"
    unknown = _first(set(python.model_fields) - set(kind.attributes))
    if unknown:
        return f"{python.__name__}.{unknown} is not in {kind}"
    for name, attribute in kind.attributes.items():
        field = python.model_fields.get(name)
        if field is None:
            if attribute.required:
                return f"{python.__name__} has no {name}"
        elif (reason := unfit(attribute.type, field.annotation)) is not None:
            return f"{python.__name__}.{name}: {reason}"
        elif attribute.required and optional(field.annotation):
            return f"{python.__name__}.{name} may be None, but the schema requires it"
    return None


def _first(names: Iterable[str]) -> str | None:
    return min(names, default=None)
