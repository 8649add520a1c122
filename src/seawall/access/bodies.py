"""What the bodies of routes may be: one model each, which refuses fields it does not know.

FastAPI ignores unknown fields by default, and a model that is passed on whole (`Order(**body)`) then takes whatever the
caller added: mass assignment (ASVS 15.3.3).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from fastapi import UploadFile, params
from fastapi.dependencies.models import Dependant
from pydantic import BaseModel

from seawall.core.errors import Refused


def body_fields(dependant: Dependant) -> Iterator[Any]:
    """Every body parameter of a route and its dependencies."""
    yield from dependant.body_params
    for inner in dependant.dependencies:
        yield from body_fields(inner)


def route_body(dependant: Dependant) -> type[BaseModel] | None:
    """The model of a route's body, wherever it is declared."""
    for field in body_fields(dependant):
        for model in _models(field.field_info.annotation):
            return model
    return None


def check_bodies(dependant: Dependant, where: str) -> None:
    """Refuse bodies that let unknown fields through.

    Raises:
        Refused: naming the route and the model or parameter.
    """
    fields = {field.name: field for field in body_fields(dependant)}
    if len(fields) > 1 and not all(_is_file(field) for field in fields.values()):
        raise Refused(
            f"{where}: the body is spread over the parameters {', '.join(sorted(fields))}",
            why="FastAPI then ignores every field that it does not know",
            fix="declare one `body:` parameter with a model derived from seawall.Body",
        )
    for name, field in fields.items():
        if _is_file(field):
            continue
        models = list(_models(field.field_info.annotation))
        if not models:
            raise Refused(
                f"{where}: the body parameter {name!r} is not a model",
                why="without a model any field is let through",
                fix="declare a model derived from seawall.Body",
            )
        for model in models:
            _check_model(model, where)


def _check_model(model: type[BaseModel], where: str) -> None:
    seen: set[type[BaseModel]] = set()
    waiting = [model]
    while waiting:
        at = waiting.pop()
        if at in seen:
            continue
        seen.add(at)
        if at.model_config.get("extra") != "forbid":
            raise Refused(
                f"{where}: the body model {at.__name__} lets unknown fields through",
                why="a field the author did not think of would be ignored today and assigned tomorrow",
                fix=f"class {at.__name__}(seawall.Body): …",
            )
        for field in at.model_fields.values():
            waiting.extend(_models(field.annotation))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    waiting = [annotation]
    while waiting:
        at = waiting.pop()
        if isinstance(at, type) and issubclass(at, BaseModel):
            yield at
        waiting.extend(get_args(at))


def _is_file(field: Any) -> bool:
    annotation = field.field_info.annotation
    return isinstance(field.field_info, params.File) or annotation is UploadFile
