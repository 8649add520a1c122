"""Which rows beside an object policies read, such as `resource.deal.owner`: told from the schema alone.

The running app follows foreign keys (`relations.py`). A made-up object names such a row by an attribute, and the row is
made up with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from seawall.access.entities import PRINCIPAL, ROLE, TENANT
from seawall.access.expressions import Est, chains, memberships
from seawall.access.policies import SCHEMA_FILE
from seawall.access.schema import CedarSchema, EntityRef, EntityType
from seawall.core.errors import Refused

Path = tuple[str, ...]
"""The attributes followed from an object: `()` is the object, `("deal", "account")` its deal's account."""


def reached(schema: CedarSchema, type_name: str, policies: Iterable[Est]) -> Mapping[Path, str]:
    """The rows that policies read beside an object of a (qualified) type: path → type, each after the one before it.

    Raises:
        Refused: when a parent that they climb to is named by no attribute.
    """
    found: dict[Path, str] = {}
    alone = {schema.qualified(name) for name in (PRINCIPAL, TENANT, ROLE)}

    def walk(path: Path) -> str | None:
        at = type_name
        for depth, name in enumerate(path, 1):
            attribute = schema.entities[at].attributes.get(name)
            if attribute is None or not isinstance(attribute.type, EntityRef) or attribute.type.type in alone:
                return None
            at = attribute.type.type
            found[path[:depth]] = at
        return at

    def climb(path: Path, at: str) -> None:
        for parent in sorted(schema.entities[at].parents - alone):
            if schema.entities[parent].parents:  # the highest is known by its id, which the row below it holds
                step = (*path, holder(schema.entities[at], parent))
                if step not in found:
                    found[step] = parent
                    climb(step, parent)

    for policy in policies:
        for variable, path in chains(policy):
            if variable == "resource":
                walk(path[:-1])
        for path in memberships(policy):
            end = walk(path[:-1])
            kind = schema.entities[end].attributes.get(path[-1]) if end is not None and path else None
            if kind is not None and isinstance(kind.type, EntityRef) and schema.entities[kind.type.type].parents:
                end = walk(path)
            elif path:
                continue
            if end is not None:
                climb(path, end)
    return {path: found[path] for path in sorted(found, key=lambda path: (len(path), path))}


def holder(entity: EntityType, parent: str) -> str:
    """The attribute that names the parent of a type: rows have a foreign key, made-up objects this.

    Raises:
        Refused: when there is none.
    """
    names = [name for name, attribute in sorted(entity.attributes.items()) if attribute.type == EntityRef(parent)]
    if not names:
        raise Refused(
            f"{SCHEMA_FILE}: entity {entity.name} in [{parent}] has no attribute that names the {parent}",
            why="tests make up objects from their attributes, and could not say where one belongs",
            fix=f"add an attribute of type {parent} to {entity.name}",
        )
    return names[0]
