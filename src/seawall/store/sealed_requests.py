"""What people ask for, sealed: the body of a request that waits, the sentence that says what it is, the reasons given.

Whatever a form carries may be personal, and these rows are in every dump and backup. A value opens in its own column of
its own row only, and while that row names the digest that it was sealed with: what somebody reads before they approve
is what they approve, whoever has written to the table meanwhile.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson

from seawall.core.errors import Conflict
from seawall.core.events import SealFailure
from seawall.core.master import MasterSecret
from seawall.core.master_seal import Seal, Unsealable
from seawall.store.resealing import SealedColumn, owner_of

OWNER = ("tenant_id", "id", "digest")

Owner = tuple[UUID, UUID, bytes]
"""Tenant, row, and digest of what is asked for."""


class RequestBroken(Conflict):
    """What was asked for cannot be read any more, so nobody can approve it. It carries its audit event."""

    code = "request-unreadable"
    title = "What was asked for cannot be read any more"

    def __init__(self, column: str, request_id: UUID) -> None:
        super().__init__("It was altered, or its key is gone. Nothing is approved by it; try the action again.")
        self.events = (SealFailure(column=column, object_id=str(request_id), reason="seal"),)


class RequestCell:
    """One sealed column of requests.

    Args:
        master: the app's master secret; each column has a key of its own, derived from it.
        table: with its schema.
        column: of bytes, and NULL where there is nothing.
    """

    def __init__(self, master: MasterSecret, table: str, column: str) -> None:
        self._name = f"{table}.{column}"
        self._seal = Seal(master, self._name)
        self.column = SealedColumn(table, self._seal, OWNER, column)
        """For `Resealer`, so that a rotation of the master secret takes it along."""

    def seal(self, value: Any, owner: Owner) -> bytes:
        """Seal a JSON value for one row.

        Raises:
            VaultUnavailable: the key to seal under is not known for sure; nothing is ever kept in plain.
        """
        return self._seal.seal(orjson.dumps(value), owner_of(owner))

    def open(self, sealed: bytes, owner: Owner) -> Any:
        """The value of one row.

        Raises:
            RequestBroken: it is not what was sealed for this column of this row.
            VaultUnavailable: it is under a version of the key that this process has not seen yet.
        """
        try:
            return orjson.loads(self._seal.open(sealed, owner_of(owner)))
        except Unsealable:
            raise RequestBroken(self._name, owner[1]) from None
