"""access: what callers may do.

    include()                       wired by app.py: reads the policies and gives the `Engine`
    may(), may_list()               what a route declares; the authorised object is the parameter
    Scope, Visible                  what a decided request may use
    reveal(), seen_with()           which fields leave

Start with `may.py` for the way of a decision, `engine.py` for the decision itself, `gate.py` for what does not start.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI

from seawall.access.authzen import AuthZen
from seawall.access.authzen.directory import Members
from seawall.access.engine import Allow, Deny, Engine, StepUp, Verdict
from seawall.access.gate import check_routes
from seawall.access.listing import Rows, Visible, may_list
from seawall.access.may import may
from seawall.access.policies import PolicyBook, read_policies
from seawall.access.scoped import Scope
from seawall.access.views import reveal, reveal_all, seen_with
from seawall.core.body import Body
from seawall.settings import Settings

__all__ = [
    "Allow",
    "Body",
    "Deny",
    "Engine",
    "PolicyBook",
    "Rows",
    "Scope",
    "StepUp",
    "Verdict",
    "Visible",
    "check_routes",
    "include",
    "may",
    "may_list",
    "read_policies",
    "reveal",
    "reveal_all",
    "seen_with",
]


def include(app: FastAPI, *, settings: Settings, policies: Path, members: Callable[[], Members]) -> Engine:
    """Read and check the app's policies, and answer questions about them (AuthZEN).

    Args:
        app: the app; its routes are checked at startup, by `check_routes(app, engine)`, when all are declared.
        settings: `[access]`, and `[web] public_origin`.
        policies: the folder with `schema.cedarschema` and `*.cedar`.
        members: gives who belongs to a caller's tenant, once the app runs.

    Raises:
        Refused: naming the file and the policy that is not fit to start with.
    """
    engine = engine_for(settings, policies)
    if settings.access.authzen:
        app.include_router(AuthZen(engine, members, settings).router)
    return engine


def engine_for(settings: Settings, policies: Path) -> Engine:
    """The engine of the language that `[access] engine` names.

    Raises:
        Refused: naming the file and the policy that is not fit to start with, or the extra that is missing.
    """
    if settings.access.engine == "rego":
        from seawall.access.rego import RegoEngine, read_rego

        return RegoEngine(read_rego(policies))
    return Engine(read_policies(policies))
