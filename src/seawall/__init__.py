"""Seawall: the secure-by-default foundation that AI-built SaaS apps inherit.

Start at `Seawall` (app.py, the map), `Tenanted` (models), `may` and `public` (decisions).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seawall.access import Body, Scope, Visible, may, may_list, reveal, reveal_all, seen_with, visible
    from seawall.app import Seawall
    from seawall.core.decisions import bearer, public, self_service
    from seawall.core.scope import Membership, Tenant
    from seawall.store.models import Tenanted, object_id, refers_to
    from seawall.store.prepared import prepared
    from seawall.store.sealed import Sealed, not_personal, sealed
    from seawall.store.sealing import equal
    from seawall.web import money, page

__all__ = [
    "Body",
    "Membership",
    "Scope",
    "Sealed",
    "Seawall",
    "Tenant",
    "Tenanted",
    "Visible",
    "bearer",
    "equal",
    "may",
    "may_list",
    "money",
    "not_personal",
    "object_id",
    "page",
    "prepared",
    "public",
    "refers_to",
    "reveal",
    "reveal_all",
    "sealed",
    "seen_with",
    "self_service",
    "visible",
]

_HOMES = {
    "seawall.access": ("Body", "Scope", "Visible", "may", "may_list", "reveal", "reveal_all", "seen_with", "visible"),
    "seawall.app": ("Seawall",),
    "seawall.core.decisions": ("bearer", "public", "self_service"),
    "seawall.core.scope": ("Membership", "Tenant"),
    "seawall.store.models": ("Tenanted", "object_id", "refers_to"),
    "seawall.store.prepared": ("prepared",),
    "seawall.store.sealed": ("Sealed", "not_personal", "sealed"),
    "seawall.store.sealing": ("equal",),
    "seawall.web": ("money", "page"),
}


def __getattr__(name: str) -> Any:
    # PEP 562: a name is imported when it is first used, so that `seawall --help` does not load FastAPI
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'seawall' has no attribute {name!r}")
