"""Which kinds of requests a policy's scope lets it match at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seawall.access.expressions import Est
from seawall.access.schema import CedarSchema


def concerns(est: Est, schema: CedarSchema, action: str, resource_type: str, principal_type: str) -> bool:
    """Whether a policy's scope lets it match this kind of request at all."""
    return (
        _action_fits(est["action"], action, schema.actions[action].groups)
        and _type_fits(est["resource"], resource_type, schema)
        and _type_fits(est["principal"], principal_type, schema)
    )


def _action_fits(scope: Mapping[str, Any], action: str, groups: frozenset[str]) -> bool:
    if scope["op"] == "All":
        return True
    named = [scope["entity"]] if "entity" in scope else scope["entities"]
    ids = {entity["id"] for entity in named}
    return action in ids if scope["op"] == "==" else bool(groups & ids)


def _type_fits(scope: Mapping[str, Any], type_name: str, schema: CedarSchema) -> bool:
    """Whether a principal or resource scope could match an entity of this type. Unknown forms are kept."""
    if scope["op"] == "is":
        return bool(scope["entity_type"] == type_name)
    if scope["op"] == "==" and "entity" in scope:
        return bool(scope["entity"]["type"] == type_name)
    return True
