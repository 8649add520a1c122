"""`scope: Scope`, the parameter through which a handler reaches the database. There is none without a decision."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from seawall.core.decisions import passage_of
from seawall.core.errors import Unprocessable
from seawall.core.scope import Passage, Principal
from seawall.core.scope import Scope as CoreScope

SCOPE_ATTR = "__seawall_scope__"
"""Marks the dependency, so that the boot gate can see that a decision comes before it."""


class _Undecided:
    """Stands in for a scope while FastAPI collects validation errors; the handler is not going to be called.

    The boot gate has seen that every route's decision precedes its scope. So a decision is only missing when its
    parameters did not validate, and what else depends on the scope must not run either.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        raise Unprocessable("The request does not validate.")


async def scope_of(request: Request) -> Any:
    """The request's scope: what its decision allows the handler to use."""
    passage = passage_of(request)
    if passage.decision is None:
        return _Undecided()
    return CoreScope(passage, await passage.require_principal())


setattr(scope_of, SCOPE_ATTR, True)

Scope = Annotated[CoreScope, Depends(scope_of)]


class FactScope(CoreScope):
    """The scope of a `facts` function, which runs inside the decision: the one scope that precedes it."""

    __slots__ = ()

    def __init__(self, passage: Passage, principal: Principal) -> None:
        # not super(): gate B refuses a scope without a decision, and the facts are what it will be made on
        self._passage = passage
        self.principal = principal
