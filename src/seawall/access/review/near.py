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
    walk = _Walk(schema, type_name)
    for policy in policies:
        for variable, path in chains(policy):
            if variable == "resource":
                walk.along(path[:-1])
        for path in memberships(policy):
            # what has no parents is known by its id, which the row before it holds
            end = walk.along(path if walk.has_parents(path) else path[:-1])
            if end is not None and walk.has_parents(path):
                walk.up(path, end)
    return {path: walk.found[path] for path in sorted(walk.found, key=lambda path: (len(path), path))}


class _Walk:
    """From one object along its attributes."""

    def __init__(self, schema: CedarSchema, type_name: str) -> None:
        self._schema, self._type_name = schema, type_name
        self._alone = {schema.qualified(name) for name in (PRINCIPAL, TENANT, ROLE)}
        self.found: dict[Path, str] = {}

    def along(self, path: Path) -> str | None:
        """Note every row on the way; the type of the last. None where the way leaves the app's rows."""
        at = self._type_name
        for depth, name in enumerate(path, 1):
            after = self._after(at, name)
            if after is None or after in self._alone:
                return None
            at = self.found[path[:depth]] = after
        return at

    def has_parents(self, path: Path) -> bool:
        """Whether what is at a path is in something."""
        at: str | None = self._type_name
        for name in path:
            at = None if at is None else self._after(at, name)
        return at is not None and bool(self._schema.entities[at].parents - self._alone)

    def up(self, path: Path, at: str) -> None:
        """Note the rows that tell all ancestors of the row at a path; the highest need not be read."""
        for parent in sorted(self._schema.entities[at].parents - self._alone):
            step = (*path, holder(self._schema.entities[at], parent))
            if self._schema.entities[parent].parents and step not in self.found:
                self.found[step] = parent
                self.up(step, parent)

    def _after(self, at: str, name: str) -> str | None:
        attribute = self._schema.entities[at].attributes.get(name)
        return attribute.type.type if attribute is not None and isinstance(attribute.type, EntityRef) else None


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
