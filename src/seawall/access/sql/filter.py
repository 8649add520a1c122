"""`RowFilter`: "which rows may I see?" as a WHERE, from the same policies that decide on one row.

A row is listed where no policy errs, some permit holds and no forbid does, which is the engine's rule for one object;
and where its entity can be made at all. Compiled when the app starts; for each request only what is known of the caller
and the context is filled in, and what that settles is left out of the SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from seawall.access.relations import Relations
from seawall.access.schema import CedarSchema
from seawall.access.sql.cells import Truth, both, either, no
from seawall.access.sql.columns import Unsupported
from seawall.access.sql.compiler import Compiler
from seawall.access.sql.known import Env
from seawall.access.sql.nodes import Node
from seawall.core.errors import Refused
from seawall.store.loader import Keys, Loader

if TYPE_CHECKING:
    from seawall.access.engine import Ruling


class RowFilter:
    """The policies of one action on one model, as SQL.

    Raises:
        Refused: naming the policy and the construct that has no equal in SQL.
    """

    def __init__(
        self, ruling: Ruling, loader: Loader[Any], schema: CedarSchema, relations: Relations, principal: str
    ) -> None:
        compiler = Compiler(
            schema, relations, loader, action=ruling.action, principal=principal, context=ruling.context
        )
        self.permits: list[Node] = []
        self.forbids: list[Node] = []
        for policy in ruling.slice.chosen:
            try:
                node = compiler.policy(policy.est)
            except Unsupported as unsupported:
                raise Refused(
                    f'{policy.file}: policy @id("{policy.id}") cannot filter a list of {loader.model.__name__}: '
                    f"{unsupported} has no equal in SQL",
                    why="a list that left the condition out would show what the policies hide",
                    fix="write it with comparisons of columns, or list by another action",
                ) from None
            (self.permits if policy.est["effect"] == "permit" else self.forbids).append(node)
        near = list(ruling.resource.near)
        self._guards = both(
            *(guard for keys in [(), *near] for guard in compiler.guards(keys, ruling.slice.mentions.attributes))
        )
        self.near: tuple[Keys, ...] = tuple(near)
        """The rows beside the object that the filter looks at."""
        self.doubted = False
        """Whether the engine has denied a row that this let through."""

    def where(self, env: Env) -> sa.ColumnElement[bool]:
        """The condition for one caller."""
        truth = self.truth(env)
        return (sa.true() if truth else sa.false()) if isinstance(truth, bool) else truth

    def truth(self, env: Env) -> Truth:
        permits = [node.fold(env) for node in self.permits]
        forbids = [node.fold(env) for node in self.forbids]
        errors = [cell.err for cell in (*permits, *forbids)]
        permitted = either(*(cell.value for cell in permits))
        return both(permitted, *(no(cell.value) for cell in forbids), *(no(err) for err in errors), self._guards)
