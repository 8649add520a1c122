"""access: what callers may do.

    include()                       wired by app.py: reads the policies and gives the `Engine`
    may(), may_list()               what a route declares; the authorised object is the parameter
    Scope, Visible                  what a decided request may use
    reveal(), seen_with()           which fields leave

Start with `may.py` for the way of a decision, `engine.py` for the decision itself, `gate.py` for what does not start.
"""

from __future__ import annotations

from pathlib import Path

import structlog
from fastapi import FastAPI

from seawall.access.engine import Allow, Deny, Engine, StepUp, Verdict
from seawall.access.findings import findings
from seawall.access.gate import check_routes
from seawall.access.listing import Rows, Visible, may_list, visible
from seawall.access.may import may
from seawall.access.paging import Page
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
    "Page",
    "PolicyBook",
    "Rows",
    "Scope",
    "StepUp",
    "Verdict",
    "Visible",
    "check_routes",
    "findings",
    "include",
    "may",
    "may_list",
    "read_policies",
    "reveal",
    "reveal_all",
    "seen_with",
    "visible",
]

log = structlog.get_logger("seawall.access")


def include(app: FastAPI, *, settings: Settings, policies: Path) -> Engine:
    """Read and check the app's policies.

    Args:
        app: the app; its routes are checked at startup, by `check_routes(app, engine)`, when all are declared.
        settings: whether this is production.
        policies: the folder with `schema.cedarschema` and `*.cedar`.

    Raises:
        Refused: naming the file and the policy that is not fit to start with.
    """
    book = read_policies(policies)
    if not settings.production:
        for found in findings(book):
            log.info("access.policy", policy=found.policy, found=found.kind, other=found.other)
    return Engine(book, production=settings.production)
