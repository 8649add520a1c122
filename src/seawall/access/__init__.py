"""access: what callers may do.

    include()                       wired by app.py: reads the policies and gives the `Engine`
    may(), may_list()               what a route declares; the authorised object is the parameter
    Scope, Visible                  what a decided request may use
    reveal(), seen_with()           which fields leave
    Approvals                       somebody else's yes to exactly one action: obligations, approvals, asked, …_pages
    Grants, GrantCookie             platform staff reading in a tenant: break_glass, break_glass_cookie, …_pages

Start with `may.py` for the way of a decision, `engine.py` for the decision itself, `gate.py` for what does not start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI

from seawall.access.approval_pages import ApprovalRoutes
from seawall.access.approvals import Approvals, IdentityDatabase
from seawall.access.authzen import AuthZen
from seawall.access.authzen.directory import Members
from seawall.access.break_glass import Grants
from seawall.access.break_glass_cookie import GrantCookie
from seawall.access.break_glass_pages import BreakGlassRoutes
from seawall.access.engine import Allow, Deny, Engine, NeedsApproval, StepUp, Verdict
from seawall.access.gate import check_routes
from seawall.access.listing import Rows, Visible, may_list, visible
from seawall.access.may import may
from seawall.access.paging import Page
from seawall.access.policies import PolicyBook, read_policies
from seawall.access.scoped import Scope
from seawall.access.views import reveal, reveal_all, seen_with
from seawall.core.body import Body
from seawall.core.master import MasterSecret
from seawall.settings import Settings
from seawall.store.resealing import Resealer

__all__ = [
    "TEMPLATES",
    "Access",
    "Allow",
    "Body",
    "Deny",
    "Engine",
    "NeedsApproval",
    "Page",
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
    "visible",
]


TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Access:
    """What other parts of the app use of access."""

    engine: Engine
    approvals: Approvals
    middleware: type[GrantCookie]
    reseal: Resealer


def include(
    app: FastAPI,
    *,
    settings: Settings,
    policies: Path,
    database: Callable[[], IdentityDatabase],
    master: MasterSecret,
    members: Callable[[], Members],
) -> Access:
    """Read and check the app's policies; add the pages of approvals and of break-glass, and the decision point.

    Args:
        app: the app; its routes are checked at startup, by `check_routes(app, engine)`, when all are declared.
        settings: `[access]`, `[web] public_origin`, and whether this is production.
        policies: the folder with `schema.cedarschema` and `*.cedar`.
        database: the open database, when it is.
        master: what requests for approvals are sealed under.
        members: gives who belongs to a caller's tenant, once the app runs.

    Raises:
        Refused: naming the file and the policy that is not fit to start with.
    """
    engine = engine_for(settings, policies)
    approvals = Approvals(database, master)
    app.include_router(ApprovalRoutes(approvals, engine).router)
    app.include_router(BreakGlassRoutes(Grants(database), settings.access.stewards).router)
    if settings.access.authzen:
        app.include_router(AuthZen(engine, members, settings).router)
    return Access(engine, approvals, GrantCookie, Resealer(lambda: database().identity(), approvals.sealed))


def engine_for(settings: Settings, policies: Path) -> Engine:
    """The engine of the language that `[access] engine` names.

    Raises:
        Refused: naming the file and the policy that is not fit to start with, or the extra that is missing.
    """
    if settings.access.engine == "rego":
        from seawall.access.rego import RegoEngine, read_rego

        return RegoEngine(read_rego(policies))
    return Engine(read_policies(policies), production=settings.production)
