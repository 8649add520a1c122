"""tenancy: whose data it is. The walls themselves stand in the database (`store.walls`); here they are inspected at
start.
"""

from seawall.tenancy.boot import inspect

__all__ = ["inspect"]
